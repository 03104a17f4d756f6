"""NIfTI label volumes in the voxels of their source."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.nifti import NIFTI_SUFFIXES
from samft.data.sources import Source, VolumeSpace
from samft.errors import OutputError
from samft.inference.formats.base import ResultFormat
from samft.inference.volume_result import VolumeResult

_ENDING = ".nii.gz"
_SCANNER = 1  # the code of coordinates in the scanner


class NiftiLabels(ResultFormat):
    """`nifti/<name>.nii.gz`: the labels voxel by voxel as the source has them.

    Of a NIfTI source the affine, both codes, the voxel sizes and the units are kept; of others the
    affine of their own geometry is written.
    """

    def check(self, source: Source) -> None:
        """See `ResultFormat`."""
        space = source.space
        if space is None or space.geometry is None:
            raise OutputError(
                "NIfTI is written for volumes with a position in space",
                where=source.name,
                found="a flat image" if space is None else "a file that states no position",
                expected="NIfTI, NRRD or a DICOM series",
                fix="choose another --format, or narrow --source",
            )
        if not space.evenly_spaced:
            raise OutputError(
                "the images of the series do not lie at equal distances",
                where=source.name,
                expected="no missing image: NIfTI has one distance for all",
                fix="write --format dicom_seg, or complete the series",
            )

    def write_volume(self, volume: VolumeResult) -> list[Path]:
        """See `ResultFormat`."""
        nibabel = require("nibabel", extra="medical", purpose="write NIfTI files")
        space = volume.space
        assert space.geometry is not None  # `check` has seen to it
        labels = _label_type(space.geometry.to_native(volume.labels))
        image = _image(nibabel, labels, space)
        suffix = "" if volume.name.lower().endswith(_ENDING) else _ENDING
        place = self.folder.place("nifti", volume.name, suffix)

        def save(path: Path) -> None:
            # Neither name nor time in the file, so that the same labels are the same bytes.
            with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
                image.to_stream(file)

        return [self.folder.write(place, save)]


def _image(nibabel: Any, labels: NDArray[Any], space: VolumeSpace) -> Any:  # Any: nibabel
    assert space.geometry is not None  # as above
    source = space.files[0]
    if not source.name.lower().endswith(NIFTI_SUFFIXES):
        image = nibabel.Nifti1Image(labels, space.geometry.native_affine)
        image.set_sform(space.geometry.native_affine, _SCANNER)
        image.set_qform(space.geometry.native_affine, _SCANNER)
        image.header.set_xyzt_units("mm")
        return image
    stored = nibabel.load(source)
    header = stored.header.copy()
    header.set_data_dtype(labels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = b""  # what it says is about the image
    header.extensions.clear()
    # Without an affine of our own, position and codes stay as they are in the header.
    flat = labels.reshape(stored.shape[:3])
    image = nibabel.Nifti1Image(flat, None, header)
    image.header["intent_code"] = 0
    return image


def _label_type(labels: NDArray[Any]) -> NDArray[Any]:
    highest = int(labels.max(initial=0))
    few = np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16
    return labels.astype(few if highest <= np.iinfo(np.uint16).max else np.int32)
