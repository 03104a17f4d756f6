"""Prompts in, one `ImagePrediction` per image out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samft.data.geometry import boxes_to_original, points_to_original
from samft.inference.masks import answer, original_masks
from samft.inference.predictions import ImagePrediction, ObjectPrediction, encode_rle
from samft.models.sam import Sam
from samft.types import NEGATIVE, Frame, PromptBatch


def predict_images(
    sam: Sam,
    embeddings: Tensor,
    prompts: PromptBatch,
    *,
    frames: Sequence[Frame],
    sample_ids: Sequence[str],
    prompt_ids: Sequence[str | int] | None = None,
    classes: Sequence[str | None] | None = None,
    images: Sequence[NDArray[np.uint8]] | None = None,
) -> list[ImagePrediction]:
    """Answer every prompt and gather the results by image.

    Args:
        sam: The model.
        embeddings: (B, D, h, w) image embeddings.
        prompts: P prompts in the input frame.
        frames: B frames.
        sample_ids: B identifiers.
        prompt_ids: P identifiers; default numbers the prompts of each image from 1.
        classes: P class names, where known.
        images: B images, (H, W, 3) uint8 RGB, kept for overlays.

    Returns:
        B predictions, also of images without prompts.
    """
    predictions = [
        ImagePrediction(
            sample_id=sample_id,
            size=frame.original_size,
            image=None if images is None else images[index],
        )
        for index, (sample_id, frame) in enumerate(zip(sample_ids, frames, strict=True))
    ]
    output = answer(sam, embeddings, prompts)
    for chunk in original_masks(output, prompts.image_index, frames):
        objects = predictions[chunk.image].objects
        for row, mask in zip(chunk.rows.tolist(), chunk.masks.cpu().numpy(), strict=True):
            objects.append(
                ObjectPrediction(
                    rle=encode_rle(mask),
                    score=float(output.iou[row, 0]),
                    prompt=describe_prompt(prompts, row, frames[chunk.image]),
                    prompt_id=len(objects) + 1 if prompt_ids is None else prompt_ids[row],
                    class_name=None if classes is None else classes[row],
                )
            )
    return predictions


def describe_prompt(prompts: PromptBatch, row: int, frame: Frame) -> dict[str, Any]:
    """Return prompt `row` as plain data in original pixels: `box`, `points` and `labels`."""
    found: dict[str, Any] = {}  # Any: JSON
    if prompts.boxes is not None and (prompts.has_box is None or bool(prompts.has_box[row])):
        found["box"] = _rounded(boxes_to_original(prompts.boxes[row], frame))
    if prompts.points is not None and prompts.labels is not None:
        used = prompts.labels[row] >= NEGATIVE
        if bool(used.any()):
            points = points_to_original(prompts.points[row][used], frame)
            found["points"] = [_rounded(point) for point in points]
            found["labels"] = prompts.labels[row][used].tolist()
    return found


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 2) for value in values]
