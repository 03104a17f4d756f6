"""GeoJSON: a file of polygons for each image."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from samft.data.files import SUFFIXES
from samft.data.layouts.label_files import match_by_stem
from samft.data.layouts.listing import Listing
from samft.data.layouts.per_image import PerImageLayout
from samft.data.readers.geojson import EXPECTED, is_geojson, read_geojson
from samft.data.readers.outlines import LabelledImage
from samft.errors import DatasetError

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
        found = named or [
            name
            for name in listing.ending(".json")[:_LOOKED_AT]
            if is_geojson(listing.parsed(name))
        ]
        images = [listing.root / name for name in listing.ending(*SUFFIXES)]
        try:
            fitting = match_by_stem(listing.root, [listing.root / name for name in found], images)
        except DatasetError:  # several images fit one: it is said when the data is indexed
            return f"{found[0]} and {len(found) - 1} other GeoJSON files"
        if not fitting:
            return None  # maps of something else
        first = next(iter(fitting)).relative_to(listing.root).as_posix()
        return f"{len(fitting)} GeoJSON files named as images are, such as {first}"

    def read(self, label: Path) -> LabelledImage | None:
        """See `PerImageLayout`."""
        return read_geojson(label)
