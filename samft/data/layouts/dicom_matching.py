"""Which DICOM series a segmentation, a structure set or a label volume belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.data.checks import check_same_place
from samft.data.files import name_some, stem_of
from samft.data.readers.dicom import DicomSeries
from samft.data.readers.dicom_file import load, reading_dicom
from samft.data.readers.dicom_labels import LabelObject
from samft.data.readers.dicom_seg import SEG_CLASSES, probe_dicom_seg
from samft.data.readers.rtstruct import RTSTRUCT_CLASS, probe_rtstruct
from samft.data.readers.volumes import probe_volume
from samft.errors import DatasetError

_SEPARATORS = tuple("_-. ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """Which labels belong to which series.

    Args:
        labels: The label files of each series, by its number, in the order of their names.
        lonely: Label files that belong to none.
    """

    labels: Mapping[int, tuple[Path, ...]]
    lonely: tuple[Path, ...]


def probe_label(path: Path) -> LabelObject | None:
    """Return the header of a segmentation or structure set, `None` for any other DICOM file.

    Raises:
        DatasetError: if the file is damaged.
    """
    with reading_dicom(path, "a DICOM file"):
        data = load(path, ("SOPClassUID", "Modality"))
        kind, modality = str(data.get("SOPClassUID")), data.get("Modality")
    if kind in SEG_CLASSES or modality == "SEG":
        return probe_dicom_seg(path)
    if kind == RTSTRUCT_CLASS or modality == "RTSTRUCT":
        return probe_rtstruct(path)
    return None


def match_objects(
    root: Path, series: Sequence[DicomSeries], objects: Sequence[LabelObject]
) -> Matches:
    """Find the series of segmentations and structure sets: by what they refer to, never by name.

    The images an object names decide; where none of them is here its series, then the frame of
    reference, as after images were replaced by anonymised or converted ones.

    Args:
        root: The data root, for messages.
        series: The series.
        objects: The segmentations and structure sets.

    Raises:
        DatasetError: if an object names nothing, and lies where several series lie.
    """
    found: dict[int, list[Path]] = {}
    lonely: list[Path] = []
    for label in objects:
        numbers = _series_of(root, series, label)
        for number in numbers:
            found.setdefault(number, []).append(label.path)
        if not numbers:
            lonely.append(label.path)
    return Matches(
        labels={number: tuple(sorted(paths)) for number, paths in found.items()},
        lonely=tuple(lonely),
    )


def match_volumes(root: Path, series: Sequence[DicomSeries], volumes: Sequence[Path]) -> Matches:
    """Find the series of label volumes: the one in the nearest folder.

    Where several are equally near, the one whose folder or file has the volume's name, or else the
    only one of the volume's size and place.

    Args:
        root: The data root.
        series: The series.
        volumes: The label volumes.

    Raises:
        DatasetError: if several series fit a volume.
    """
    found: dict[int, list[Path]] = {}
    lonely: list[Path] = []
    for path in volumes:
        number = _nearest(root, series, path)
        if number is None:
            lonely.append(path)
        else:
            found.setdefault(number, []).append(path)
    return Matches(
        labels={number: tuple(sorted(paths)) for number, paths in found.items()},
        lonely=tuple(lonely),
    )


def _series_of(root: Path, series: Sequence[DicomSeries], label: LabelObject) -> list[int]:
    refers = label.references
    tests: tuple[Callable[[DicomSeries], int], ...] = (
        lambda one: sum(key in refers.instances for key in one.keys.instances),
        lambda one: one.images * (one.keys.series in refers.series),
    )
    for count in tests:
        counts = {number: count(one) for number, one in enumerate(series) if count(one)}
        # Where none has the size of the segmentation, that is said when it is read.
        fitting = {n: many for n, many in counts.items() if _fits(series[n], label)} or counts
        if fitting:
            return [n for n, many in fitting.items() if many == max(fitting.values())]
    near = [
        number
        for number, one in enumerate(series)
        if one.keys.frame_of_reference in refers.frames_of_reference - {""}
        and one.positions is not None
        and _fits(one, label)
    ]
    if len(near) > 1:
        raise DatasetError(
            "a segmentation names none of the images, and several series lie where it lies",
            where=label.path,
            found=name_some(root, [series[number].paths[0] for number in near]),
            expected="one series",
            fix="choose with data.images, a pattern such as 'ct/**/*.dcm'",
        )
    return near


def _fits(series: DicomSeries, label: LabelObject) -> bool:
    return label.size is None or label.size in (series.size, series.size[::-1])


def _nearest(root: Path, series: Sequence[DicomSeries], path: Path) -> int | None:
    for folder in path.parents:
        below = [number for number, one in enumerate(series) if one.paths[0].is_relative_to(folder)]
        named = [n for n in below if len(below) > 1 and _has_name(root, series[n], stem_of(path))]
        found = named or below
        if len(found) > 1:
            found = [number for number in found if _same_grid(path, series[number])]
        if len(found) > 1:
            raise DatasetError(
                "several series fit one label volume",
                where=path,
                found=name_some(root, [series[number].paths[0] for number in found]),
                expected="one series in the volume's folder, or one of its name",
                fix="choose with data.images and data.labels, patterns such as 'ct/**/*.dcm'",
            )
        if found:
            return found[0]
        if folder == root:
            break
    return None


def _has_name(root: Path, series: DicomSeries, stem: str) -> bool:
    parts = [*series.paths[0].relative_to(root).parts[:-1]]
    if series.frames is not None or series.geometry is None:
        parts.append(series.paths[0].stem)
    return any(
        stem == part or stem.startswith(tuple(part + separator for separator in _SEPARATORS))
        for part in parts
    )


def _same_grid(path: Path, series: DicomSeries) -> bool:
    geometry = probe_volume(path)
    if series.geometry is None or geometry.shape != series.geometry.shape:
        return False
    try:
        check_same_place(path, geometry, series.paths[0], series.geometry)
    except DatasetError:
        return False
    return True
