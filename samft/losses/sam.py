"""The weighted objective of one decoder pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, reduce
from typing import Final, NamedTuple

import torch
from torch import Tensor

from samft.losses.boundaries import boundary_loss, signed_distances, surface_loss
from samft.losses.iou import iou_loss, mask_iou
from samft.losses.pixels import bce_loss, focal_loss
from samft.losses.points import sample_at, uncertain_points
from samft.losses.references import LossReferences
from samft.losses.regions import dice_loss, tversky_loss
from samft.losses.settings import SamLossSettings
from samft.losses.skeletons import cldice_loss, target_skeleton
from samft.losses.terms import LossTerms
from samft.types import MaskOutput

_Loss = Callable[..., Tensor]

_ALWAYS_LOGGED: Final = ("focal", "dice")
_DISTANCE_LOSSES: Final[dict[str, _Loss]] = {"boundary": boundary_loss, "surface": surface_loss}


class _Truth(NamedTuple):
    """What masks are compared with."""

    targets: Tensor
    valid: Tensor | None
    references: LossReferences


class _Sample(NamedTuple):
    """Some pixels of logits, targets and valid, (P, 1, 1, N) each, or all of them."""

    logits: Tensor
    targets: Tensor
    valid: Tensor | None


class SamLoss:
    """SAM's objective for the masks of one decoder pass.

    Of several masks of one prompt only the best is trained: the one with the lowest weighted sum of
    the mask terms (all but predicted IoU), over all pixels. Predicted IoU is trained on the same
    mask; where there is no object its target is 0. With `points`, the pixel and region terms of
    that mask are computed on points drawn for it; the choice still looks at every pixel, which
    costs no graph and is free of sampling noise.

    Args:
        settings: Weights of the terms; default is the paper's.

    Raises:
        ConfigError: if a setting is out of range.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 3 and appendix A.
    """

    def __init__(self, settings: SamLossSettings | None = None) -> None:
        self.settings = settings or SamLossSettings()
        self.settings.validate()
        self._sampled = _sampled_losses(self.settings)
        self._cldice = partial(cldice_loss, iterations=self.settings.cldice_iterations)

    @property
    def logged(self) -> list[str]:
        """The terms worth a place in the log: focal, Dice, IoU and all others with a weight."""
        weights = self._all_weights(balanced_bce=self.settings.balanced_bce)
        return [*(name for name in weights if weights[name] or name in _ALWAYS_LOGGED), "iou"]

    def references(self, targets: Tensor, *, valid: Tensor | None = None) -> LossReferences:
        """Return the maps that terms with a weight read of the targets, for all passes of a batch.

        Args:
            targets: (P, 1, h, w) float in [0, 1], at the logits' resolution.
            valid: (P, 1, h, w) bool, False where the truth is unknown, or `None`.
        """
        settings = self.settings
        distances = skeleton = None
        if settings.boundary or settings.surface:
            distances = signed_distances(targets, valid=valid)
        if settings.cldice:
            iterations = settings.cldice_iterations
            skeleton = target_skeleton(targets, iterations=iterations, valid=valid)
        return LossReferences(distances=distances, skeleton=skeleton)

    def __call__(
        self,
        output: MaskOutput,
        targets: Tensor,
        *,
        valid: Tensor | None = None,
        progress: float = 1.0,
        balanced_bce: float | None = None,
        references: LossReferences | None = None,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """Return the objective of P objects, averaged over them.

        Args:
            output: Logits (P, M, h, w) and predicted IoU (P, M).
            targets: (P, 1, h, w) float in [0, 1], at the logits' resolution (see `targets_at`).
            valid: (P, 1, h, w) bool, False where the truth is unknown, or `None`.
            progress: Share of the training done, 0 to 1; sets the weight of balanced cross-entropy.
            balanced_bce: That weight itself, instead of what `progress` makes it.
            references: What the method `references` returned for these targets; computed here when
                not given.
            generator: Source of the random points, on the logits' device; default is torch's own.
                Not used when `points` is 0.
        """
        weight = self.settings.balanced_bce_at(progress) if balanced_bce is None else balanced_bce
        weights = self._weights(balanced_bce=weight)
        truth = _Truth(targets, valid, references or self.references(targets, valid=valid))
        best = self._choose(output.logits, truth, weights=weights)
        chosen = output.take(best)
        terms = self._compare(chosen.logits, truth, weights=weights, generator=generator)
        weighted = _weighted(terms, weights)
        actual = mask_iou(output.logits, targets, valid=valid)
        # Where there is no object no mask is worth keeping, not even the empty one that is right.
        empty = targets if valid is None else targets.masked_fill(~valid, 0)
        worth = actual.masked_fill(empty.sum(dim=(-2, -1)) == 0, 0)
        iou = self._iou(output.iou, worth, best)
        total = weighted[:, 0] + self.settings.iou * iou
        logged = {
            name: _over_objects(terms[name].detach()) if name in terms else total.new_zeros(())
            for name in self._all_weights(balanced_bce=weight)
        }
        return LossTerms(
            total=_over_objects(total),
            iou=_over_objects(iou.detach()),
            best=best,
            actual_iou=actual,
            **logged,
        )

    def _all_weights(self, *, balanced_bce: float) -> dict[str, float]:
        """Return the weight of every mask term, in the order in which they are summed."""
        settings = self.settings
        return {
            "focal": settings.focal,
            "dice": settings.dice,
            "balanced_bce": balanced_bce,
            "bce": settings.bce,
            "tversky": settings.tversky,
            "boundary": settings.boundary,
            "surface": settings.surface,
            "cldice": settings.cldice,
        }

    def _weights(self, *, balanced_bce: float) -> dict[str, float]:
        """Return the weights of the terms that are computed."""
        weights = self._all_weights(balanced_bce=balanced_bce)
        return {name: weights[name] for name in weights if weights[name] or name in _ALWAYS_LOGGED}

    @torch.no_grad()
    def _choose(self, logits: Tensor, truth: _Truth, *, weights: dict[str, float]) -> Tensor:
        # The choice is made without a graph and the chosen mask computed again with one: a third
        # of the memory of a graph over three masks, and the same gradient.
        if logits.shape[1] == 1:
            return torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        terms = self._mask_terms(logits, truth, names=weights)
        return _weighted(terms, weights).argmin(dim=1)

    def _compare(
        self,
        logits: Tensor,
        truth: _Truth,
        *,
        weights: dict[str, float],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Return the terms of the chosen masks, (P, 1) each."""
        settings = self.settings
        if settings.points == 0:
            return self._mask_terms(logits, truth, names=weights)
        points = uncertain_points(
            logits,
            settings.points,
            valid=truth.valid,
            oversample=settings.points_oversample,
            uncertain=settings.points_uncertain,
            generator=generator,
        )
        valid = None if truth.valid is None else sample_at(truth.valid, points)
        sample = _Sample(sample_at(logits, points), sample_at(truth.targets, points), valid)
        return self._mask_terms(logits, truth, names=weights, sample=sample)

    def _mask_terms(
        self,
        logits: Tensor,
        truth: _Truth,
        *,
        names: Iterable[str],
        sample: _Sample | None = None,
    ) -> dict[str, Tensor]:
        """Return the named terms, (P, M) each; those without a shape from the sample, if any."""
        targets, valid, references = truth
        sample = sample or _Sample(logits, targets, valid)
        terms = {}
        for name in names:
            if name in self._sampled:
                loss = self._sampled[name]
                terms[name] = loss(sample.logits, sample.targets, valid=sample.valid)
            elif name == "cldice":
                terms[name] = self._cldice(
                    logits, targets, valid=valid, skeleton=references.skeleton
                )
            else:
                loss = _DISTANCE_LOSSES[name]
                terms[name] = loss(logits, targets, valid=valid, distances=references.distances)
        return terms

    def _iou(self, predicted: Tensor, actual: Tensor, best: Tensor) -> Tensor:
        """Return the error of predicted IoU of each object, (P,)."""
        errors = iou_loss(predicted, actual, error=self.settings.iou_error)
        if self.settings.supervise_all_iou:
            return errors.mean(dim=1)
        return errors.gather(1, best[:, None])[:, 0]


def _sampled_losses(settings: SamLossSettings) -> dict[str, _Loss]:
    """Return the terms that need no neighbours, so that they can be taken on sampled pixels."""
    return {
        "focal": partial(focal_loss, alpha=settings.focal_alpha, gamma=settings.focal_gamma),
        "dice": dice_loss,
        "balanced_bce": partial(bce_loss, balanced=True),
        "bce": bce_loss,
        "tversky": partial(
            tversky_loss,
            alpha=settings.tversky_alpha,
            beta=settings.tversky_beta,
            gamma=settings.tversky_gamma,
        ),
    }


def _weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return reduce(torch.add, [weights[name] * terms[name] for name in terms])


def _over_objects(values: Tensor) -> Tensor:
    """Average over the first axis; no object gives a 0 that is still part of the graph."""
    return values.sum() / max(values.shape[0], 1)
