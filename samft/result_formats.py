"""The names of the files that predictions can be written as; light, for the command line."""

from __future__ import annotations

from typing import Literal

Format = Literal[
    "png",
    "tiff",
    "masks",
    "coco",
    "coco_results",
    "sa1b",
    "nifti",
    "dicom_seg",
    "ome_zarr",
    "geojson",
    "overlay",
]
"""What `--format` takes."""
