"""The state dicts in what a legacy file holds, whole modules included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from samft.errors import CheckpointError
from samft.models.inert_objects import InertObject, TensorReference
from samft.models.legacy_file import LegacyFile
from samft.models.state_dict import MAX_ENTRIES

_ENCODER = re.compile(r"(?:.*\.)?(?:image_encoder|vision_encoder)\.")
_MOST_LEVELS: Final = 50


def find_entries(file: LegacyFile) -> dict[str, dict[str, object]]:
    """Return every dictionary or module of a file that has the keys of a SAM, with its tensors.

    Args:
        file: The file.

    Returns:
        By where it is in the file, such as `model`; empty where the file is nothing else.

    Raises:
        ValueError: if a tensor among them does not make sense, or the file is nested without end.
    """
    found: dict[str, dict[str, object]] = {}
    seen: set[int] = set()
    for place, item in _walk(file.content):
        if id(item) in seen:  # one object in two places is one model
            continue
        seen.add(id(item))
        flat = _flat(item)
        if any(_ENCODER.match(key) for key in flat):
            found[place] = {
                key: file.storages.tensor(value) if isinstance(value, TensorReference) else value
                for key, value in flat.items()
            }
    return found


def choose_entry(
    entries: Mapping[str, dict[str, object]], path: Path, entry: str | None
) -> dict[str, object]:
    """Return the entry that was asked for, or the only one.

    Args:
        entries: What `find_entries` returned.
        path: The file, for messages.
        entry: Its place, or `None` for the only one.

    Raises:
        CheckpointError: if there is none, or more than one and none was asked for.
    """
    if entry is None and len(entries) == 1:
        return next(iter(entries.values()))
    if entry is not None and entry in entries:
        return entries[entry]
    if not entries:
        raise CheckpointError(
            "there are no weights of a SAM in the file",
            where=path,
            expected="keys such as image_encoder.patch_embed.proj.weight",
        )
    raise CheckpointError(
        "the file holds more than one SAM" if entry is None else f"there is no entry {entry!r}",
        where=path,
        found=", ".join(repr(name) for name in entries),
        fix="say which one with --entry",
    )


def num_tensors(state: Mapping[str, object]) -> int:
    """Return how many of the values are tensors."""
    return sum(isinstance(value, Tensor) for value in state.values())


def _walk(content: object) -> Iterator[tuple[str, object]]:
    """Yield what may be a state dict, with its place in the file, each once."""
    waiting: list[tuple[str, object, int]] = [("", content, 0)]
    seen: set[int] = set()
    while waiting:
        place, item, level = waiting.pop(0)
        if id(item) in seen or level > _MOST_LEVELS:
            continue
        seen.add(id(item))
        if not isinstance(item, dict | InertObject):
            continue
        yield place, item
        if _is_module(item):
            continue  # its parts are parts of it
        children = dict.items(item) if isinstance(item, dict) else _attributes(item).items()
        for key, value in children:
            if isinstance(key, str | int):
                waiting.append((f"{place}.{key}" if place else str(key), value, level + 1))


def _flat(item: object) -> dict[str, object]:
    """Return a state dict: that of a module, or the dictionary itself."""
    if _is_module(item):
        return dict(_module_values(item, "", 0))
    if not isinstance(item, dict):
        return {}
    return {
        key: value
        for key, value in dict.items(item)
        if isinstance(key, str) and not isinstance(value, dict | list | InertObject)
    }


def _module_values(module: Any, prefix: str, level: int) -> Iterator[tuple[str, object]]:
    """Yield parameters and buffers as `Module.state_dict` names them."""
    if level > _MOST_LEVELS:
        raise ValueError("modules in modules without end")
    state = _attributes(module)
    unsaved = _names_of(state.get("_non_persistent_buffers_set"))
    for group in ("_parameters", "_buffers"):
        for name, value in _items(state.get(group)):
            if isinstance(value, TensorReference) and not (group == "_buffers" and name in unsaved):
                yield f"{prefix}{name}", value
    for count, (name, child) in enumerate(_items(state.get("_modules"))):
        if count > MAX_ENTRIES:
            raise ValueError("more modules than any SAM has")
        if _is_module(child):
            yield from _module_values(child, f"{prefix}{name}.", level + 1)


def _is_module(item: object) -> bool:
    state = _attributes(item)
    return isinstance(item, InertObject) and {"_parameters", "_modules"} <= state.keys()


def _attributes(item: object) -> dict[Any, Any]:
    state = item.state if isinstance(item, InertObject) else None
    if isinstance(state, tuple) and len(state) == 2:  # attributes, and those of slots
        state = state[0]
    return state if isinstance(state, dict) else {}


def _items(value: object) -> list[tuple[str, Any]]:
    return (
        [(key, item) for key, item in dict.items(value) if isinstance(key, str)]
        if isinstance(value, dict)
        else []
    )


def _names_of(value: object) -> set[str]:
    """Return the texts in a set, which older protocols make by a call that was not made."""
    if isinstance(value, set | frozenset):
        return {item for item in value if isinstance(item, str)}
    if isinstance(value, InertObject):
        lists = [part for part in value.parts if isinstance(part, list)]
        return {item for part in lists for item in part if isinstance(item, str)}
    return set()
