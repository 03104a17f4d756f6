"""What the index of a data set consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Window = tuple[int, int, int, int]
"""(top, left, height, width) of a part of a large image, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Where one sample comes from: paths and numbers only, so that an index stays small.

    Args:
        sample_id: Unique and stable within the data set, a relative path with forward slashes.
        case_id: What must not be torn apart between splits: the file, the patient.
        images: The image file, or one file per channel.
        labels: The mask file, or one file per object.
        slice_index: Which slice of a volume; `None` for flat images.
        axis: The canonical axis along which a volume is cut.
        split: The split the record belongs to where the layout or a rule fixes it.
        entry: Which entry of a label file that describes many images, or of an image file that
            holds many.
        window: The part of a large image: (top, left, height, width) in its pixels.
    """

    sample_id: str
    case_id: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    slice_index: int | None = None
    axis: int = 0
    split: Split | None = None
    entry: str | None = None
    window: Window | None = None
