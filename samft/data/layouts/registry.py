"""Which layouts there are, and which one a folder has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from samft.data.layouts.base import Layout
from samft.data.layouts.listing import Listing
from samft.errors import ConfigError, did_you_mean

# The special before the general: a folder of COCO images is also a folder of images.
_LAYOUTS: Final[dict[str, str]] = {
    "coco": "samft.data.layouts.coco:CocoLayout",
    "sa1b": "samft.data.layouts.sa1b:Sa1bLayout",
    "label_studio": "samft.data.layouts.label_studio:LabelStudioLayout",
    "cvat": "samft.data.layouts.cvat:CvatLayout",
    "voc": "samft.data.layouts.voc:VocLayout",
    "labelme": "samft.data.layouts.labelme:LabelmeLayout",
    "iphotodraw": "samft.data.layouts.iphotodraw:IPhotoDrawLayout",
    "aperio": "samft.data.layouts.aperio:AperioLayout",
    "geojson": "samft.data.layouts.geojson:GeoJsonLayout",
    "ome_zarr": "samft.data.layouts.ome_zarr:OmeZarrLayout",
    "dicom": "samft.data.layouts.dicom:DicomLayout",
    "nnunet": "samft.data.layouts.nnunet:NnunetLayout",
    "decathlon": "samft.data.layouts.decathlon:DecathlonLayout",
    "sammed2d": "samft.data.layouts.sammed2d:SamMed2dLayout",
    "bsds": "samft.data.layouts.bsds:BsdsLayout",
    "bsds_all": "samft.data.layouts.bsds:BsdsAllLayout",
    "hf_dataset": "samft.data.layouts.hf_dataset:HfDatasetLayout",
    "class_files": "samft.data.layouts.class_files:ClassFilesLayout",
    "bids": "samft.data.layouts.bids:BidsLayout",
    "table": "samft.data.layouts.table:TableLayout",
    "cell_tracking": "samft.data.layouts.cell_tracking:CellTrackingLayout",
    "object_files": "samft.data.layouts.object_files:ObjectFilesLayout",
    "suim": "samft.data.layouts.suim:SuimLayout",
    "pairs": "samft.data.layouts.pairs:PairsLayout",
}
LAYOUT_NAMES: Final = tuple(_LAYOUTS)
"""What `data.layout` takes, besides `auto`; the order in which a folder is tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """A layout that a folder has.

    Args:
        name: Name of the layout.
        reason: What it was recognised by.
    """

    name: str
    reason: str


def layout_class(name: str) -> type[Layout]:
    """Return a layout by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in _LAYOUTS:
        raise ConfigError(
            f"there is no layout {name!r}",
            where="data.layout",
            expected=", ".join(("auto", *LAYOUT_NAMES)),
            fix=did_you_mean(name, LAYOUT_NAMES),
        )
    module, _, attribute = _LAYOUTS[name].partition(":")
    found: type[Layout] = getattr(import_module(module), attribute)
    return found


def recognise(root: Path, names: Sequence[str] = LAYOUT_NAMES) -> list[Recognised]:
    """Return the layouts that a folder has, the best first.

    Where none fits it is taken for `pairs`, whose messages say what is missing.

    Args:
        root: The absolute folder.
        names: The layouts to try, in this order.
    """
    listing = Listing.of(root)
    reasons = {name: layout_class(name).recognise(listing) for name in names}
    found = [Recognised(name=name, reason=text) for name, text in reasons.items() if text]
    return found or [Recognised(name="pairs", reason="it fits no other layout")]
