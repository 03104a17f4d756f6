"""The training objective of SAM, and the functions it is made of.

Every function that compares logits with targets returns one value per mask, (P, M), computes in
float32 (or float64) also under autocast, and leaves pixels out where `valid` is False. Targets may
be fractions (`targets_at`): the pixel and region losses are linear in the target, so they equal the
loss at full resolution for a prediction that is constant on each averaged area.
"""

from samft.losses.boundaries import boundary_loss, signed_distances, surface_loss
from samft.losses.iou import iou_loss, mask_iou
from samft.losses.pixels import bce_loss, focal_loss
from samft.losses.points import sample_at, uncertain_points
from samft.losses.references import LossReferences
from samft.losses.regions import dice_loss, tversky_loss
from samft.losses.sam import SamLoss
from samft.losses.settings import SamLossSettings
from samft.losses.skeletons import cldice_loss, soft_skeleton, target_skeleton
from samft.losses.targets import targets_at
from samft.losses.terms import LossTerms

__all__ = [
    "LossReferences",
    "LossTerms",
    "SamLoss",
    "SamLossSettings",
    "bce_loss",
    "boundary_loss",
    "cldice_loss",
    "dice_loss",
    "focal_loss",
    "iou_loss",
    "mask_iou",
    "sample_at",
    "signed_distances",
    "soft_skeleton",
    "surface_loss",
    "target_skeleton",
    "targets_at",
    "tversky_loss",
    "uncertain_points",
]
