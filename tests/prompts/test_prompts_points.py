import pytest
import torch

from samft.errors import ConfigError
from samft.prompts.points import SeveralPoints
from samft.prompts.sampling import sample_many, surroundings
from samft.types import ABSENT, NEGATIVE, POSITIVE

DRAWS = 3000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def square(side=32, count=DRAWS):
    masks = torch.zeros(side, side, dtype=torch.bool)
    masks[8:16, 10:18] = True
    return masks.expand(count, side, side), torch.zeros(count, dtype=torch.int64)


def test_the_number_of_points_is_uniform_over_the_range():
    masks, images = square()
    labels = SeveralPoints(fewest=2, most=5)(masks, images, generator=seeded()).labels
    assert labels.shape == (DRAWS, 5)
    used = (labels == POSITIVE).sum(dim=1)
    assert torch.bincount(used)[:2].sum() == 0
    assert (torch.bincount(used)[2:] / DRAWS).tolist() == pytest.approx([0.25] * 4, abs=0.04)
    first = torch.arange(5) < used[:, None]
    assert torch.equal(labels != ABSENT, first)  # the unused slots are the last ones


def test_a_share_of_the_later_points_is_negative_and_near():
    masks, images = square()
    prompts = SeveralPoints(fewest=4, most=4, negative_share=0.3)(masks, images, generator=seeded())
    negative = prompts.labels == NEGATIVE
    assert not negative[:, 0].any()
    assert negative[:, 1:].float().mean().item() == pytest.approx(0.3, abs=0.03)
    x, y = prompts.points[negative].unbind(dim=1)
    assert (x.min(), x.max()) == (7, 20)  # at least 3 pixels around columns 10 to 17
    assert (y.min(), y.max()) == (5, 18)


def test_no_background_no_negative_points():
    masks = torch.ones(50, 8, 8, dtype=torch.bool)
    images = torch.zeros(50, dtype=torch.int64)
    labels = SeveralPoints(fewest=3, most=3, negative_share=1.0)(
        masks, images, generator=seeded()
    ).labels
    assert (labels == POSITIVE).all()


@pytest.mark.parametrize(("fewest", "most"), [(0, 3), (4, 3)])
def test_empty_ranges_are_refused(fewest, most):
    with pytest.raises(ConfigError) as caught:
        SeveralPoints(fewest=fewest, most=most)
    assert "prompts.min_points, prompts.max_points" in str(caught.value)
    assert f"found: {fewest} to {most}" in str(caught.value)


def test_many_samples_are_uniform_and_on_their_own():
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[1, 1:5] = True
    mask[4, 0] = True
    points, found = sample_many(mask.expand(2000, 6, 6), 3, generator=seeded())
    assert found.all()
    x, y = points.long().unbind(dim=2)
    for slot in range(3):
        counts = torch.bincount(y[:, slot] * 6 + x[:, slot], minlength=36) / 2000
        assert counts[mask.flatten()].tolist() == pytest.approx([0.2] * 5, abs=0.04)
    same = (points[:, 0] == points[:, 1]).all(dim=1).float().mean().item()
    assert same == pytest.approx(0.2, abs=0.04)


def test_surroundings_fall_back_to_all_that_is_free():
    masks = torch.zeros(4, 40, 40, dtype=torch.bool)
    masks[0, 10:30, 10:30] = True
    masks[1, 5, 5] = True
    masks[2] = True
    ignored = torch.zeros_like(masks)
    ignored[1, :20, :20] = True  # all that is near
    around = surroundings(masks, ignored)
    rows, columns = around[0].nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 34, 5, 34)
    assert around[0].sum() == 30 * 30 - 20 * 20
    assert torch.equal(around[1], ~ignored[1])
    assert not around[2:].any()
