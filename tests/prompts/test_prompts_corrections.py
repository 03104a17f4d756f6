import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.prompts.corrections import corrective_points
from samft.types import ABSENT, NEGATIVE, POSITIVE

MODES = ("uniform", "center")
"""Those that click once."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_masks(seed, count=6, side=16):
    random = seeded(seed)
    density = torch.rand(count, 1, 1, generator=random)
    return torch.rand(count, side, side, generator=random) < density


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), mode=st.sampled_from(MODES), hide=st.booleans())
def test_a_click_lies_in_the_error_and_says_which(seed, mode, hide):
    predicted, target = random_masks(seed), random_masks(seed + 1)
    predicted[0] = target[0]
    ignored = random_masks(seed + 2) if hide else None
    points, labels = corrective_points(
        predicted, target, ignored, generator=seeded(seed), mode=mode
    )
    assert points.shape == (6, 1, 2)
    assert points.dtype == torch.float32
    assert labels.shape == (6, 1)
    assert labels.dtype == torch.int64
    error = predicted ^ target
    if ignored is not None:
        error &= ~ignored
    for index, ((x, y), label) in enumerate(
        zip(points[:, 0].int().tolist(), labels[:, 0].tolist(), strict=True)
    ):
        if not error[index].any():
            assert label == ABSENT
            continue
        assert error[index, y, x]
        assert label == (POSITIVE if target[index, y, x] else NEGATIVE)


@pytest.mark.parametrize("mode", MODES)
def test_perfect_predictions_get_an_absent_point(mode):
    masks = random_masks(0)
    masks[0], masks[1] = False, True
    points, labels = corrective_points(masks, masks.clone(), generator=seeded(), mode=mode)
    assert labels.tolist() == [[ABSENT]] * 6
    assert not points.any()


@pytest.mark.parametrize("mode", MODES)
def test_arguments_are_not_changed(mode):
    predicted, target, ignored = random_masks(0), random_masks(1), random_masks(2)
    copies = predicted.clone(), target.clone(), ignored.clone()
    corrective_points(predicted, target, ignored, generator=seeded(), mode=mode)
    assert all(map(torch.equal, (predicted, target, ignored), copies))


def test_uniform_clicks_fall_on_both_kinds_by_their_area():
    target = torch.zeros(12, 12, dtype=torch.bool)
    target[:6, :10] = True
    predicted = torch.zeros(12, 12, dtype=torch.bool)
    predicted[6:8, :10] = True  # 60 pixels missed, 20 superfluous
    draws = 3000
    _, labels = corrective_points(
        predicted.expand(draws, 12, 12), target.expand(draws, 12, 12), generator=seeded()
    )
    assert (labels == POSITIVE).float().mean().item() == pytest.approx(0.75, abs=0.03)


def two_errors(missed_side, extra_side):
    """A missed square in the upper left and a superfluous one in the lower right."""
    predicted = torch.zeros(1, 32, 32, dtype=torch.bool)
    target = predicted.clone()
    target[0, 1 : 1 + missed_side, 1 : 1 + missed_side] = True
    predicted[0, 16 : 16 + extra_side, 16 : 16 + extra_side] = True
    return predicted, target


@pytest.mark.parametrize(
    ("missed", "extra", "label", "point"),
    [
        (9, 5, POSITIVE, [5, 5]),
        (5, 9, NEGATIVE, [20, 20]),
        (7, 7, POSITIVE, [4, 4]),  # equally deep: the missed part first
        (0, 3, NEGATIVE, [17, 17]),
    ],
)
def test_center_clicks_the_deeper_error(missed, extra, label, point):
    predicted, target = two_errors(missed, extra)
    points, labels = corrective_points(predicted, target, generator=seeded(), mode="center")
    assert labels.tolist() == [[label]]
    assert points.tolist() == [[point]]


def test_touching_errors_of_both_kinds_are_separate_regions():
    target = torch.zeros(1, 20, 20, dtype=torch.bool)
    target[0, :, :9] = True
    predicted = ~target  # together they fill the image; the superfluous part is wider
    points, labels = corrective_points(predicted, target, generator=seeded(), mode="center")
    assert labels.tolist() == [[NEGATIVE]]
    assert points[0, 0, 0] in (14, 13)  # half-way between column 9 and the image edge


def test_center_is_deterministic_and_draws_nothing():
    predicted, target = random_masks(4), random_masks(5)
    generator = seeded()
    before = generator.get_state()
    first = corrective_points(predicted, target, generator=generator, mode="center")
    assert torch.equal(generator.get_state(), before)
    again = corrective_points(predicted, target, generator=seeded(7), mode="center")
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("mode", MODES)
def test_no_objects(mode):
    masks = torch.zeros(0, 8, 8, dtype=torch.bool)
    points, labels = corrective_points(masks, masks, masks, generator=seeded(), mode=mode)
    assert points.shape == (0, 1, 2)
    assert labels.shape == (0, 1)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), hide=st.booleans())
def test_a_pair_is_one_click_of_each_kind(seed, hide):
    predicted, target = random_masks(seed), random_masks(seed + 1)
    predicted[0], target[1] = target[0], False
    hidden = random_masks(seed + 2) if hide else torch.zeros_like(target)
    points, labels = corrective_points(
        predicted, target, hidden, generator=seeded(seed), mode="pair"
    )
    assert points.shape == (6, 2, 2)
    assert points.dtype == torch.float32
    assert labels.dtype == torch.int64
    for row in range(6):
        truth, wrong = target[row] & ~hidden[row], (predicted ^ target)[row] & ~hidden[row]
        (x, y), (u, v) = points[row].int().tolist()
        assert labels[row, 0] == (POSITIVE if truth.any() else ABSENT)
        if truth.any():
            assert truth[y, x]
            assert wrong[y, x] or not (wrong & truth).any()
        extra, free = wrong & ~target[row], ~target[row] & ~hidden[row]
        if labels[row, 1] == ABSENT:
            assert not extra.any()
            assert not free.any() or not target[row].any()
            continue
        assert labels[row, 1] == NEGATIVE
        assert free[v, u]
        assert extra[v, u] or not extra.any()


def test_a_pair_on_a_perfect_answer_is_on_the_object_and_near_it():
    masks = torch.zeros(50, 64, 64, dtype=torch.bool)
    masks[:, 20:28, 20:28] = True
    points, labels = corrective_points(masks, masks.clone(), generator=seeded(), mode="pair")
    assert labels.tolist() == [[POSITIVE, NEGATIVE]] * 50
    assert points[:, 1].min() >= 17
    assert points[:, 1].max() <= 30
