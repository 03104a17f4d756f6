"""Soft skeletons and the centre-line loss."""

import numpy as np
import pytest
import torch
from loss_cases import case, seeded
from scipy import ndimage

from samft.losses import cldice_loss, dice_loss, soft_skeleton, target_skeleton

PLUS = ndimage.generate_binary_structure(2, 1)
HARD = 1e4


def reference_skeleton(mask, iterations):
    """The algorithm on one mask with scipy's grey morphology."""

    def eroded(image):
        return ndimage.grey_erosion(image, footprint=PLUS, mode="nearest")

    def opened(image):
        return ndimage.grey_dilation(eroded(image), size=(3, 3), mode="nearest")

    skeleton = np.maximum(mask - opened(mask), 0)
    for _ in range(iterations):
        mask = eroded(mask)
        ridge = np.maximum(mask - opened(mask), 0)
        skeleton = skeleton + np.maximum(ridge - skeleton * ridge, 0)
    return skeleton


def line(length=8, *, side=12):
    targets = torch.zeros(1, 1, side, side)
    targets[..., 5, 2 : 2 + length] = 1
    return targets


def hard(masks):
    return 2 * HARD * masks - HARD


@pytest.mark.parametrize("iterations", [1, 3])
def test_skeleton_against_scipy(iterations):
    masks = torch.rand(3, 2, 11, 9, generator=seeded(), dtype=torch.float64)
    skeletons = soft_skeleton(masks, iterations=iterations)
    for prompt in range(3):
        for mask in range(2):
            expected = reference_skeleton(masks[prompt, mask].numpy(), iterations)
            assert np.allclose(skeletons[prompt, mask].numpy(), expected)


def test_against_scipy():
    logits, targets, valid = case(side=9, dtype=torch.float64)
    values = cldice_loss(logits, targets, iterations=2, valid=valid)
    for prompt in range(5):
        keep = valid[prompt, 0].numpy()
        truth = targets[prompt, 0].numpy() * keep
        for mask in range(3):
            probs = keep / (1 + np.exp(-logits[prompt, mask].numpy()))
            own, true = reference_skeleton(probs, 2), reference_skeleton(truth, 2)
            precision = ((own * truth).sum() + 1) / (own.sum() + 1)
            recall = ((true * probs).sum() + 1) / (true.sum() + 1)
            expected = 1 - 2 * precision * recall / (precision + recall)
            assert values[prompt, mask].item() == pytest.approx(expected)


def test_a_thin_line_is_its_own_skeleton():
    assert torch.equal(soft_skeleton(line(), iterations=3), line())


def test_a_thick_bar_needs_iterations():
    bar = torch.zeros(1, 1, 15, 30)
    bar[..., 4:11, 3:27] = 1  # 3 pixels on both sides of the centre line
    few, enough = (soft_skeleton(bar, iterations=count) for count in (1, 3))
    assert not few[..., 8:22].any()
    assert enough[0, 0, :, 15].nonzero().flatten().tolist() == [7]


def test_hand_computed_gap():
    # Two of eight line pixels missing: precision 7 / 7, recall 7 / 9.
    predicted = line().clone()
    predicted[..., 5, 5:7] = 0
    assert cldice_loss(hard(predicted), line()).item() == pytest.approx(1 / 8)


def test_a_gap_in_a_thin_vessel_costs_more_than_dice_says():
    thin, thick = torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 40, 40)
    thick[..., 5:16, 2:38] = 1
    thin[..., 30, 2:38] = 1
    both = (thin + thick).clamp(max=1)
    cldice, dice = (loss(hard(thick), both).item() for loss in (cldice_loss, dice_loss))
    assert cldice > 4 * dice


def test_empty_answers():
    nothing = torch.zeros(1, 1, 8, 8)
    assert cldice_loss(hard(nothing), nothing).item() == 0
    assert cldice_loss(hard(line(side=12)), torch.zeros(1, 1, 12, 12)).item() > 0.75
    assert cldice_loss(hard(torch.zeros(1, 1, 12, 12)), line()).item() > 0.75


def test_the_targets_skeleton_can_be_handed_over():
    logits, targets, valid = case(side=9)
    skeleton = target_skeleton(targets, iterations=2, valid=valid)
    expected = cldice_loss(logits, targets, iterations=2, valid=valid)
    found = cldice_loss(logits, targets, iterations=2, valid=valid, skeleton=skeleton)
    assert torch.equal(found, expected)
    assert torch.equal(skeleton, soft_skeleton(targets * valid, iterations=2))
