"""Finding configuration files and the mistakes in them that the parser would let pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from samft.cli.packaged import packaged
from samft.data.readers.yaml_files import YAML_ERRORS, problem_in, read_yaml
from samft.errors import ConfigError, did_you_mean

MUST_BE_GIVEN = "???"
SECTIONS = (
    "checkpoint",
    "ckpt_path",
    "data",
    "model",
    "non_finite",
    "empty_masks",
    "evaluation",
    "overlays",
    "return_predictions",
    "runs",
    "saving",
    "seed_everything",
    "trainer",
    "verbose",
    "weights_only",
)


def find_config(name: str) -> Path:
    """Return the file `name` means: a path, or the path of a file that comes with samft.

    Raises:
        ConfigError: if there is no such file.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    kind, *rest = path.parts or ("",)
    if kind in ("recipes", "configs") and rest and ".." not in rest:
        shipped = packaged(kind).joinpath(*rest)
        if shipped.is_file():
            return shipped
    known = [
        f"{folder}/{file.relative_to(packaged(folder)).as_posix()}"
        for folder in ("recipes", "configs")
        for file in packaged(folder).rglob("*.yaml")
    ]
    raise ConfigError(
        "configuration file not found", where=path.absolute(), fix=did_you_mean(name, known)
    )


def resolve_config_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace the value of each `--config` by the path it means, after checking the file."""
    resolved: list[str] = []
    expects_path = False
    for word in arguments:
        name, equals, value = word.partition("=")
        if expects_path:
            resolved.append(str(checked_config(word)))
            expects_path = False
        elif name in ("-c", "--config") and equals:
            resolved += ["--config", str(checked_config(value))]
        else:
            expects_path = word in ("-c", "--config")
            resolved.append(word)
    return resolved


def checked_config(name: str) -> Path:
    """Find a configuration file and check its top level.

    Raises:
        ConfigError: if it is missing, is not YAML, or has an unknown section.
    """
    path = find_config(name)
    read_config(path)
    return path


def read_config(path: Path) -> dict[str, Any]:  # Any: YAML
    """Read a configuration file.

    Raises:
        ConfigError: if it is not YAML, or has an unknown section.
    """
    try:
        content = read_yaml(path)
    except YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        place = path if mark is None else f"{path}, line {mark.line + 1}"
        raise ConfigError(
            "configuration file cannot be read",
            where=place,
            found=problem_in(error),
            fix="check indentation, brackets and quotes around that line",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            "a configuration file must be a mapping",
            where=path,
            found=type(content).__name__,
            expected="sections such as model, data, trainer",
        )
    for key in content:
        if key not in SECTIONS:
            raise ConfigError(
                f"unknown section {key!r}", where=path, fix=did_you_mean(str(key), SECTIONS)
            )
    return content


def values_to_give(config: Any, prefix: str = "") -> Iterator[str]:  # Any: nested plain data
    """Yield the dotted names of settings that still hold `???`."""
    if isinstance(config, dict):
        for key, value in config.items():
            inner = prefix if key == "init_args" else f"{prefix}.{key}" if prefix else str(key)
            yield from values_to_give(value, inner)
    elif config == MUST_BE_GIVEN:
        yield prefix
