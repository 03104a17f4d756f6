"""Settings of edge detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samft.metrics.edge_matching import DISTANCE_RATIO
from samft.metrics.edges import NUM_THRESHOLDS
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeSettings(Settings):
    """How a model's masks become edges, and how these are scored.

    The defaults are the paper's. It does not say at which overlap redundant masks are dropped:
    `nms_thresh` is that of the automatic mask generator.

    Args:
        points_per_side: Points along each side of the grid; each is answered with three masks, all
            of which are used.
        points_per_batch: Most prompts decoded at once; does not change the result.
        nms_thresh: IoU of boxes above which the less confident mask is dropped.
        holes: Also take the boundaries of holes in masks, not only the outer ones.
        thin_sigma_px: Of the Gaussian after which thinning measures the direction of edges.
        thresholds: At how many strengths, evenly spaced inside (0, 1), edges are scored.
        distance_ratio: Farthest that an edge pixel may be from the one that somebody drew, as a
            share of the image's diagonal.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.2 and appendix D.2; scoring as in
    Arbelaez et al. 2011, IEEE PAMI 33(5).
    """

    section: ClassVar[str] = "edges"

    points_per_side: int = 16
    points_per_batch: int = 64
    nms_thresh: float = 0.7
    holes: bool = False
    thin_sigma_px: float = 2.0
    thresholds: int = NUM_THRESHOLDS
    distance_ratio: float = DISTANCE_RATIO

    def _check_ranges(self) -> None:
        self._require("points_per_side", low=1, high=256)
        self._require("points_per_batch", low=1)
        self._require("nms_thresh", low=0, high=1)
        self._require("thin_sigma_px", low=0.1, high=20)
        self._require("thresholds", low=1, high=999)
        self._require("distance_ratio", low=0, high=0.1)
