"""Images and prompts that every export is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from samft.data.geometry import boxes_to_input, frame_for, pad, points_to_input, resize_image
from samft.data.synthesis.scenes import Look, draw_scene
from samft.models.sam import Sam
from samft.prompts.sampling import center_points, tight_boxes
from samft.types import POSITIVE, Frame, MaskOutput, PromptBatch, Sample

Kind = Literal["point", "box", "mask"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""A click; a box; a click with the logits of an earlier answer."""

NUM_IMAGES: Final = 3

_DRAWN: Final[tuple[tuple[Look, tuple[int, int]], ...]] = (
    ("photo", (211, 320)),
    ("fluorescence", (320, 320)),
    ("underwater", (320, 173)),
)
"""Looks of drawn images and their (height, width): landscape, square, portrait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One image with one prompt of each kind, and what the model answers.

    Args:
        pixels: (C, h, w) float32, 0 to 255, resized to the input frame, without padding.
        frame: Its frame.
        prompts: One prompt of each kind, input frame.
        answers: All four masks for each, that of a clear prompt first.
    """

    pixels: Tensor
    frame: Frame
    prompts: dict[Kind, PromptBatch]
    answers: dict[Kind, MaskOutput]

    @property
    def padded(self) -> Tensor:
        """(1, C, S, S) float32, 0 to 255."""
        return pad(self.pixels, self.frame.image_size)[None]


def questions_about(sam: Sam, samples: Sequence[Sample]) -> list[Question]:
    """Ask a model about the largest object of every sample.

    Args:
        sam: In evaluation mode, on the CPU.
        samples: Images with their objects; without objects the middle of the image is asked about.
    """
    return [_question(sam, sample) for sample in samples]


def drawn_samples(num_channels: int = 3) -> list[Sample]:
    """Draw images of different shapes, for models whose own images are not there.

    Args:
        num_channels: C; beyond three the first ones come again.
    """
    return [_drawn(seed, num_channels) for seed in range(len(_DRAWN))]


def _drawn(seed: int, num_channels: int) -> Sample:
    look, (height, width) = _DRAWN[seed]
    scene = draw_scene(seed, size=max(height, width), look=look)
    image = torch.from_numpy(scene.image)[torch.arange(num_channels) % 3, :height, :width]
    layers = torch.from_numpy(scene.objects.layers)[:, :height, :width]
    return Sample(
        image=image.contiguous(),
        layers=layers.contiguous(),
        object_layer=torch.from_numpy(scene.objects.object_layer),
        object_class=torch.from_numpy(scene.objects.object_class),
        sample_id=f"drawn/{look}",
        case_id=f"drawn/{look}",
    )


@torch.no_grad()
def _question(sam: Sam, sample: Sample) -> Question:
    frame = frame_for(sample.size, sam.image_size)
    pixels = resize_image(sample.image, frame).float()
    embedding = sam.encode_image(
        pad(pixels, frame.image_size)[None], torch.tensor([frame.input_size])
    )
    point, box = _places(sample)
    index = torch.zeros(1, dtype=torch.int64)
    click = PromptBatch(
        image_index=index,
        points=points_to_input(point, frame).float().reshape(1, 1, 2),
        labels=torch.full((1, 1), POSITIVE),
    )
    prompts: dict[Kind, PromptBatch] = {
        "point": click,
        "box": PromptBatch(image_index=index, boxes=boxes_to_input(box, frame).float()[None]),
    }
    answers = {
        kind: sam.decode(embedding, asked, multimask=None) for kind, asked in prompts.items()
    }
    prompts["mask"] = click.with_mask_logits(answers["box"].logits[:, :1])
    answers["mask"] = sam.decode(embedding, prompts["mask"], multimask=None)
    return Question(pixels=pixels, frame=frame, prompts=prompts, answers=answers)


def _places(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return a point (2,) and a box (4,) on the largest object, original frame."""
    height, width = sample.size
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    if sample.num_objects:
        masks = sample.masks()
        mask = masks[masks.flatten(1).sum(1).argmax()][None]
    if not bool(mask.any()):
        top, left = height // 4, width // 4
        mask[:, top : top + -(-height // 2), left : left + -(-width // 2)] = True
    boxes, _ = tight_boxes(mask)
    points, _ = center_points(mask)
    return points[0].double(), boxes[0].double()
