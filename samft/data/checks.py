"""Quick checks of the files of an index: openable, complete, and of sizes that fit each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samft.data.readers.image import probe_image
from samft.data.readers.tiff_stack import is_stack, stack_shape
from samft.data.readers.volume import VolumeGeometry
from samft.data.readers.volumes import is_volume, probe_volume
from samft.data.records import Record
from samft.errors import DatasetError

_MAX_SHIFT = 0.5  # of the smallest voxel side; rounding in headers stays far below


def check_files(
    records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
) -> None:
    """Open every file once, without decoding its pixels, and compare sizes.

    Args:
        records: Records of flat images or slices of volumes.
        check_affine: Whether a mask volume must also lie where its image volume lies.
        every_channel: Whether images may have any number of channels; see `read_image`.

    Raises:
        DatasetError: naming the first file that is unreadable or does not fit its image.
    """
    done: set[tuple[Path, ...]] = set()
    for record in records:
        files = (*record.images, *record.labels)
        if files in done:
            continue
        done.add(files)
        if is_volume(record.images[0]):
            _check_volumes(record, check_affine=check_affine)
        else:
            first = record.images[0]
            size = _size(first, every_channel=every_channel)
            for path in files[1:]:
                every = every_channel and path in record.images
                check_same_size(path, _size(path, every_channel=every), first, size)


def _size(path: Path, *, every_channel: bool) -> tuple[int, ...]:
    """Return (height, width), or (planes, height, width) of a volume or stack."""
    if is_volume(path):
        return probe_volume(path).shape
    planes = stack_shape(path) if is_stack(path) else None
    return planes or probe_image(path, every_channel=every_channel)


def check_same_size(
    path: Path, size: tuple[int, ...], reference: Path, expected: tuple[int, ...]
) -> None:
    """Refuse a mask or channel whose size is not that of its image.

    Raises:
        DatasetError: naming both files and both sizes.
    """
    if size != expected:
        raise DatasetError(
            "mask and image sizes differ",
            where=path,
            found=_sides(size),
            expected=f"{_sides(expected)} as in {reference}",
            fix="export both at the same size, or take both out of the data set",
        )


def check_same_place(
    path: Path, geometry: VolumeGeometry, reference: Path, expected: VolumeGeometry
) -> None:
    """Refuse a mask volume that lies elsewhere in the patient than its image.

    Raises:
        DatasetError: naming both files and the distance.
    """
    shift = geometry.distance_mm(expected)
    if shift > _MAX_SHIFT * min(expected.spacing_mm):
        raise DatasetError(
            "mask and image lie at different places in the patient (affines differ)",
            where=path,
            found=f"corners up to {shift:.4g} mm away from those of {reference.name}",
            expected=f"less than {_MAX_SHIFT * min(expected.spacing_mm):.4g} mm",
            fix=f"resample the mask to {reference.name}, or if only its header is wrong set "
            "data.check_affine: false",
        )


def _check_volumes(record: Record, *, check_affine: bool) -> None:
    first, *others = (*record.images, *record.labels)
    expected = probe_volume(first)
    for path in others:
        geometry = probe_volume(path)
        check_same_size(path, geometry.shape, first, expected.shape)
        if check_affine:
            check_same_place(path, geometry, first, expected)


def _sides(size: tuple[int, ...]) -> str:
    names = "height x width" if len(size) == 2 else "slices x height x width"
    return f"{' x '.join(map(str, size))} ({names})"
