"""Files beside images and masks that are neither, or that are not read."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from samft.data.files import stem_of

# What Cellpose and Omnipose write beside an image and its masks, to look at or to train from.
_BY_PRODUCT = re.compile(
    r"(.+?)_(?:cp_)?(?:flows|output|cellprob|dp|outlines)(?:_cp_masks|_masks|_)?", re.IGNORECASE
)


def without_by_products(files: Sequence[Path]) -> list[Path]:
    """Leave out flows and outlines that Cellpose and Omnipose write beside images and masks."""
    names = {path.with_name(stem_of(path)) for path in files}
    return [path for path in files if not _is_by_product(path, names)]


def _is_by_product(path: Path, names: Collection[Path]) -> bool:
    match = _BY_PRODUCT.fullmatch(stem_of(path))
    masks = (f"{match[1]}{ending}" for ending in ("_masks", "_cp_masks")) if match else ()
    return any(path.with_name(name) in names for name in masks)


def advice_on_others(root: Path, what: str) -> str | None:
    """Say what to do with files of other kinds that may be what was looked for.

    Args:
        root: The data root.
        what: What was not found: images or masks.

    Returns:
        A sentence for the user; `None` if there are no such files.
    """
    if next(root.rglob("*_seg.npy"), None) is not None:
        return (
            "_seg.npy of Cellpose is not read, as such files can run code: save its masks as "
            "PNG or TIFF (in its window, or with --save_png or --save_tif)"
        )
    if next(root.rglob("*.np[yz]"), None) is not None:
        return f".npy and .npz are not read: save the {what} as TIFF, with tifffile.imwrite"
    if what == "images" and next(root.rglob("*.[dD][cC][mM]"), None) is not None:
        return "if the images are the DICOM files, set data.layout: dicom"
    if next(root.rglob("*.mh[ad]"), None) is not None:
        return f"MetaImage (.mha, .mhd) is not read: save the {what} as NIfTI or NRRD"
    if what == "masks" and next(root.rglob("*.mat"), None) is not None:
        return (
            ".mat is read only as BSDS500 has it: save its inst_map, or what holds the labels, "
            "as TIFF, with tifffile.imwrite"
        )
    if what == "images" and next(root.glob("*.tar"), None) is not None:
        return "tar shards are read by data.class_path: samft.ShardedDataModule; or unpack them"
    return None
