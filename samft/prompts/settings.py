"""How prompts are simulated in training, as plain numbers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal, Self, cast

from samft.errors import ConfigError, did_you_mean
from samft.prompts.selection import Balance
from samft.settings import Settings

PromptKind = Literal[
    "point", "center", "points", "scribble", "box", "frame", "mask", "lasso", "none"
]
"""What a first prompt can be."""

FIELDS: Final[dict[PromptKind, str]] = {
    "point": "points",
    "center": "points",
    "points": "points",
    "scribble": "points",
    "box": "box",
    "frame": "box",
    "mask": "mask",
    "lasso": "mask",
    "none": "nothing",
}
"""What each kind of prompt gives the model; the order is that in which a mix is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSettings(Settings):
    """How the prompts of a training step are simulated; the defaults are the paper's, or say so.

    Args:
        point_probability: Share of objects first prompted with a point; the others get a box.
            Without effect where `mix` is given.
        mix: Share of the objects first prompted with each kind, together 1, as `{point: 0.5,
            box: 0.3, scribble: 0.2}`. Kinds: `point` anywhere on the object, `center`, `points`
            (several), `scribble`, `box`, `frame` (a box around the whole input), `mask` (a wrong
            mask to be corrected), `lasso` (a rough outline, filled), `none`. `box+points` gives
            both to the same object; masks are best given with a point or a box. Empty:
            `point_probability`.
        box_shift: How the coordinates of a box move: `gaussian`, as in the paper; `uniform`, as
            in SAM 2; `outward`, uniform and never into the object, as in MedSAM and micro-sam.
        box_noise: Standard deviation of each box coordinate's noise, as a share of the box's side;
            for uniform shifts the largest.
        box_noise_max_px: Largest shift of a box coordinate in pixels of a 1024 x 1024 input;
            scaled with the input.
        min_points: Least points of an object of kind `points`.
        max_points: Most points of an object of kind `points`.
        negative_share: Share of the `points` after the first that say where the object is not, and
            share of the objects of kind `scribble` that get a stroke beside the object.
        scribble_points: Points along a stroke.
        mask_damage: How wrong a `mask` is and how loose a `lasso`, as a share of the object's size.
        rounds: Corrective clicks, one decoder pass each, after the first pass.
        rounds_from: Share of the training after which corrective clicks and extra passes begin;
            weights that start from nothing learn faster when first answers come first.
        extra_passes: Passes without a new click: one is the last, others lie at random places
            between the clicks.
        click: Where a corrective click falls: `uniform` anywhere in the error region, at its
            `center`, as in evaluation, or a `pair` of one positive and one negative click.
        click_from_truth: Share of corrective clicks that fall anywhere on the object instead, as if
            nothing of it had been found.
        feed_back_logits: Hand the logits of the best mask to the next pass.
        feed_back_probability: Share of the objects, drawn in each pass, for which that is done.
        background_clicks: Clicks beside all objects in every image, also in those without any,
            whose right answer is an empty mask and a predicted IoU of 0.
        multimask: First prompts for which three masks are trained: only `ambiguous` ones, which are
            a lone point or nothing, as in SAM 2, while the others train the single mask, with which
            boxes are answered; or `all`, as in the paper. Where no pass follows the first, `all`
            means `ambiguous`: nothing else would train the single mask.
        max_objects_per_image: Most objects of one image in a step, chosen at random.
        balance: How the objects of a crowded image are drawn: `none`, all with the same chance, or
            so that each `class` or each `size` takes its turn.
        max_area_fraction: Objects that cover more than this share of the image are left out.
        min_area: Objects of fewer pixels of the input frame are left out; how many is logged.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A, "Training algorithm".
    """

    section: ClassVar[str] = "prompts"

    point_probability: float = 0.5
    mix: dict[str, float] = field(default_factory=dict)
    box_shift: Literal["gaussian", "uniform", "outward"] = "gaussian"
    box_noise: float = 0.1
    box_noise_max_px: float = 20.0
    min_points: int = 1
    max_points: int = 5
    negative_share: float = 0.25
    scribble_points: int = 8
    mask_damage: float = 0.1
    rounds: int = 8
    extra_passes: int = 2
    rounds_from: float = 0.0
    click: Literal["uniform", "center", "pair"] = "uniform"
    click_from_truth: float = 0.0
    feed_back_logits: bool = True
    feed_back_probability: float = 1.0
    background_clicks: int = 0
    multimask: Literal["all", "ambiguous"] = "ambiguous"
    max_objects_per_image: int = 64
    balance: Balance = "none"
    max_area_fraction: float = 0.9
    min_area: int = 1

    def at(self, progress: float) -> Self:
        """Return the settings that hold when `progress` (0 to 1) of the training is done."""
        if progress >= self.rounds_from:
            return self
        return replace(self, rounds=0, extra_passes=0)

    @property
    def clear_prompts_have_one_mask(self) -> bool:
        """Whether first prompts that are not ambiguous train the single mask."""
        return self.multimask == "ambiguous" or self.rounds + self.extra_passes == 0

    def shares(self) -> dict[str, float]:
        """Return the share of each kind of first prompt, together 1.

        The order does not depend on how the mix was written, so that a saved file, whose keys may
        have been sorted, repeats the run.
        """
        if not self.mix:
            return {"point": self.point_probability, "box": 1 - self.point_probability}
        order = list(FIELDS)
        names = sorted(self.mix, key=lambda name: [order.index(part) for part in parts_of(name)])
        return {name: self.mix[name] for name in names}

    def _check_ranges(self) -> None:
        for name in (
            *("point_probability", "negative_share", "mask_damage", "click_from_truth"),
            *("rounds_from", "feed_back_probability", "max_area_fraction"),
        ):
            self._require(name, low=0, high=1)
        for name in (
            "box_noise",
            "box_noise_max_px",
            "rounds",
            "extra_passes",
            "background_clicks",
        ):
            self._require(name, low=0)
        for name in ("min_points", "scribble_points", "max_objects_per_image", "min_area"):
            self._require(name, low=1)
        self._require("max_points", low=self.min_points)
        for name in self.mix:
            _check_kind(name, f"{self.section}.mix")
        self._check_shares()

    def _check_shares(self) -> None:
        shares = list(self.mix.values())
        wrong = any(not (0 <= share <= 1) for share in shares)
        if shares and (wrong or not math.isclose(math.fsum(shares), 1, abs_tol=1e-6)):
            raise ConfigError(
                "the shares of the mix do not make a whole",
                where=f"{self.section}.mix",
                found=f"{dict(self.mix)}, together {math.fsum(shares):g}",
                expected="each 0 to 1, together 1",
            )


def parts_of(name: str) -> list[PromptKind]:
    """Return the kinds in the name of a mix: `box+points` is a box and points."""
    return cast(list[PromptKind], name.split("+"))


def _check_kind(name: str, where: str) -> None:
    parts = parts_of(name)
    for part in parts:
        if part not in FIELDS:
            raise ConfigError(
                f"no prompt is called {part!r}",
                where=where,
                found=repr(name),
                fix=did_you_mean(part, FIELDS),
            )
    counts = Counter(FIELDS[part] for part in parts)
    if len(parts) > 1 and (counts["nothing"] or counts["box"] > 1 or counts["mask"] > 1):
        raise ConfigError(
            "these prompts cannot be given to one object together",
            where=where,
            found=repr(name),
            expected="any points, at most one box and at most one mask",
        )
