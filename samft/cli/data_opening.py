"""Data modules for commands that do not train: built and indexed as training does."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from samft.cli.configs import MUST_BE_GIVEN, find_config, read_config, values_to_give
from samft.cli.quiet_log import at_least
from samft.data.split_datamodule import SplitDataModule
from samft.errors import ConfigError, SamftError

_FOLDER_CLASS: Final = "samft.FolderDataModule"


def data_sections(
    configs: Sequence[str], roots: Sequence[str]
) -> list[tuple[dict[str, Any], str | None]]:  # Any: YAML
    """Return for each data set its `data` section, and the folder that takes its root's place.

    One configuration goes with any number of folders, several go with as many folders or none.

    Args:
        configs: Recipes or fragments: files, or names of those that come with samft.
        roots: Folders.

    Raises:
        ConfigError: if a file has no data section, or the numbers do not fit.
    """
    sections = [_section(name) for name in configs]
    if not sections:
        plain = {"class_path": _FOLDER_CLASS, "init_args": {"val_fraction": 0.0}}
        return [(plain, root) for root in roots]
    if not roots:
        return [(section, None) for section in sections]
    if len(sections) == 1:
        return [(sections[0], root) for root in roots]
    if len(sections) != len(roots):
        raise ConfigError(
            "configurations and folders do not pair up",
            where="--config and --data",
            found=f"{len(sections)} and {len(roots)}",
            expected="one --config for all folders, or one for each",
        )
    return list(zip(sections, roots, strict=True))


def open_module(
    section: Mapping[str, Any],  # Any: YAML
    root: str | None,
    further: Sequence[str] = (),
    *,
    where: str = "data",
) -> SplitDataModule:
    """Build a data module and look at its files.

    Args:
        section: The `data` section of a configuration.
        root: Folder in place of the section's own.
        further: Options such as `--data.tile=256`.
        where: Where the section stands, for messages.

    Raises:
        SamftError: for everything that is wrong with the settings or the data.
    """
    content = json.loads(json.dumps(section))
    if root is not None:
        content.setdefault("init_args", {})["root"] = root
    module = _built(content, further, where)
    if not isinstance(module, SplitDataModule):
        raise ConfigError(
            "this data has no masks to compare with",
            where=where,
            found=type(module).__name__,
            expected="a samft data module with masks",
        )
    # Not how many images training would have: the command says what it uses.
    with at_least("samft.data.datamodule", logging.WARNING):
        module.prepare_index()
    return module


def _section(name: str) -> dict[str, Any]:  # Any: YAML
    path = find_config(name)
    section = read_config(path).get("data")
    if not isinstance(section, dict) or "class_path" not in section:
        raise ConfigError(
            "the configuration has no data section that names a class",
            where=path,
            expected="data with class_path, such as in configs/data/coco.yaml",
        )
    return section


def _built(content: dict[str, Any], further: Sequence[str], where: str) -> object:  # Any: YAML
    from jsonargparse import ArgumentError, ArgumentParser

    from samft.cli.lightning import setting_names
    from samft.cli.messages import explain
    from samft.data.base import BaseDataModule

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data", required=True)
    # A place to be filled has no type; what is filled in comes after it.
    init = content.get("init_args") or {}
    content["init_args"] = {name: value for name, value in init.items() if value != MUST_BE_GIVEN}
    try:
        config = parser.parse_args([f"--data={json.dumps(content)}", *further])
    except ArgumentError as error:
        raise explain(_innermost(str(error)), setting_names()) from error
    missing = sorted(set(values_to_give(config.as_dict())))
    if missing:
        raise ConfigError("a setting must be given", where=", ".join(missing))
    try:
        return parser.instantiate_classes(config)["data"]
    except ValueError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SamftError):
            cause = cause.__cause__
        if cause is None:
            raise ConfigError(
                "the data settings cannot be used", where=where, found=str(error).splitlines()[0]
            ) from error
        raise cause from error


def _innermost(message: str) -> str:
    """Return what the parser says of one setting of a class, without what it says of the class."""
    start = message.find('Parser key "', 1)
    if start < 0:
        return message
    end = message.rfind("    - Expected a <class 'NoneType'>")
    inner = message[start : end if end > start else None].rstrip()
    return inner.replace('Parser key "', 'Parser key "data.', 1)
