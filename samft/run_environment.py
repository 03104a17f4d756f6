"""What a run was made with: versions, machine, seed, settings; and nothing about who or where."""

from __future__ import annotations

import getpass
import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from samft import __version__
from samft.data.readers.json_files import is_deep
from samft.data.readers.yaml_files import YAML_ERRORS, read_yaml, unreadable_yaml
from samft.errors import CheckpointError
from samft.inference.output_folder import write_atomically

ENVIRONMENT_RECORD: Final = "env.json"
_COMPARED: Final = ("python", "torch", "lightning", "samft", "platform", "device", "world_size")
_HOMES: Final = re.compile(r"(?:[A-Za-z]:)?[/\\](?:home|Users)[/\\][^/\\\s'\",]+")

Described = dict[str, Any]  # Any: JSON
Settings = dict[str, Any]  # Any: YAML
_MISSING: Final = object()


def describe_environment(*, device: str, world_size: int, precision: str, seed: int) -> Described:
    """Return versions, machine and command of this process, as plain data for JSON.

    Args:
        device: Kind of machine that trains, such as `cpu` or the name of a GPU.
        world_size: Number of processes.
        precision: Of the trainer.
        seed: Base seed of the run.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "lightning": _version("lightning"),
        "samft": __version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "world_size": world_size,
        "precision": precision,
        "seed": seed,
        "command": [Path(sys.argv[0]).name, *(without_names(word) for word in sys.argv[1:])],
    }


def environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what is another version or machine than it was, in words."""
    return [
        f"{name} {before[name]} has become {now[name]}"
        for name in _COMPARED
        if name in before and name in now and before[name] != now[name]
    ]


def without_names(text: str) -> str:
    """Return a text in which the home folder is `~`, and the user's name in a path is USER."""
    with suppress(RuntimeError):  # no home folder
        home = str(Path.home())
        if home not in ("", "/"):
            text = re.sub(rf"{re.escape(home)}(?=[/\\]|$)", "~", text)
    text = _HOMES.sub("~", text)
    with suppress(OSError, KeyError, ImportError):  # nobody is logged in
        text = re.sub(rf"(?<=[/\\]){re.escape(getpass.getuser())}(?=[/\\]|$)", "USER", text)
    return text


def flat_settings(config: object, prefix: str = "") -> Settings:
    """Return a configuration as dotted names and plain values, without the names of people."""
    if isinstance(config, Mapping) and config:
        found: Settings = {}
        for key, value in config.items():
            inner = prefix if key == "init_args" else f"{prefix}.{key}" if prefix else str(key)
            found |= flat_settings(value, inner)
        return found
    if isinstance(config, list) and any(isinstance(one, Mapping) for one in config):
        return {
            name: value
            for index, one in enumerate(config)
            for name, value in flat_settings(one, f"{prefix}.{index}").items()
        }
    return {prefix: without_names(config) if isinstance(config, str) else config}


def read_settings(path: Path) -> Settings:
    """Return the settings of a configuration file, see `flat_settings`; none without the file.

    Raises:
        ConfigError: if it is damaged.
    """
    try:
        return flat_settings(read_yaml(path) or {})
    except FileNotFoundError:
        return {}
    except YAML_ERRORS as error:
        raise unreadable_yaml(
            error,
            path,
            "the configuration of the run cannot be read",
            fix="restore the file from a copy",
        ) from error


def settings_changes(before: Settings, now: Settings) -> dict[str, tuple[Any, Any]]:  # Any: YAML
    """Return the settings that differ, each with its old and its new value."""
    return {
        name: (before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name, _MISSING) != now.get(name, _MISSING)
        and not (before.get(name) is None and now.get(name) is None)
    }


def read_record(path: Path) -> Described | None:
    """Return a record of a run folder; `None` without one.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict) or is_deep(found):
        raise damaged_record(path, type(found).__name__)
    return found


def damaged_record(path: object, found: str) -> CheckpointError:
    """Return the error for a record that says what no run writes.

    Args:
        path: The record.
        found: What it says.
    """
    return CheckpointError(
        "the record of the run is damaged",
        where=path,
        found=found,
        fix="delete it; what it records is then not compared",
    )


def recorded_settings(record: Described, where: Path) -> Settings:
    """Return the settings that the record of an environment holds; none if it has none.

    Args:
        record: From `read_record`.
        where: The run folder, for messages.

    Raises:
        CheckpointError: if they are no settings.
    """
    settings = record.get("settings") or {}
    if not isinstance(settings, dict):
        raise damaged_record(where / ENVIRONMENT_RECORD, f"settings: {type(settings).__name__}")
    return settings


def write_record(path: Path, content: Described) -> None:
    """Write a record of a run folder, whole or not at all.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def described_values(changes: Mapping[str, tuple[Any, Any]]) -> Sequence[str]:
    """Return changed settings in words."""
    return [f"{name} was {_word(old)}, now {_word(new)}" for name, (old, new) in changes.items()]


def _word(value: object) -> str:
    return "not set" if value is None else str(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
