"""One stream of random numbers per image: what happens to it depends on nothing else in the batch.

A batch of four images on one device and two batches of two on two devices then get the same
prompts, and so the same gradients.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samft.prompts.interface import PromptSimulator
from samft.prompts.merging import Part, merge_prompts
from samft.seeding import generator_for
from samft.types import PromptBatch


class ImageStreams:
    """Random generators of the images of a batch, and one for what all images share.

    Args:
        seed: Base seed.
        step: Number of the step; the same on every process.
        sample_ids: One per image. An identifier that comes again gets a stream of its own.
        device: Where numbers are drawn.
        common: Source of what all images share; default: made from `seed` and `step`.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        sample_ids: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        common: torch.Generator | None = None,
    ) -> None:
        self._place = (seed, step)
        self.device = torch.device(device)
        self.common = common or generator_for(seed, step, device=device)
        seen: Counter[str] = Counter()
        self.by_image: list[torch.Generator] = []
        for name in sample_ids:
            parts = (seed, step, _number(name), seen[name])
            self.by_image.append(generator_for(*parts, device=device))
            seen[name] += 1

    def for_images(self, sample_ids: Sequence[str]) -> ImageStreams:
        """Return the streams of other images, with the same common source."""
        seed, step = self._place
        return ImageStreams(seed, step, sample_ids, device=self.device, common=self.common)

    def get_state(self) -> Tensor:
        """Return the state of all streams, (n, bytes) uint8; see `torch.Generator.get_state`."""
        return torch.stack([each.get_state() for each in (self.common, *self.by_image)])

    def set_state(self, state: Tensor) -> None:
        """Go back to a state."""
        for each, own in zip((self.common, *self.by_image), state, strict=True):
            each.set_state(own.clone())  # a view would be taken for the whole


Randomness = torch.Generator | ImageStreams
"""One source for a whole batch, or one for each of its images."""


def common(source: Randomness) -> torch.Generator:
    """Return the generator of what all images share."""
    return source.common if isinstance(source, ImageStreams) else source


def separate(source: Randomness) -> torch.Generator:
    """Return a new generator, for draws whose number must not move those from `source`."""
    own = common(source)
    seed = int(torch.randint(2**62, (), generator=own, device=own.device))
    return torch.Generator(own.device).manual_seed(seed)


def by_image(source: Randomness, image_index: Tensor) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Yield the rows of each image with its generator; all rows at once where there is only one.

    Args:
        source: The randomness.
        image_index: (P,) int64, the image of each row.

    Yields:
        Rows, (p,) int64 ascending, and the generator to draw from for them.
    """
    if isinstance(source, torch.Generator):
        yield torch.arange(len(image_index), device=image_index.device), source
        return
    where = image_index.cpu()  # once: every row list made on a GPU would make it wait
    for image in torch.unique(where).tolist():
        yield (where == image).nonzero()[:, 0].to(image_index.device), source.by_image[image]


def uniform(source: Randomness, image_index: Tensor) -> Tensor:
    """Return (P,) float32 in [0, 1), one number for each row, drawn from its image's stream."""
    drawn = torch.zeros(len(image_index), device=image_index.device)
    for rows, generator in by_image(source, image_index):
        drawn[rows] = torch.rand(len(rows), generator=generator, device=image_index.device)
    return drawn


@dataclass(frozen=True)
class StreamedPrompts:
    """Simulates the prompts of each image from its own stream.

    Args:
        simulator: Makes the prompts; sees the objects of one image at a time.
        streams: The randomness.
    """

    simulator: PromptSimulator
    streams: ImageStreams

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """See `PromptSimulator`; `generator` is for no objects at all."""
        parts: list[Part] = []
        for rows, own in by_image(self.streams, image_index):
            hidden = None if ignored is None else ignored[rows]
            made = self.simulator(masks[rows], image_index[rows], generator=own, ignored=hidden)
            parts.append((rows, made))
        if not parts:
            return self.simulator(masks, image_index, generator=generator, ignored=ignored)
        return merge_prompts(parts, image_index)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
