"""Images in OME-Zarr, to be predicted or trained on; opened plane by plane, part by part."""

from __future__ import annotations

import hashlib
import math
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.files import relative_name
from samft.data.lazy_sources import LazySource, Shape, sampled
from samft.data.preprocessing import Preprocessing
from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.ome_zarr_groups import image_names
from samft.data.readers.tiff_pixels import plain_numbers
from samft.data.readers.zarr_nodes import is_zarr
from samft.data.records import Window
from samft.data.roots import stays_inside
from samft.errors import DatasetError, SamftError

_ENOUGH = 1_000_000  # values of a channel; a coarser resolution would be all averages


class ZarrSource(LazySource):
    """An image in an OME-Zarr: a picture, or the planes of all its time points and depths.

    Args:
        name: Identifier.
        folder: The group of the image.
        preprocessing: As in training.
        root: What nothing may lead out of; default: `folder`.
        level: The resolution, 0 for the full one.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        preprocessing: Preprocessing,
        *,
        root: Path | None = None,
        level: int = 0,
    ) -> None:
        super().__init__(name, (folder,), preprocessing)
        self.root = root
        self.level = level

    @cached_property
    def image(self) -> OmeZarrImage:
        """The image; opened when it is asked for."""
        return OmeZarrImage(self.files[0], self.root)

    @property
    def shape(self) -> Shape:
        """See `LazySource`."""
        return self.image.shape(self.level)

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """See `Source`."""
        spacing = self.image.spacing_mm
        if spacing is None:
            return None
        full, size = self.image.size(0), self.image.size(self.level)
        return spacing[1] * full[0] / size[0], spacing[2] * full[1] / size[1]

    def digest(self) -> str:
        """See `Source`; what lies in `labels/` does not count."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # Once: an image of many gigabytes is asked for its digest with every plane.
        folder, total = self.files[0], hashlib.blake2b(digest_size=16)
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(set(folders) - ({"labels"} if Path(place) == folder else set()))
            for path in (Path(place, name) for name in sorted(names)):
                if not path.is_file() or not stays_inside(folder, path):
                    continue  # a link elsewhere; reading what it stands for is refused
                total.update(path.relative_to(folder).as_posix().encode(errors="surrogateescape"))
                try:
                    with path.open("rb") as file:
                        total.update(hashlib.file_digest(file, "blake2b").digest())
                except OSError as error:
                    raise DatasetError(
                        "the file cannot be read", where=path, found=error.strerror or error
                    ) from error
        return total.hexdigest()

    def _read(self, index: int, window: Window | None) -> NDArray[Any]:
        return _seen(self.image.plane(index, window=window, level=self.level))

    def _samples(self) -> NDArray[Any]:
        image = self.image
        large = [level for level in range(image.num_levels)
                 if math.prod(image.shape(level)) >= _ENOUGH]  # fmt: skip
        level = min(large, key=lambda one: math.prod(image.shape(one)), default=self.level)
        return sampled(
            image.shape(level),
            lambda index, window: _seen(image.plane(index, window=window, level=level)),
        )


def zarr_sources(
    root: Path, zarr: Path, preprocessing: Preprocessing, failures: dict[str, SamftError]
) -> list[ZarrSource]:
    """Return the images of a zarr.

    Args:
        root: The folder that identifiers are relative to.
        zarr: The zarr.
        preprocessing: As in training.
        failures: Takes what is wrong with it.
    """
    name = relative_name(root, zarr)
    try:
        images = image_names(zarr)
    except SamftError as error:
        failures[name] = error
        return []
    if not images:
        failures[name] = DatasetError(
            "the zarr holds no image",
            where=zarr,
            expected="an OME-Zarr with multiscales, series or a plate",
        )
    return [
        ZarrSource(f"{name}/{image}" if image else name, zarr / image, preprocessing, root=zarr)
        for image in images
    ]


def matching_zarrs(root: Path, pattern: str) -> list[Path]:
    """Return the zarrs that a glob pattern matches, sorted; none for one that leads out."""
    if ".." in Path(pattern).parts:
        return []
    found = [path for path in root.glob(pattern) if path.is_dir() and is_zarr(path)]
    return sorted(path for path in found if stays_inside(root, path))


def _seen(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    return plain_numbers(pixels)
