"""NIfTI volumes (.nii, .nii.gz) through nibabel."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.limits import check_declared_size, reading, stored_size, unreadable
from samft.data.readers.volume import Volume, VolumeGeometry, geometry_for
from samft.errors import DatasetError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
"""File name endings, lower case."""
_GZIP = b"\x1f\x8b"
# The first number of a header is its size, 348 or 540 (NIfTI-2), in either byte order.
_HEADER_SIZES = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
_EXPECTED = "a NIfTI volume with 2 or 3 axes and optional channels"


def probe_nifti(path: Path) -> VolumeGeometry:
    """Return size and position from the header, after checking that the data can be complete.

    Raises:
        DatasetError: if the file is damaged, lies about its size, or is larger than allowed.
        DependencyError: if nibabel is not installed.
    """
    with _reading_nifti(path):
        image, geometry = _open(path)
        needed = int(image.dataobj.offset) + math.prod(image.shape) * image.dataobj.dtype.itemsize
    if stored_size(path) != needed % 2**32:
        read_nifti(path)  # strange, so decode it to find out
    return geometry


def read_nifti(path: Path) -> Volume:
    """Read a volume into canonical orientation; a fourth axis is channels.

    Raises:
        DatasetError: if the file is damaged, lies about its size, or is larger than allowed.
        DependencyError: if nibabel is not installed.
    """
    with _reading_nifti(path):
        image, geometry = _open(path)
        data = np.asanyarray(image.dataobj)
        if data.dtype == np.float64:
            data = data.astype(np.float32)
        native = data.reshape(*geometry.native_shape, geometry.channels)
        array = np.ascontiguousarray(geometry.to_canonical(native))
        return Volume(array=array, geometry=geometry)


def _reading_nifti(path: Path) -> AbstractContextManager[None]:
    require("nibabel", extra="medical", purpose="read NIfTI files")
    from nibabel import filebasedimages, spatialimages

    own = (
        filebasedimages.ImageFileError,
        spatialimages.HeaderDataError,
        spatialimages.HeaderTypeError,
        spatialimages.ImageDataError,
    )
    return reading(path, _EXPECTED, also=own)


def _open(path: Path) -> tuple[Any, VolumeGeometry]:  # Any: nibabel's types are partial
    nibabel = require("nibabel", extra="medical", purpose="read NIfTI files")
    _check_ending(path)
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise unreadable(path, type(image).__name__, _EXPECTED)
    if image.get_data_dtype().fields is not None or image.get_data_dtype().kind not in "iuf":
        raise unreadable(path, f"values of type {image.get_data_dtype()}", "one number per voxel")
    shape = tuple(int(size) for size in image.shape)
    check_declared_size(path, shape, image.get_data_dtype().itemsize)
    if len(shape) < 2 or len(shape) > 4:
        raise unreadable(path, f"{len(shape)} axes {shape}", _EXPECTED)
    rows, columns, slices, channels = (*shape, *(1,) * (4 - len(shape)))
    geometry = geometry_for(
        path, shape=(rows, columns, slices), affine=_affine(image), channels=channels
    )
    return image, geometry


def _check_ending(path: Path) -> None:
    """Refuse a file whose ending says the opposite of whether it is compressed."""
    with path.open("rb") as file:
        start = file.read(4)
    packed, plain = start[:2] == _GZIP, start in _HEADER_SIZES
    named_packed = path.name.lower().endswith(".gz")
    if not (plain if named_packed else packed):
        return
    right = path.name[: -len(".gz")] if named_packed else f"{path.name}.gz"
    raise DatasetError(
        "the file cannot be read",
        where=path,
        found="not compressed" if named_packed else "compressed with gzip",
        expected="compressed with gzip, as .nii.gz says"
        if named_packed
        else "not compressed, as .nii says",
        fix=f"rename it to {right}",
    )


def _affine(image: Any) -> NDArray[np.float64]:  # Any: nibabel's types are partial
    return np.asarray(image.affine, dtype=np.float64)
