"""The notes of an OME-Zarr image: axes, resolutions, sizes, channels."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from samft.data.readers.lengths import in_millimetres
from samft.data.readers.limits import unreadable
from samft.data.readers.zarr_nodes import ZarrNode, array_header
from samft.data.roots import inside_root
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_EXPECTED = "an OME-Zarr image (multiscales with axes and datasets)"
_OLD_AXES = ("t", "c", "z", "y", "x")  # of version 0.1 and 0.2, which do not name them
_KINDS = {"time": "t", "channel": "c"}
_NAMES = {"t": "t", "time": "t", "c": "c", "ch": "c", "channel": "c", "channels": "c",
          "z": "z", "y": "y", "x": "x"}  # fmt: skip
_MOST_LEVELS = 64
_FEW = 4  # channels, where they stand last in an array without names


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One resolution.

    Args:
        folder: Its array.
        scale: Size of a pixel along every axis in the units of these, where it is stated.
    """

    folder: Path
    scale: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Multiscale:
    """What an image says about itself.

    Args:
        axes: A letter of `tczyx` for every axis, `?` for another one.
        axis_names: Their names in the file.
        units: Their units.
        levels: The resolutions, full size first.
        channel_names: What the channels are called.
    """

    axes: str
    axis_names: tuple[str, ...]
    units: tuple[str | None, ...]
    levels: tuple[Level, ...]
    channel_names: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float | None, float, float] | None:
        """Voxel size (z, y, x) in millimetres, where it is stated."""
        scale = self.levels[0].scale
        if scale is None:
            return None
        sizes = {
            axis: in_millimetres(size, unit)
            for axis, size, unit in zip(self.axes, scale, self.units, strict=True)
        }
        y, x = sizes["y"], sizes["x"]
        return None if y is None or x is None else (sizes.get("z"), y, x)


def ome_notes(node: ZarrNode) -> dict[str, Any]:
    """Return what a group says in OME's words: under `ome` in version 0.5, directly before."""
    notes = node.attributes.get("ome")
    return notes if isinstance(notes, dict) else node.attributes


def multiscale_of(node: ZarrNode, root: Path) -> Multiscale:
    """Understand the notes of an image; a plain array is an image of one resolution.

    Args:
        node: The group or array.
        root: What no name in the notes may lead out of.

    Raises:
        DatasetError: if it is no image, or the notes make no sense.
    """
    if node.array is not None:
        return _of_array(node)
    notes = ome_notes(node)
    described = notes.get("multiscales")
    if not isinstance(described, list) or not described or not isinstance(described[0], dict):
        raise unreadable(node.folder, _keys(notes), _EXPECTED)
    if len(described) > 1:
        _say_first(node.folder, len(described))
    first = described[0]
    names, kinds, units = _stated_axes(node.folder, first.get("axes"))
    datasets = first.get("datasets")
    if not isinstance(datasets, list) or not 0 < len(datasets) <= _MOST_LEVELS:
        raise unreadable(node.folder, f"datasets {datasets!r:.60}", _EXPECTED)
    common = _scale(node.folder, first.get("coordinateTransformations"), len(names))
    return Multiscale(
        axes=_letters(node.folder, names, kinds),
        axis_names=names,
        units=units,
        levels=tuple(_level(node.folder, root, item, common, len(names)) for item in datasets),
        channel_names=_channel_names(notes.get("omero")),
    )


def _of_array(node: ZarrNode) -> Multiscale:
    header = array_header(node)
    count = len(header.shape)
    guesses: dict[int, tuple[str, ...]] = {2: ("y", "x"), 3: ("z", "y", "x"), 5: _OLD_AXES}
    if count == 3 and header.shape[-1] <= _FEW:
        guesses[3] = ("y", "x", "c")
    names = header.names or guesses.get(count)
    if names is None:
        raise unreadable(node.folder, f"shape {header.shape}, axes without names", _EXPECTED)
    return Multiscale(
        axes=_letters(node.folder, names, ("",) * count),
        axis_names=names,
        units=(None,) * count,
        levels=(Level(folder=node.folder, scale=None),),
    )


def _stated_axes(
    folder: Path, stated: object
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str | None, ...]]:
    """Return names, kinds and units."""
    if stated is None:
        return _OLD_AXES, ("",) * 5, (None,) * 5
    if not isinstance(stated, list) or not 2 <= len(stated) <= 8:
        raise unreadable(folder, f"axes {stated!r:.60}", _EXPECTED)
    entries = [{"name": axis} if isinstance(axis, str) else axis for axis in stated]
    if not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in entries):
        raise unreadable(folder, f"axes {stated!r:.60}", _EXPECTED)
    kinds = tuple(str(entry.get("type") or "").lower() for entry in entries)
    units = (entry.get("unit") for entry in entries)
    return (
        tuple(entry["name"] for entry in entries),
        kinds,
        tuple(unit if isinstance(unit, str) else None for unit in units),
    )


def _letters(folder: Path, names: Sequence[str], kinds: Sequence[str]) -> str:
    letters = [
        _KINDS.get(kind) or (_NAMES.get(name.lower(), "?") if kind in ("", "space") else "?")
        for name, kind in zip(names, kinds, strict=True)
    ]
    spaces = [place for place, kind in enumerate(kinds) if kind == "space"]
    if any(letters[place] not in "zyx" for place in spaces) and 2 <= len(spaces) <= 3:
        for place, letter in zip(spaces, "zyx"[-len(spaces) :], strict=True):
            letters[place] = letter
    known = [letter for letter in letters if letter != "?"]
    if len(set(known)) < len(known) or "y" not in known or "x" not in known:
        raise unreadable(folder, f"axes {', '.join(names)}", "each of t, c, z, y, x at most once")
    return "".join(letters)


def _level(
    folder: Path, root: Path, entry: object, common: tuple[float, ...] | None, count: int
) -> Level:
    name = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(entry, dict):
        raise unreadable(folder, f"dataset {entry!r:.60}", _EXPECTED)
    own = _scale(folder, entry.get("coordinateTransformations"), count)
    scale = None
    if own is not None and common is not None:
        scale = tuple(a * b for a, b in zip(own, common, strict=True))
    stated = entry.get("coordinateTransformations") is not None
    return Level(folder=member(folder, root, name), scale=scale if stated else None)


def member(folder: Path, root: Path, name: str) -> Path:
    """Return what a name in the notes of a group stands for.

    Args:
        folder: The group.
        root: What it may not lead out of.
        name: The name.

    Raises:
        DatasetError: if it leads out of the group, or out of `root` by a symbolic link.
    """
    path = inside_root(folder, name)
    if path is None or not path.resolve().is_relative_to(root.resolve()):
        raise DatasetError(
            "a name in an OME-Zarr leads out of it",
            where=folder,
            found=f"{name!r:.80}",
            expected="the name of a folder inside",
            fix="correct its metadata, or take it out of the data set",
        )
    return path


def _scale(folder: Path, stated: object, count: int) -> tuple[float, ...] | None:
    """Return the product of all scales; `None` where one is not written out."""
    if stated is None:
        return (1.0,) * count
    if not isinstance(stated, list) or not all(isinstance(item, Mapping) for item in stated):
        raise unreadable(folder, f"coordinateTransformations {stated!r:.60}", _EXPECTED)
    result = [1.0] * count
    for item in stated:
        if item.get("type") in ("identity", "translation"):
            continue
        sizes = item.get("scale")
        if item.get("type") != "scale" or sizes is None:
            return None  # in a file of its own, or of a kind that version 0.5 does not have
        if not isinstance(sizes, list) or len(sizes) != count or not all(map(_positive, sizes)):
            raise unreadable(folder, f"scale {sizes!r:.60}", f"{count} positive numbers")
        result = [a * float(b) for a, b in zip(result, sizes, strict=True)]
    return tuple(result)


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(float(value)) and float(value) > 0  # type: ignore[arg-type]


def _channel_names(omero: object) -> tuple[str, ...]:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    labels = [item.get("label") if isinstance(item, dict) else None for item in channels[:10_000]]
    return tuple(
        str(label) if isinstance(label, str | int) and str(label) else f"channel {number}"
        for number, label in enumerate(labels)
    )


def _keys(notes: Mapping[str, Any]) -> str:
    return f"a group with {', '.join(map(str, list(notes)[:5])) or 'no notes'}"


@lru_cache(maxsize=4096)
def _say_first(folder: Path, count: int) -> None:
    _log.info("%s describes %d images in one group; the first is used", folder, count)
