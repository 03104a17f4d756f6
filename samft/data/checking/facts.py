"""What is remembered of one image and its labels once its pixels are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from samft.data.checking.findings import Finding

SIZE_EDGES: Final = (0, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Lower edges of the classes of object sizes: square root of the area, pixels at training size."""


@dataclass(kw_only=True, slots=True)
class MaskFacts:
    """The values of a mask file.

    Args:
        values: Pixels of each value; empty if there are too many values.
        pieces: Connected pieces of equal non-background values.
        scattered: Values that lie in several substantial pieces.
        foreground: Share of the pixels that are not background.
        border: Share of the border's pixels that are not background.
        outline: 64 bits, one for each cell of an 8 x 8 grid that is mostly no background.
        depth: Type of the values.
    """

    values: dict[int, int] = field(default_factory=dict)
    pieces: int = 0
    scattered: int = 0
    foreground: float = 0.0
    border: float = 0.0
    outline: int = 0
    depth: str = "uint8"


@dataclass(kw_only=True, slots=True)
class Facts:
    """What one record consists of: small, plain, and the same whenever it is computed.

    Args:
        findings: What is wrong with it alone.
        size: (H, W) or (Z, Y, X), or empty if it cannot be read.
        channels: Of the image.
        depth: Type of the image's values.
        highest: The largest value of the image, for whole numbers.
        digest: 64 bits of a hash of the decoded pixels; 0 is unknown.
        likeness: 64 bits that hardly change if the image hardly does; 0 is unknown.
        objects: How many there are; of volumes, in all slices together.
        dropped: Objects that are no objects as `min_area` says.
        tiny: How many of them are tiny at training size.
        smallest: Area of the smallest object, pixels of the file; 0 without objects.
        sizes: Objects of each class of sizes, see `SIZE_EDGES`.
        classes: Objects of each class, by index.
        ignored: Share of the pixels of which nothing is known.
        alpha: constant, used or none.
        instances: Whether each value of its mask is an object.
        mask: Of records with one mask file.
        fit: How well the outlines fit the image, as it is and turned or mirrored in each way.
    """

    findings: list[Finding] = field(default_factory=list)
    size: tuple[int, ...] = ()
    channels: int = 0
    depth: str = ""
    highest: int = 0
    digest: int = 0
    likeness: int = 0
    objects: int = 0
    dropped: int = 0
    tiny: int = 0
    smallest: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * len(SIZE_EDGES))
    classes: dict[int, int] = field(default_factory=dict)
    ignored: float = 0.0
    alpha: str = "none"
    instances: bool = False
    mask: MaskFacts | None = None
    fit: tuple[float, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether image and labels could be read."""
        return bool(self.size) and not any(item.severity == "error" for item in self.findings)

    def add_areas(self, areas: Sequence[int] | NDArray[Any], scale: float, tiny: int) -> None:
        """Count objects by their size.

        Args:
            areas: Areas in pixels of the file, none of them 0.
            scale: Length at training size of a pixel of the file.
            tiny: Area at training size below which an object is tiny.
        """
        real = np.asarray(areas, dtype=np.float64)
        if not real.size:
            return
        trained = real * scale**2
        rows = np.searchsorted(SIZE_EDGES, np.sqrt(trained), side="right") - 1
        counts = np.bincount(rows.clip(min=0), minlength=len(SIZE_EDGES))
        self.sizes = [old + int(new) for old, new in zip(self.sizes, counts, strict=True)]
        self.objects += real.size
        self.tiny += int((trained < tiny).sum())
        low = int(real.min())
        self.smallest = min(self.smallest, low) if self.smallest else low

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return plain data for the cache."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:  # Any: JSON
        """Take what `to_dict` gave, also after its way through JSON."""
        mask = values["mask"]
        if mask is not None:
            mask = MaskFacts(**{**mask, "values": _whole_keys(mask["values"])})
        changed = {
            "findings": [Finding.from_dict(item) for item in values["findings"]],
            "size": tuple(values["size"]),
            "fit": tuple(values["fit"]),
            "classes": _whole_keys(values["classes"]),
            "mask": mask,
        }
        return cls(**{**values, **changed})


def _whole_keys(values: dict[Any, int]) -> dict[int, int]:  # Any: JSON knows no numbers as keys
    return {int(key): count for key, count in values.items()}
