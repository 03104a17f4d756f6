"""Images too large to be decoded as a whole: plane by plane, part by part, grey levels alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.intensity import Limits, value_range
from samft.data.pictures import choose
from samft.data.preprocessing import Preprocessing
from samft.data.readers.tiff import probe_tiff, read_tiff_window
from samft.data.readers.tiff_spacing import read_tiff_spacing
from samft.data.readers.tiff_stack import read_stack_plane, stack_shape
from samft.data.records import Window
from samft.data.sources import Source, VolumeSpace, neighbours

Shape = tuple[int, int, int]
"""(planes, height, width)."""

_ALL = 16_000_000  # values of a channel that are looked at to find black and white
_PLANE = 4_000_000  # values of a plane that is looked at as a whole
_FEW_PLANES = 4
_PATCHES = 4  # along each side of a larger plane
_PATCH = 512  # pixels


class LazySource(Source):
    """Planes that are decoded one at a time, and again whenever they are asked for.

    Black and white are found once, from a sample of all planes, and hold for each of them.

    Args:
        name: Identifier.
        files: The files it consists of.
        preprocessing: As in training.
    """

    def __init__(self, name: str, files: tuple[Path, ...], preprocessing: Preprocessing) -> None:
        super().__init__(name, files)
        self.preprocessing = preprocessing

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """(planes, height, width); reads headers."""

    @abstractmethod
    def _read(self, index: int, window: Window | None) -> NDArray[Any]:
        """Return a plane or a part of it, (C, H, W) as stored."""

    @abstractmethod
    def _samples(self) -> NDArray[Any]:
        """Return values from all over the image, (C, N)."""

    @cached_property
    def space(self) -> VolumeSpace | None:
        """See `Source`."""
        if self.shape[0] == 1:
            return None
        return VolumeSpace(kind="stack", shape=self.shape, axis=0, files=self.files)

    def size(self, index: int) -> tuple[int, int]:  # noqa: ARG002  # all have the same
        """See `Source`."""
        return self.shape[1:]

    def picture(self, index: int) -> NDArray[Any]:
        """See `Source`."""
        return self.part(index, None)

    def part(self, index: int, window: Window | None) -> NDArray[Any]:
        """See `Source`; decodes no more than the part, as far as the file allows."""
        wanted = neighbours(index, self.preprocessing.context, count=self.shape[0])
        planes = {number: self._scaled(number, window) for number in set(wanted)}
        joined = np.concatenate([planes[number] for number in wanted])
        return self.preprocessing.as_image(joined, self.files[0])

    def _scaled(self, index: int, window: Window | None) -> NDArray[Any]:
        channels = self._chosen(self._read(index, window))
        scaled = [
            replace(self.preprocessing, limits=limits, channels=None).planes(
                [channel], self.files[0], is_volume=False
            )[0]
            for channel, limits in zip(channels, self._limits(channels), strict=True)
        ]
        return np.stack(scaled)

    def _limits(self, channels: list[NDArray[Any]]) -> list[Limits]:
        limits = self.preprocessing.limits
        if isinstance(limits, tuple) or channels[0].dtype == np.uint8:
            return [limits] * len(channels)
        return [*self._sampled_limits]

    @cached_property
    def _sampled_limits(self) -> list[tuple[float, float]]:
        settings = self.preprocessing
        return [
            value_range(values, settings.limits, settings.percentiles)
            for values in self._chosen(self._samples())
        ]

    def _chosen(self, channels: NDArray[Any]) -> list[NDArray[Any]]:
        wanted = self.preprocessing.channels
        planes = list(channels)
        return planes if wanted is None else choose(planes, wanted, self.files[0])


class TiffSource(LazySource):
    """A large TIFF, flat or a stack."""

    @cached_property
    def shape(self) -> Shape:
        """See `LazySource`."""
        return self._stack or (1, *probe_tiff(self.files[0], every_channel=self._every))

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """See `Source`."""
        return read_tiff_spacing(self.files[0])

    @cached_property
    def _stack(self) -> Shape | None:
        return stack_shape(self.files[0])

    @property
    def _every(self) -> bool:
        return self.preprocessing.channels is not None

    def _read(self, index: int, window: Window | None) -> NDArray[Any]:
        path = self.files[0]
        if self._stack is not None:
            return read_stack_plane(path, index, window=window, seen=True)
        part = read_tiff_window(path, window or (0, 0, *self.size(0)), every_channel=self._every)
        return part[None] if part.ndim == 2 else np.moveaxis(part, -1, 0)

    def _samples(self) -> NDArray[Any]:
        values = sampled(self.shape, self._read)
        # The colours of a flat picture are scaled alike, as those of smaller ones.
        alike = self._stack is None and not self._every
        return np.tile(values.reshape(1, -1), (len(values), 1)) if alike else values


def sampled(shape: Shape, read: Callable[[int, Window | None], NDArray[Any]]) -> NDArray[Any]:
    """Return values from all over an image, (C, N): all of them where they are few.

    Args:
        shape: (planes, height, width).
        read: Reads a plane or a part of it, (C, H, W).
    """
    planes, height, width = shape
    area = height * width
    patches: list[Window | None] = [None]
    count = max(1, _ALL // area)
    if area > _PLANE and planes * area > _ALL:
        count = _FEW_PLANES
        patches = [
            (top, left, min(_PATCH, height), min(_PATCH, width))
            for top in _evenly(height - _PATCH, _PATCHES)
            for left in _evenly(width - _PATCH, _PATCHES)
        ]
    parts = [
        read(index, patch) for index in _evenly(planes - 1, min(count, planes)) for patch in patches
    ]
    return np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)


def _evenly(last: int, count: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, max(last, 0), count).tolist()})
