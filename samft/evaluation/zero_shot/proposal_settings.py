"""Settings of object proposals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalSettings(Settings):
    """How a model proposes the objects of an image, and how many count.

    The defaults are the paper's; those of its model with one mask per point are `single_output`.

    Args:
        points_per_side: Points along each side of the grid.
        points_per_batch: Most prompts decoded at once; does not change the result.
        masks_per_point: `three` for all answers to an ambiguous point, `one` for token 0.
        nms_thresh: IoU of boxes above which the less confident mask is dropped.
        stability_score_offset: Logits by which the threshold is moved to measure stability.
        rank: What decides which proposals count if there are too many: `quality` is the mean of
            predicted IoU and stability, `random` is drawn with `seed`.
        most: Proposals of an image that count.
        seed: Decides the random rank.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.3 and appendix D.3.
    """

    section: ClassVar[str] = "proposals"

    points_per_side: int = 64
    points_per_batch: int = 64
    masks_per_point: Literal["three", "one"] = "three"
    nms_thresh: float = 0.9
    stability_score_offset: float = 1.0
    rank: Literal["quality", "random"] = "quality"
    most: int = 1000
    seed: int = 0

    @classmethod
    def single_output(cls, **changes: Any) -> Self:  # Any: checked against the settings' types
        """Return the settings of the ablation: 128 x 128 points, one mask each, in random order.

        Args:
            changes: Single settings that differ from these.

        Raises:
            ConfigError: if a setting is unknown or out of range.
        """
        ablation = {
            "points_per_side": 128,
            "masks_per_point": "one",
            "nms_thresh": 0.95,
            "rank": "random",
        }
        return cls.from_dict({**ablation, **changes})

    def _check_ranges(self) -> None:
        self._require("points_per_side", low=1, high=256)
        self._require("points_per_batch", low=1)
        self._require("nms_thresh", low=0, high=1)
        self._require("stability_score_offset", low=0)
        self._require("most", low=1)
        self._require("seed", low=0)
