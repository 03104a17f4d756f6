"""What one training step does with a batch: choose objects, simulate a user, compare, average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.data.windows import cut_windows
from samft.errors import ConfigError
from samft.losses import LossTerms, SamLoss, SamLossSettings, targets_at
from samft.models.sam import Sam
from samft.prompts.rounds import interactive_rounds
from samft.prompts.selection import select_objects
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import build_simulator
from samft.settings import Settings
from samft.types import MaskOutput, PromptBatch, SamBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings(Settings):
    """Whether training images are cut into windows, each answered alone.

    A decoder pass costs as much as the map it looks at: cut in two along each side, the same
    pixels train four times as many objects in the same time. Needs an encoder that takes windows
    (TinyViT).

    Args:
        parts: Windows along each side; 1 leaves images whole.
        share: Share of the training steps that cut their images; the others see them whole, so
            that large objects are learned too.
    """

    section: ClassVar[str] = "windows"

    parts: int = 1
    share: float = 0.75

    def _check_ranges(self) -> None:
        self._require("parts", low=1)
        self._require("share", low=0, high=1)


class InteractiveObjective:
    """The training objective of a batch, as a function of the random generator alone.

    Args:
        sam: The model.
        prompts: How prompts are simulated.
        loss: Weights of the objective.
        loss_stride: The loss compares masks at 1 / loss_stride of the input side.
        windows: Whether images are cut.

    Raises:
        ConfigError: if `loss_stride` is no choice or the model cannot be given windows.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 3 and appendix A.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        prompts: PromptSettings,
        loss: SamLossSettings,
        loss_stride: int = 4,
        windows: WindowSettings | None = None,
    ) -> None:
        self.sam = sam
        self.prompts = prompts
        self.windows = windows or WindowSettings()
        self.loss_stride = loss_stride
        self.simulator = build_simulator(prompts)
        self.loss = SamLoss(loss)
        _check_stride(loss_stride)
        _check_windows(self.windows, sam)

    def __call__(
        self,
        batch: SamBatch,
        *,
        encode: Callable[[SamBatch], Tensor],
        generator: torch.Generator,
        progress: float = 0.0,
    ) -> LossTerms:
        """Return the objective of one batch, averaged over prompt rounds.

        Args:
            batch: B images with P objects; P may be 0.
            encode: Gives the image embeddings of a batch.
            generator: Source of all randomness, on the batch's device.
            progress: Share of the training done, 0 to 1, for terms that fade out.
        """
        batch, origin = self._window(batch, generator)
        rows = select_objects(
            batch,
            max_per_image=self.prompts.max_objects_per_image,
            max_area_fraction=self.prompts.max_area_fraction,
            generator=generator,
        )
        embeddings = encode(batch)
        batch = batch.select(rows)
        masks, ignored = batch.masks(), batch.ignored()
        side = batch.images.shape[-1] // self.loss_stride
        targets = targets_at(masks, (side, side))
        valid = targets_at(ignored, (side, side)) == 0 if bool(ignored.any()) else None

        def decode(prompts: PromptBatch, multimask: bool) -> MaskOutput:
            return self.sam.decode(embeddings, prompts, multimask=multimask, origin=origin)

        rounds = interactive_rounds(
            decode,
            masks,
            batch.image_index,
            self.prompts.at(progress),
            simulator=self.simulator,
            generator=generator,
            ignored=ignored,
        )
        terms = [
            self.loss(_resized(item.output, side), targets, valid=valid, progress=progress)
            for item in rounds
        ]
        return LossTerms.mean(terms)

    def _window(
        self, batch: SamBatch, generator: torch.Generator
    ) -> tuple[SamBatch, tuple[int, int]]:
        """Return the batch, cut or whole, and where in the input frame it is taken to lie."""
        parts = self.windows.parts
        if parts == 1 or float(_draw(generator)) >= self.windows.share:
            return batch, (0, 0)
        room = batch.images.shape[-1] * (parts - 1) // parts + 1
        # One place for all windows: position codes depend on differences, and over the steps
        # every place comes up.
        x, y = (int(float(_draw(generator)) * room) for _ in range(2))
        return cut_windows(batch, parts), (x, y)


def _draw(generator: torch.Generator) -> Tensor:
    return torch.rand((), generator=generator, device=generator.device)


def _resized(output: MaskOutput, side: int) -> MaskOutput:
    """Bring logits to the resolution of the loss."""
    if output.logits.shape[-1] == side:
        return output
    logits = F.interpolate(output.logits, size=(side, side), mode="bilinear", align_corners=False)
    return replace(output, logits=logits)


def _check_stride(stride: int) -> None:
    if stride not in (1, 2, 4):
        raise ConfigError("loss_stride must be 1, 2 or 4", where="model.loss_stride", found=stride)


def _check_windows(windows: WindowSettings, sam: Sam) -> None:
    windows.validate()
    if windows.parts == 1:
        return
    if not sam.takes_windows:
        raise ConfigError(
            "this image encoder cannot be given windows: its position tables are those of the "
            "whole image",
            where="model.windows.parts",
            found=windows.parts,
            expected="1",
            fix="leave model.windows out, or choose an architecture with a TinyViT",
        )
    if sam.config.grid_size % windows.parts:
        raise ConfigError(
            "the image embedding cannot be cut into so many windows",
            where="model.windows.parts",
            found=windows.parts,
            expected=f"a divisor of {sam.config.grid_size}",
        )
