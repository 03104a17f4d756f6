"""Transforms that change values: what they do to light, detail and noise, and what they leave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from samft.data.augmentation.base import Transform
from samft.data.augmentation.bias_field import BiasField
from samft.data.augmentation.focus import Defocus
from samft.data.augmentation.noise import GaussianNoise, PhotonNoise
from samft.data.augmentation.resolution import LowResolution
from samft.data.augmentation.stains import HED, StainJitter
from samft.data.augmentation.underwater import JERLOV, AddedWater
from samft.types import Sample

ALL: list[Transform] = [
    AddedWater(),
    BiasField(),
    Defocus(),
    GaussianNoise(),
    LowResolution(),
    PhotonNoise(),
    StainJitter(),
]


def sample(image: torch.Tensor) -> Sample:
    layers = torch.zeros(1, *image.shape[1:], dtype=torch.int32)
    layers[:, 3:9, 4:8] = 1
    return Sample(
        image=image,
        layers=layers,
        object_layer=torch.tensor([0]),
        object_class=torch.tensor([0]),
        sample_id="a",
        case_id="a",
    )


def noise(*shape: int, low: int = 40, high: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(low, high, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("transform", ALL, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_values_only(transform: Transform, dtype: torch.dtype) -> None:
    given = sample(noise(3, 41, 67).to(dtype))
    before = given.image.clone()
    results = [transform(given, seed) for seed in range(6)]
    for result, again in zip(results, [transform(given, seed) for seed in range(6)], strict=True):
        assert torch.equal(result.layers, given.layers)
        assert result.image.shape == given.image.shape
        assert result.image.dtype == dtype
        assert result.image.is_contiguous()
        assert 0 <= result.image.min() <= result.image.max() <= 255
        assert torch.equal(result.image, again.image)
    assert torch.equal(given.image, before)
    assert not torch.equal(results[0].image, results[1].image)


@pytest.mark.parametrize("transform", ALL, ids=lambda each: type(each).__name__)
def test_bytes_and_floats_agree(transform: Transform) -> None:
    given = sample(noise(3, 41, 67))
    whole = transform(given, 3).image.float()
    fine = transform(given.replace(image=given.image.float()), 3).image
    assert float((whole - fine).abs().max()) <= 0.51


def test_water_fades_what_is_behind_it() -> None:
    given = sample(noise(3, 64, 64, low=0, high=255))
    spread = [float(AddedWater()(given, seed).image.float().std()) for seed in range(30)]
    before = float(given.image.float().std())
    assert max(spread) < 1.25 * before  # the camera exposes for what is left
    assert np.mean(spread) < 0.9 * before


def test_red_is_lost_first_in_most_waters() -> None:
    white = torch.full((3, 32, 32), 200, dtype=torch.uint8)
    least = [0, 0, 0]
    for seed in range(60):
        least[int(AddedWater()(sample(white), seed).image.float().mean(dim=(1, 2)).argmin())] += 1
    assert least[0] > 30
    assert least[1] < 6
    assert least[2] > 5  # at the coast


def test_jerlov_waters_grow_turbid() -> None:
    greens = [green for _, green, _ in JERLOV.values()]
    assert greens == sorted(greens)
    assert JERLOV["I"][0] > JERLOV["I"][1] > JERLOV["I"][2]
    assert JERLOV["9C"][2] > JERLOV["9C"][1] > JERLOV["9C"][0]


def test_a_bias_field_is_smooth_and_leaves_white_white() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        field = BiasField(strength=0.25).field(rng, (120, 90))
        assert field.shape == (120, 90)
        assert field.min() > 0
        assert np.abs(np.diff(np.log(field), axis=0)).max() < 0.05
    grey = sample(noise(1, 100, 80, low=20, high=250).repeat(3, 1, 1))
    for seed in range(10):
        result = BiasField()(grey, seed).image
        assert np.percentile(result, 99.5) == pytest.approx(np.percentile(grey.image, 99.5), abs=6)
        assert torch.equal(result[0], result[2])


def test_a_black_image_stays_black() -> None:
    black = sample(torch.zeros(3, 40, 40, dtype=torch.uint8))
    for transform in (BiasField(), PhotonNoise(), Defocus(), LowResolution()):
        assert not transform(black, 1).image.any()


def test_low_resolution_takes_detail_and_leaves_the_mean() -> None:
    given = sample(noise(3, 80, 120))
    result = LowResolution(lowest=0.5)(given, 1).image.float()
    assert float(result.std()) < 0.9 * float(given.image.float().std())
    assert float(result.mean()) == pytest.approx(float(given.image.float().mean()), abs=1)
    edge = torch.zeros(3, 64, 128, dtype=torch.uint8)
    edge[..., 64:] = 200
    blurred = LowResolution(lowest=0.5)(sample(edge), 1).image.float()
    assert float(blurred[0, 30, 61]) < 100 < float(blurred[0, 30, 66])  # nothing moved


def test_photons_make_noise_that_grows_with_the_root() -> None:
    deviations = []
    for level in (20, 80, 180):
        flat = sample(torch.full((3, 200, 200), float(level)))
        noisy = PhotonNoise(fewest=400, most=400)(flat, 0).image[0]
        assert float(noisy.mean()) == pytest.approx(level, abs=0.5)
        deviations.append(float(noisy.std()))
        assert deviations[-1] == pytest.approx(255 * (level / 255 / 400) ** 0.5, rel=0.05)


def test_gaussian_noise_is_of_one_strength() -> None:
    for level in (60.0, 190.0):
        flat = sample(torch.full((3, 200, 200), level))
        noisy = GaussianNoise(least=7, most=7)(flat, 0).image
        assert float(noisy[0].std()) == pytest.approx(7, rel=0.05)
        assert torch.equal(noisy[0], noisy[1])


def test_defocus_spreads_a_point_over_a_disc() -> None:
    point = torch.zeros(3, 31, 31)
    point[:, 15, 15] = 250
    image = Defocus(least=2, most=2)(sample(point), 0).image[0].numpy()
    assert image.sum() == pytest.approx(250, rel=0.01)
    y, x = np.nonzero(image > 1)
    assert np.hypot(y - 15, x - 15).max() <= 2.5
    assert ndimage.center_of_mass(image) == pytest.approx((15, 15))


def test_no_jitter_of_stains_is_no_change() -> None:
    given = sample(noise(3, 50, 60, low=0, high=256 - 1))
    same = StainJitter(gain=0, shift=0)(given, 0).image.int()
    assert int((same - given.image.int()).abs().max()) <= 1


def test_amounts_of_stain_are_multiplied() -> None:
    given = sample(noise(3, 50, 60))
    stains = np.array(HED)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)

    def amounts(image: torch.Tensor) -> np.ndarray:
        density = -np.log((image.reshape(3, -1).double().numpy() + 1) / 256)
        return np.linalg.solve(stains.T, density)

    before = amounts(given.image.float())
    after = amounts(
        StainJitter(gain=0.3, shift=0.0)(given.replace(image=given.image.float()), 4).image
    )
    inside = ((after != 0) & (np.abs(before) > 0.05)).all(axis=0)
    factors = (after / before)[:, inside]
    assert np.abs(factors - np.median(factors, axis=1, keepdims=True)).max() < 0.02
    gains = np.median(factors, axis=1)
    assert gains.min() > 0.7
    assert gains.max() < 1.3
    assert gains.std() > 0.02


def test_white_glass_stays_nearly_white() -> None:
    glass = sample(torch.full((3, 20, 20), 245, dtype=torch.uint8))
    for seed in range(30):
        assert float((StainJitter()(glass, seed).image.float() - 245).abs().max()) < 20
