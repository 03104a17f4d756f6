"""How prompts are simulated in training, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSettings(Settings):
    """How the prompts of a training step are simulated; the defaults are the paper's.

    Args:
        point_probability: Share of objects first prompted with a point; the others get a box.
        box_noise: Standard deviation of each box coordinate's noise, as a share of the box's side.
        box_noise_max_px: Largest shift of a box coordinate in pixels of a 1024 x 1024 input;
            scaled with the input.
        rounds: Corrective clicks, one decoder pass each, after the first pass.
        rounds_from: Share of the training after which corrective clicks and extra passes begin;
            weights that start from nothing learn faster when first answers come first.
        extra_passes: Passes without a new click: one is the last, others lie at random places
            between the clicks.
        click: Where a corrective click falls: `uniform` anywhere in the error region, or at its
            `center`, as in evaluation.
        feed_back_logits: Hand the logits of the best mask to the next pass.
        max_objects_per_image: Most objects of one image in a step, chosen at random.
        max_area_fraction: Objects that cover more than this share of the image are left out.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A, "Training algorithm".
    """

    section: ClassVar[str] = "prompts"

    point_probability: float = 0.5
    box_noise: float = 0.1
    box_noise_max_px: float = 20.0
    rounds: int = 8
    extra_passes: int = 2
    rounds_from: float = 0.0
    click: Literal["uniform", "center"] = "uniform"
    feed_back_logits: bool = True
    max_objects_per_image: int = 64
    max_area_fraction: float = 0.9

    def at(self, progress: float) -> Self:
        """Return the settings that hold when `progress` (0 to 1) of the training is done."""
        if progress >= self.rounds_from:
            return self
        return replace(self, rounds=0, extra_passes=0)

    def _check_ranges(self) -> None:
        self._require("point_probability", low=0, high=1)
        self._require("box_noise", low=0)
        self._require("box_noise_max_px", low=0)
        self._require("rounds", low=0)
        self._require("extra_passes", low=0)
        self._require("rounds_from", low=0, high=1)
        self._require("max_objects_per_image", low=1)
        self._require("max_area_fraction", low=0, high=1)
