"""Where the frames of a DICOM segmentation lie in a series of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.dicom import DicomSeries
from samft.data.readers.dicom_file import first_item, in_groups, items, numbers
from samft.data.readers.dicom_labels import SeriesPlanes
from samft.errors import DatasetError

_MAX_SHIFT = 0.5  # of the smallest voxel side; rounding in headers stays far below
_SAME_DIRECTION = 0.999  # cosine of the angle, 2.5 degrees


class FramePlacement:
    """Finds the image that each frame belongs to, and turns the frame as the image is turned.

    The frames of some programs are mirrored or transposed against the images, which loses nothing.

    Args:
        path: The segmentation, for messages.
        series: The images.
        data: The segmentation, inside `reading_dicom`.
    """

    def __init__(self, path: Path, series: DicomSeries, data: Any) -> None:  # Any: pydicom
        self._path = path
        self._series = series
        self._groups = items(data, "PerFrameFunctionalGroupsSequence")
        self._shared = first_item(data, "SharedFunctionalGroupsSequence")
        self._planes = SeriesPlanes(series)

    def put(self, index: int, frame: NDArray[Any]) -> tuple[int, NDArray[Any]]:
        """Return the image that a frame belongs to, and the frame (rows, columns) as it lies there.

        Args:
            index: Number of the frame, from 0.
            frame: Its pixels (rows, columns).

        Raises:
            DatasetError: if it belongs to no image, or lies on another grid.
        """
        group = self._groups[index]
        position = numbers(self._element(group, "PlanePosition", "ImagePositionPatient"), 3)
        named = self._named(group)
        if position is None or self._series.positions is None:
            if len(named) != 1:
                found = "refers to no image" if not named else "refers to several images"
                raise self._error("position", f"frame {index + 1} {found}, and has no position")
            self._check_size(frame.shape)
            return named[0], frame
        turned, corner = self._turned(group, frame, np.array(position))
        self._check_spacing(group)
        return self._nearest(index, corner, named), turned

    def _named(self, group: Any) -> list[int]:  # Any: pydicom
        for holder in (group, self._shared):
            found = {
                image
                for derivation in items(holder, "DerivationImageSequence")
                for source in items(derivation, "SourceImageSequence")
                if source.get("SpatialLocationsPreserved") in (None, "", "YES")
                for image in self._planes.named(source)
            }
            if found:
                return sorted(found)
        return []

    def _nearest(self, index: int, corner: NDArray[np.float64], named: list[int]) -> int:
        """Return the image at whose first pixel a frame begins; one it refers to, if it does."""
        positions = self._series.positions
        assert positions is not None  # asked for only then
        away = np.linalg.norm(positions - corner, axis=1)
        best = min(named, key=lambda image: away[image]) if named else int(away.argmin())
        allowed = _MAX_SHIFT * self._smallest_side()
        if away[best] > allowed:
            where = "the image it refers to" if named else "the nearest image"
            raise self._error(
                "position",
                f"frame {index + 1} lies {away[best]:.4g} mm from {where}",
                f"at most {allowed:.4g} mm",
            )
        return best

    def _turned(
        self, group: Any, frame: NDArray[Any], position: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return a frame with rows and columns as in the images, and where it then begins."""
        own = numbers(self._element(group, "PlaneOrientation", "ImageOrientationPatient"), 6)
        if own is None or self._series.orientation is None:
            self._check_size(frame.shape)
            return frame, position
        steps = np.array(own).reshape(2, 3)  # to the next column, to the next row
        cosines = np.array(self._series.orientation).reshape(2, 3) @ steps.T
        straight, crossed = np.abs(np.diag(cosines)), np.abs(np.diag(cosines[:, ::-1]))
        if straight.min() < _SAME_DIRECTION and crossed.min() < _SAME_DIRECTION:
            raise self._error(
                "orientation",
                f"rows {_shown(own[:3])}, columns {_shown(own[3:])}",
                f"rows {_shown(self._series.orientation[:3])}, "
                f"columns {_shown(self._series.orientation[3:])}",
            )
        sides = self._spacing(group)[::-1]  # between columns, between rows
        if crossed.min() >= _SAME_DIRECTION:
            frame, steps, sides = frame.T, steps[::-1], sides[::-1]
            cosines = cosines[:, ::-1]
        self._check_size(frame.shape)
        for axis, count in ((0, frame.shape[1]), (1, frame.shape[0])):
            if cosines[axis, axis] < 0:
                position = position + steps[axis] * sides[axis] * (count - 1)
                frame = np.flip(frame, axis=1 - axis)
        return frame, position

    def _check_size(self, size: tuple[int, ...]) -> None:
        if size != self._series.size:
            rows, columns = self._series.size
            raise self._error(
                "size", f"{size[0]} x {size[1]} (rows x columns)", f"{rows} x {columns}"
            )

    def _check_spacing(self, group: Any) -> None:  # Any: pydicom
        """Refuse pixels of another size, where that adds up to half a pixel from end to end."""
        own, expected = self._spacing(group), self._series.spacing
        if self._is_crossed(group):
            own = own[::-1]
        for mine, other, count in zip(own, expected, self._series.size, strict=True):
            if abs(mine - other) * (count - 1) > _MAX_SHIFT * other:
                raise self._error(
                    "pixel spacing",
                    f"{own[0]:.5g} x {own[1]:.5g} mm",
                    f"{expected[0]:.5g} x {expected[1]:.5g} mm",
                )

    def _is_crossed(self, group: Any) -> bool:  # Any: pydicom
        own = numbers(self._element(group, "PlaneOrientation", "ImageOrientationPatient"), 6)
        if own is None or self._series.orientation is None:
            return False
        return abs(float(np.dot(own[:3], self._series.orientation[:3]))) < 0.5

    def _spacing(self, group: Any) -> tuple[float, float]:  # Any: pydicom
        own = numbers(self._element(group, "PixelMeasures", "PixelSpacing"), 2)
        return self._series.spacing if own is None else (own[0], own[1])

    def _smallest_side(self) -> float:
        geometry = self._series.geometry
        assert geometry is not None  # the series has positions
        return min(geometry.spacing_mm)

    def _element(self, group: Any, sequence: str, keyword: str) -> Any:  # Any: pydicom
        return in_groups(group, self._shared, f"{sequence}Sequence", keyword)

    def _error(self, what: str, found: str, expected: str = "as in the images") -> DatasetError:
        return DatasetError(
            f"the segmentation and the images differ in {what}",
            where=self._path,
            found=found,
            expected=f"{expected}, as {self._series.paths[0].name}"
            if expected != "as in the images"
            else f"a frame for one image of the series of {self._series.paths[0].name}",
            fix="choose the segmentation of this series with data.labels, or resample it to the "
            "images (3D Slicer, dcmqi)",
        )


def _shown(direction: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in direction) + ")"
