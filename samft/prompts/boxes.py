"""Simulated boxes: tight, noisy, or around everything.

Each class is a `PromptSimulator`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samft.prompts.sampling import tight_boxes
from samft.types import PromptBatch

_PAPER_SIDE = 1024


@dataclass(frozen=True)
class TightBox:
    """The smallest box around the object; nothing is random."""

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,  # noqa: ARG002  (the protocol's)
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        boxes, found = tight_boxes(masks)
        return PromptBatch(image_index=image_index, boxes=boxes, has_box=found)


@dataclass(frozen=True)
class NoisyBox:
    """The tight box with Gaussian noise on each coordinate, kept inside the frame.

    A box whose corners change sides, as happens to objects a pixel or two wide, stays tight.

    Args:
        noise: Standard deviation as a share of the box's width or height in pixels.
        max_px: Largest shift in pixels of a 1024 x 1024 input; scaled with the input.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A: 10 % of the side, at most 20 pixels.
    """

    noise: float = 0.1
    max_px: float = 20.0

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        boxes, found = tight_boxes(masks)
        cap = self.max_px * max(masks.shape[-2:]) / _PAPER_SIDE
        draw = torch.randn(boxes.shape, generator=generator, device=masks.device)
        shift = (self.noise * _sizes(boxes) * draw).clamp(-cap, cap)
        return _moved(image_index, boxes, found, shift=shift, last=_last_pixel(masks))


@dataclass(frozen=True)
class UniformBox:
    """The tight box with each coordinate moved by a uniform draw, kept inside the frame.

    A box whose corners change sides stays tight.

    Args:
        noise: Largest shift as a share of the box's width or height in pixels.
        max_px: Largest shift in pixels of a 1024 x 1024 input; scaled with the input. The smaller
            of the two limits holds.
        outward: Only enlarge the box, so that it always holds the whole object.

    Source: SAM 2's training code: at most a tenth of the side and 20 pixels, both ways. MedSAM
    (Ma et al. 2024, arXiv:2304.12306): outward, 0 to 20 pixels whatever the size of the object.
    micro-sam 1.x: outward, at most 2.5 % of the side.
    """

    noise: float = 0.1
    max_px: float = 20.0
    outward: bool = False

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        boxes, found = tight_boxes(masks)
        cap = self.max_px * max(masks.shape[-2:]) / _PAPER_SIDE
        draw = torch.rand(boxes.shape, generator=generator, device=masks.device)
        direction = draw * draw.new_tensor([-1, -1, 1, 1]) if self.outward else 2 * draw - 1
        shift = (self.noise * _sizes(boxes)).clamp(max=cap) * direction
        return _moved(image_index, boxes, found, shift=shift, last=_last_pixel(masks))


@dataclass(frozen=True)
class WholeFrame:
    """One box around the whole frame, padding included: "segment what there is to segment".

    Only means something where an image has one object to find; several objects of one image would
    get the same prompt. The decoder then still has the two box tokens it knows; `NoPrompt` gives it
    none at all.
    """

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,  # noqa: ARG002  (the protocol's)
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        found = tight_boxes(masks)[1]
        last = _last_pixel(masks)
        frame = torch.cat([torch.zeros_like(last[2:]), last[2:]])
        return PromptBatch(image_index=image_index, boxes=frame * found[:, None], has_box=found)


def _sizes(boxes: Tensor) -> Tensor:
    """Return (P, 4) the width, height, width and height of (P, 4) boxes in pixels."""
    return (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def _last_pixel(masks: Tensor) -> Tensor:
    """Return (4,) float32, twice the x and y of the last pixel of (P, S, S) masks."""
    height, width = masks.shape[-2:]
    return torch.tensor([width - 1.0, height - 1.0] * 2, device=masks.device)


def _moved(
    image_index: Tensor, boxes: Tensor, found: Tensor, *, shift: Tensor, last: Tensor
) -> PromptBatch:
    """Return the boxes moved by `shift`, or unmoved where the corners would change sides."""
    noisy = (boxes + shift).clamp(min=0).minimum(last)
    valid = (noisy[:, 2:] >= noisy[:, :2]).all(dim=1) & found
    boxes = torch.where(valid[:, None], noisy, boxes)
    return PromptBatch(image_index=image_index, boxes=boxes, has_box=found)
