"""The objective of one decoder pass."""

import pytest
import torch
from loss_cases import case, output_of
from torch.nn import functional as F

import samft.losses.sam as loss_module
from samft.losses import (
    LossReferences,
    LossTerms,
    SamLoss,
    SamLossSettings,
    bce_loss,
    boundary_loss,
    cldice_loss,
    dice_loss,
    focal_loss,
    mask_iou,
    signed_distances,
    surface_loss,
    target_skeleton,
    tversky_loss,
)
from samft.types import MaskOutput


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
    loss = SamLoss(SamLossSettings(bce=1.0, boundary=1.0))
    first = loss(output_of(logits), targets)
    last = loss(output_of(logits[:, :1]), targets)
    mean = LossTerms.mean([first, last])
    for name in ("total", "focal", "dice", "iou", "balanced_bce", "bce", "boundary"):
        expected = (getattr(first, name) + getattr(last, name)) / 2
        assert torch.allclose(getattr(mean, name), expected)
    assert mean.total.requires_grad
    assert mean.best is last.best
    assert mean.actual_iou is last.actual_iou


# Terms beyond the paper's.

EXTRA = {"bce": 0.5, "tversky": 2.0, "boundary": 3.0, "surface": 4.0, "cldice": 5.0}


def test_every_term_is_weighted_logged_and_part_of_the_choice():
    logits, targets, valid = case(6)
    weights = SamLossSettings(
        **EXTRA, balanced_bce=1.5, tversky_alpha=0.2, tversky_gamma=2.0, cldice_iterations=2
    )
    output = output_of(logits)
    terms = SamLoss(weights)(output, targets, valid=valid, balanced_bce=1.5)
    expected = {
        "focal": focal_loss(logits, targets, valid=valid),
        "dice": dice_loss(logits, targets, valid=valid),
        "balanced_bce": bce_loss(logits, targets, valid=valid, balanced=True),
        "bce": bce_loss(logits, targets, valid=valid),
        "tversky": tversky_loss(logits, targets, alpha=0.2, gamma=2.0, valid=valid),
        "boundary": boundary_loss(logits, targets, valid=valid),
        "surface": surface_loss(logits, targets, valid=valid),
        "cldice": cldice_loss(logits, targets, iterations=2, valid=valid),
    }
    weighted = sum(getattr(weights, name) * values for name, values in expected.items())
    assert terms.best.tolist() == weighted.argmin(dim=1).tolist()
    chosen = weighted.min(dim=1).values.mean()
    assert torch.allclose(terms.total, chosen + terms.iou)
    for name, values in expected.items():
        logged = getattr(terms, name)
        assert torch.allclose(logged, values.gather(1, terms.best[:, None]).mean())
        assert not logged.requires_grad


@pytest.mark.parametrize("name", EXTRA)
def test_a_term_alone_and_without_weight(name):
    logits, targets, _ = case()
    off = SamLoss(SamLossSettings(focal=0.0, dice=0.0, iou=0.0))
    assert getattr(off(output_of(logits), targets), name).item() == 0
    alone = SamLoss(SamLossSettings(focal=0.0, dice=0.0, iou=0.0, **{name: 2.0}))
    output = output_of(logits)
    terms = alone(output, targets)
    assert torch.allclose(terms.total, 2 * getattr(terms, name))
    assert terms.total > 0
    terms.total.backward()
    assert output.logits.grad.abs().sum() > 0


def test_every_term_can_take_empty_images_and_empty_targets():
    logits, targets, valid = case(3)
    targets[0], targets[1], valid[2] = 0, 1, False
    loss = SamLoss(SamLossSettings(**EXTRA, balanced_bce=1.0, tversky_gamma=2.0))
    for rows in (slice(0, 3), slice(0, 0)):
        output = output_of(1e4 * logits[rows])
        terms = loss(output, targets[rows], valid=valid[rows], progress=0.0)
        terms.total.backward()
        assert terms.total.isfinite()
        assert output.logits.grad.isfinite().all()


def test_references_are_computed_once_and_only_when_needed(monkeypatch):
    logits, targets, valid = case()
    calls = []

    def counted(function):
        def call(*args, **options):
            calls.append(function.__name__)
            return function(*args, **options)

        return call

    for function in (signed_distances, target_skeleton):
        monkeypatch.setattr(loss_module, function.__name__, counted(function))
    paper = SamLoss()
    assert paper.references(targets) == LossReferences()
    paper(output_of(logits), targets)
    assert calls == []
    loss = SamLoss(SamLossSettings(boundary=1.0, surface=1.0, cldice=1.0, cldice_iterations=2))
    references = loss.references(targets, valid=valid)
    once = ["signed_distances", "target_skeleton"]
    assert calls == once
    handed = loss(output_of(logits), targets, valid=valid, references=references)
    assert calls == once
    computed = loss(output_of(logits), targets, valid=valid)
    assert calls == once * 2
    assert torch.equal(handed.total, computed.total)
    assert computed.cldice > 0


def test_references_follow_their_objects():
    logits, targets, valid = case()
    loss = SamLoss(SamLossSettings(boundary=1.0, cldice=1.0))
    references = loss.references(targets, valid=valid)
    for rows in (torch.tensor([3, 0]), slice(1, 4), torch.tensor([True, False] * 2 + [True])):
        output = output_of(logits[rows])
        expected = loss(output, targets[rows], valid=valid[rows])
        chosen = references.select(rows)
        found = loss(output, targets[rows], valid=valid[rows], references=chosen)
        assert torch.equal(found.total, expected.total)
    assert LossReferences().select(slice(0, 1)) == LossReferences()


def test_iou_error_as_sam_2_has_it():
    logits, targets, _ = case()
    output = output_of(logits)
    loss = SamLoss(SamLossSettings(iou_error="l1", supervise_all_iou=True))
    expected = (output.iou.detach() - mask_iou(logits, targets)).abs().mean()
    assert torch.allclose(loss(output, targets).iou, expected)
