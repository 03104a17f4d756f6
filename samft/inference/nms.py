"""Non-maximum suppression: of those that overlap too much, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from samft.inference.predictions import Rle

Overlap = Callable[[Tensor, Tensor], Tensor]
"""IoU (k,) of the candidate at an index with those at (k,) indices."""


def box_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Go through boxes by falling score, dropping each whose IoU with a kept one is above a limit.

    Equal scores go in the order of the boxes. IoU is that of areas `(x2 - x1) * (y2 - y1)`; a box
    without area overlaps nothing, itself included.

    Args:
        boxes: (K, 4) xyxy.
        scores: (K,) float.
        threshold: Highest IoU at which both stay, 0 to 1.

    Returns:
        (k,) int64 indices of the boxes that stay, by falling score, on the CPU.

    Source: the definition of `torchvision.ops.nms`, in double precision.
    """
    corners = boxes.detach().cpu().double().reshape(-1, 4)
    areas = (corners[:, 2:] - corners[:, :2]).prod(dim=1)

    def overlap(head: Tensor, rest: Tensor) -> Tensor:
        common = _common(corners[head], corners[rest])
        return common / (areas[head] + areas[rest] - common)

    return _greedy(scores, overlap, threshold)


def mask_nms(rles: Sequence[Rle], scores: Tensor, threshold: float) -> Tensor:
    """Do as `box_nms` does with the IoU of masks, for objects whose boxes overlap by nature.

    Args:
        rles: K masks of one image.
        scores: (K,) float.
        threshold: Highest IoU at which both stay, 0 to 1.

    Returns:
        (k,) int64 indices of the masks that stay, by falling score, on the CPU.
    """
    packed = [{"size": rle["size"], "counts": rle["counts"].encode()} for rle in rles]
    extent = torch.from_numpy(np.asarray(coco_mask.toBbox(packed), dtype=np.float64).reshape(-1, 4))
    corners = torch.cat([extent[:, :2], extent[:, :2] + extent[:, 2:]], dim=1)

    def overlap(head: Tensor, rest: Tensor) -> Tensor:
        iou = torch.zeros(len(rest), dtype=torch.float64)
        # Unpacking runs is what costs; most masks do not even touch each other's boxes.
        near = _common(corners[head], corners[rest]).nonzero()[:, 0]
        others = [packed[index] for index in rest[near].tolist()]
        if others:
            found = coco_mask.iou(others, [packed[int(head)]], [0])
            iou[near] = torch.from_numpy(np.asarray(found))[:, 0]
        return iou

    return _greedy(scores, overlap, threshold)


def _greedy(scores: Tensor, overlap: Overlap, threshold: float) -> Tensor:
    rest = scores.detach().cpu().argsort(descending=True, stable=True)
    kept = [rest[:0]]
    while len(rest):
        head, rest = rest[:1], rest[1:]
        kept.append(head)
        # Not "<=": where neither has an area the IoU is not a number, and both stay.
        rest = rest[~(overlap(head[0], rest) > threshold)]
    return torch.cat(kept)


def _common(box: Tensor, boxes: Tensor) -> Tensor:
    """Return (k,) area that (4,) `box` has in common with (k, 4) `boxes`."""
    low = torch.maximum(box[:2], boxes[:, :2])
    high = torch.minimum(box[2:], boxes[:, 2:])
    return (high - low).clamp(min=0).prod(dim=1)
