"""Augmentation: same seed, same sample; labels stay labels; presets do what they say."""

import pickle

import numpy as np
import pytest
import torch
from fixtures_data import discs, picture

from samft.data.augmentation.adapter import AlbumentationsTransform
from samft.data.augmentation.base import Chain, Sometimes
from samft.data.augmentation.presets import COLOUR, DOMAINS, SCALES
from samft.data.augmentation.registry import build_transform, preset_names
from samft.errors import ConfigError
from samft.types import IGNORE, Sample

PRESETS = (*DOMAINS, *SCALES)


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
    transform, again = (build_transform(preset, side=64) for _ in range(2))
    first = [transform(given, seed) for seed in range(12)]
    again(given, 99)  # what came before must not matter
    second = [again(given, seed) for seed in reversed(range(12))][::-1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.layers, b.layers)
    assert len({hash(s.image.numpy().tobytes()) for s in first}) > 3
    assert torch.equal(given.layers, sample(dtype, layers=2).layers)
    assert torch.equal(given.image, sample(dtype).image)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_types_ranges_and_labels_survive(preset: str, dtype: torch.dtype) -> None:
    given = sample(dtype, layers=3)
    transform = build_transform(preset, side=64)
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
    for none in (None, "none", [], ["none"]):
        assert build_transform(none) is None
        assert preset_names(none) == ()
    assert preset_names("lsj") == preset_names(["lsj"]) == ("lsj",)
    assert preset_names(["lsj", "underwater"]) == ("lsj", "underwater")


@pytest.mark.parametrize(
    ("names", "what", "fix"),
    [
        ("medcal", "unknown augmentation preset 'medcal'", "did you mean 'medical'?"),
        (["lsj", "fliip"], "unknown augmentation preset 'fliip'", "did you mean 'flip'?"),
        (["flip", "none"], "none cannot be combined", "found: flip, none"),
        (["flip", "lsj", "flip"], "a preset stands there twice", "found: flip, lsj, flip"),
    ],
)
def test_names_that_make_no_sense(names: str | list[str], what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_transform(names)
    text = str(caught.value)
    assert text.startswith(what)
    assert "data.transforms" in text
    assert fix in text


def test_colours_need_three_channels() -> None:
    with pytest.raises(ConfigError, match="shifts the colours") as caught:
        build_transform(["lsj", "histology"], num_channels=4)
    assert "found: histology, with images of 4 channels" in str(caught.value)
    assert "flip, medical, microscopy, mr, lsj, foreground_crop" in str(caught.value)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in COLOUR])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(preset: str, channels: int) -> None:
    given = sample()
    given = given.replace(image=given.image[:1].repeat(channels, 1, 1))
    transform = build_transform(preset, num_channels=channels, side=64)
    for seed in range(15):
        result = transform(given, seed)
        assert result.image.shape == (channels, *result.layers.shape[1:])
        assert result.image.dtype == torch.uint8


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in COLOUR])
def test_grey_images_stay_grey(preset: str) -> None:
    given = sample()
    given = given.replace(image=given.image[:1].repeat(3, 1, 1))
    transform = build_transform(preset, side=64)
    for seed in range(30):
        red, green, blue = transform(given, seed).image
        assert torch.equal(red, green)
        assert torch.equal(green, blue)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3)])
def test_images_of_hardly_any_pixels(preset: str, size: tuple[int, int]) -> None:
    given = Sample(
        image=torch.full((3, *size), 90, dtype=torch.uint8),
        layers=torch.ones(1, *size, dtype=torch.int32),
        object_layer=torch.tensor([0]),
        object_class=torch.tensor([0]),
        sample_id="a",
        case_id="a",
    )
    transform = build_transform(preset, side=32)
    for seed in range(15):
        result = transform(given, seed)
        assert result.layers.shape[1:] == result.image.shape[1:]
        assert result.image.numel() > 0


def test_several_presets_are_applied_in_their_order() -> None:
    given = sample()
    for seed in range(10):
        sized = build_transform(["microscopy", "lsj"], side=32)(given, seed)
        assert sized.size == (32, 32)
    # The other way round, the crop has the last word.
    sizes = {build_transform(["lsj", "foreground_crop"], side=32)(given, s).size for s in range(20)}
    assert len(sizes) > 1


def test_steps_of_a_chain_draw_independently() -> None:
    same = [Sometimes(_Mark(value), share=0.5) for value in (1, 2)]
    counts = np.zeros((2, 2))
    given = sample().replace(image=torch.zeros(3, 48, 64, dtype=torch.uint8))
    for seed in range(200):
        total = int(Chain(same)(given, seed).image[0, 0, 0])
        counts[total % 2, total // 2] += 1
    assert counts.min() > 30


class _Mark:
    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self, sample: Sample, seed: int) -> Sample:
        return sample.replace(image=sample.image + self.value)


def test_a_transform_travels_to_a_worker() -> None:
    given = sample()
    for preset in PRESETS:
        transform = build_transform(preset, side=32)
        sent = pickle.loads(pickle.dumps(transform))
        assert torch.equal(transform(given, 5).image, sent(given, 5).image)
