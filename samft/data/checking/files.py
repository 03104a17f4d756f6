"""What is wrong with the files of a folder before any of them is decoded."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from samft.data.checking.findings import Finding
from samft.data.checking.inspection import empty_file, name_of
from samft.data.checking.masks import read_stored
from samft.data.files import SUFFIXES, match_files, stem_of
from samft.data.layouts.base import LayoutSettings
from samft.data.other_files import without_by_products
from samft.data.pairing import looks_like_label
from samft.data.readers.volumes import is_volume
from samft.data.roots import stays_inside
from samft.errors import SamftError

_ENDINGS = (*SUFFIXES, ".dcm")
_MOST_COMPARED = 2000
_MOST_FOLDERS = 16


def walk(
    root: Path, closed: list[OSError] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield every visible folder with its visible folders and its image files, sorted.

    Args:
        root: Where to begin.
        closed: Takes what is raised by folders that cannot be opened.
    """
    for folder, folders, names in os.walk(root, onerror=None if closed is None else closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = sorted(
            name for name in names if not name.startswith(".") and name.lower().endswith(_ENDINGS)
        )
        yield Path(folder), list(folders), files
        # A store such as image.ome.zarr is one image, not a folder of files.
        folders[:] = [name for name in folders if not name.lower().endswith(".zarr")]


def check_tree(root: Path) -> Iterator[Finding]:
    """Find links that lead out, folders that are closed, and names that are one elsewhere."""
    closed: list[OSError] = []
    for folder, folders, files in walk(root, closed):
        for name in (*folders, *files):
            path = folder / name
            if path.is_symlink() and not stays_inside(root, path):
                yield Finding(
                    code="link-outside",
                    file=name_of(path, root),
                    found=f"it points to {os.path.realpath(path)}",
                    expected="a file below the data folder",
                    fix="copy the file, or check a folder that holds both",
                )
        yield from _same_names(root, folder, (*folders, *files))
    for error in closed:
        yield Finding(
            code="file-unreadable",
            file=name_of(Path(str(error.filename)), root),
            found=f"the folder cannot be opened: {error.strerror}",
            expected="a folder that may be read",
            fix="check its permissions",
        )


def check_unused(root: Path, used: Collection[Path], settings: LayoutSettings) -> list[Finding]:
    """Find images without mask and masks without image, and files without bytes among them.

    Args:
        root: The data root.
        used: The files that belong to a record.
        settings: Patterns say which files are meant.
    """
    free = [path for path in _meant(root, settings) if path not in used]
    empty = [path for path in free if path.is_file() and path.stat().st_size == 0]
    named = None if settings.labels is None else set(_labels(root, settings.labels))
    masks = [p for p in free if (looks_like_label(root, p) if named is None else p in named)]
    images = sorted(set(free) - set(masks))
    found = [empty_file(name_of(path, root)) for path in empty]
    in_disguise = _folders_of_masks(images)
    for code, alone, others in (
        ("image-without-mask", images, masks),
        ("mask-without-image", masks, images),
    ):
        found += [_lonely(code, path, others, root) for path in alone if path not in empty]
    return [_recognised(each, root, in_disguise) for each in found]


def _folders_of_masks(images: Sequence[Path]) -> set[Path]:
    """Return the folders in which the first image has two values only, as a mask has."""
    first: dict[Path, Path] = {}
    for path in images:
        first.setdefault(path.parent, path)
    found = set()
    for folder, path in list(first.items())[:_MOST_FOLDERS]:
        with suppress(SamftError):
            if not is_volume(path) and np.unique(read_stored(path)).size == 2:
                found.add(folder)
    return found


def _recognised(finding: Finding, root: Path, folders: Collection[Path]) -> Finding:
    path = root / finding.file
    if finding.code != "image-without-mask" or path.parent not in folders:
        return finding
    pattern = f"{name_of(path.parent, root)}/*{path.suffix}"
    return replace(
        finding,
        found="it looks like a mask, and belongs to no image",
        fix=f"if these are the masks, set data.labels to a pattern such as '{pattern}', and "
        "data.images to one of the images",
    )


def _meant(root: Path, settings: LayoutSettings) -> list[Path]:
    """Return the files that are images or masks by the patterns, or by their endings."""
    if settings.images is None:
        found = [
            folder / name
            for folder, _, files in walk(root)
            for name in files
            if name.lower().endswith(SUFFIXES) and stays_inside(root, folder / name)
        ]
        return without_by_products(found)
    chosen = {
        path
        for pattern in settings.images
        for path in match_files(root, pattern, setting="data.images")
    }
    if settings.labels is not None:
        chosen |= set(_labels(root, settings.labels))
    return sorted(chosen)


def _labels(root: Path, pattern: str) -> list[Path]:
    return match_files(root, pattern, setting="data.labels")


def _lonely(code: str, path: Path, others: Sequence[Path], root: Path) -> Finding:
    kind = "mask" if code == "image-without-mask" else "image"
    stems = {stem_of(other): other for other in others[:_MOST_COMPARED]}
    close = get_close_matches(stem_of(path), stems, n=1, cutoff=0.5)
    nearest = ""
    if close:
        nearest = f"; the nearest {kind} without partner is {name_of(stems[close[0]], root)}"
    fix = f"rename one of them, add the {kind}, or leave it out with data.on_missing: skip"
    return Finding(
        code=code,
        file=name_of(path, root),
        found=f"no {kind} with a name that fits{nearest}",
        expected=f"one {kind}",
        fix=fix if close else fix.replace("rename one of them, add", "add"),
    )


def _same_names(root: Path, folder: Path, names: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.casefold(), name)
        if first != name:
            yield Finding(
                code="name-case",
                file=name_of(folder / name, root),
                found=f"{first} lies beside it",
                expected="names that differ in more than upper and lower case",
                fix="rename one; on Windows and macOS one would replace the other",
            )
