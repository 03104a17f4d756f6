"""Lens, medium, sensor and file format."""

import cv2
import numpy as np
import pytest

from samft.data.synthesis import optics
from samft.data.synthesis.textures import value_noise

STEP = np.repeat(np.array([50, 200], np.float32), 32)[None].repeat(64, 0)


def test_underwater_formula_by_hand() -> None:
    seen = optics.underwater(
        np.full((2, 2, 3), 100, np.float32),
        np.full((2, 2), 2, np.float32),
        attenuation=np.array([0.5, 0, 10], np.float32),
        backscatter=np.array([0.25, 0, 10], np.float32),
        veil=np.array([200, 60, 30], np.float32),
    )
    # 100 exp(-1) + 200 (1 - exp(-0.5)); clear water; nothing but water
    np.testing.assert_allclose(seen[0, 0], [36.7879 + 78.6939, 100, 30], atol=1e-3)


def test_a_distant_scene_is_the_veil_even_where_it_varies() -> None:
    veil = np.random.default_rng(0).uniform(0, 255, (4, 4, 3)).astype(np.float32)
    ones = np.ones(3, np.float32)
    far = np.full((4, 4), 1e3, np.float32)
    scene = np.full((4, 4, 3), 255, np.float32)
    seen = optics.underwater(scene, far, attenuation=ones, backscatter=ones, veil=veil)
    np.testing.assert_allclose(seen, veil, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: optics.blur(image, 1.5),
        lambda image: optics.blur(image, 9),
        lambda image: optics.defocus(image, 2.5),
        lambda image: optics.motion_blur(image, 5, 0.0),
        lambda image: optics.lower_resolution(image, 2),
    ],
)
def test_blurring_does_not_move_edges_nor_change_the_light(change) -> None:
    blurred = change(STEP)
    assert blurred.shape == STEP.shape
    assert blurred.mean() == pytest.approx(STEP.mean(), rel=0.01)
    assert np.interp(125, blurred[32, 16:48], np.arange(16, 48)) == pytest.approx(31.5, abs=0.3)
    assert np.abs(np.diff(blurred[32])).max() < 150


def test_noise_has_the_variance_asked_for() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((256, 256), 64, np.float32)
    assert optics.sensor_noise(rng, grey, read=5).std() == pytest.approx(5, rel=0.03)
    both = optics.sensor_noise(rng, grey, read=3, shot=8)
    assert both.std() == pytest.approx(np.sqrt(9 + 64 * 64 / 255), rel=0.03)
    assert both.mean() == pytest.approx(64, abs=0.2)


def test_bell_noise_is_nearly_gaussian() -> None:
    noise = optics.bell_noise(np.random.default_rng(1), (300, 300))
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(noise) < 1).mean() == pytest.approx(0.683, abs=0.02)
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_grey_levels() -> None:
    ramp = np.linspace(0, 255, 256, dtype=np.float32)[None].repeat(4, 0)
    bent = optics.gamma(ramp, 2.0)
    assert bent[0, 0] == 0
    assert bent[0, -1] == pytest.approx(255)
    assert bent[0, 128] == pytest.approx(255 * (128 / 255) ** 2, rel=1e-3)
    assert len(np.unique(optics.quantise(ramp, 16))) == 16
    weak = optics.contrast(ramp, 0.5)
    assert weak.mean() == pytest.approx(ramp.mean(), rel=1e-4)
    assert np.ptp(weak) == pytest.approx(127.5, rel=1e-4)
    assert optics.to_uint8(np.array([-3, 1.6, 300], np.float32)).tolist() == [0, 2, 255]


def test_jpeg_loses_a_little() -> None:
    image = optics.to_colour(value_noise(np.random.default_rng(0), 64, 16) * 255)
    lossy = optics.jpeg(image, 50)
    assert lossy.shape == image.shape
    assert 0 < np.abs(lossy - image).mean() < 10


def test_uneven_light_stays_within_its_strength() -> None:
    for seed in range(10):
        light = optics.uneven_light(np.random.default_rng(seed), 64, 0.4)
        assert light.min() >= 0.6 - 1e-5
        assert light.max() <= 1 + 1e-5


def test_dim_works_in_place_on_a_part_of_an_image() -> None:
    image = np.full((8, 8, 3), 100, np.float32)
    optics.dim(image[2:4, 2:5], np.full((2, 3), 0.5, np.float32))
    assert image.sum() == 100 * (192 - 9)


def test_the_camera_draws_from_its_seed_only() -> None:
    cv2.setRNGSeed(1)
    first = optics.camera(np.random.default_rng(4), STEP.copy())
    cv2.setRNGSeed(2)
    assert np.array_equal(first, optics.camera(np.random.default_rng(4), STEP.copy()))
