"""Aperio ImageScope and HALO: an XML file for each image."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from samft.data.layouts.listing import Listing
from samft.data.layouts.per_image import PerImageLayout
from samft.data.readers.aperio import EXPECTED, is_aperio, read_aperio
from samft.data.readers.outlines import LabelledImage
from samft.data.readers.xml_files import tags_in

_LOOKED_AT = 5


class AperioLayout(PerImageLayout):
    """`x.xml` or `x.annotations` of ImageScope or HALO beside `x.tif`, as in MoNuSeg.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "aperio"
    suffixes: ClassVar[tuple[str, ...]] = (".xml", ".annotations")
    kind: ClassVar[str] = EXPECTED

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in listing.ending(*cls.suffixes)[:_LOOKED_AT]:
            if is_aperio(tags_in(listing.head(name))):
                return f"{name} holds ImageScope's Annotations"
        return None

    def read(self, label: Path) -> LabelledImage | None:
        """See `PerImageLayout`."""
        return read_aperio(label)
