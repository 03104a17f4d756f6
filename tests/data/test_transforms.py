"""Augmentation: same seed, same sample; labels stay labels; presets do what they say."""

import numpy as np
import pytest
import torch
from fixtures_data import discs, picture

from samft.data.transforms import AlbumentationsTransform, build_transform
from samft.errors import ConfigError
from samft.types import IGNORE, Sample

PRESETS = ("flip", "medical", "microscopy", "underwater")


def sample(dtype: torch.dtype = torch.uint8, layers: int = 1) -> Sample:
    labels = discs(0)
    labels[:3] = IGNORE
    grey = picture(discs(0), 0)
    image = torch.from_numpy(np.stack([grey, grey // 2, grey // 3]))
    stacked = np.stack([np.where(labels > 0, labels + 4 * i, labels) for i in range(layers)])
    count = 4 * layers
    return Sample(
        image=image.to(dtype),
        layers=torch.from_numpy(stacked),
        object_layer=torch.arange(count) // 4,
        object_class=torch.zeros(count, dtype=torch.int64),
        sample_id="a",
        case_id="a",
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_presets_are_pure_functions_of_the_seed(preset: str, dtype: torch.dtype) -> None:
    given = sample(dtype, layers=2)
    transform, again = build_transform(preset), build_transform(preset)
    first = [transform(given, seed) for seed in range(12)]
    again(given, 99)  # what came before must not matter
    second = [again(given, seed) for seed in reversed(range(12))][::-1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.layers, b.layers)
    assert (
        len(
            {
                (s.image.double() * torch.arange(s.image.numel()).reshape(s.image.shape))
                .sum()
                .item()
                for s in first
            }
        )
        > 3
    )
    assert torch.equal(given.layers, sample(dtype, layers=2).layers)
    assert torch.equal(given.image, sample(dtype).image)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_types_ranges_and_labels_survive(preset: str, dtype: torch.dtype) -> None:
    given = sample(dtype, layers=3)
    transform = build_transform(preset)
    for seed in range(20):
        result = transform(given, seed)
        assert result.image.dtype == dtype
        assert result.image.is_contiguous()
        assert 0 <= result.image.min() <= result.image.max() <= 255
        assert result.layers.dtype == torch.int32
        assert result.layers.shape == (3, *result.image.shape[1:])
        assert set(result.layers.unique().tolist()) <= {IGNORE, *range(13)}
        assert result.num_objects == 12
        for layer in range(3):
            values = set(result.layers[layer].unique().tolist()) - {0, IGNORE}
            assert values <= set(range(4 * layer + 1, 4 * layer + 5))


@pytest.mark.parametrize("preset", ["flip", "microscopy"])
def test_image_and_labels_move_together(preset: str) -> None:
    given = sample()
    bright = (given.layers > 0).expand(3, -1, -1)
    given = given.replace(image=torch.where(bright, 255, 0).to(torch.uint8))
    transform = build_transform(preset)
    for seed in range(20):
        result = transform(given, seed)
        inside = (result.image[0] > 127) == (result.layers[0] > 0)
        assert inside.float().mean() > 0.97


def test_flips_are_independent_of_each_other() -> None:
    # albumentations' own seeding would always flip both ways or not at all.
    given = sample()
    transform = build_transform("flip")
    options = [given.image.flip(d) for d in ([], [1], [2], [1, 2])]
    counts = [0, 0, 0, 0]
    for seed in range(200):
        result = transform(given, seed)
        same = [torch.equal(result.image, option) for option in options]
        assert sum(same) == 1
        counts[same.index(True)] += 1
    assert min(counts) > 30


def test_medical_never_mirrors() -> None:
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, :, :20] = 255
    labels = torch.zeros(1, 64, 64, dtype=torch.int32)
    labels[:, :, :20] = 1
    given = Sample(
        image=image,
        layers=labels,
        object_layer=torch.tensor([0]),
        object_class=torch.tensor([0]),
        sample_id="a",
        case_id="a",
    )
    transform = build_transform("medical")
    for seed in range(40):
        columns = (transform(given, seed).layers[0] == 1).nonzero()[:, 1].double()
        assert columns.mean() < 32


def test_more_objects_than_a_byte_counts(monkeypatch) -> None:
    labels = torch.arange(1, 70 * 70 + 1, dtype=torch.int32).reshape(1, 70, 70)
    given = Sample(
        image=torch.zeros(3, 70, 70, dtype=torch.uint8),
        layers=labels,
        object_layer=torch.zeros(4900, dtype=torch.int64),
        object_class=torch.zeros(4900, dtype=torch.int64),
        sample_id="a",
        case_id="a",
    )
    result = build_transform("flip")(given, 3)
    assert sorted(result.layers.flatten().tolist()) == list(range(1, 4901))


def test_objects_cut_away_keep_their_row() -> None:
    import albumentations as A

    transform = AlbumentationsTransform([A.Crop(x_min=0, y_min=0, x_max=20, y_max=20)])
    result = transform(sample(), 0)
    assert result.num_objects == 4
    assert result.size == (20, 20)
    assert result.masks().shape == (4, 20, 20)


def test_names() -> None:
    assert build_transform(None) is None
    assert build_transform("none") is None
    with pytest.raises(ConfigError) as caught:
        build_transform("medcal")
    assert "data.transforms" in str(caught.value)
    assert "did you mean 'medical'?" in str(caught.value)
