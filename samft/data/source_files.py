"""From what people type after `--source` to sources."""

from __future__ import annotations

import csv
import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from samft.data.files import describe_contents, list_files, match_files, relative_name
from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import DicomSeries, find_series, is_dicom
from samft.data.readers.image import IMAGE_SUFFIXES
from samft.data.readers.tiff import TIFF_SUFFIXES
from samft.data.readers.tiff_stack import stack_shape
from samft.data.readers.volumes import VOLUME_SUFFIXES, is_volume
from samft.data.roots import resolve_root, stays_inside
from samft.data.sources import PictureSource, SeriesSource, Source, StackSource, VolumeSource
from samft.errors import DatasetError, SamftError

_log = logging.getLogger(__name__)
_COLUMNS = ("image", "path", "file")
_NAMED = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundSources:
    """What `--source` names.

    Args:
        root: The folder that identifiers are relative to.
        sources: What can be predicted, by name.
        failures: Files that cannot be used, by name, with the reason.
    """

    root: Path
    sources: list[Source]
    failures: dict[str, SamftError]


def find_sources(source: str | Sequence[str], preprocessing: Preprocessing) -> FoundSources:
    """Find what is to be predicted.

    Args:
        source: A file, a folder (searched with its subfolders), a glob pattern, or a CSV file with
            a column `image` of paths in the folder of the CSV file; `package:NAME/FOLDER` is a
            folder inside an installed package. Several are files and folders, such as a shell
            makes of a pattern.
        preprocessing: As in training.

    Raises:
        SamftError: if there is nothing to predict.
    """
    words = [source] if isinstance(source, str) else list(source)
    root, paths, missing = _named(words[0]) if len(words) == 1 else _several(words)
    searched = len(words) == 1 and _is_searched(words[0])
    dicom = [path for path in paths if not path.name.lower().endswith(_NAMED) and is_dicom(path)]
    taken = set(dicom)
    found: list[Source] = []
    failures: dict[str, SamftError] = dict(missing)
    for path in paths:
        name = relative_name(root, path)
        if path.name.lower().endswith(_NAMED):
            found.append(_from_file(name, path, preprocessing))
        elif path not in taken and not searched:
            failures[name] = DatasetError(
                "the file is of no kind that can be read", where=path, expected=_KINDS
            )
    if dicom:
        found += _from_dicom(root, dicom, preprocessing, failures)
    if not found and not failures:
        raise DatasetError(
            "nothing to predict", where=root, found=describe_contents(root), expected=_KINDS
        )
    found.sort(key=lambda item: item.name)
    return FoundSources(root=root, sources=found, failures=failures)


_KINDS = "PNG, JPEG, BMP, GIF, WebP, TIFF, NIfTI, NRRD or DICOM files"


def _is_searched(source: str) -> bool:
    """Whether files of other kinds lie there by the way, rather than being asked for by name."""
    path = Path(source).expanduser()
    return path.is_dir() or glob.has_magic(source)


def _named(source: str) -> tuple[Path, list[Path], dict[str, SamftError]]:
    path = Path(source).expanduser()
    if path.is_file():
        folder = path.parent.resolve()
        if path.suffix.lower() == ".csv":
            return folder, *_from_csv(folder, folder / path.name)
        return folder, [folder / path.name], {}
    parts = Path(source).parts
    if not (path.exists() or glob.has_magic(source) or source.startswith("package:")):
        raise _missing(path)
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), None)
    if first is None or path.is_dir():
        root = resolve_root(source)
        return root, sorted({*list_files(root), *_nameless_files(root)}), {}
    root = resolve_root(str(Path(*parts[:first])) if first else ".")
    return root, match_files(root, str(Path(*parts[first:])), setting="source"), {}


def _several(words: Sequence[str]) -> tuple[Path, list[Path], dict[str, SamftError]]:
    named = [Path(word).expanduser() for word in words]
    missing = next((path for path in named if not path.exists()), None)
    if missing is not None:
        raise _missing(missing)
    folders = [path.resolve() for path in named if path.is_dir()]
    files = [path.parent.resolve() / path.name for path in named if not path.is_dir()]
    root = Path(os.path.commonpath([*folders, *(path.parent for path in files)]))
    below = [path for folder in folders for path in (*list_files(folder), *_nameless_files(folder))]
    return root, sorted({*files, *below}), {}


def _missing(path: Path) -> DatasetError:
    folder = path.absolute().parent
    beside = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    close = get_close_matches(path.name, beside, n=2)
    return DatasetError(
        "the file or folder does not exist",
        where=path.absolute(),
        found=f"in {folder}: {', '.join(beside[:5])}" if beside else f"nothing in {folder}",
        fix=f"did you mean {' or '.join(map(repr, close))}?" if close else None,
    )


def _nameless_files(root: Path) -> list[Path]:
    """Return the files below `root` that only their content tells to be DICOM."""
    found = [
        path
        for folder, folders, names in os.walk(root)
        for name in names
        if not any(part.startswith(".") for part in Path(folder).relative_to(root).parts)
        and not name.startswith(".")
        and not name.lower().endswith(_NAMED)
        and is_dicom(path := Path(folder, name))
    ]
    return [path for path in found if stays_inside(root, path)]


def _from_csv(folder: Path, table: Path) -> tuple[list[Path], dict[str, SamftError]]:
    """Return the files that a table names, and those that are not there."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
        rows = list(csv.reader(lines, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            "the table of images cannot be read", where=table, found=str(error).splitlines()[0]
        ) from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((header.index(name) for name in _COLUMNS if name in header), None)
    if column is None:
        raise DatasetError(
            "the table has no column of images",
            where=table,
            found=", ".join(header) or "an empty file",
            expected="a first line with the column image",
        )
    found: dict[Path, None] = {}
    missing: dict[str, SamftError] = {}
    for number, row in enumerate(rows[1:], start=2):
        name = row[column].strip() if column < len(row) else ""
        if name:
            path = _below(folder, name, f"{table}: line {number}")
            if path.is_file():
                found[path] = None
            else:
                missing[relative_name(folder, path)] = DatasetError(
                    "the file does not exist", where=path, found=f"{table.name}, line {number}"
                )
    return sorted(found), missing


def _below(folder: Path, name: str, where: str) -> Path:
    path = Path(os.path.normpath(folder / name))
    if "\0" in name or not path.is_relative_to(folder) or not stays_inside(folder, path):
        raise DatasetError(
            "a table names a file outside its folder",
            where=where,
            found=repr(name),
            expected=f"a path below {folder}",
            fix="put the table into the folder that holds all images",
        )
    return path


def _from_file(name: str, path: Path, preprocessing: Preprocessing) -> Source:
    if is_volume(path):
        return VolumeSource(name, (path,), preprocessing)
    if path.suffix.lower() in TIFF_SUFFIXES and _is_stack(path):
        return StackSource(name, (path,), preprocessing)
    return PictureSource(name, path, preprocessing)


def _is_stack(path: Path) -> bool:
    try:
        return stack_shape(path) is not None
    except SamftError:
        return False  # what is wrong with it is said when its turn comes


def _from_dicom(
    root: Path,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    failures: dict[str, SamftError],
) -> list[Source]:
    found = find_series(paths)
    failures |= {relative_name(root, path): error for path, error in found.failures}
    if found.without_image:
        _log.info("%d DICOM files hold no image and are left out", found.without_image)
    folders = Counter(_folder_of(series) for series in found.series if series.geometry is not None)
    numbers: Counter[Path] = Counter()
    sources: list[Source] = []
    for series in found.series:
        folder = _folder_of(series)
        if series.geometry is None:
            name = relative_name(root, series.paths[0])
        else:
            numbers[folder] += 1
            name = relative_name(root, folder) if folder != root else root.name or "series"
            name += f"/series{numbers[folder]}" if folders[folder] > 1 else ""
        sources.append(SeriesSource(name, series, preprocessing))
    for folder, count in folders.items():
        if count > 1:
            _log.warning(
                "%s holds %d DICOM series (images of different series, sizes or directions); "
                "each is predicted by itself",
                folder,
                count,
            )
    return sources


def _folder_of(series: DicomSeries) -> Path:
    return Path(os.path.commonpath([path.parent for path in series.paths]))
