"""Distances from the true boundary and the losses that weigh with them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import case, seeded

from samft.losses import boundary_loss, signed_distances, surface_loss, targets_at

HARD = 1e4


def brute_force(mask):
    """Signed distances by looking at every pair of pixels, in pixels."""
    places = np.argwhere(np.ones_like(mask)).astype(float)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    inside = mask.ravel()
    to_object = gaps[:, inside].min(axis=1) - 0.5
    to_background = gaps[:, ~inside].min(axis=1) - 0.5
    return np.where(inside, -to_background, to_object).reshape(mask.shape)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), height=st.integers(2, 9), width=st.integers(2, 9))
def test_distances_against_all_pairs_of_pixels(seed, height, width):
    masks = torch.rand(3, 1, height, width, generator=seeded(seed)) < 0.3
    masks[:, :, 0, 0], masks[:, :, 0, 1] = True, False
    distances = signed_distances(masks.float())
    assert distances.dtype == torch.float32
    for index in range(3):
        expected = brute_force(masks[index, 0].numpy()) / max(height, width)
        assert np.allclose(distances[index, 0].numpy(), expected, atol=1e-6)


def test_object_and_background_are_alike():
    _, targets, _ = case()
    assert torch.equal(signed_distances(1 - targets), -signed_distances(targets))


def test_targets_without_a_boundary():
    targets = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert not signed_distances(targets).any()
    logits = torch.randn(2, 3, 4, 4, generator=seeded())
    for loss in (boundary_loss, surface_loss):
        assert loss(logits, targets).tolist() == [[0.0] * 3] * 2


def test_distances_of_no_objects():
    assert signed_distances(torch.zeros(0, 1, 4, 6)).shape == (0, 1, 4, 6)


def test_an_object_smaller_than_a_pixel_keeps_its_place():
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, 13, 21] = True
    distances = signed_distances(targets_at(masks, (8, 8)))
    assert (distances < 0).nonzero().tolist() == [[0, 0, 3, 5]]


def test_unknown_pixels_count_as_background():
    _, targets, valid = case()
    expected = signed_distances(targets * valid)
    assert torch.equal(signed_distances(targets, valid=valid), expected)


def test_the_scale_does_not_depend_on_the_resolution():
    coarse = torch.zeros(1, 1, 16, 16)
    coarse[..., 4:12, 4:12] = 1
    fine = coarse.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    logits = torch.zeros_like(coarse)
    for loss in (boundary_loss, surface_loss):
        value = loss(torch.zeros_like(fine), fine)
        assert torch.allclose(value, loss(logits, coarse), rtol=0.05)


def test_hand_computed_on_a_row():
    targets = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    expected = torch.tensor([-1.5, -0.5, 0.5, 1.5]) / 4
    assert torch.allclose(signed_distances(targets).flatten(), expected)
    even = torch.zeros(1, 1, 1, 4)
    assert boundary_loss(even, targets).item() == pytest.approx(0.5 * (4 / 4) / 4)
    assert surface_loss(even, targets).item() == pytest.approx(0.75)
    # One wrong pixel, the last: 1.5 pixels off, and 2.25 of the 5 squares.
    wrong = torch.tensor([[[[HARD, HARD, -HARD, HARD]]]])
    assert boundary_loss(wrong, targets).item() == pytest.approx(1.5 / 4 / 4)
    assert surface_loss(wrong, targets).item() == pytest.approx(2.25 / 5)


@pytest.mark.parametrize("partly", [False, True])
def test_against_numpy(partly):
    logits, targets, valid = case(dtype=torch.float64)
    keep = valid if partly else torch.ones_like(valid)
    given = {"valid": valid} if partly else {}
    first, second = (loss(logits, targets, **given) for loss in (boundary_loss, surface_loss))
    for prompt in range(5):
        object_ = (targets * keep)[prompt, 0].numpy() > 0
        distances, use = brute_force(object_), keep[prompt, 0].numpy()
        for mask in range(3):
            probs = 1 / (1 + np.exp(-logits[prompt, mask].numpy()))
            # The paper's sum over predicted pixels, less what the truth itself would score.
            expected = (distances * probs)[use].sum() - (distances * object_)[use].sum()
            expected = expected / use.sum() / 6
            assert first[prompt, mask].item() == pytest.approx(expected, rel=1e-5)
            rebuilt = (distances * (1 - (object_ + probs)))[use]
            expected = 1 - (rebuilt**2).sum() / (distances[use] ** 2).sum()
            assert second[prompt, mask].item() == pytest.approx(expected, rel=1e-5)


def test_a_far_speck_costs_more_than_a_near_one():
    targets = torch.zeros(2, 1, 32, 32)
    targets[..., 4:10, 4:10] = 1
    logits = 2 * HARD * targets - HARD
    logits[0, 0, 10, 10] = HARD
    logits[1, 0, 31, 31] = HARD
    boundary, surface = boundary_loss(logits, targets), surface_loss(logits, targets)
    assert boundary[1] > 20 * boundary[0]
    assert surface[1] > 400 * surface[0]


def test_distances_can_be_handed_over():
    logits, targets, valid = case()
    distances = signed_distances(targets, valid=valid)
    for loss in (boundary_loss, surface_loss):
        expected = loss(logits, targets, valid=valid)
        assert torch.equal(loss(logits, targets, valid=valid, distances=distances), expected)
