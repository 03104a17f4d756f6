"""What lies where in a folder in the manner of Pascal VOC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from samft.data.files import match_files
from samft.data.readers.image import IMAGE_SUFFIXES, LOSSY_SUFFIXES
from samft.data.readers.voc import read_image_list
from samft.data.records import Split
from samft.data.roots import stays_inside
from samft.data.splits import split_of_folder
from samft.errors import DatasetError

MASK_SUFFIXES: Final = tuple(sorted(IMAGE_SUFFIXES - LOSSY_SUFFIXES))
CLASS_FOLDERS: Final = (
    ("SegmentationClassPNG", MASK_SUFFIXES),
    ("SegmentationClass", MASK_SUFFIXES),
    ("SegmentationClass", (".npy",)),
    ("SegmentationClassNpy", (".npy",)),
)
"""Where class masks lie, the best first: labelme keeps arrays beside the masks."""


def find_bases(root: Path) -> list[Path]:
    """Return the folders that hold `JPEGImages`, sorted."""
    found = []
    for folder, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "JPEGImages" in folders:
            found.append(Path(folder))
            folders.clear()
    return found


def find_class_masks(root: Path, base: Path) -> tuple[Path, dict[str, Path]] | None:
    """Return the folder of class masks beside `JPEGImages`, and the masks by their images' names.

    Args:
        root: The data root.
        base: The folder that holds `JPEGImages`.
    """
    for name, suffixes in CLASS_FOLDERS:
        found = files_below(root, base / name, suffixes)
        if found:
            return base / name, found
    return None


def find_object_masks(root: Path, base: Path) -> dict[str, Path]:
    """Return the object masks beside `JPEGImages` by their images' names, possibly none."""
    for name, suffixes in CLASS_FOLDERS:
        found = files_below(root, base / name.replace("Class", "Object"), suffixes)
        if found:
            return found
    return {}


def files_below(
    root: Path, folder: Path, suffixes: tuple[str, ...], *, wanted: set[Path] | None = None
) -> dict[str, Path]:
    """Return the files below a folder by their relative names without ending.

    Args:
        root: The data root, out of which no link may lead.
        folder: The folder.
        suffixes: Endings, lower case.
        wanted: Only these files.

    Raises:
        DatasetError: if two files differ in their endings alone, or a link leads out.
    """
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.lower().endswith(suffixes) or name.startswith("."):
                continue
            if wanted is None or path in wanted:
                key = path.relative_to(folder).with_suffix("").as_posix()
                _check(root, path, found.get(key))
                found[key] = path
    return found


def _check(root: Path, path: Path, other: Path | None) -> None:
    if other is not None:
        raise DatasetError(
            "two files have the same name but for its ending",
            where=path.parent,
            found=f"{other.name}, {path.name}",
            expected="one file for each image",
        )
    if path.is_symlink() and not stays_inside(root, path):
        raise DatasetError(
            "a symbolic link leads out of the data folder",
            where=path,
            found=f"it points to {path.resolve()}",
            expected=f"a file below {root}",
            fix="copy the file, or set data.root to a folder that holds both",
        )


def chosen_images(root: Path, patterns: Sequence[str] | None) -> set[Path] | None:
    """Return the images of the user's patterns; `None` without patterns."""
    if patterns is None:
        return None
    return {path for text in patterns for path in match_files(root, text, setting="data.images")}


def folder_of_mask(root: Path, mask: Path) -> Path:
    """Return the folder beside `JPEGImages` in which a mask lies.

    Raises:
        DatasetError: if there is none below `root`.
    """
    for parent in mask.parents:
        if parent == root:
            break
        if (parent.parent / "JPEGImages").is_dir():
            return parent
    raise DatasetError(
        "a mask lies in no folder beside JPEGImages",
        where=mask,
        expected="JPEGImages beside SegmentationClass",
        fix="change data.labels, or set data.layout: pairs",
    )


def read_splits(folder: Path) -> dict[str, Split]:
    """Return the images of the lists of splits; none unless there is one for training.

    Args:
        folder: `ImageSets/Segmentation`; it need not exist.

    Raises:
        DatasetError: if an image is in two splits, or a name leads out of the folder of images.
    """
    found: dict[str, Split] = {}
    for path in sorted(folder.glob("*.txt")):
        split = split_of_folder(f"{path.stem}/of this name")  # trainval is none
        if split is None:
            continue
        for name in read_image_list(path):
            _refuse_outside(name, path)
            if found.setdefault(name, split) != split:
                raise DatasetError(
                    "an image is in two splits",
                    where=path,
                    found=f"{name} is in {found[name]} and {split}",
                    fix="take it out of one of the lists",
                )
    return found if "train" in found.values() else {}


def _refuse_outside(name: str, where: Path) -> None:
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or "\0" in name:
        raise DatasetError(
            "a list names an image outside the data folder",
            where=where,
            found=f"{name!r:.120}",
            expected="names of images in JPEGImages, without '..'",
            fix="take the line out of the list",
        )
