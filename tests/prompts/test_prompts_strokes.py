import pytest
import torch

from samft.prompts.strokes import Scribble
from samft.types import ABSENT, NEGATIVE, POSITIVE


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scribble(mask, draws=200, **options):
    masks, images = mask.expand(draws, *mask.shape), torch.zeros(draws, dtype=torch.int64)
    return Scribble(**options)(masks, images, generator=seeded())


def test_a_stroke_goes_along_a_thin_winding_object():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10, 5:50] = mask[10:50, 49] = mask[49, 5:50] = True  # a vessel one pixel wide
    prompts = scribble(mask, count=10)
    drawn = (prompts.labels == POSITIVE).sum(dim=1).float()
    assert drawn.mean() > 8  # it nearly always finds a way on
    x, y = prompts.points.long().unbind(dim=2)
    assert mask[y, x][prompts.labels == POSITIVE].all()


def test_steps_are_short_and_the_stroke_is_long():
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[14:114, 14:114] = True
    points = scribble(mask, count=10).points
    steps = (points[:, 1:] - points[:, :-1]).norm(dim=2)
    assert steps.max() < 10 + 1.5  # a tenth of the square root of the area, and rounding
    assert steps.mean().item() == pytest.approx(10, abs=1)
    extent = (points.amax(dim=1) - points.amin(dim=1)).norm(dim=1)
    assert extent.median() > 35  # a line rather than a tangle


def test_one_pixel_is_one_point():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[4, 7] = True
    prompts = scribble(mask, draws=3, count=4)
    assert prompts.labels.tolist() == [[POSITIVE, ABSENT, ABSENT, ABSENT]] * 3
    assert prompts.points[:, 0].tolist() == [[7, 4]] * 3
    assert not prompts.points[:, 1:].any()


def test_some_objects_get_a_negative_stroke_beside_them():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[20:40, 20:40] = True
    prompts = scribble(mask, draws=1000, count=5, negative_share=0.3)
    assert prompts.labels.shape == (1000, 10)
    negative = (prompts.labels == NEGATIVE).any(dim=1)
    assert negative.float().mean().item() == pytest.approx(0.3, abs=0.05)
    x, y = prompts.points[prompts.labels == NEGATIVE].long().unbind(dim=1)
    assert not mask[y, x].any()
    assert min(x.min(), y.min()) >= 15
    assert max(x.max(), y.max()) <= 44
