"""What every loss keeps to: gradients, extremes, ignored pixels, precision."""

import pytest
import torch
from loss_cases import LOSSES, case

from samft.losses import focal_loss, mask_iou


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients(loss):
    logits, targets, valid = case(2, 2, 3, dtype=torch.float64)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, valid=valid), (logits,))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_saturated_logits_stay_finite(loss, target):
    logits = torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4]).reshape(1, 1, 1, 5).requires_grad_()
    value = loss(logits, torch.full((1, 1, 1, 5), target))
    assert value.isfinite().all()
    value.sum().backward()
    assert logits.grad.isfinite().all()


def test_weak_focus_has_a_finite_gradient_at_certainty():
    logits = torch.tensor([-200.0, 200.0]).reshape(1, 1, 1, 2).requires_grad_()
    focal_loss(logits, torch.ones(1, 1, 1, 2), gamma=0.5).sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [*LOSSES.values(), mask_iou], ids=[*LOSSES, "iou"])
def test_ignored_pixels_have_no_part(loss):
    logits, targets, valid = case()
    other = torch.where(valid, logits, 50.0).requires_grad_()
    value = loss(other, torch.where(valid, targets, 1 - targets), valid=valid)
    assert torch.allclose(value, loss(logits, targets, valid=valid))
    if value.requires_grad:
        value.sum().backward()
        assert (other.grad[~valid.expand_as(other)] == 0).all()


@pytest.mark.parametrize("loss", [*LOSSES.values(), mask_iou], ids=[*LOSSES, "iou"])
def test_nothing_valid_and_no_objects(loss):
    logits, targets, valid = case(2)
    assert loss(logits, targets, valid=torch.zeros_like(valid)).isfinite().all()
    assert loss(logits[:0], targets[:0], valid=valid[:0]).shape == (0, 3)


@pytest.mark.parametrize("loss", [*LOSSES.values(), mask_iou], ids=[*LOSSES, "iou"])
def test_float32_inside_under_autocast(loss):
    logits, targets, _ = case()
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, targets.bfloat16())
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(half.float(), targets))


@pytest.mark.parametrize("loss", [*LOSSES.values(), mask_iou], ids=[*LOSSES, "iou"])
def test_options_go_by_name(loss):
    logits, targets, valid = case()
    with pytest.raises(TypeError, match="positional argument"):
        loss(logits, targets, 0.25, valid)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("known", [False, True])
def test_empty_full_and_unknown_targets_have_finite_gradients(loss, target, known):
    logits = case(2)[0].requires_grad_()
    valid = torch.full((2, 1, 6, 6), known)
    value = loss(logits, torch.full((2, 1, 6, 6), target), valid=valid)
    assert value.shape == (2, 3)
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()
    assert known or not logits.grad.any()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_one_target_for_all_masks_or_one_each(loss):
    logits, targets, valid = case()
    shared = loss(logits, targets, valid=valid)
    assert torch.allclose(loss(logits, targets.expand_as(logits), valid=valid), shared)
    for mask in range(3):
        alone = loss(logits[:, mask, None], targets, valid=valid)[:, 0]
        assert torch.allclose(alone, shared[:, mask])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_truth_scores_best(loss):
    _, targets, _ = case()
    right = loss(40 * targets - 20, targets)
    wrong = loss(20 - 40 * targets, targets)
    assert (right < 1e-3).all()
    assert (right >= -1e-6).all()
    assert (wrong > 0.05).all()
