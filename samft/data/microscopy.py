"""Microscopy: images with one object per nucleus, cell or organelle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samft.data.classes import UNNAMED
from samft.data.folder import FolderDataModule
from samft.data.pictures import DEFAULT_PERCENTILES


@dataclass(kw_only=True, eq=False, repr=False)
class MicroscopyDataModule(FolderDataModule):
    """Instances in microscope images: flat, tiled, stacks over depth or time.

    Differs from `FolderDataModule` in its defaults: black and white are the first and the 99.8th
    percentile of every image and stack, as in StarDist and Cellpose.

    Args:
        class_name: What the objects are, where the labels do not say.
    """

    percentiles: tuple[float, float] | None = DEFAULT_PERCENTILES
    class_name: str = UNNAMED

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, known once the data was indexed."""
        names = super().class_names
        return (self.class_name,) if tuple(names) == (UNNAMED,) else names

    def layouts_to_try(self) -> Sequence[str]:
        """See `FolderDataModule`: colours of masks do not mean what they do under water."""
        return [name for name in super().layouts_to_try() if name != "suim"]
