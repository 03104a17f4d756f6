"""What lies in an OME-Zarr: images by themselves, in series, or in the wells of a plate; labels.

Source:
    OME-NGFF 0.4 and 0.5, sections "bioformats2raw.layout", "plate", "well", "labels",
    "image-label".
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.data.readers.limits import unreadable
from samft.data.readers.ome_zarr_metadata import member, ome_notes
from samft.data.readers.zarr_nodes import is_zarr, read_node
from samft.data.roots import stays_inside
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_EXPECTED = "an OME-Zarr"
_LAYOUT = "bioformats2raw.layout"
_MOST_IMAGES = 1_000_000
_CLASS_KEYS = ("class", "class_name", "class name", "className", "category", "cell_type")
_NAME_KEYS = ("name", "label")  # of a class, or of each object
_FEW_NAMES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLabel:
    """What a label image says about its values.

    Args:
        name: Its name in `labels/`.
        folder: Where it lies.
        classes: Class name of each value, where the file says so.
        colours: Colour (red, green, blue, alpha) of each value, 0 to 255, where it says so.
        by_class: Whether every value stands for a class, rather than for an object.
    """

    name: str
    folder: Path
    classes: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int, int]]
    by_class: bool


def find_zarrs(root: Path) -> list[Path]:
    """Return every outermost zarr group or array below `root`, itself included, sorted.

    Hidden folders are left out; what lies in a zarr is not looked at.

    Raises:
        DatasetError: if a symbolic link to a zarr leads out of `root`.
    """
    found = []
    for folder, folders, _ in os.walk(root):
        path = Path(folder)
        if is_zarr(path):
            found.append(path)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # Links to folders are not walked into.
        found += [path / name for name in folders if _is_linked_zarr(root, path / name)]
    return sorted(found)


def _is_linked_zarr(root: Path, path: Path) -> bool:
    if not path.is_symlink() or not is_zarr(path):
        return False
    if not stays_inside(root, path):
        raise DatasetError(
            "a symbolic link leads out of the data folder",
            where=path,
            found=f"it points to {path.resolve()}",
            expected=f"a folder below {root}",
            fix="copy the folder, or set data.root to a folder that holds both",
        )
    return True


def image_names(folder: Path) -> list[str]:
    """Return where images lie in a zarr, in its own order; `""` is the zarr itself.

    Raises:
        DatasetError: if its notes are damaged, or a name leads out of it.
    """
    node = read_node(folder)
    notes = ome_notes(node)
    if node.array is not None or "multiscales" in notes:
        return [""]
    if "plate" in notes:
        return list(_of_plate(folder, notes["plate"]))
    if "well" in notes:
        return list(_of_well(folder, notes["well"]))
    if _LAYOUT in notes or _LAYOUT in node.attributes:
        return list(_series(folder))
    return []


def label_images(image: Path, root: Path) -> list[ImageLabel]:
    """Return the label images of an image, in the order of its list.

    Args:
        image: The group of the image, or of the label images alone (`labels/` lies in it).
        root: What nothing may lead out of.

    Raises:
        DatasetError: if the list or a label image's notes are damaged, or a name leads out.
    """
    labels = image / "labels"
    if not is_zarr(labels) and not labels.is_dir():
        return []
    member(image, root, "labels")
    return [_image_label(labels, root, name) for name in _label_names(labels)]


def _label_names(labels: Path) -> list[str]:
    listed = ome_notes(read_node(labels)).get("labels") if is_zarr(labels) else None
    if listed is None:  # some writers leave the list out
        return sorted(path.name for path in labels.iterdir() if path.is_dir() and is_zarr(path))
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise unreadable(labels, f"labels {listed!r:.60}", "a list of names")
    return list(dict.fromkeys(listed))


def _image_label(labels: Path, root: Path, name: str) -> ImageLabel:
    folder = member(labels, root, name)
    if not is_zarr(folder):
        raise DatasetError(
            "a label image is missing",
            where=folder,
            expected=f"what the list of {labels} names",
            fix="copy it again from its source, or take its name out of the list",
        )
    notes = ome_notes(read_node(folder)).get("image-label", {})
    if not isinstance(notes, dict):
        raise unreadable(folder, f"image-label {notes!r:.60}", "an object")
    entries = [
        entry for entry in _entries(folder, notes, "properties") if _value(entry) != 0
    ]  # 0 is background
    classes = _classes(entries)
    return ImageLabel(
        name=name,
        folder=folder,
        classes=classes,
        colours=_colours(folder, _entries(folder, notes, "colors")),
        by_class=_stand_for_classes(entries, classes),
    )


def _entries(folder: Path, notes: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    stated = notes.get(key) or []
    if not isinstance(stated, list):
        raise unreadable(folder, f"{key} {stated!r:.60}", "a list")
    usable = [entry for entry in stated if isinstance(entry, dict) and _value(entry) is not None]
    if len(usable) < len(stated):
        _log.warning(
            "%s: %d of %d %s name no label-value and do not count",
            folder, len(stated) - len(usable), len(stated), key,
        )  # fmt: skip
    return usable


def _value(entry: Mapping[str, Any]) -> int | None:
    value = entry.get("label-value")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _classes(entries: list[dict[str, Any]]) -> dict[int, str]:
    """Return the class of each value, from the key that says it best."""
    for key in (*_CLASS_KEYS, *_NAME_KEYS):
        found: dict[int, str] = {}
        for entry in entries:
            name, value = entry.get(key), _value(entry)
            if isinstance(name, str) and name.strip() and value is not None:
                found.setdefault(value, name.strip())
        distinct = len(set(found.values()))
        # "nucleus 17" is the name of an object.
        of_objects = key in _NAME_KEYS and distinct == len(found) > _FEW_NAMES
        if found and not of_objects:
            return found
    return {}


def _stand_for_classes(entries: list[dict[str, Any]], classes: Mapping[int, str]) -> bool:
    """Tell whether each value has a class of its own, and nothing is said that objects have."""
    known = {"label-value", *_CLASS_KEYS, *_NAME_KEYS, "description", "color", "rgba"}
    said = {key for entry in entries for key in entry}
    return bool(classes) and len(set(classes.values())) == len(classes) and said <= known


def _colours(folder: Path, entries: list[dict[str, Any]]) -> dict[int, tuple[int, int, int, int]]:
    colours: dict[int, tuple[int, int, int, int]] = {}
    wrong = 0
    for entry in entries:
        rgba, value = entry.get("rgba"), _value(entry)
        right = isinstance(rgba, list) and len(rgba) == 4 and all(map(_is_shade, rgba))
        if right and isinstance(rgba, list) and value is not None:
            red, green, blue, alpha = rgba
            colours.setdefault(value, (red, green, blue, alpha))
        wrong += rgba is not None and not right
    if wrong:
        _log.warning("%s: %d colours are not four numbers from 0 to 255", folder, wrong)
    return colours


def _is_shade(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _series(folder: Path) -> Iterator[str]:
    extra = folder / "OME"
    listed = ome_notes(read_node(extra)).get("series") if is_zarr(extra) else None
    if listed is None:
        number = 0
        while is_zarr(folder / str(number)) and number < _MOST_IMAGES:
            yield str(number)
            number += 1
        return
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise unreadable(extra, f"series {listed!r:.60}", "a list of names")
    yield from _present(folder, listed, "series")


def _of_plate(folder: Path, plate: object) -> Iterator[str]:
    wells = plate.get("wells") if isinstance(plate, dict) else None
    for name in _present(folder, _paths(folder, wells, "wells"), "wells"):
        well = member(folder, folder, name)
        for image in _of_well(well, ome_notes(read_node(well)).get("well")):
            yield f"{name}/{image}"


def _of_well(well: Path, notes: object) -> Iterator[str]:
    images = notes.get("images") if isinstance(notes, dict) else None
    yield from _present(well, _paths(well, images, "images"), "fields")


def _paths(folder: Path, entries: object, what: str) -> list[str]:
    if not isinstance(entries, list):
        raise unreadable(folder, f"{what} {entries!r:.60}", f"{_EXPECTED} plate")
    names = [entry.get("path") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(name, str) for name in names):
        raise unreadable(folder, f"{what} without path", f"{_EXPECTED} plate")
    return [name for name in names if isinstance(name, str)]


def _present(folder: Path, names: list[str], what: str) -> Iterator[str]:
    """Yield the names that are there; how many are not is logged."""
    there = [name.strip("/") for name in names if is_zarr(member(folder, folder, name))]
    if len(there) < len(names):
        _log.warning(
            "%s lists %d %s of which %d are not there", folder, len(names), what,
            len(names) - len(there),
        )  # fmt: skip
    yield from there
