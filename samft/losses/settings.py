"""The objective as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samft.losses.iou import IouError
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class SamLossSettings(Settings):
    """Weights of the terms of SAM's objective; the defaults are the paper's.

    Terms with weight 0 are not computed, apart from focal and Dice, which are always logged.

    Args:
        focal: Weight of the focal loss.
        dice: Weight of the Dice loss.
        iou: Weight of the error of predicted IoU.
        focal_alpha: Weight of object pixels in the focal loss; background pixels get the rest.
        focal_gamma: How fast well-predicted pixels lose weight in the focal loss.
        balanced_bce: Weight of class-balanced cross-entropy at the start of training; above 0 for
            weights that start from nothing.
        balanced_bce_until: Share of the training after which that weight has faded to 0, linearly.
        supervise_all_iou: Train predicted IoU on every mask, not only on the best one, as SAM 2
            does.
        iou_error: `mse` as SAM, or `l1` as SAM 2.
        bce: Weight of plain cross-entropy.
        tversky: Weight of the Tversky loss.
        tversky_alpha: Weight of predicted area outside the object in the Tversky loss.
        tversky_beta: Weight of object area that was missed in the Tversky loss.
        tversky_gamma: Above 1 makes it the focal Tversky loss.
        boundary: Weight of the boundary loss, the mean distance of wrong pixels from the boundary
            in units of the image side.
        surface: Weight of the generalised surface loss, against far outliers.
        cldice: Weight of the centre-line loss for vessels.
        cldice_iterations: Radius in pixels of the loss of the thickest vessel.
        points: Pixels per mask on which focal, Dice, cross-entropy and Tversky loss are trained;
            0 is all. HQ-SAM takes 12544 (112 x 112).
        points_oversample: Candidates for the preferred points, as a multiple of `points`.
        points_uncertain: Share of the points that are the candidates with the smallest |logit|;
            the rest are uniform.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A (20, 1, 1).
    """

    section: ClassVar[str] = "loss"

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    balanced_bce: float = 0.0
    balanced_bce_until: float = 0.6
    supervise_all_iou: bool = False
    iou_error: IouError = "mse"
    bce: float = 0.0
    tversky: float = 0.0
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7
    tversky_gamma: float = 1.0
    boundary: float = 0.0
    surface: float = 0.0
    cldice: float = 0.0
    cldice_iterations: int = 10
    points: int = 0
    points_oversample: float = 3.0
    points_uncertain: float = 0.75

    def _check_ranges(self) -> None:
        for name in ("focal", "dice", "iou", "balanced_bce", "bce", "tversky", "boundary"):
            self._require(name, low=0)
        for name in ("surface", "cldice", "focal_gamma", "tversky_alpha", "tversky_beta"):
            self._require(name, low=0)
        for name in ("focal_alpha", "balanced_bce_until", "points_uncertain"):
            self._require(name, low=0, high=1)
        for name in ("tversky_gamma", "cldice_iterations", "points_oversample"):
            self._require(name, low=1)
        self._require("points", low=0)

    def balanced_bce_at(self, progress: float) -> float:
        """Return the weight of balanced cross-entropy when `progress` (0 to 1) is done."""
        if progress >= self.balanced_bce_until:
            return 0.0
        return self.balanced_bce * (1 - progress / self.balanced_bce_until)
