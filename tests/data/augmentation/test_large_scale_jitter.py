"""Large-scale jitter: scales, places, and that objects stay in sight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from samft.data.augmentation.large_scale_jitter import LargeScaleJitter
from samft.data.collate import collate
from samft.types import IGNORE, Sample


def sample(
    height: int = 60, width: int = 90, *, side: int = 12, at: tuple[int, int] = (30, 70)
) -> Sample:
    """A square object on noise."""
    noise = torch.Generator().manual_seed(0)
    layers = torch.zeros(1, height, width, dtype=torch.int32)
    layers[:, at[0] : at[0] + side, at[1] : at[1] + side] = 1
    return Sample(
        image=torch.randint(1, 255, (3, height, width), dtype=torch.uint8, generator=noise),
        layers=layers,
        object_layer=torch.tensor([0]),
        object_class=torch.tensor([2]),
        sample_id="a",
        case_id="a",
        spacing_mm=(0.5, 0.25),
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_always_the_same_side(dtype: torch.dtype) -> None:
    given = sample()
    given = given.replace(image=given.image.to(dtype))
    for seed in range(30):
        result = LargeScaleJitter(64)(given, seed)
        assert result.image.shape == (3, 64, 64)
        assert result.image.dtype == dtype
        assert result.layers.shape == (1, 64, 64)
        assert result.image.is_contiguous()


def test_scale_one_is_what_the_batch_does() -> None:
    given = sample()
    result = LargeScaleJitter(64, low=1.0, high=1.0)(given, 7)
    plain = collate([given], image_size=64)
    assert torch.equal(result.image, plain.images[0])
    assert torch.equal(result.layers, plain.layers[0])


def test_a_smaller_image_is_that_of_pillow_and_padded_at_the_end() -> None:
    given = sample()
    result = LargeScaleJitter(90, low=0.5, high=0.5)(given, 0)
    expected = np.asarray(
        Image.fromarray(given.image.permute(1, 2, 0).numpy()).resize((45, 30), Image.BILINEAR)
    )
    found = result.image[:, :30, :45].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1
    assert not result.image[:, 30:].any()
    assert not result.image[:, :, 45:].any()
    assert not result.layers[:, 30:].any()


def test_sizes_are_spread_over_the_range() -> None:
    given = sample(100, 100, side=100, at=(0, 0))
    scales = [
        float(LargeScaleJitter(50)(given, seed).layers.float().mean() ** 0.5)
        for seed in range(1000)
    ]
    assert min(scales) < 0.15
    assert np.mean([s == 1 for s in scales]) == pytest.approx(10 / 19, abs=0.05)  # cropped
    below = np.array([s for s in scales if s < 1])
    assert np.histogram(below, bins=3, range=(0.1, 1))[0].min() > 110


def test_spacing_follows_the_scale() -> None:
    result = LargeScaleJitter(180, low=1.0, high=1.0)(sample(), 0)
    assert result.spacing_mm == pytest.approx((0.25, 0.125))
    assert LargeScaleJitter(64)(sample().replace(spacing_mm=None), 0).spacing_mm is None


@pytest.mark.parametrize("at", [(0, 0), (300, 500), (380, 580)])
def test_a_lone_object_stays_in_sight(at: tuple[int, int]) -> None:
    given = sample(400, 600, side=20, at=at)
    for seed in range(40):
        assert (LargeScaleJitter(128)(given, seed).layers == 1).any()


def test_an_object_too_small_for_a_scale_gets_another() -> None:
    # A pixel in 200 survives a third of the scales.
    given = sample(200, 200, side=1, at=(57, 101))
    kept = sum(bool((LargeScaleJitter(100)(given, s).layers == 1).any()) for s in range(100))
    assert kept > 90


def test_nothing_to_keep() -> None:
    given = sample().replace(
        layers=torch.full((1, 60, 90), IGNORE, dtype=torch.int32),
        object_layer=torch.zeros(0, dtype=torch.int64),
        object_class=torch.zeros(0, dtype=torch.int64),
    )
    corners = set()
    for seed in range(20):
        result = LargeScaleJitter(32, low=2.0, high=2.0)(given, seed)
        assert result.num_objects == 0
        assert (result.layers[0, :, :] == IGNORE).any()
        corners.add(tuple(result.image[0, 0, :8].tolist()))
    assert len(corners) > 10  # cropped anywhere, too
    gone = sample().replace(layers=torch.zeros(1, 60, 90, dtype=torch.int32))
    assert LargeScaleJitter(32)(gone, 0).num_objects == 1
