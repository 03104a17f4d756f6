"""Images with masks in the colours of SUIM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from samft.data.files import SUFFIXES
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import PairsLayout
from samft.data.pairing import looks_like_label
from samft.data.readers.image import IMAGE_SUFFIXES, LOSSY_SUFFIXES, read_mask
from samft.errors import SamftError

SUIM_PALETTE: Final[dict[str, list[int]]] = {
    "background": [0, 0, 0],
    "diver": [0, 0, 255],
    "plant": [0, 255, 0],
    "wreck": [0, 255, 255],
    "robot": [255, 0, 0],
    "reef": [255, 0, 255],
    "fish": [255, 255, 0],
    "sea floor": [255, 255, 255],
}
"""The colours (red, green, blue) of SUIM (Islam et al. 2020, arXiv:2004.01241, table I)."""

_JPEG_ERROR = 32  # grey levels by which compression moves black and white, but for edges
_NEARLY = 40  # in-between colours at the edges of resized masks are this rare: one pixel in so many
_NEARLY_LOSSY = 8  # compression widens the edges


class SuimLayout(PairsLayout):
    """`images/` beside `masks/` whose pure colours (each channel 0 or 255) mean classes.

    Args:
        root: See `Layout`.
        settings: See `Layout`; without a palette SUIM's is used.
    """

    name: ClassVar[str] = "suim"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        if settings.palette is None:
            settings = replace(settings, palette=SUIM_PALETTE)
        super().__init__(root, settings)

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        if PairsLayout.recognise(listing) is None:
            return None
        files = listing.ending(*SUFFIXES)
        masks = [name for name in files if looks_like_label(listing.root, listing.root / name)]
        if not masks[0].lower().endswith(tuple(IMAGE_SUFFIXES)):
            return None
        try:
            mask = read_mask(listing.root / masks[0])
        except SamftError:
            return None  # another layout, or its message, comes next
        if mask.ndim == 2:
            return None
        lossy = Path(masks[0]).suffix.lower() in LOSSY_SUFFIXES
        pure = (np.minimum(mask, 255 - mask) <= (_JPEG_ERROR if lossy else 0)).all(axis=-1)
        if np.count_nonzero(~pure) * (_NEARLY_LOSSY if lossy else _NEARLY) > pure.size:
            return None
        return f"{len(masks)} masks in pure colours (each channel 0 or 255), such as {masks[0]}"
