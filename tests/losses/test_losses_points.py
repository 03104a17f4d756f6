"""Points drawn where the model is unsure."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import case, output_of, seeded

from samft.losses import (
    SamLoss,
    SamLossSettings,
    boundary_loss,
    dice_loss,
    focal_loss,
    sample_at,
    uncertain_points,
)
from samft.types import MaskOutput


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 60), uncertain=st.floats(0, 1))
def test_the_surest_candidates_are_dropped(seed, count, uncertain):
    logits = torch.randn(3, 1, 5, 7, generator=seeded(seed))
    points = uncertain_points(logits, count, uncertain=uncertain, generator=seeded(seed))
    assert points.shape == (3, 1, count)
    preferred = round(uncertain * count)
    candidates = 3 * count if preferred else 0
    total = candidates + count - preferred
    drawn = torch.randint(35, (3, 1, total), generator=seeded(seed))
    for prompt in range(3):
        pixels = logits[prompt].flatten().abs()
        pool = pixels[drawn[prompt, 0, :candidates]].sort().values[:preferred]
        chosen = points[prompt, 0]
        assert torch.equal(pixels[chosen[:preferred]].sort().values, pool)
        assert torch.equal(chosen[preferred:], drawn[prompt, 0, candidates:])


def test_points_gather_at_the_edge_of_the_prediction():
    columns = torch.arange(64.0) - 31.5
    logits = columns.expand(1, 1, 64, 64)
    points = uncertain_points(logits, 400, generator=seeded())
    near = (sample_at(logits, points).abs() < 10).float().mean()
    assert near > 0.65
    uniform = uncertain_points(logits, 400, uncertain=0.0, generator=seeded())
    assert (sample_at(logits, uniform).abs() < 10).float().mean() < 0.4


def test_unknown_pixels_are_not_preferred():
    logits = torch.full((2, 1, 8, 8), 5.0)
    valid = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    valid[..., :4], logits[..., :4] = False, 0.0  # the unsure half is unknown
    points = uncertain_points(logits, 40, valid=valid, uncertain=1.0, generator=seeded())
    assert sample_at(valid, points).all()


def test_chunks_of_prompts_get_the_same_points():
    logits = torch.randn(7, 1, 9, 9, generator=seeded())
    whole = uncertain_points(logits, 20, generator=seeded(3))
    random = seeded(3)
    parts = [uncertain_points(part, 20, generator=random) for part in logits.split([2, 0, 4, 1])]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(uncertain_points(logits, 20, generator=seeded(4)), whole)


def test_the_loss_on_points_is_that_of_the_sampled_pixels():
    logits, targets, valid = case(side=16)
    objective = SamLoss(SamLossSettings(points=30, boundary=2.0))
    output = output_of(logits)
    terms = objective(output, targets, valid=valid, generator=seeded(1))
    everything = SamLoss(SamLossSettings(boundary=2.0))(output, targets, valid=valid)
    assert torch.equal(terms.best, everything.best)
    assert torch.equal(terms.boundary, everything.boundary)
    assert torch.equal(terms.iou, everything.iou)

    chosen = output.take(terms.best).logits.detach()
    points = uncertain_points(chosen, 30, valid=valid, generator=seeded(1))
    sampled = [sample_at(pixels, points) for pixels in (chosen, targets, valid)]
    focal = focal_loss(sampled[0], sampled[1], valid=sampled[2]).mean()
    dice = dice_loss(sampled[0], sampled[1], valid=sampled[2]).mean()
    assert torch.allclose(terms.focal, focal)
    assert torch.allclose(terms.dice, dice)
    boundary = boundary_loss(chosen, targets, valid=valid).mean()
    assert torch.allclose(terms.total, 20 * focal + dice + 2 * boundary + terms.iou)


def test_only_sampled_and_known_pixels_get_a_gradient():
    logits, targets, valid = case(side=16)
    output = output_of(logits)
    terms = SamLoss(SamLossSettings(points=30))(output, targets, valid=valid, generator=seeded(1))
    terms.total.backward()
    chosen = output.take(terms.best).logits.detach()
    points = uncertain_points(chosen, 30, valid=valid, generator=seeded(1))
    seen = torch.zeros(5, 1, 256, dtype=torch.bool).scatter_(-1, points, value=True)
    expected = seen.reshape(5, 1, 16, 16) & valid
    gradient = output.logits.grad[torch.arange(5), terms.best, None]
    assert torch.equal(gradient != 0, expected)


def test_uniform_points_estimate_the_whole():
    logits, targets, _ = case(2, 1, 32)
    whole = SamLoss()(output_of(logits), targets)
    many = SamLossSettings(points=40000, points_uncertain=0.0)
    estimate = SamLoss(many)(output_of(logits), targets, generator=seeded())
    assert estimate.focal.item() == pytest.approx(whole.focal.item(), rel=0.05)
    assert estimate.dice.item() == pytest.approx(whole.dice.item(), rel=0.05)


def test_the_same_generator_gives_the_same_loss():
    logits, targets, _ = case(side=16)
    objective = SamLoss(SamLossSettings(points=20))
    first, again, other = (
        objective(output_of(logits), targets, generator=seeded(seed)).total for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_pixels_draw_nothing():
    logits, targets, _ = case()
    random = seeded()
    SamLoss()(output_of(logits), targets, generator=random)
    assert torch.equal(random.get_state(), seeded().get_state())


def test_points_of_no_objects():
    logits, targets, valid = case()
    output = MaskOutput(
        logits=logits[:0].clone().requires_grad_(), iou=torch.zeros(0, 3, requires_grad=True)
    )
    terms = SamLoss(SamLossSettings(points=20))(
        output, targets[:0], valid=valid[:0], generator=seeded()
    )
    assert terms.total.item() == 0
    terms.total.backward()
