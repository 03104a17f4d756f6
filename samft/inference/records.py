"""Automatic masks as records: in memory, in the official layout, and as SA-1B JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from samft.errors import OutputError
from samft.inference.predictions import Rle, encode_rle
from samft.inference.run_lengths import RunLengths, UncompressedRle, compress

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
"""The form of a record's mask: (H, W) bool array, COCO run lengths as a list, or as text."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskRecord:
    """One automatic mask, original frame.

    Args:
        runs: The mask.
        box: xyxy of the outermost pixels.
        predicted_iou: The model's own estimate of the mask's IoU.
        stability_score: IoU of the mask at a higher and a lower threshold, 0 to 1.
        prompt: The point `(x, y)` or the box xyxy that was asked for.
        crop_box: xyxy of the crop in which it was asked, the far edges excluded.
    """

    runs: RunLengths
    box: tuple[int, int, int, int]
    predicted_iou: float
    stability_score: float
    prompt: tuple[float, ...]
    crop_box: tuple[int, int, int, int]

    def to_dict(self, output_mode: OutputMode) -> dict[str, Any]:  # Any: JSON or an array
        """Return the record with the official generator's keys.

        A mask that was asked for by a box has no `point_coords`, but `box_coords`, xyxy.

        Args:
            output_mode: The form of `segmentation`.
        """
        of_point = len(self.prompt) == 2
        record = {
            "segmentation": self._segmentation(output_mode),
            "area": self.runs.area,
            "bbox": _xywh(self.box),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.prompt)] if of_point else [],
            "stability_score": self.stability_score,
            "crop_box": _xywh(self.crop_box),
        }
        return record if of_point else {**record, "box_coords": list(self.prompt)}

    def _segmentation(self, output_mode: OutputMode) -> object:
        if output_mode == "binary_mask":
            return self.runs.decode()
        return self.runs.coco() if output_mode == "coco_rle" else self.runs.uncompressed()


def to_sa1b(
    records: Sequence[Mapping[str, Any]],  # Any: JSON or an array
    *,
    image_id: int,
    file_name: str,
    size: tuple[int, int],
) -> dict[str, Any]:
    """Return one image's records in the layout of SA-1B's JSON files.

    Args:
        records: From `AutomaticMasks.generate`, in any output mode.
        image_id: Number of the image.
        file_name: Name of the image file.
        size: (height, width) of the image.

    Returns:
        Plain data for `json.dump`; annotations are numbered from 1.

    Raises:
        OutputError: if a mask is not of the image's size.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 5; the released data set's own layout.
    """
    height, width = size
    annotations = []
    for number, record in enumerate(records, start=1):
        rle = _as_coco(record["segmentation"])
        if rle["size"] != [height, width]:
            raise OutputError(
                "a mask is not of the image's size",
                where=f"{file_name}, record {number}",
                found=rle["size"],
                expected=[height, width],
            )
        annotations.append({**record, "id": number, "segmentation": rle})
    image = {"image_id": image_id, "width": width, "height": height, "file_name": file_name}
    return {"image": image, "annotations": annotations}


def _as_coco(segmentation: object) -> Rle:
    if isinstance(segmentation, np.ndarray):
        return encode_rle(segmentation)
    rle = cast(Mapping[str, Any], segmentation)  # one of the two other output modes
    if isinstance(rle["counts"], str):
        return Rle(size=list(rle["size"]), counts=rle["counts"])
    return compress(cast(UncompressedRle, rle))


def _xywh(box: tuple[int, int, int, int]) -> list[int]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
