"""One image's predicted masks in a form small enough to keep and to write in any format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


class Rle(TypedDict):
    """COCO run-length encoding: column-major, `counts` as text."""

    size: list[int]
    counts: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectPrediction:
    """One predicted object.

    Args:
        rle: The mask at original size.
        score: Predicted IoU, the model's own estimate of its mask.
        prompt: What was asked, original frame: `{"box": [...], "points": [...], "labels": [...]}`.
        prompt_id: The identifier the prompt came with, or its position in the image, from 1.
        class_name: Class of the prompt, where it has one.
        object_id: Names the object that this is a part of, in all slices of a volume; `None` where
            nothing says which masks of other slices belong to it.
        measures: What an automatic mask has beside its score, with the official generator's keys.
    """

    rle: Rle
    score: float
    prompt: dict[str, Any]  # Any: JSON
    prompt_id: str | int
    class_name: str | None = None
    object_id: str | int | None = None
    measures: dict[str, Any] = field(default_factory=dict)  # Any: JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePrediction:
    """All predicted objects of one image.

    Args:
        sample_id: Identifier of the image, a relative path with forward slashes.
        size: (height, width) of the original image.
        objects: The objects in prompt order.
        image: (H, W, 3) uint8 RGB, for overlays; `None` when none are wanted.
        in_volume: Whether it is a plane of a volume, which has results of its own.
    """

    sample_id: str
    size: tuple[int, int]
    objects: list[ObjectPrediction] = field(default_factory=list)
    image: NDArray[np.uint8] | None = None
    in_volume: bool = False

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return everything but the image as plain data."""
        objects = [asdict(item) for item in self.objects]
        return {"sample_id": self.sample_id, "size": list(self.size), "objects": objects}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:  # Any: JSON
        """Return what `to_dict` described, without the image."""
        height, width = values["size"]
        return cls(
            sample_id=values["sample_id"],
            size=(height, width),
            objects=[ObjectPrediction(**item) for item in values["objects"]],
        )


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """Encode an (H, W) bool mask as COCO run-length encoding with text counts."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return Rle(size=[int(side) for side in encoded["size"]], counts=encoded["counts"].decode())


def decode_rle(rle: Rle) -> NDArray[np.bool_]:
    """Decode COCO run-length encoding to an (H, W) bool mask."""
    decoded = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode()})
    return np.asarray(decoded, dtype=np.bool_)


def rle_box(rle: Rle) -> list[float]:
    """Return COCO's `[x, y, width, height]` of a mask; all zero when it is empty."""
    return [float(value) for value in coco_mask.toBbox({**rle, "counts": rle["counts"].encode()})]


def rle_area(rle: Rle) -> int:
    """Return the number of pixels of a mask."""
    return int(coco_mask.area({**rle, "counts": rle["counts"].encode()}))


def label_map(objects: Sequence[ObjectPrediction], size: tuple[int, int]) -> NDArray[np.uint32]:
    """Paint objects into one (H, W) label map: 0 background, k for the k-th object, from 1.

    Where objects overlap the higher predicted IoU wins, so that the result does not depend on the
    order of the prompts.
    """
    labels = np.zeros(size, np.uint32)
    for number in sorted(range(len(objects)), key=lambda index: objects[index].score):
        labels[decode_rle(objects[number].rle)] = number + 1
    return labels
