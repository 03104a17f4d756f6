"""The same training with one setting changed, for an estimate of what the change would save."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self

from torch import nn

from samft.cached_encoder import CachedEncoder
from samft.losses import SamLossSettings
from samft.models.adaptation.apply import Adapted
from samft.models.image_encoder import ImageEncoder
from samft.models.sam import Sam
from samft.models.tiny_vit import Stage
from samft.objective import InteractiveObjective
from samft.optim import OptimizerSettings
from samft.planning.step import Trainable


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """What an estimate needs of a module, with the values of the weights shared.

    Args:
        sam: The model.
        adapted: What of it is trained.
        cached_encoder: What reads and keeps embeddings, or `None`.
        objective: The objective of a step.
        loss_settings: Weights of the objective.
        optimizer_settings: How weights are updated.
    """

    sam: Sam
    adapted: Adapted
    cached_encoder: CachedEncoder | None
    objective: InteractiveObjective
    loss_settings: SamLossSettings
    optimizer_settings: OptimizerSettings

    @classmethod
    def of(cls, module: Trainable) -> Self:
        """Return a variant that is like `module` and can be changed without changing it."""
        sam = _shared(module.sam)
        return cls(
            sam=sam,
            adapted=replace(module.adapted, sam=sam),
            cached_encoder=module.cached_encoder,
            objective=copy.copy(module.objective),
            loss_settings=module.loss_settings,
            optimizer_settings=module.optimizer_settings,
        )

    def recomputing(self) -> Self:
        """Recompute every block of the encoder in the backward pass; in place."""
        encoder = self.sam.image_encoder
        if isinstance(encoder, ImageEncoder):
            encoder.checkpoint_blocks = True
        for stage in encoder.modules():
            if isinstance(stage, Stage):
                stage.checkpointed = [True] * len(stage.checkpointed)
        return self

    def frozen(self) -> Self:
        """Train the mask decoder alone, as the preset `frozen` does; in place."""
        for name, part in self.sam.named_children():
            part.requires_grad_(requires_grad=name == "mask_decoder")
        return self

    def decoding(self, at_once: int) -> Self:
        """Decode so many objects at once; in place."""
        self.objective.max_prompts_per_step = at_once
        return self


def _shared(sam: Sam) -> Sam:
    """Return a copy whose tensors have the same storage."""
    memo: dict[int, Any] = {}  # Any: as deepcopy wants it
    for tensor in chain(sam.parameters(), sam.buffers()):
        twin = tensor.detach()
        if isinstance(tensor, nn.Parameter):
            twin = nn.Parameter(twin, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = twin
    return copy.deepcopy(sam, memo)
