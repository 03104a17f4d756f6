"""Recorded prompts in training: what a user really clicked, matched to the objects of a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from samft.data.geometry import boxes_to_input, points_to_input
from samft.data.prompt_files import SizeOf, read_prompts
from samft.data.recorded_prompt import RecordedPrompt
from samft.prompts.merging import Part
from samft.prompts.sampling import tight_boxes
from samft.prompts.streams import Randomness, uniform
from samft.types import ABSENT, POSITIVE, Frame, PromptBatch, SamBatch

_log = logging.getLogger(__name__)

MATCH: Final = 0.5
"""Least agreement of a prompt with the object it is taken to mean, see `RecordedPrompts`."""


class RecordedPrompts:
    """Recorded prompts by image, handed out for the objects they mean.

    Files record prompts, not the objects of a later annotation, so each prompt is matched to the
    object it agrees with best. Agreement is the mean of what the prompt has of: the share of its
    points whose label fits the object (positive on it, negative off it), and the IoU of its box
    with the object's tight box. Below `MATCH`, or if none of its positive points is on the object,
    a prompt does not mean it; a prompt that means no object is logged, once per image.

    Prompts are in the frame of the file, so they only fit images that were resized and padded and
    nothing else: train without augmentation that moves pixels, and with whole images.

    Args:
        prompts: The prompts of each image by `sample_id`, in pixels of the original image.

    Attributes:
        slots: Points of the prompt that has most; every batch has as many slots.
        unmatched: How many prompts of an image meant no object when it was first seen.
    """

    def __init__(self, prompts: Mapping[str, Sequence[RecordedPrompt]]) -> None:
        self.prompts = {name: tuple(items) for name, items in prompts.items() if items}
        everything = [item for items in self.prompts.values() for item in items]
        self.slots = max((len(item.points) for item in everything), default=0)
        self.has_boxes = any(item.box is not None for item in everything)
        self.unmatched: dict[str, int] = {}

    @classmethod
    def read(cls, path: Path, images: Mapping[str, Path], size_of: SizeOf[Path]) -> RecordedPrompts:
        """Read a prompt file; `samft.data.prompt_files.read_prompts` describes the formats.

        Args:
            path: The file, `.json` or `.csv`.
            images: The `sample_id` of each image, as a path, by all names the file may use for it.
            size_of: Returns (height, width) of an image, given its `sample_id`.

        Raises:
            PromptError: naming file, line or key of the first mistake.
        """
        found = read_prompts(path, images, cache(size_of))
        return cls({image.as_posix(): prompts for image, prompts in found.items()})

    def for_batch(self, batch: SamBatch, *, generator: Randomness) -> Part:
        """Return the objects that have a recorded prompt, and one prompt for each.

        An object that was prompted several times gets one of these at random.

        Args:
            batch: B images with P objects in the input frame.
            generator: Source of randomness, on the batch's device.

        Returns:
            (rows, prompts) for `GivenPrompts`: rows (P',) int64 of the batch, ascending, on its
            device. The prompts have the same fields and slots for every batch.
        """
        draws = uniform(generator, batch.image_index)
        chosen: dict[int, tuple[RecordedPrompt, Frame]] = {}
        for image, (name, frame) in enumerate(zip(batch.sample_ids, batch.frames, strict=True)):
            rows = (batch.image_index == image).nonzero()[:, 0]
            if name in self.prompts and len(rows):
                for row, prompts in self._match(batch, rows, name, frame).items():
                    index = int(float(draws[row]) * len(prompts))
                    chosen[row] = prompts[min(index, len(prompts) - 1)], frame
        rows = torch.tensor(sorted(chosen), dtype=torch.int64, device=batch.images.device)
        return rows, self._as_batch(rows, batch, [chosen[row] for row in sorted(chosen)])

    def _match(
        self, batch: SamBatch, rows: Tensor, name: str, frame: Frame
    ) -> dict[int, list[RecordedPrompt]]:
        """Return the prompts of one image by the row of the object that each means."""
        masks = batch.select(rows).masks()
        boxes, found = tight_boxes(masks)
        matches: dict[int, list[RecordedPrompt]] = {}
        missed = 0
        for prompt in self.prompts[name]:
            score = torch.where(found, _agreement(prompt, masks, boxes, frame), 0.0)
            best = int(score.argmax())
            if float(score[best]) < MATCH:
                missed += 1
                continue
            matches.setdefault(int(rows[best]), []).append(prompt)
        if missed and name not in self.unmatched:
            self.unmatched[name] = missed
            _log.warning("%s: %d recorded prompts fit no object of the image", name, missed)
        return matches

    def _as_batch(
        self, rows: Tensor, batch: SamBatch, chosen: Sequence[tuple[RecordedPrompt, Frame]]
    ) -> PromptBatch:
        device, count = batch.images.device, len(chosen)
        points = torch.zeros((count, self.slots, 2))
        labels = torch.full((count, self.slots), ABSENT)
        boxes = torch.zeros((count, 4))
        has_box = torch.zeros(count, dtype=torch.bool)
        for index, (prompt, frame) in enumerate(chosen):
            used = len(prompt.points)
            if used:
                points[index, :used] = points_to_input(_coordinates(prompt.points), frame)
                labels[index, :used] = torch.tensor(prompt.labels)
            if prompt.box is not None:
                boxes[index] = boxes_to_input(_coordinates(prompt.box), frame)
                has_box[index] = True
        return PromptBatch(
            image_index=batch.image_index[rows],
            points=points if self.slots else None,
            labels=labels if self.slots else None,
            boxes=boxes if self.has_boxes else None,
            has_box=has_box if self.has_boxes else None,
        ).to(device)


def _agreement(prompt: RecordedPrompt, masks: Tensor, boxes: Tensor, frame: Frame) -> Tensor:
    """Return (K,) float32, how well a prompt fits each of K objects; see `RecordedPrompts`."""
    scores = []
    ruled_out = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
    if prompt.points:
        points = points_to_input(_coordinates(prompt.points, masks.device), frame)
        last = torch.tensor([masks.shape[-1] - 1, masks.shape[-2] - 1], device=masks.device)
        x, y = points.round().long().clamp(min=0).minimum(last).unbind(dim=1)
        positive = torch.tensor(prompt.labels, device=masks.device) == POSITIVE
        on = masks[:, y, x]
        scores.append((on == positive).float().mean(dim=1))
        if prompt.box is None or bool(positive.any()):
            ruled_out = ~(on & positive).any(dim=1)
    if prompt.box is not None:
        box = boxes_to_input(_coordinates(prompt.box, masks.device), frame)
        scores.append(_box_iou(box, boxes))
    return torch.where(ruled_out, 0.0, torch.stack(scores).mean(dim=0))


def _coordinates(
    values: Sequence[float] | Sequence[tuple[float, float]], device: torch.device | None = None
) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def _box_iou(box: Tensor, others: Tensor) -> Tensor:
    """Return (K,) IoU of (4,) `box` with (K, 4); a box of pixels reaches to their far edges."""
    size = (
        torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2]) + 1
    ).clamp(min=0)
    common = size.prod(dim=1)
    area = (box[2:] - box[:2] + 1).prod()
    return common / (area + (others[:, 2:] - others[:, :2] + 1).prod(dim=1) - common)
