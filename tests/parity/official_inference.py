"""The official predictor and generator, with stand-ins for what they take from torchvision."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.measuring import torchvision_stand_ins
from samft.data.geometry import resize_image
from samft.types import Frame


def official_inference() -> tuple[Any, Any]:
    """Return the classes `SamPredictor` and `SamAutomaticMaskGenerator`.

    The stand-in for the resize is samft's own, so that both see the same pixels; the one for
    suppression is a plain loop, written down from its definition.
    """
    with mock.patch.dict(sys.modules, stand_ins()):
        # Another test may have imported the package with stand-ins of its own.
        for name in [name for name in sys.modules if name.startswith("segment_anything")]:
            del sys.modules[name]
        from segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator
        from segment_anything.predictor import SamPredictor
    return SamPredictor, SamAutomaticMaskGenerator


def greedy_boxes(boxes, scores, threshold):
    """Return the indices that stay, by falling score; equal scores in order."""
    rest = sorted(range(len(scores)), key=lambda index: -scores[index])
    kept = []
    while rest:
        kept.append(rest.pop(0))
        rest = [i for i in rest if not _box_iou(boxes[kept[-1]], boxes[i]) > threshold]
    return kept


def _box_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else float("nan")


def _batched_nms(boxes, scores, idxs, iou_threshold):
    assert not idxs.any()  # the generator has one class
    kept = greedy_boxes(boxes.tolist(), scores.tolist(), iou_threshold)
    return torch.tensor(kept, dtype=torch.int64)


def _resize(image, size):
    frame = Frame(original_size=image.shape[:2], input_size=tuple(size), image_size=max(size))
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
    return resize_image(pixels, frame).permute(1, 2, 0).numpy()


def stand_ins() -> dict[str, ModuleType]:
    """Return what takes torchvision's place."""
    return torchvision_stand_ins(
        batched_nms=_batched_nms, resize=_resize, to_pil_image=lambda image: image
    )
