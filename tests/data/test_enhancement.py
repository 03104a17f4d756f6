"""White balance and local contrast: what they correct, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from samft.data.augmentation.underwater import JERLOV
from samft.data.enhancement import Enhancement, check_enhancement, clahe, enhance, white_balance
from samft.errors import ConfigError

ALL: tuple[Enhancement, ...] = ("none", "white_balance", "clahe", "white_balance_clahe")


def scene(seed: int = 0) -> NDArray[np.uint8]:
    """Patches of many colours, as bright in each channel, 3 x 64 x 96."""
    rng = np.random.default_rng(seed)
    values = rng.integers(20, 236, 96).astype(np.uint8)
    patches = np.stack([rng.permutation(values).reshape(8, 12) for _ in range(3)])
    return np.kron(patches, np.ones((1, 8, 8), np.uint8))


def below(image: NDArray[np.uint8], metres: float, water: str = "II") -> NDArray[np.uint8]:
    left = np.exp(-np.array(JERLOV[water]) * metres)
    return np.rint(image * left[:, None, None]).astype(np.uint8)


@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_shapes_types_and_the_same_again(how: Enhancement, dtype: type, channels: int) -> None:
    image = np.concatenate([scene(), scene(1)])[:channels].astype(dtype)
    before = image.copy()
    result = enhance(image, how)
    assert result.shape == image.shape
    assert result.dtype == dtype
    assert 0 <= result.min() <= result.max() <= 255
    assert np.array_equal(result, enhance(image, how))
    assert np.array_equal(image, before)


@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 1, 30), (3, 5, 7), (1, 2, 2)])
@pytest.mark.parametrize("value", [0, 90, 255])
def test_images_of_hardly_any_pixels_or_one_colour(
    how: Enhancement, shape: tuple[int, int, int], value: int
) -> None:
    result = enhance(np.full(shape, value, np.uint8), how)
    assert result.shape == shape
    coloured = np.full(shape, value, np.float32)
    coloured[0] = 3
    assert np.isfinite(enhance(coloured, how)).all()


def test_none_is_nothing() -> None:
    image = scene()
    assert enhance(image, "none") is image


@pytest.mark.parametrize(("water", "metres"), [("I", 4.0), ("II", 4.0), ("5C", 2.0)])
def test_the_colour_of_the_water_is_taken_out(water: str, metres: float) -> None:
    image = below(scene(), metres, water)
    result = white_balance(image).astype(float)
    before, after = image.mean(axis=(1, 2)), result.mean(axis=(1, 2))
    assert np.ptp(after) < 0.35 * np.ptp(before)
    weights = (0.299, 0.587, 0.114)
    assert np.dot(weights, after) == pytest.approx(np.dot(weights, before), rel=0.03)


def test_a_balanced_image_stays_as_it_is() -> None:
    image = scene()
    assert np.abs(white_balance(image).astype(int) - image).max() <= 1


def test_hardly_any_red_is_not_blown_up() -> None:
    image = scene()
    image[0] = np.random.default_rng(1).integers(0, 3, image.shape[1:])
    red = white_balance(image)[0].astype(float)
    flat = red[:8, :8]  # one patch: what differs in it is noise
    assert flat.std() < 3


def test_grey_has_no_colour_to_balance() -> None:
    grey = np.repeat(scene()[:1], 3, axis=0)
    assert np.array_equal(white_balance(grey), grey)
    assert np.array_equal(white_balance(grey[:1]), grey[:1])
    assert np.array_equal(*clahe(grey)[:2])
    assert np.array_equal(clahe(grey)[0], clahe(grey[:1])[0])


def test_contrast_grows_in_every_region() -> None:
    y, x = np.mgrid[:128, :192]
    ripples = 40 + x / 4 + 4 * np.sin(x) * np.sin(y)
    image = np.stack([ripples, ripples * 1.4, ripples * 1.2]).astype(np.uint8)
    result = clahe(image)

    def detail(rgb: NDArray[np.uint8]) -> float:
        return float(np.abs(np.diff(rgb.astype(float), axis=1)).mean())

    assert detail(result) > 1.5 * detail(image)
    # The hue stays: green is the largest and red the smallest everywhere.
    assert (result[1] >= result[2]).mean() > 0.99
    assert (result[2] >= result[0]).mean() > 0.99


def test_floats_agree_with_bytes() -> None:
    image = scene()
    for how in ALL:
        whole, fine = enhance(image, how), enhance(image.astype(np.float32), how)
        assert np.abs(fine - whole).mean() < 3, how


def test_balance_needs_colours() -> None:
    for how in ALL:
        check_enhancement(how, 3)
    check_enhancement("clahe", 5)
    with pytest.raises(ConfigError, match="white balance is for RGB images") as caught:
        check_enhancement("white_balance_clahe", 4)
    assert "where: data.enhancement" in str(caught.value)
    assert "found: white_balance_clahe, with images of 4 channels" in str(caught.value)
    assert "expected: none or clahe" in str(caught.value)
