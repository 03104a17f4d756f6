"""Several simulators as one: one of them for each object, or all of them, or what is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from samft.errors import ConfigError
from samft.prompts.interface import PromptSimulator
from samft.prompts.merging import Part, merge_prompts
from samft.types import PromptBatch


@dataclass(frozen=True)
class NoPrompt:
    """No point, no box, no mask: the model says what it sees without being asked.

    Only means something where an image has one object to find. SAM itself was never trained so: its
    first pass always has a point or a box.
    """

    def __call__(
        self,
        masks: Tensor,  # noqa: ARG002  (the protocol's)
        image_index: Tensor,
        *,
        generator: torch.Generator,  # noqa: ARG002  (the protocol's)
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        return PromptBatch(image_index=image_index)


@dataclass(frozen=True)
class MixedPrompts:
    """Gives each object a prompt from one of several simulators, in one batch.

    Args:
        simulators: The simulators to choose from; each sees only its own objects.
        probabilities: How often each is chosen; together 1.

    Raises:
        ConfigError: if the probabilities do not fit the simulators or do not sum to 1.
    """

    simulators: Sequence[PromptSimulator]
    probabilities: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.simulators) != len(self.probabilities) or not self.simulators:
            raise ConfigError(
                "MixedPrompts needs one probability per simulator",
                found=f"{len(self.probabilities)} probabilities",
                expected=str(len(self.simulators)),
            )
        total = math.fsum(self.probabilities)
        if min(self.probabilities) < 0 or not math.isclose(total, 1, abs_tol=1e-6):
            raise ConfigError(
                "the probabilities of MixedPrompts must be at least 0 and sum to 1",
                found=list(self.probabilities),
            )

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        limits = torch.tensor(self.probabilities, device=masks.device).cumsum(dim=0)[:-1]
        draw = torch.rand(masks.shape[0], generator=generator, device=masks.device)
        choice = torch.bucketize(draw, limits, right=True)
        parts = []
        for number, simulator in enumerate(self.simulators):
            rows = (choice == number).nonzero()[:, 0]
            prompts = _some(simulator, masks, image_index, rows, generator, ignored)
            parts.append((rows, prompts))
        return merge_prompts(parts, image_index)


@dataclass(frozen=True)
class JoinedPrompts:
    """Gives each object the prompts of all simulators together, such as a box and points in it.

    Args:
        simulators: At most one of them gives boxes, at most one gives masks; the points of all are
            put behind each other.
    """

    simulators: Sequence[PromptSimulator]

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        joined = PromptBatch(image_index=image_index)
        for simulator in self.simulators:
            prompts = simulator(masks, image_index, generator=generator, ignored=ignored)
            if prompts.points is not None and prompts.labels is not None:
                joined = joined.with_points(prompts.points, prompts.labels)
            if prompts.boxes is not None:
                joined = replace(joined, boxes=prompts.boxes, has_box=prompts.has_box)
            if prompts.mask_logits is not None:
                joined = replace(joined, mask_logits=prompts.mask_logits, has_mask=prompts.has_mask)
        return joined


@dataclass(frozen=True)
class GivenPrompts:
    """Gives some objects of one batch prompts that are known already, and simulates the others.

    For recorded prompts and for background clicks, whose objects the caller puts into the batch.

    Args:
        given: (rows, prompts): `prompts[i]` is for object `rows[i]`; each object at most once.
        otherwise: Makes the prompts of the other objects, and sees only these.
    """

    given: Sequence[Part]
    otherwise: PromptSimulator

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        rest = torch.ones(len(masks), dtype=torch.bool, device=masks.device)
        for rows, _ in self.given:
            rest[rows] = False
        others = rest.nonzero()[:, 0]
        simulated = _some(self.otherwise, masks, image_index, others, generator, ignored)
        return merge_prompts([(others, simulated), *self.given], image_index)


def _some(
    simulator: PromptSimulator,
    masks: Tensor,
    image_index: Tensor,
    rows: Tensor,
    generator: torch.Generator,
    ignored: Tensor | None,
) -> PromptBatch:
    """Simulate the prompts of the objects at `rows`."""
    return simulator(
        masks[rows],
        image_index[rows],
        generator=generator,
        ignored=None if ignored is None else ignored[rows],
    )
