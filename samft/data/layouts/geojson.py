"""GeoJSON: a file of polygons for each image."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from samft.data.layouts.listing import Listing
from samft.data.layouts.per_image import PerImageLayout
from samft.data.readers.geojson import EXPECTED, is_geojson, read_geojson
from samft.data.readers.outlines import LabelledImage

_LOOKED_AT = 5


class GeoJsonLayout(PerImageLayout):
    """`x.geojson` or `x.tif.geojson` of QuPath or `samft predict` for `x.tif`.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "geojson"
    suffixes: ClassVar[tuple[str, ...]] = (".geojson", ".json")
    kind: ClassVar[str] = EXPECTED

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        named = listing.ending(".geojson")
        if named:
            return f"{named[0]} and {len(named) - 1} other GeoJSON files"
        for name in listing.ending(".json")[:_LOOKED_AT]:
            if is_geojson(listing.parsed(name)):
                return f"{name} holds GeoJSON's features"
        return None

    def read(self, label: Path) -> LabelledImage | None:
        """See `PerImageLayout`."""
        return read_geojson(label)
