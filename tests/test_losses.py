import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_jaccard_index

from samft.errors import ConfigError
from samft.losses import (
    LossTerms,
    SamLoss,
    SamLossSettings,
    bce_loss,
    dice_loss,
    focal_loss,
    iou_loss,
    mask_iou,
    targets_at,
)
from samft.types import MaskOutput

MASK_LOSSES = (focal_loss, dice_loss, bce_loss, lambda *a, **k: bce_loss(*a, balanced=True, **k))
IDS = ("focal", "dice", "bce", "balanced bce")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def case(prompts=5, masks=3, side=6, *, seed=0, dtype=torch.float32):
    """Logits, hard targets, and the pixels that count."""
    random = seeded(seed)
    logits = 3 * torch.randn(prompts, masks, side, side, generator=random, dtype=dtype)
    targets = (torch.rand(prompts, 1, side, side, generator=random) < 0.4).to(dtype)
    valid = torch.rand(prompts, 1, side, side, generator=random) < 0.8
    return logits, targets, valid


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


@pytest.mark.parametrize(("name", "loss"), list(zip(IDS, MASK_LOSSES, strict=True)), ids=IDS)
@pytest.mark.parametrize("partly", [False, True])
def test_against_a_loop_over_pixels(name, loss, partly):
    logits, targets, valid = case(dtype=torch.float64)
    values = loss(logits, targets, valid=valid if partly else None)
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


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_iou_against_torchmetrics(seed):
    logits, targets, _ = case(3, 2, seed=seed)
    values = mask_iou(logits, targets)
    for prompt in range(3):
        for mask in range(2):
            expected = binary_jaccard_index(
                (logits[prompt, mask] > 0).int(), targets[prompt, 0].int()
            )
            assert values[prompt, mask].item() == pytest.approx(expected.item())


def test_iou_rules():
    empty, full = torch.full((1, 1, 4, 4), -5.0), torch.full((1, 1, 4, 4), 5.0)
    nothing, everything = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    assert mask_iou(empty, nothing).item() == 1
    assert mask_iou(full, nothing).item() == 0
    assert mask_iou(empty, everything).item() == 0
    assert mask_iou(full, everything).item() == 1
    assert mask_iou(torch.zeros(1, 1, 4, 4), everything).item() == 0  # 0 is not above 0
    assert not mask_iou(full.requires_grad_(), everything).requires_grad


def test_iou_loss_is_a_squared_error():
    predicted = torch.tensor([[0.5, 1.2]], requires_grad=True)
    actual = torch.tensor([[1.0, 1.0]], requires_grad=True)
    values = iou_loss(predicted, actual)
    assert torch.allclose(values, torch.tensor([[0.25, 0.04]]))
    values.sum().backward()
    assert torch.allclose(predicted.grad, torch.tensor([[-1.0, 0.4]]))
    assert actual.grad is None


@pytest.mark.parametrize("loss", MASK_LOSSES, ids=IDS)
def test_gradients(loss):
    logits, targets, valid = case(2, 2, 3, dtype=torch.float64)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, valid=valid), (logits,))


def test_gradients_of_the_iou_loss():
    predicted = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    actual = torch.rand(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: iou_loss(x, actual), (predicted,))


@pytest.mark.parametrize("loss", MASK_LOSSES, ids=IDS)
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


@pytest.mark.parametrize("loss", [*MASK_LOSSES, mask_iou], ids=[*IDS, "iou"])
def test_ignored_pixels_have_no_part(loss):
    logits, targets, valid = case()
    other = torch.where(valid, logits, 50.0).requires_grad_()
    value = loss(other, torch.where(valid, targets, 1 - targets), valid=valid)
    assert torch.allclose(value, loss(logits, targets, valid=valid))
    if value.requires_grad:
        value.sum().backward()
        assert (other.grad[~valid.expand_as(other)] == 0).all()


@pytest.mark.parametrize("loss", [*MASK_LOSSES, mask_iou], ids=[*IDS, "iou"])
def test_nothing_valid_and_no_objects(loss):
    logits, targets, valid = case(2)
    assert loss(logits, targets, valid=torch.zeros_like(valid)).isfinite().all()
    assert loss(logits[:0], targets[:0], valid=valid[:0]).shape == (0, 3)


@pytest.mark.parametrize("loss", [*MASK_LOSSES, mask_iou], ids=[*IDS, "iou"])
def test_float32_inside_under_autocast(loss):
    logits, targets, _ = case()
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, targets.bfloat16())
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(half.float(), targets))


@pytest.mark.parametrize("loss", [*MASK_LOSSES, mask_iou], ids=[*IDS, "iou"])
def test_options_go_by_name(loss):
    logits, targets, valid = case()
    with pytest.raises(TypeError, match="positional argument"):
        loss(logits, targets, 0.25, valid)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_averaged_targets_stand_for_the_full_resolution(seed):
    # Logits at a quarter of the resolution, constant on each 4 x 4 area, against a fine mask.
    random = seeded(seed)
    fine = torch.rand(3, 24, 24, generator=random) < torch.rand(3, 1, 1, generator=random)
    logits = 2 * torch.randn(3, 2, 6, 6, generator=random)
    coarse_targets, fine_targets = targets_at(fine, (6, 6)), fine[:, None].float()
    fine_logits = logits.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    for loss in (focal_loss, bce_loss, mask_iou):
        expected = loss(fine_logits, fine_targets)
        assert torch.allclose(loss(logits, coarse_targets), expected, atol=1e-5)
    dice = dice_loss(logits, coarse_targets, smooth=1 / 16)
    assert torch.allclose(dice, dice_loss(fine_logits, fine_targets), atol=1e-5)


def test_a_tiny_object_does_not_vanish():
    masks = torch.zeros(20, 64, 64, dtype=torch.bool)
    for index in range(20):
        masks[index, 3 * index, 63 - index] = True
    targets = targets_at(masks, (16, 16))
    assert targets.shape == (20, 1, 16, 16)
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(dim=(1, 2, 3)), torch.tensor(1 / 16))


def test_targets_keep_their_place_at_any_size():
    masks = torch.zeros(11, 8, 8, dtype=torch.bool)
    masks[:, :4, 4:] = True
    for size in ((2, 2), (4, 2), (8, 8), (16, 16)):
        targets = targets_at(masks, size)
        height, width = size
        assert targets.shape == (11, 1, *size)
        assert (targets[:, :, : height // 2, width // 2 :] == 1).all()
        assert targets.mean().item() == 0.25
    assert targets_at(masks[:0], (4, 4)).shape == (0, 1, 4, 4)


# The objective.


def output_of(logits, *, seed=5):
    iou = torch.rand(logits.shape[:2], generator=seeded(seed)).to(logits)
    return MaskOutput(logits=logits.clone().requires_grad_(), iou=iou.requires_grad_())


def test_only_the_best_mask_is_trained():
    logits, targets, valid = case(6)
    output = output_of(logits)
    terms = SamLoss()(output, targets, valid=valid)
    focal = focal_loss(logits, targets, valid=valid)
    dice = dice_loss(logits, targets, valid=valid)
    actual = mask_iou(logits, targets, valid=valid)
    best = (20 * focal + dice).argmin(dim=1)
    assert torch.equal(terms.best, best)
    assert len(set(best.tolist())) > 1
    everyone = torch.arange(6)
    error = (output.iou.detach() - actual)[everyone, best] ** 2
    assert torch.allclose(terms.focal, focal[everyone, best].mean())
    assert torch.allclose(terms.dice, dice[everyone, best].mean())
    assert torch.allclose(terms.iou, error.mean())
    assert torch.allclose(terms.total, 20 * terms.focal + terms.dice + terms.iou)
    assert torch.equal(terms.actual_iou, actual)
    terms.total.backward()
    chosen = F.one_hot(best, 3).bool()
    assert (output.logits.grad[~chosen] == 0).all()
    assert (output.logits.grad[chosen].flatten(1).abs().sum(dim=1) > 0).all()
    assert (output.iou.grad[~chosen] == 0).all()
    assert (output.iou.grad[chosen] != 0).all()


def test_the_gradient_is_that_of_the_minimum():
    logits, targets, valid = case(dtype=torch.float64)
    output = output_of(logits)
    SamLoss(SamLossSettings(iou=0.0))(output, targets, valid=valid).total.backward()
    direct = logits.clone().requires_grad_()
    weighted = 20 * focal_loss(direct, targets, valid=valid)
    weighted = weighted + dice_loss(direct, targets, valid=valid)
    weighted.min(dim=1).values.mean().backward()
    assert torch.allclose(output.logits.grad, direct.grad, rtol=1e-9, atol=0)


def test_the_choice_follows_the_weights():
    # Mask 0 has the lower focal loss (timid everywhere), mask 1 the lower Dice (finds the object).
    targets = torch.zeros(1, 1, 8, 8)
    targets[..., :1, :2] = 1
    logits = torch.full((1, 2, 8, 8), -2.0)
    logits[:, 1, :1, :2] = 3.0
    logits[:, 1, 4:, :2] = 2.5
    output = output_of(logits)
    focal, dice = focal_loss(logits, targets)[0], dice_loss(logits, targets)[0]
    assert focal[0] < focal[1]
    assert dice[1] < dice[0]
    assert SamLoss(SamLossSettings(dice=0.0))(output, targets).best.tolist() == [0]
    assert SamLoss(SamLossSettings(focal=0.0))(output, targets).best.tolist() == [1]


def test_iou_on_all_masks():
    logits, targets, _ = case()
    output = output_of(logits)
    terms = SamLoss(SamLossSettings(supervise_all_iou=True))(output, targets)
    expected = (output.iou.detach() - mask_iou(logits, targets)) ** 2
    assert torch.allclose(terms.iou, expected.mean())
    terms.total.backward()
    assert (output.iou.grad != 0).all()


def test_one_mask():
    logits, targets, _ = case(4, 1)
    output = output_of(logits)
    terms = SamLoss()(output, targets)
    assert terms.best.tolist() == [0] * 4
    expected = 20 * focal_loss(logits, targets) + dice_loss(logits, targets)
    expected = expected + (output.iou.detach() - terms.actual_iou) ** 2
    assert torch.allclose(terms.total, expected.mean())


def test_logged_terms_carry_no_graph():
    logits, targets, _ = case()
    terms = SamLoss()(output_of(logits), targets)
    assert terms.total.requires_grad
    for name in ("focal", "dice", "iou", "balanced_bce", "actual_iou"):
        assert not getattr(terms, name).requires_grad


def test_no_objects_give_a_zero_with_a_graph():
    logits, targets, valid = case()
    embedding = torch.ones(3, requires_grad=True)
    output = MaskOutput(
        logits=logits[:0] * embedding[:, None, None], iou=torch.zeros(0, 3) * embedding
    )
    terms = SamLoss()(output, targets[:0], valid=valid[:0])
    for name in ("total", "focal", "dice", "iou", "balanced_bce"):
        assert getattr(terms, name).item() == 0
    assert terms.best.shape == (0,)
    assert terms.actual_iou.shape == (0, 3)
    terms.total.backward()
    assert embedding.grad.tolist() == [0, 0, 0]


def test_chunks_of_objects_add_up():
    logits, targets, _ = case(7)
    whole, parts = output_of(logits), output_of(logits)
    SamLoss()(whole, targets).total.backward()
    for rows in (slice(0, 3), slice(3, 4), slice(4, 7)):
        chunk = MaskOutput(logits=parts.logits[rows], iou=parts.iou[rows])
        (SamLoss()(chunk, targets[rows]).total * len(chunk.iou) / 7).backward()
    assert torch.allclose(whole.logits.grad, parts.logits.grad, atol=1e-8)
    assert torch.allclose(whole.iou.grad, parts.iou.grad, atol=1e-8)


def test_empty_and_full_targets_are_finite():
    logits, targets, _ = case(3)
    targets[0], targets[1] = 0, 1
    output = output_of(logits)
    terms = SamLoss(SamLossSettings(balanced_bce=1.0))(output, targets, progress=0.0)
    terms.total.backward()
    assert terms.total.isfinite()
    assert output.logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.0, 4.0), (0.3, 2.0), (0.45, 1.0), (0.6, 0.0), (1.0, 0.0)]
)
def test_the_balanced_term_fades(progress, weight):
    logits, targets, _ = case()
    loss = SamLoss(SamLossSettings(balanced_bce=4.0, balanced_bce_until=0.6))
    terms = loss(output_of(logits), targets, progress=progress)
    everyone = torch.arange(5)
    balanced = bce_loss(logits, targets, balanced=True)[everyone, terms.best].mean()
    assert terms.balanced_bce.item() == pytest.approx(balanced.item() if weight else 0, rel=1e-5)
    expected = 20 * terms.focal + terms.dice + terms.iou + weight * terms.balanced_bce
    assert terms.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_balanced_weight_can_be_given_directly():
    logits, targets, _ = case()
    by_hand = SamLoss()(output_of(logits), targets, balanced_bce=2.0)
    by_progress = SamLoss(SamLossSettings(balanced_bce=2.0))(
        output_of(logits), targets, progress=0.0
    )
    assert torch.equal(by_hand.total, by_progress.total)
    assert by_hand.balanced_bce > 0


def test_no_fading_time_means_no_balanced_term():
    settings = SamLossSettings(balanced_bce=1.0, balanced_bce_until=0.0)
    assert settings.balanced_bce_at(0.0) == 0


def test_bf16_outputs_under_autocast():
    logits, targets, _ = case()
    output = MaskOutput(logits=logits.bfloat16().requires_grad_(), iou=torch.rand(5, 3).bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = SamLoss()(output, targets)
    assert terms.total.dtype == torch.float32
    exact = MaskOutput(logits=output.logits.detach().float(), iou=output.iou.float())
    assert torch.allclose(terms.total, SamLoss()(exact, targets).total)
    terms.total.backward()
    assert output.logits.grad.dtype == torch.bfloat16


def test_mean_over_passes():
    logits, targets, _ = case()
    first = SamLoss()(output_of(logits), targets)
    last = SamLoss()(output_of(logits[:, :1]), targets)
    mean = LossTerms.mean([first, last])
    for name in ("total", "focal", "dice", "iou", "balanced_bce"):
        expected = (getattr(first, name) + getattr(last, name)) / 2
        assert torch.allclose(getattr(mean, name), expected)
    assert mean.total.requires_grad
    assert mean.best is last.best
    assert mean.actual_iou is last.actual_iou


def test_settings_round_trip_and_refuse():
    assert SamLossSettings.from_dict({"focal": 1}).focal == 1
    settings = SamLossSettings(balanced_bce=1.0, supervise_all_iou=True)
    assert SamLossSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(ConfigError, match="did you mean 'focal_gamma'"):
        SamLossSettings.from_dict({"focal_gama": 2.0})
    with pytest.raises(ConfigError) as caught:
        SamLoss(SamLossSettings(dice=-1.0))
    assert "loss.dice" in str(caught.value)
    assert "found: -1.0, expected: at least 0" in str(caught.value)
    with pytest.raises(ConfigError, match=r"loss\.focal_alpha"):
        SamLossSettings(focal_alpha=1.5).validate()
