"""Medical images: CT and MR volumes cut into slices, and flat images, with class masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samft.data.folder import FolderDataModule
from samft.data.intensity import VOLUME_PERCENTILES
from samft.data.layouts.base import ObjectChoice


@dataclass(kw_only=True, eq=False, repr=False)
class MedicalDataModule(FolderDataModule):
    """Volumes (NIfTI, NRRD, DICOM) as slices, or flat images, with classes in the masks.

    Differs from `FolderDataModule` in its defaults: the values of masks are classes whose connected
    pieces are the objects, black and white are the 0.5th and 99.5th percentile of flat images too,
    and objects of fewer than 10 pixels in a slice become background.
    """

    objects: ObjectChoice = "component"
    percentiles: tuple[float, float] | None = VOLUME_PERCENTILES
    min_area: int = 10

    def layouts_to_try(self) -> Sequence[str]:
        """See `FolderDataModule`: colours of masks do not mean what they do under water."""
        return [name for name in super().layouts_to_try() if name != "suim"]
