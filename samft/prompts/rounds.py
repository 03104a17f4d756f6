"""Interactive training: prompt, look at the answer, click where it is wrong, again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.prompts.corrections import corrective_points
from samft.prompts.interface import PromptSimulator
from samft.prompts.settings import PromptSettings
from samft.prompts.streams import Randomness, by_image, common, uniform
from samft.types import ABSENT, MaskOutput, PromptBatch

_OBJECTS_AT_ONCE = 8


class Decode(Protocol):
    """Answers prompts about images that are already encoded."""

    def __call__(self, prompts: PromptBatch, multimask: bool, /) -> MaskOutput:
        """Return three masks per prompt with `multimask`, one without."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One decoder pass.

    Args:
        prompts: All that was asked in this pass.
        output: The decoder's answer, with its graph.
        multimask: Whether several masks per prompt were asked for.
        index: Number of the pass, from 0.
    """

    prompts: PromptBatch
    output: MaskOutput
    multimask: bool
    index: int


def interactive_rounds(
    decode: Decode,
    masks: Tensor,
    image_index: Tensor,
    settings: PromptSettings,
    *,
    simulator: PromptSimulator,
    generator: Randomness,
    ignored: Tensor | None = None,
    multimask_first: bool = True,
) -> Iterator[Round]:
    """Simulate a person who segments every object with several clicks.

    The first pass answers the simulator's prompts. Each later pass keeps all prompts, adds a click
    in the error region of the previous answer's best mask (by predicted IoU) and hands that mask's
    logits back; the extra passes add no click. Lazy: a pass runs when it is asked for, so the
    caller may call `backward` on one round before the next and hold one graph at a time.
    `settings.multimask` is for the decoder to heed, see `samft.prompts.ambiguity`.

    Args:
        decode: The decoder, called with (prompts, multimask).
        masks: (P, S, S) bool, the objects in the input frame; P may be 0.
        image_index: (P,) int64, the image of each object.
        settings: How many passes, and how clicks are placed.
        simulator: Makes the prompts of the first pass.
        generator: Source of all randomness, on the masks' device.
        ignored: (P, S, S) bool, True where no click may fall, or `None`.
        multimask_first: Ask for several masks in the first pass, whose single prompt is ambiguous;
            all others ask for one.

    Yields:
        1 + `settings.rounds` + `settings.extra_passes` rounds.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A, "Training algorithm".
    """
    prompts = simulator(masks, image_index, generator=common(generator), ignored=ignored)
    output = decode(prompts, multimask_first)
    yield Round(prompts=prompts, output=output, multimask=multimask_first, index=0)
    for index, click in enumerate(click_passes(settings, generator=common(generator)), start=1):
        best = _best_logits(output)
        del output  # its graph is the caller's: do not keep two alive while decoding
        if settings.feed_back_logits:
            prompts = _fed_back(prompts, best, settings.feed_back_probability, generator)
        if click:
            predicted = _upsampled_masks(best, (masks.shape[-2], masks.shape[-1]))
            if settings.click_from_truth > 0:
                # As if nothing were predicted: all of the object is wrong, and nothing else.
                skipped = uniform(generator, image_index) < settings.click_from_truth
                predicted &= ~skipped[:, None, None]
            prompts = prompts.with_points(
                *_clicks(predicted, masks, ignored, prompts, settings=settings, source=generator)
            )
        output = decode(prompts, False)  # noqa: FBT003  (positional in the protocol)
        yield Round(prompts=prompts, output=output, multimask=False, index=index)


def click_passes(settings: PromptSettings, *, generator: torch.Generator) -> list[bool]:
    """Say for each pass after the first whether it adds a click.

    The last extra pass comes after all clicks; each other one before a click drawn at random.

    Args:
        settings: `rounds` clicks and `extra_passes` passes without one.
        generator: Source of randomness.
    """
    extra = max(settings.extra_passes - 1, 0)
    last = settings.extra_passes - extra
    if settings.rounds == 0:
        return [False] * settings.extra_passes
    before = torch.randint(
        settings.rounds, (extra,), generator=generator, device=generator.device
    ).tolist()
    passes: list[bool] = []
    for click in range(settings.rounds):
        passes += [False] * before.count(click) + [True]
    return passes + [False] * last


def _fed_back(
    prompts: PromptBatch, logits: Tensor, share: float, generator: Randomness
) -> PromptBatch:
    """Hand `logits` back for a share of the objects; the others get no mask in this pass."""
    prompts = prompts.with_mask_logits(logits)
    if share == 1:
        return prompts
    return replace(prompts, has_mask=uniform(generator, prompts.image_index) < share)


def _clicks(
    predicted: Tensor,
    masks: Tensor,
    ignored: Tensor | None,
    prompts: PromptBatch,
    *,
    settings: PromptSettings,
    source: Randomness,
) -> tuple[Tensor, Tensor]:
    """Return corrective points (P, N, 2) and labels (P, N), each image's from its own stream."""
    count = 2 if settings.click == "pair" else 1
    points = torch.zeros(len(masks), count, 2, device=masks.device)
    labels = torch.full((len(masks), count), ABSENT, device=masks.device)
    for rows, generator in by_image(source, prompts.image_index):
        hidden = None if ignored is None else ignored[rows]
        points[rows], labels[rows] = corrective_points(
            predicted[rows], masks[rows], hidden, generator=generator, mode=settings.click
        )
    return points, labels


@torch.no_grad()
def _best_logits(output: MaskOutput) -> Tensor:
    """Return (P, 1, S / 4, S / 4) float32 logits of the mask with the highest predicted IoU."""
    return output.best().logits.float()


@torch.no_grad()
def _upsampled_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (P, *size) bool: the (P, 1, ., .) logits upsampled, then thresholded."""
    masks = [
        F.interpolate(chunk, size=size, mode="bilinear", align_corners=False)[:, 0] > 0
        for chunk in torch.split(logits, _OBJECTS_AT_ONCE)
    ]
    return torch.cat(masks)
