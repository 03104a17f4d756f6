"""Finding DICOM files and naming what they hold, by folders and files alone."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from samft.data.files import SUFFIXES, name_some, relative_name
from samft.data.pairing import OnMissing
from samft.data.readers.dicom import DicomSeries, FoundSeries, is_dicom
from samft.data.roots import stays_inside

_log = logging.getLogger(__name__)


def dicom_files(root: Path) -> list[Path]:
    """Return the DICOM files below a folder, by name or content; hidden ones are left out.

    Args:
        root: The absolute folder.
    """
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and ".zarr" not in n)
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") or name.lower().endswith(SUFFIXES) or not is_dicom(path):
                continue
            if not path.is_symlink() or stays_inside(root, path):
                found.append(path)
    return sorted(found)


def report_found(root: Path, found: FoundSeries, *, on_missing: OnMissing) -> None:
    """Say what was found besides plain series.

    Args:
        root: The absolute folder.
        found: What the files hold.
        on_missing: Whether a file that cannot be used is an error, or left out.

    Raises:
        DatasetError: about the first file that cannot be used, if that is an error.
    """
    if found.failures and on_missing == "error":
        raise found.failures[0][1]
    if found.failures:
        unused = [path for path, _ in found.failures]
        _log.warning(
            "DICOM files that cannot be used (%d), left out: %s",
            len(unused),
            name_some(root, unused),
        )
    if found.mixed:
        _log.warning(
            "DICOM series with images of different sizes, directions, echoes or times: %d; each "
            "stack of equal ones is a volume by itself",
            found.mixed,
        )
    uneven = [one.paths[0] for one in found.series if not one.evenly_spaced]
    if uneven:
        _log.warning(
            "DICOM series with gaps or uneven steps between their images (%d): %s",
            len(uneven),
            name_some(root, uneven),
        )


def series_names(root: Path, series: Sequence[DicomSeries]) -> list[str]:
    """Name every series after its folder, or after its file if that holds all of it.

    Args:
        root: The absolute folder.
        series: The series.

    Returns:
        A relative path with forward slashes for each, all different.
    """
    places = [
        one.paths[0] if one.frames is not None or one.geometry is None else _folder_of(one)
        for one in series
    ]
    count, seen = Counter(places), Counter[Path]()
    names: list[str] = []
    for place in places:
        seen[place] += 1
        name = relative_name(root, place) if place != root else root.name or "series"
        names.append(f"{name}/series{seen[place]}" if count[place] > 1 else name)
    return names


def _folder_of(series: DicomSeries) -> Path:
    return Path(os.path.commonpath([path.parent for path in series.paths]))
