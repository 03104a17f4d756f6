"""The Tversky loss; Dice is tried with the pixel losses."""

import pytest
import torch
from loss_cases import case

from samft.losses import dice_loss, tversky_loss


def test_hand_computed_at_even_odds():
    # Every probability is 1/2, three of four pixels are object: 1.5 found, 0.5 alarms, 1.5 missed.
    logits = torch.zeros(1, 1, 2, 2)
    targets = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    expected = 1 - (1.5 + 1) / (1.5 + 0.3 * 0.5 + 0.7 * 1.5 + 1)
    assert tversky_loss(logits, targets).item() == pytest.approx(expected)
    value = tversky_loss(logits, targets, gamma=4 / 3).item()
    assert value == pytest.approx(expected**0.75)


def test_equal_weights_are_dice_and_jaccard():
    logits, targets, valid = case(dtype=torch.float64)
    half = tversky_loss(logits, targets, alpha=0.5, beta=0.5, smooth=0.5, valid=valid)
    assert torch.allclose(half, dice_loss(logits, targets, valid=valid))
    probs = logits.sigmoid() * valid
    overlap = (probs * targets).sum(dim=(2, 3))
    union = probs.sum(dim=(2, 3)) + (targets * valid).sum(dim=(2, 3)) - overlap
    whole = tversky_loss(logits, targets, alpha=1.0, beta=1.0, smooth=0.0, valid=valid)
    assert torch.allclose(whole, 1 - overlap / union)


def test_beta_above_alpha_favours_recall():
    targets = torch.zeros(1, 1, 8, 8)
    targets[..., 2:6, 2:6] = 1
    timid, bold = torch.full_like(targets, -9.0), torch.full_like(targets, -9.0)
    timid[..., 3:6, 2:6] = 9  # four pixels missed
    bold[..., 1:6, 2:6] = 9  # four pixels too many
    assert tversky_loss(bold, targets) < tversky_loss(timid, targets)
    swapped = {"alpha": 0.7, "beta": 0.3}
    assert tversky_loss(timid, targets, **swapped) < tversky_loss(bold, targets, **swapped)


def test_gamma_keeps_the_gradient_of_good_masks():
    targets = torch.zeros(1, 1, 8, 8)
    targets[..., 2:6, 2:6] = 1
    slopes = []
    for gamma in (1.0, 4 / 3):
        logits = (10 * targets - 5).requires_grad_()
        tversky_loss(logits, targets, gamma=gamma).sum().backward()
        slopes.append(logits.grad.abs().sum())
    assert slopes[1] > 1.5 * slopes[0]


def test_a_perfect_mask_has_a_finite_gradient():
    targets = torch.ones(1, 1, 4, 4)
    logits = torch.full_like(targets, 200.0).requires_grad_()
    tversky_loss(logits, targets, gamma=3.0).sum().backward()
    assert logits.grad.isfinite().all()
