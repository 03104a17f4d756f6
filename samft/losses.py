"""The training objective of SAM, and the functions it is made of.

Every function returns one value per mask, computes in float32 (or float64) also under autocast, and
leaves pixels out where `valid` is False. Targets may be fractions: every term is linear in the
target, so with targets averaged over areas (`targets_at`) it equals the term at full resolution
for a prediction that is constant on each area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.settings import Settings
from samft.types import MaskOutput

_OBJECTS_AT_ONCE = 8
_TINY = 1e-6


def targets_at(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring masks to the resolution of the logits by averaging over areas.

    Averages rather than nearest pixels, because an object smaller than a logit pixel may hold none
    of the sampled positions: it would vanish. As an average it keeps its exact area.

    Args:
        masks: (P, S, S) bool.
        size: (height, width) of the logits.

    Returns:
        (P, 1, *size) float32 in [0, 1], the share of each logit pixel that the mask covers.
    """
    # A few objects at a time: all of them in float32 would take four times the masks' memory.
    chunks = [
        F.interpolate(chunk[:, None].float(), size=size, mode="area")
        for chunk in torch.split(masks, _OBJECTS_AT_ONCE)
    ]
    return torch.cat(chunks)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Cross-entropy that counts pixels less the better they are already predicted.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        alpha: Weight of object pixels; background pixels get 1 - alpha.
        gamma: How fast well-predicted pixels lose weight; 0 is plain cross-entropy.
        valid: (P, 1, h, w) bool, or `None` for all pixels.

    Returns:
        (P, M), the mean over valid pixels; 0 where none is valid.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5; alpha and gamma of SAM 2's training code
    (the SAM paper gives none).
    """
    logits, targets = _precise(logits), _precise(targets)
    # -log p and -log(1 - p). Powers of p are taken as exponentials of these: unlike p**gamma they
    # have a finite gradient for every gamma, also where p is 0 or 1 in floating point.
    miss, alarm = F.softplus(-logits), F.softplus(logits)
    on_object = alpha * torch.exp(-gamma * alarm) * miss
    on_background = (1 - alpha) * torch.exp(-gamma * miss) * alarm
    return _mean(targets * on_object + (1 - targets) * on_background, valid)


def dice_loss(
    logits: Tensor, targets: Tensor, *, valid: Tensor | None = None, smooth: float = 1.0
) -> Tensor:
    """One minus the soft Dice overlap.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        smooth: Added above and below the fraction bar, in pixels: an empty answer to an empty
            target is right.

    Returns:
        (P, M) in [0, 1].

    Source: Milletari et al. 2016, arXiv:1606.04797, with the sums of SAM 2's training code.
    """
    targets = _precise(targets)
    probs = _precise(logits).sigmoid()
    overlap = _sum(probs * targets, valid)
    areas = _sum(probs, valid) + _sum(targets, valid)
    return 1 - (2 * overlap + smooth) / (areas + smooth)


def bce_loss(
    logits: Tensor, targets: Tensor, *, valid: Tensor | None = None, balanced: bool = False
) -> Tensor:
    """Binary cross-entropy.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1].
        valid: (P, 1, h, w) bool, or `None` for all pixels.
        balanced: Give object and background half the weight each, whatever their areas; keeps a
            model that starts from nothing from answering every small object with an empty mask.

    Returns:
        (P, M), the mean over valid pixels, or the mean of the two means.

    Source: the balance is that of Xie and Tu 2015, arXiv:1504.06375, equation 2, with each side
    normalised by its own area.
    """
    logits, targets = _precise(logits), _precise(targets)
    on_object = targets * F.softplus(-logits)
    on_background = (1 - targets) * F.softplus(logits)
    if not balanced:
        return _mean(on_object + on_background, valid)
    object_mean = _sum(on_object, valid) / _sum(targets, valid).clamp(min=_TINY)
    background_mean = _sum(on_background, valid) / _sum(1 - targets, valid).clamp(min=_TINY)
    return (object_mean + background_mean) / 2


@torch.no_grad()
def mask_iou(logits: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Return the IoU of the masks `logits > 0`, (P, M) in [0, 1], without a gradient.

    Two empty masks agree: 1.

    Args:
        logits: (P, M, h, w).
        targets: (P, 1 or M, h, w) float in [0, 1]; fractions count as the area they stand for.
        valid: (P, 1, h, w) bool, or `None` for all pixels.
    """
    targets = _precise(targets)
    predicted = (logits > 0).to(targets.dtype)
    overlap = _sum(predicted * targets, valid)
    union = _sum(predicted, valid) + _sum(targets, valid) - overlap
    return torch.where(union > 0, overlap / union.clamp(min=_TINY), 1.0)


def iou_loss(predicted: Tensor, actual: Tensor) -> Tensor:
    """Return the squared error of predicted IoU, (P, M), both in [0, 1] when right.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A ("mean-square-error loss").
    """
    return (_precise(predicted) - _precise(actual.detach())) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class SamLossSettings(Settings):
    """Weights of the terms of SAM's objective; the defaults are the paper's.

    Args:
        focal: Weight of the focal loss.
        dice: Weight of the Dice loss.
        iou: Weight of the squared error of predicted IoU.
        focal_alpha: Weight of object pixels in the focal loss; background pixels get the rest.
        focal_gamma: How fast well-predicted pixels lose weight in the focal loss.
        balanced_bce: Weight of class-balanced cross-entropy at the start of training; above 0 for
            weights that start from nothing.
        balanced_bce_until: Share of the training after which that weight has faded to 0, linearly.
        supervise_all_iou: Train predicted IoU on every mask, not only on the best one, as SAM 2
            does.

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

    def _check_ranges(self) -> None:
        for name in ("focal", "dice", "iou", "focal_gamma", "balanced_bce"):
            self._require(name, low=0)
        self._require("focal_alpha", low=0, high=1)
        self._require("balanced_bce_until", low=0, high=1)

    def balanced_bce_at(self, progress: float) -> float:
        """Return the weight of balanced cross-entropy when `progress` (0 to 1) is done."""
        if progress >= self.balanced_bce_until:
            return 0.0
        return self.balanced_bce * (1 - progress / self.balanced_bce_until)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """The objective of one decoder pass and its parts, each a mean over objects.

    Args:
        total: Scalar to call `backward` on: the weighted sum; an exact 0 when there is no object.
        focal: Scalar, unweighted, detached, of the chosen masks; for logging, like those below.
        dice: Scalar.
        iou: Scalar.
        balanced_bce: Scalar, 0 when its weight is 0.
        best: (P,) int64, the mask of each object that was trained.
        actual_iou: (P, M) IoU of each mask with the target.
    """

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    balanced_bce: Tensor
    best: Tensor
    actual_iou: Tensor

    @property
    def chosen_iou(self) -> Tensor:
        """Scalar, the mean IoU of the trained masks; of no object, NaN."""
        return self.actual_iou.gather(1, self.best[:, None]).mean()

    @classmethod
    def mean(cls, terms: Sequence[Self]) -> Self:
        """Average the scalars over decoder passes; `best` and `actual_iou` are the last pass's."""
        last = terms[-1]
        scalars = [item.name for item in fields(cls) if getattr(last, item.name).ndim == 0]
        means = {
            name: torch.stack([getattr(term, name) for term in terms]).mean() for name in scalars
        }
        return replace(last, **means)


class _MaskTerms(NamedTuple):
    """The terms that compare logits with targets, (P, M) each, and their weighted sum."""

    focal: Tensor
    dice: Tensor
    balanced_bce: Tensor
    weighted: Tensor


class SamLoss:
    """SAM's objective for the masks of one decoder pass.

    Of several masks of one prompt only the best is trained: the one with the lowest weighted sum of
    the mask terms (focal, Dice, and balanced cross-entropy while it lasts). Predicted IoU is
    trained on the same mask.

    Args:
        settings: Weights of the terms; default is the paper's.

    Raises:
        ConfigError: if a setting is out of range.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 3 and appendix A.
    """

    def __init__(self, settings: SamLossSettings | None = None) -> None:
        self.settings = settings or SamLossSettings()
        self.settings.validate()

    def __call__(
        self,
        output: MaskOutput,
        targets: Tensor,
        *,
        valid: Tensor | None = None,
        progress: float = 1.0,
        balanced_bce: float | None = None,
    ) -> LossTerms:
        """Return the objective of P objects, averaged over them.

        Args:
            output: Logits (P, M, h, w) and predicted IoU (P, M).
            targets: (P, 1, h, w) float in [0, 1], at the logits' resolution (see `targets_at`).
            valid: (P, 1, h, w) bool, False where the truth is unknown, or `None`.
            progress: Share of the training done, 0 to 1; sets the weight of balanced cross-entropy.
            balanced_bce: That weight itself, instead of what `progress` makes it.
        """
        weight = self.settings.balanced_bce_at(progress) if balanced_bce is None else balanced_bce
        # The choice is made without a graph and the chosen mask computed again with one: a third
        # of the memory of a graph over three masks, and the same gradient.
        with torch.no_grad():
            terms = self._mask_terms(output.logits, targets, valid=valid, balanced_bce=weight)
        best = terms.weighted.argmin(dim=1)
        chosen = output.take(best)
        terms = self._mask_terms(chosen.logits, targets, valid=valid, balanced_bce=weight)
        actual = mask_iou(output.logits, targets, valid=valid)
        iou = iou_loss(output.iou, actual)
        if self.settings.supervise_all_iou:
            iou = iou.mean(dim=1)
        else:
            iou = iou.gather(1, best[:, None])[:, 0]
        total = terms.weighted[:, 0] + self.settings.iou * iou
        return LossTerms(
            total=_over_objects(total),
            focal=_over_objects(terms.focal.detach()),
            dice=_over_objects(terms.dice.detach()),
            iou=_over_objects(iou.detach()),
            balanced_bce=_over_objects(terms.balanced_bce.detach()),
            best=best,
            actual_iou=actual,
        )

    def _mask_terms(
        self, logits: Tensor, targets: Tensor, *, valid: Tensor | None, balanced_bce: float
    ) -> _MaskTerms:
        settings = self.settings
        focal = focal_loss(
            logits,
            targets,
            alpha=settings.focal_alpha,
            gamma=settings.focal_gamma,
            valid=valid,
        )
        dice = dice_loss(logits, targets, valid=valid)
        weighted = settings.focal * focal + settings.dice * dice
        if balanced_bce == 0:
            return _MaskTerms(focal, dice, torch.zeros_like(dice), weighted)
        bce = bce_loss(logits, targets, valid=valid, balanced=True)
        return _MaskTerms(focal, dice, bce, weighted + balanced_bce * bce)


def _over_objects(values: Tensor) -> Tensor:
    """Average over the first axis; no object gives a 0 that is still part of the graph."""
    return values.sum() / max(values.shape[0], 1)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _sum(pixels: Tensor, valid: Tensor | None) -> Tensor:
    if valid is not None:
        pixels = pixels.masked_fill(~valid, 0)
    return pixels.sum(dim=(-2, -1))


def _mean(pixels: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return pixels.mean(dim=(-2, -1))
    return _sum(pixels, valid) / valid.sum(dim=(-2, -1)).clamp(min=1)
