"""Focal loss and cross-entropy, and the pixel sums of Dice, against the papers."""

import math

import numpy as np
import pytest
import torch
from loss_cases import LOSSES, case
from torch.nn import functional as F

from samft.losses import bce_loss, dice_loss, focal_loss, mask_iou

NAMES = ("focal", "dice", "bce", "balanced bce")


def naive(name, x, t, keep):
    """One mask, pixel by pixel, as the papers write it."""
    pixels = [(1 / (1 + math.exp(-a)), b) for a, b in zip(x[keep], t[keep], strict=True)]
    if name == "focal":
        terms = [
            -(0.25 if b else 0.75) * (1 - (p if b else 1 - p)) ** 2 * math.log(p if b else 1 - p)
            for p, b in pixels
        ]
        return sum(terms) / len(terms)
    if name == "dice":
        overlap = sum(p * b for p, b in pixels)
        return 1 - (2 * overlap + 1) / (sum(p + b for p, b in pixels) + 1)
    if name == "bce":
        return -sum(math.log(p if b else 1 - p) for p, b in pixels) / len(pixels)
    on = [-math.log(p) for p, b in pixels if b]
    off = [-math.log(1 - p) for p, b in pixels if not b]
    return sum(on) / len(on) / 2 + sum(off) / len(off) / 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("partly", [False, True])
def test_against_a_loop_over_pixels(name, partly):
    logits, targets, valid = case(dtype=torch.float64)
    values = LOSSES[name](logits, targets, valid=valid if partly else None)
    assert values.shape == (5, 3)
    for prompt in range(5):
        keep = valid[prompt, 0].numpy() if partly else np.ones((6, 6), dtype=bool)
        for mask in range(3):
            expected = naive(name, logits[prompt, mask].numpy(), targets[prompt, 0].numpy(), keep)
            assert values[prompt, mask].item() == pytest.approx(expected, rel=1e-9)


def test_hand_computed_at_even_odds():
    # Every probability is 1/2; three of four pixels belong to the object.
    logits = torch.zeros(1, 1, 2, 2)
    targets = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    share = (3 * 0.25 + 1 * 0.75) / 4
    assert focal_loss(logits, targets).item() == pytest.approx(share * 0.25 * math.log(2))
    share = (3 * 0.9 + 1 * 0.1) / 4
    value = focal_loss(logits, targets, alpha=0.9, gamma=3.0).item()
    assert value == pytest.approx(share * 0.125 * math.log(2))
    assert dice_loss(logits, targets).item() == pytest.approx(1 - (2 * 1.5 + 1) / (2 + 3 + 1))
    assert bce_loss(logits, targets).item() == pytest.approx(math.log(2))
    assert mask_iou(logits + 1, targets).item() == pytest.approx(0.75)


def test_focal_without_focus_is_half_the_cross_entropy():
    logits, targets, _ = case()
    expected = F.binary_cross_entropy_with_logits(
        logits, targets.expand_as(logits), reduction="none"
    ).mean(dim=(2, 3))
    assert torch.allclose(focal_loss(logits, targets, alpha=0.5, gamma=0.0), expected / 2)
    assert torch.allclose(bce_loss(logits, targets), expected)


def test_balanced_bce_ignores_the_ratio_of_areas():
    # A wrong object pixel and a wrong background weigh the same, whatever their areas.
    logits = torch.full((1, 1, 10, 10), -2.0)
    small = torch.zeros(1, 1, 10, 10)
    small[..., 0, 0] = 1
    large = small.clone()
    large[..., :5, :] = 1
    first, second = (bce_loss(logits, target, balanced=True) for target in (small, large))
    assert torch.allclose(first, second)
    assert first.item() > 10 * bce_loss(logits, small).item() / 2


def test_balanced_bce_with_one_class_only():
    logits = torch.full((1, 1, 4, 4), -2.0)
    value = bce_loss(logits, torch.zeros(1, 1, 4, 4), balanced=True)
    assert value.item() == pytest.approx(math.log1p(math.exp(-2)) / 2, rel=1e-5)
