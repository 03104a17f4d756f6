"""iPhotoDraw: an XML file for each image."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from samft.data.layouts.listing import Listing
from samft.data.layouts.per_image import PerImageLayout
from samft.data.readers.iphotodraw import EXPECTED, is_iphotodraw, read_iphotodraw
from samft.data.readers.outlines import LabelledImage
from samft.data.readers.xml_files import tags_in

_LOOKED_AT = 5


class IPhotoDrawLayout(PerImageLayout):
    """`x_data.xml` of iPhotoDraw for `x.tif`, in the same folder or another.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "iphotodraw"
    suffixes: ClassVar[tuple[str, ...]] = (".xml",)
    kind: ClassVar[str] = EXPECTED

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in listing.ending(*cls.suffixes)[:_LOOKED_AT]:
            if is_iphotodraw(tags_in(listing.head(name))):
                return f"{name} holds iPhotoDraw's Document"
        return None

    def read(self, label: Path) -> LabelledImage | None:
        """See `PerImageLayout`."""
        return read_iphotodraw(label)
