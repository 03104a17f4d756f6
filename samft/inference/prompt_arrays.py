"""Prompts as people type them, in original pixels, checked and brought to the input frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samft.data.geometry import boxes_to_input, points_to_input
from samft.errors import PromptError
from samft.types import NEGATIVE, POSITIVE, Frame, PromptBatch

Numbers = Tensor | NDArray[Any] | Sequence[Any]
"""Anything numpy makes an array of."""

_AXES: Final = {"points": "N 2", "labels": "N", "box": "4", "mask": "1 S/4 S/4"}
"""Axes of one prompt; several have an axis of P in front."""


def prompt_batch(
    *,
    points: Numbers | None,
    labels: Numbers | None,
    box: Numbers | None,
    mask: Numbers | None,
    frame: Frame,
    mask_size: tuple[int, int],
) -> tuple[PromptBatch, bool]:
    """Build the prompts for one image.

    Args:
        points: (N, 2) or (P, N, 2), `(x, y)`, original frame.
        labels: (N,) or (P, N), 1 or 0; with points.
        box: (4,) or (P, 4), xyxy, original frame.
        mask: (1, *mask_size) or (P, 1, *mask_size) logits, input frame.
        frame: The frame of the image.
        mask_size: (height, width) of the model's mask logits.

    Returns:
        P prompts on the CPU (mask logits stay where they are), and whether all that is given comes
        without the axis P.

    Raises:
        PromptError: naming the first thing that is wrong.
    """
    values = {"points": points, "labels": labels, "box": box, "mask": mask}
    arrays = {name: as_tensor(name, value) for name, value in values.items() if value is not None}
    _check_present(arrays)
    is_single = {name: _is_single(name, array) for name, array in arrays.items()}
    batch = {name: array[None] if is_single[name] else array for name, array in arrays.items()}
    _check_counts(batch)
    count = len(next(iter(batch.values())))
    prompts = PromptBatch(
        image_index=torch.zeros(count, dtype=torch.int64),
        points=_points(batch["points"], frame) if "points" in batch else None,
        labels=_labels(batch["labels"], batch["points"]) if "points" in batch else None,
        boxes=_boxes(batch["box"], frame) if "box" in batch else None,
        mask_logits=_logits(batch["mask"], mask_size) if "mask" in batch else None,
    )
    return prompts, all(is_single.values())


def candidate_prompts(candidates: Numbers, size: tuple[int, int]) -> Tensor:
    """Return points (N, 2) or boxes xyxy (N, 4), original frame, as float64 on the CPU.

    Args:
        candidates: The points or boxes.
        size: (height, width) of the image.

    Raises:
        PromptError: if they are neither, or lie outside the image.
    """
    values = as_tensor("candidates", candidates).cpu().double()
    if values.ndim != 2 or values.shape[1] not in (2, 4):
        raise PromptError(
            "candidates are neither points nor boxes",
            found=f"shape {tuple(values.shape)}",
            expected="points (N, 2) or boxes (N, 4)",
        )
    if values.shape[1] == 4:
        _check_corners("candidates", values)
    _check_inside("candidates", values.reshape(-1, 2), size)
    return values


def as_tensor(name: str, value: Numbers) -> Tensor:
    """Return numbers as a tensor; a tensor stays where it is.

    Raises:
        PromptError: if they are no rectangular array of numbers.
    """
    if isinstance(value, Tensor):
        return value.detach()
    try:
        return torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise PromptError(
            f"{name} cannot be read as an array of numbers",
            found=str(error).splitlines()[0],
            expected="as many numbers in every row",
        ) from error


def _check_present(arrays: dict[str, Tensor]) -> None:
    if not arrays:
        raise PromptError("there is no prompt", expected="points with labels, a box or a mask")
    for name, partner in (("points", "labels"), ("labels", "points")):
        if name in arrays and partner not in arrays:
            raise PromptError(
                f"{name} come without {partner}",
                expected="one label per point: 1 object, 0 background",
            )


def _is_single(name: str, array: Tensor) -> bool:
    axes = len(_AXES[name].split())
    if array.ndim not in (axes, axes + 1):
        raise _wrong_shape(name, array, _AXES[name])
    return array.ndim == axes


def _wrong_shape(name: str, array: Tensor, axes: str) -> PromptError:
    return PromptError(
        f"{name} of the wrong shape",
        found=tuple(array.shape),
        expected=f"[{axes.replace(' ', ', ')}] for one prompt, "
        f"[P, {axes.replace(' ', ', ')}] for P prompts",
    )


def _check_counts(batch: dict[str, Tensor]) -> None:
    counts = {name: len(array) for name, array in batch.items()}
    if len(set(counts.values())) > 1:
        raise PromptError(
            "the parts differ in their number of prompts",
            found=", ".join(f"{name} {count}" for name, count in counts.items()),
            expected="one of each part for every prompt",
        )


def _points(points: Tensor, frame: Frame) -> Tensor:
    if points.shape[-1] != 2 or points.shape[1] == 0:
        raise _wrong_shape("points", points, _AXES["points"])
    points = points.cpu().double()
    _check_inside("points", points, frame.original_size)
    return points_to_input(points, frame).float()


def _labels(labels: Tensor, points: Tensor) -> Tensor:
    if labels.shape != points.shape[:2]:
        raise PromptError(
            "points and labels differ in number",
            found=f"{points.shape[1]} points, {labels.shape[1]} labels",
            expected="one label per point: 1 object, 0 background",
        )
    unknown = labels[(labels != POSITIVE) & (labels != NEGATIVE)]
    if len(unknown):
        raise PromptError(
            "a point's label is unknown",
            found=unknown[0].item(),
            expected="1 (object) or 0 (background)",
        )
    return labels.cpu().long()


def _boxes(boxes: Tensor, frame: Frame) -> Tensor:
    if boxes.shape[-1] != 4:
        raise _wrong_shape("box", boxes, _AXES["box"])
    boxes = boxes.cpu().double()
    _check_corners("box", boxes)
    _check_inside("box", boxes.reshape(-1, 2), frame.original_size)
    return boxes_to_input(boxes, frame).float()


def _logits(logits: Tensor, mask_size: tuple[int, int]) -> Tensor:
    if logits.shape[1:] != (1, *mask_size):
        raise _wrong_shape("mask", logits, f"1 {mask_size[0]} {mask_size[1]}")
    if not logits.is_floating_point():
        raise PromptError(
            "the mask is no map of logits",
            found=logits.dtype,
            expected="float logits, above 0 where the object is",
            fix="feed back `.best().logits` of an earlier prediction",
        )
    return logits.float()


def _check_corners(name: str, boxes: Tensor) -> None:
    turned = boxes[(boxes[:, :2] > boxes[:, 2:]).any(dim=1)]
    if len(turned):
        raise PromptError(
            "the corners of a box are in the wrong order",
            where=name,
            found=turned[0].tolist(),
            expected="[x1, y1, x2, y2] with x1 <= x2 and y1 <= y2",
            fix="a box of [x, y, width, height] is [x, y, x + width, y + height] here",
        )


def _check_inside(name: str, points: Tensor, size: tuple[int, int]) -> None:
    """Raise unless all (..., 2) points lie in the image; not-a-number does not."""
    height, width = size
    limit = torch.tensor([width, height], dtype=points.dtype)
    outside = points[~((points >= 0) & (points <= limit)).all(dim=-1)]
    if len(outside):
        x, y = outside[0].tolist()
        raise PromptError(
            "a prompt lies outside the image",
            where=name,
            found=f"x {x:g}, y {y:g}",
            expected=f"x from 0 to {width}, y from 0 to {height}, in pixels of the original image",
        )
