import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from samft.prompts.sampling import center_points, innermost, sample_points, tight_boxes

SIDE = 17


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@st.composite
def mask_stacks(draw):
    """(P, S, S) bool of every density from empty over a single pixel to full; P may be 0."""
    count = draw(st.integers(0, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.lists(st.sampled_from(["empty", "pixel", "noise", "blob", "full"]),
                          min_size=count, max_size=count))  # fmt: skip
    masks = np.zeros((count, SIDE, SIDE), dtype=bool)
    for mask, kind in zip(masks, kinds, strict=True):
        if kind == "pixel":
            mask[random.integers(SIDE), random.integers(SIDE)] = True
        elif kind == "noise":
            mask[:] = random.random((SIDE, SIDE)) < random.random()
        elif kind == "blob":
            y, x = np.ogrid[:SIDE, :SIDE]
            cy, cx = random.integers(SIDE, size=2)
            mask[:] = (y - cy) ** 2 + (x - cx) ** 2 <= random.integers(1, 60)
        elif kind == "full":
            mask[:] = True
    return torch.from_numpy(masks)


@settings(deadline=None, max_examples=40)
@given(mask_stacks(), st.integers(0, 1000))
def test_samples_lie_on_their_mask(masks, seed):
    points, found = sample_points(masks, generator=seeded(seed))
    assert points.shape == (len(masks), 2)
    assert points.dtype == torch.float32
    assert torch.equal(found, masks.flatten(1).any(dim=1))
    x, y = points.long().unbind(1)
    assert torch.equal(masks[torch.arange(len(masks)), y, x], found)
    assert not points[~found].any()


def test_samples_are_uniform_over_the_pixels():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[2, 3:15] = True  # rows of unequal length, with a hole and a lone corner pixel
    mask[5, [1, 2, 9]] = True
    mask[9:13, 4:8] = True
    mask[15, 15] = True
    draws = 8000
    points, found = sample_points(mask.expand(draws, 16, 16), generator=seeded())
    assert found.all()
    counts = torch.zeros(16, 16)
    x, y = points.long().unbind(1)
    counts.index_put_((y, x), torch.ones(draws), accumulate=True)
    assert counts[~mask].sum() == 0
    assert stats.chisquare(counts[mask].numpy()).pvalue > 0.01


def test_samples_reach_the_far_corner_of_a_large_mask():
    mask = torch.ones(1, 1024, 1024, dtype=torch.bool)
    rows = torch.stack([sample_points(mask, generator=seeded(seed))[0][0] for seed in range(60)])
    assert rows.max() > 950
    assert rows.min() < 70


def test_the_seed_decides():
    masks = torch.rand(20, 32, 32, generator=seeded(3)) > 0.5
    first, _ = sample_points(masks, generator=seeded(1))
    again, _ = sample_points(masks, generator=seeded(1))
    other, _ = sample_points(masks, generator=seeded(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@settings(deadline=None, max_examples=40)
@given(mask_stacks())
def test_boxes_are_tight(masks):
    boxes, found = tight_boxes(masks)
    assert boxes.shape == (len(masks), 4)
    assert boxes.dtype == torch.float32
    for mask, box, has in zip(masks.numpy(), boxes.tolist(), found.tolist(), strict=True):
        assert has == mask.any()
        if not has:
            assert box == [0, 0, 0, 0]
            continue
        rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
        assert box == [columns.start, rows.start, columns.stop - 1, rows.stop - 1]


def naive_depth(mask):
    """Distance of every pixel to the nearest pixel that is False or just outside the image."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    depth = np.zeros(mask.shape)
    for y, x in np.argwhere(mask):
        depth[y, x] = np.sqrt(((outside - (y + 1, x + 1)) ** 2).sum(axis=1).min())
    return depth


@settings(deadline=None, max_examples=25)
@given(mask_stacks())
def test_centre_is_the_deepest_pixel(masks):
    points, depths = innermost(masks)
    centers, found = center_points(masks)
    assert torch.equal(points, centers)
    assert torch.equal(found, masks.flatten(1).any(dim=1))
    for mask, (x, y), depth in zip(
        masks.numpy(), points.int().tolist(), depths.tolist(), strict=True
    ):
        expected = naive_depth(mask)
        assert depth == pytest.approx(expected.max(), abs=1e-5)
        assert expected[y, x] == pytest.approx(depth, abs=1e-5)
        if mask.any():
            assert y * SIDE + x == expected.argmax()  # the first in reading order


def test_the_image_edge_is_a_boundary():
    mask = torch.ones(1, 9, 9, dtype=torch.bool)
    points, depths = innermost(mask)
    assert points.tolist() == [[4, 4]]
    assert depths.tolist() == [5]


def test_no_objects():
    masks = torch.zeros(0, 8, 8, dtype=torch.bool)
    for points, found in (
        sample_points(masks, generator=seeded()),
        center_points(masks),
    ):
        assert points.shape == (0, 2)
        assert found.shape == (0,)
    assert tight_boxes(masks)[0].shape == (0, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_answers_on_a_gpu():
    masks = torch.rand(6, 64, 64, generator=seeded()) > 0.7
    masks[2] = False
    on_gpu = masks.cuda()
    for function in (tight_boxes, center_points):
        for expected, found in zip(function(masks), function(on_gpu), strict=True):
            assert torch.equal(expected, found.cpu())
    generator = torch.Generator("cuda").manual_seed(0)
    points, found = sample_points(on_gpu, generator=generator)
    x, y = points.long().unbind(1)
    assert torch.equal(on_gpu[torch.arange(6, device="cuda"), y, x], found)
