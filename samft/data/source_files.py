"""From what people type after `--source` to sources."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from samft.data.files import describe_contents, list_files, match_files, relative_name
from samft.data.lazy_sources import TiffSource
from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import DicomSeries, find_series, is_dicom
from samft.data.readers.image import IMAGE_SUFFIXES
from samft.data.readers.ome_zarr_groups import find_zarrs
from samft.data.readers.pairs_csv import read_csv
from samft.data.readers.tiff import is_large_tiff
from samft.data.readers.tiff_stack import is_stack
from samft.data.readers.volumes import VOLUME_SUFFIXES, is_volume
from samft.data.readers.zarr_nodes import is_zarr
from samft.data.roots import resolve_root, stays_inside
from samft.data.sources import PictureSource, SeriesSource, Source, StackSource, VolumeSource
from samft.data.zarr_source import ZarrSource, matching_zarrs, zarr_sources
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
    found: list[Source] = []
    failures: dict[str, SamftError] = dict(missing)
    for path in [path for path in paths if path.is_dir()]:
        found += zarr_sources(root, path, preprocessing, failures)
    paths = [path for path in paths if not path.is_dir()]
    dicom = [path for path in paths if not path.name.lower().endswith(_NAMED) and is_dicom(path)]
    taken = set(dicom)
    for path in paths:
        name = relative_name(root, path)
        if path.name.lower().endswith(_NAMED):
            found.append(open_source(name, (path,), preprocessing))
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


_KINDS = "PNG, JPEG, BMP, GIF, WebP, TIFF, NIfTI, NRRD or DICOM files, or OME-Zarr"


def _is_searched(source: str) -> bool:
    """Whether files of other kinds lie there by the way, rather than being asked for by name."""
    path = Path(source).expanduser()
    return path.is_dir() or glob.has_magic(source)


def _named(source: str) -> tuple[Path, list[Path], dict[str, SamftError]]:
    path = Path(source).expanduser()
    if path.is_dir() and is_zarr(path):
        whole = path.resolve()
        return whole.parent, [whole], {}
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
        return root, sorted({*list_files(root), *find_zarrs(root), *_nameless_files(root)}), {}
    root = resolve_root(str(Path(*parts[:first])) if first else ".")
    pattern = str(Path(*parts[first:]))
    zarrs = matching_zarrs(root, pattern)
    if zarrs and not any(path.is_file() for path in root.glob(pattern)):
        return root, zarrs, {}
    return root, sorted({*match_files(root, pattern, setting="source"), *zarrs}), {}


def _several(words: Sequence[str]) -> tuple[Path, list[Path], dict[str, SamftError]]:
    named = [Path(word).expanduser() for word in words]
    missing = next((path for path in named if not path.exists()), None)
    if missing is not None:
        raise _missing(missing)
    zarrs = [path.resolve() for path in named if path.is_dir() and is_zarr(path)]
    folders = [path.resolve() for path in named if path.is_dir() and not is_zarr(path)]
    files = [path.parent.resolve() / path.name for path in named if not path.is_dir()] + zarrs
    root = Path(os.path.commonpath([*folders, *(path.parent for path in files)]))
    below = [
        path
        for folder in folders
        for path in (*list_files(folder), *find_zarrs(folder), *_nameless_files(folder))
    ]
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
        if _leave_zarr_alone(folder, folders)
        for name in names
        if not any(part.startswith(".") for part in Path(folder).relative_to(root).parts)
        and not name.startswith(".")
        and not name.lower().endswith(_NAMED)
        and is_dicom(path := Path(folder, name))
    ]
    return [path for path in found if stays_inside(root, path)]


def _leave_zarr_alone(folder: str, folders: list[str]) -> bool:
    # os.walk goes on with what is left in the list; the chunks of a zarr are no files of their own.
    inside = is_zarr(Path(folder))
    folders[:] = [] if inside else folders
    return not inside


def _from_csv(folder: Path, table: Path) -> tuple[list[Path], dict[str, SamftError]]:
    """Return the files that a table names, and those that are not there."""
    named, rows = read_csv(table)
    header = [cell.lower() for cell in named]
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
    for number, row in rows:
        name = row[column].strip() if column < len(row) else ""
        if name:
            path = _below(folder, name, f"{table}: line {number}")
            if path.is_file() or is_zarr(path):
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


def open_source(name: str, files: tuple[Path, ...], preprocessing: Preprocessing) -> Source:
    """Return the source that files are, told by the name and header of the first.

    Args:
        name: Identifier.
        files: One file, one per channel, the files of a DICOM series, or the folder of an image in
            an OME-Zarr.
        preprocessing: As in training.
    """
    if files[0].is_file() and not files[0].name.lower().endswith(_NAMED) and is_dicom(files[0]):
        found = find_series(files)
        if len(found.series) != 1:
            raise DatasetError(
                "the DICOM files are not one series",
                where=files[0].parent,
                found=f"{len(found.series)} series",
                expected="images of one size and direction",
            )
        return SeriesSource(name, found.series[0], preprocessing)
    if files[0].is_dir():
        return ZarrSource(name, files[0], preprocessing)
    if is_volume(files[0]):
        return VolumeSource(name, files, preprocessing)
    if len(files) == 1 and is_large_tiff(files[0]):
        return TiffSource(name, files, preprocessing)
    if is_stack(files[0]):
        return StackSource(name, files, preprocessing)
    return PictureSource(name, files, preprocessing)


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
