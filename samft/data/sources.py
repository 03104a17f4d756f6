"""What can be predicted: pictures, stacks, volumes and DICOM series, one plane at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_same_size
from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import DicomSeries, read_series
from samft.data.readers.image import probe_image
from samft.data.readers.tiff import TIFF_SUFFIXES
from samft.data.readers.tiff_spacing import read_tiff_spacing
from samft.data.readers.tiff_stack import read_stack, stack_shape
from samft.data.readers.volume import AXIS_LETTERS, VolumeGeometry
from samft.data.readers.volumes import probe_volume, read_volume
from samft.data.records import Window
from samft.data.tiling import cut_window
from samft.errors import DatasetError
from samft.types import Sample

VolumeKind = Literal["volume", "stack", "dicom"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeSpace:
    """Where the planes of a source lie.

    Args:
        kind: What the source is: a volume file, a TIFF stack, DICOM images.
        shape: (Z, Y, X) in canonical orientation.
        axis: The axis along which it is cut: 0 to 2 for z, y, x.
        files: The source's files; of a DICOM series in the order of the file index.
        geometry: Its position in space, where the files state one.
        evenly_spaced: Whether the affine holds for every slice.
        frames: For every image along the file's third axis the number of its file and of its frame,
            from 0, where files hold frames.
    """

    kind: VolumeKind
    shape: tuple[int, int, int]
    axis: int
    files: tuple[Path, ...]
    geometry: VolumeGeometry | None = None
    evenly_spaced: bool = True
    frames: tuple[tuple[int, int], ...] | None = None

    @property
    def planes(self) -> int:
        """Number of planes."""
        return self.shape[self.axis]

    @property
    def plane_size(self) -> tuple[int, int]:
        """(height, width) of every plane."""
        height, width = (side for axis, side in enumerate(self.shape) if axis != self.axis)
        return height, width

    def to_file_order(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn canonical (Z, Y, X) into (k, j, i), the file's own axes with the last one first."""
        return array if self.geometry is None else self.geometry.to_native(array).transpose(2, 1, 0)


class Source(ABC):
    """One file or series, predicted as a whole.

    Args:
        name: Identifier, a relative path with forward slashes.
        files: The files it consists of.
    """

    def __init__(self, name: str, files: tuple[Path, ...]) -> None:
        self.name = name
        self.files = files

    @property
    @abstractmethod
    def space(self) -> VolumeSpace | None:
        """Where the planes lie; `None` for a flat picture. May read headers."""

    @property
    def planes(self) -> tuple[str, ...]:
        """The identifiers of its planes, in order; a picture is one plane with its own name."""
        space = self.space
        if space is None:
            return (self.name,)
        letter = AXIS_LETTERS[space.axis]
        return tuple(f"{self.name}/{letter}{index:03d}" for index in range(space.planes))

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of a plane; reads headers."""

    @abstractmethod
    def picture(self, index: int) -> NDArray[Any]:
        """Return a plane as (C, H, W) uint8 or float32, 0 to 255, RGB where C is 3.

        The first call may decode the whole source.
        """

    def part(self, index: int, window: Window | None) -> NDArray[Any]:
        """Return a part of a plane as `picture` does; `None` is the whole plane."""
        whole = self.picture(index)
        return whole if window is None else cut_window(whole, window)

    @property
    def nbytes(self) -> int:
        """How much memory is taken by what was decoded and is kept, bytes."""
        return 0

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Pixel size (y, x) of its planes, where the files state one."""
        space = self.space
        if space is None or space.geometry is None:
            return None
        y, x = (mm for axis, mm in enumerate(space.geometry.spacing_mm) if axis != space.axis)
        return y, x

    def truth(self, index: int) -> Sample | None:  # noqa: ARG002  # for sources that have one
        """Return a plane with its true objects, where they are known."""
        return None

    def release(self) -> None:  # noqa: B027  # most have nothing to forget
        """Forget what was decoded."""

    def digest(self) -> str:
        """Return a hash of the bytes of all files: what was predicted is told from what is new.

        Raises:
            DatasetError: if a file cannot be read.
        """
        total = hashlib.blake2b(digest_size=16)
        for path in self.files:
            try:
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "blake2b").digest())
            except OSError as error:
                raise DatasetError(
                    "the file cannot be read", where=path, found=error.strerror or error
                ) from error
        return total.hexdigest()


class PictureSource(Source):
    """A flat image, in one file or in one file per channel.

    Args:
        name: Identifier.
        files: The file, or the files.
        preprocessing: As in training.
    """

    def __init__(self, name: str, files: tuple[Path, ...], preprocessing: Preprocessing) -> None:
        super().__init__(name, files)
        self.preprocessing = preprocessing
        self._whole: NDArray[Any] | None = None

    @property
    def space(self) -> None:
        """A picture has none."""
        return

    def size(self, index: int) -> tuple[int, int]:  # noqa: ARG002  # there is one
        """See `Source`."""
        every = self.preprocessing.channels is not None
        return probe_image(self.files[0], every_channel=every)

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """See `Source`."""
        first = self.files[0]
        return read_tiff_spacing(first) if first.suffix.lower() in TIFF_SUFFIXES else None

    def picture(self, index: int) -> NDArray[Any]:  # noqa: ARG002  # there is one
        """See `Source`."""
        return self.preprocessing.picture(self.files)

    def part(self, index: int, window: Window | None) -> NDArray[Any]:
        """See `Source`; whoever asks for one part asks for others, so the whole is kept."""
        if window is None:
            return self.picture(index)
        if self._whole is None:
            self._whole = self.picture(index)
        return cut_window(self._whole, window)

    @property
    def nbytes(self) -> int:
        """See `Source`."""
        return 0 if self._whole is None else self._whole.nbytes

    def release(self) -> None:
        """See `Source`."""
        self._whole = None


def neighbours(index: int, around: int, *, count: int) -> list[int]:
    """Return the numbers of a plane and of `around` planes on either side of it.

    At either end the last plane stands for those that are not there.
    """
    return [min(max(i, 0), count - 1) for i in range(index - around, index + around + 1)]


class PlaneSource(Source):
    """Planes that are decoded together: kept as (C, Z, Y, X) until they are released."""

    def __init__(self, name: str, files: tuple[Path, ...], preprocessing: Preprocessing) -> None:
        super().__init__(name, files)
        self.preprocessing = preprocessing
        self._decoded: NDArray[Any] | None = None

    @abstractmethod
    def _decode(self) -> NDArray[Any]: ...

    def size(self, index: int) -> tuple[int, int]:  # noqa: ARG002  # all have the same
        """See `Source`."""
        assert self.space is not None  # only pictures have none
        return self.space.plane_size

    def picture(self, index: int) -> NDArray[Any]:
        """See `Source`."""
        assert self.space is not None  # as above
        if self._decoded is None:
            self._decoded = self._decode()
        wanted = neighbours(index, self.preprocessing.context, count=self.space.planes)
        planes = np.take(self._decoded, wanted, axis=self.space.axis + 1)
        planes = np.moveaxis(planes, self.space.axis + 1, 0)
        return self.preprocessing.as_image(planes.reshape(-1, *planes.shape[2:]), self.files[0])

    @property
    def nbytes(self) -> int:
        """See `Source`."""
        return 0 if self._decoded is None else self._decoded.nbytes

    def release(self) -> None:
        """See `Source`."""
        self._decoded = None


class VolumeSource(PlaneSource):
    """A NIfTI or NRRD volume, in one file or in one file per channel."""

    @cached_property
    def space(self) -> VolumeSpace:
        """See `Source`."""
        geometry = probe_volume(self.files[0])
        return VolumeSpace(
            kind="volume",
            shape=geometry.shape,
            axis=geometry.slice_axis(self.preprocessing.axis),
            files=self.files,
            geometry=geometry,
        )

    def _decode(self) -> NDArray[Any]:
        channels: list[NDArray[Any]] = []
        for path in self.files:
            volume = read_volume(path)
            check_same_size(path, volume.geometry.shape, self.files[0], self.space.shape)
            channels += list(volume.array)
        return self.preprocessing.planes(channels, self.files[0], is_volume=True)


class StackSource(PlaneSource):
    """A TIFF stack; its planes lie one behind the other, nothing is known about where."""

    @cached_property
    def space(self) -> VolumeSpace:
        """See `Source`."""
        shape = stack_shape(self.files[0])
        if shape is None:
            raise DatasetError("the TIFF is no stack", where=self.files[0])
        return VolumeSpace(kind="stack", shape=shape, axis=0, files=self.files)

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """See `Source`."""
        return read_tiff_spacing(self.files[0])

    def _decode(self) -> NDArray[Any]:
        channels = read_stack(self.files[0], seen=True)
        return self.preprocessing.planes(channels, self.files[0], is_volume=False)


class SeriesSource(PlaneSource):
    """A DICOM series, or one DICOM image without a position.

    Args:
        name: Identifier.
        series: The files and where they lie.
        preprocessing: As in training.
    """

    def __init__(self, name: str, series: DicomSeries, preprocessing: Preprocessing) -> None:
        super().__init__(name, series.paths, preprocessing)
        self.series = series

    @cached_property
    def space(self) -> VolumeSpace:
        """See `Source`."""
        series, geometry = self.series, self.series.geometry
        return VolumeSpace(
            kind="dicom",
            shape=(1, *series.size) if geometry is None else geometry.shape,
            axis=0 if geometry is None else self._axis(geometry),
            files=self.files,
            geometry=geometry,
            evenly_spaced=series.evenly_spaced,
            frames=series.frames,
        )

    def _axis(self, geometry: VolumeGeometry) -> int:
        # Where nothing else was chosen, the planes are the images as they were taken.
        if self.preprocessing.axis == "auto":
            return geometry.axes.index(2)
        return geometry.slice_axis(self.preprocessing.axis)

    def _decode(self) -> NDArray[Any]:
        channels: NDArray[Any] = read_series(self.series)
        if self.series.channels == 3:  # colours, which are of 8 bits
            channels = channels.clip(0, 255).astype(np.uint8)
        return self.preprocessing.planes(channels, self.files[0], is_volume=True)
