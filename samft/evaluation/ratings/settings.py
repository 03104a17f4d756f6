"""Settings of a rating study; the defaults are those of SAM's paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class RatingSettings(Settings):
    """What raters are shown.

    Args:
        prompt: What the models are asked with: the `point` farthest from the object's boundary, or
            its tight `box`.
        masks: Most objects of a data set, drawn at random; each gives one job per model.
        min_side: Objects of fewer than min_side x min_side pixels are left out.
        max_side: Images with a longer side are shown at this length, pixels.
        truth: Put the masks of the data among the jobs.
        raters: Sheets that the jobs are dealt to; each job goes to one.
        common: Jobs that all raters get, to see how well they agree.
        seed: Decides the objects and the order.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1 and appendix D.1: 1000 masks of at
    least 24^2 pixels per data set, images of at most 2000 pixels, one rating per job.
    """

    section: ClassVar[str] = "ratings"

    prompt: Literal["point", "box"] = "point"
    masks: int = 1000
    min_side: int = 24
    max_side: int = 2000
    truth: bool = True
    raters: int = 1
    common: int = 0
    seed: int = 0

    def _check_ranges(self) -> None:
        self._require("masks", low=1, high=100_000)
        self._require("min_side", low=1)
        self._require("max_side", low=64)
        self._require("raters", low=1, high=1000)
        self._require("common", low=0)
        self._require("seed", low=0)
