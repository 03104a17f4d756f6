"""What lens, medium, sensor and file format do to a scene. Images are float32, 0 to 255."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.synthesis.textures import grid, value_noise

_WIDE = 6.0  # pixels

Image = NDArray[Any]  # Any: float32, but OpenCV promises no type of what it returns
"""(H, W) or (H, W, 3) float32, 0 to 255."""


def dim(image: Image, factor: NDArray[np.float32]) -> None:
    """Multiply every channel in place by a factor ((H, W) float32)."""
    if image.ndim == 2:
        image *= factor
    else:
        cv2.multiply(image, cv2.merge([factor, factor, factor]), dst=image)


def blur(image: Image, sigma: float) -> Image:
    """Blur by a Gaussian of `sigma` pixels; what is almost no blur is left out."""
    if sigma < 0.2:
        return image
    if sigma > _WIDE:  # nothing fine is left, so that a smaller image will do
        side = max(8, round(image.shape[0] * _WIDE / 2 / sigma))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma * side / image.shape[0])
        soft: Image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return soft
    blurred: Image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return blurred


def defocus(image: Image, radius: float) -> Image:
    """Blur by a disc of `radius` pixels, the image of a point out of focus."""
    side = 2 * int(np.ceil(radius)) + 1
    axis = np.arange(side, dtype=np.float32) - side // 2
    disc = np.clip(radius + 0.5 - np.hypot(axis, axis[:, None]), 0, 1)
    blurred: Image = cv2.filter2D(image, -1, (disc / disc.sum()).astype(np.float32))
    return blurred


def motion_blur(image: Image, length: float, angle: float) -> Image:
    """Blur along a line of `length` pixels in direction `angle` (radians), centred."""
    side = 2 * int(np.ceil(length / 2)) + 1
    middle, step = side // 2, length / 2
    kernel = np.zeros((side, side), np.float32)
    for t in np.linspace(-step, step, 4 * side):
        x, y = middle + t * np.cos(angle), middle + t * np.sin(angle)
        kernel[int(np.clip(np.rint(y), 0, side - 1)), int(np.clip(np.rint(x), 0, side - 1))] += 1
    blurred: Image = cv2.filter2D(image, -1, kernel / kernel.sum())
    return blurred


def uneven_light(rng: Generator, size: int, strength: float) -> Image:
    """Return a smooth factor (size, size) between `1 - strength` and 1."""
    x, y = grid(size)
    if rng.random() < 0.4:  # darker towards the corners
        at = rng.uniform(-0.4, 0.4, 2).astype(np.float32)
        dark = np.minimum(((x - at[0]) ** 2 + (y - at[1]) ** 2) / 2, 1)
    else:
        dark = np.clip(value_noise(rng, size, size / 2), 0, 1)
    light: Image = np.float32(1) - np.float32(strength) * dark
    return light


def sensor_noise(rng: Generator, image: Image, *, read: float, shot: float = 0.0) -> Image:
    """Add Gaussian noise whose variance has a constant and a signal-dependent part.

    Args:
        rng: Source of the noise.
        image: The image.
        read: Standard deviation of the constant part, grey levels.
        shot: Standard deviation of the signal-dependent part at level 255; it grows with the root
            of the signal, as that of photon counts does.
    """
    noise = bell_noise(rng, image.shape)
    if shot <= 0:
        noise *= np.float32(read)
    else:
        variance = np.float32(read**2) + np.maximum(image, 0) * np.float32(shot**2 / 255)
        noise *= np.sqrt(variance)
    noise += image
    return noise


def bell_noise(rng: Generator, shape: tuple[int, ...]) -> Image:
    """Return noise of mean 0 and deviation 1, in a third of the time that true Gaussian takes.

    It is the sum of four random bytes, which is Gaussian up to three deviations.
    """
    count = int(np.prod(shape))
    words = rng.integers(0, 2**64, (count + 1) // 2, np.uint64)
    rolls = words.view(np.uint8)[: 4 * count].reshape(4, count)
    total = np.add(rolls[0], rolls[1], dtype=np.uint16)
    total += rolls[2]
    total += rolls[3]
    noise = total.astype(np.float32)
    noise -= np.float32(510)
    noise *= np.float32(1 / np.sqrt(65535 / 3))
    return np.reshape(noise, shape)


def lower_resolution(image: Image, factor: float) -> Image:
    """Sample the image `factor` times more coarsely and bring it back to its size."""
    side = max(8, round(image.shape[0] / factor))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    back: Image = cv2.resize(
        small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR
    )
    return back


def gamma(image: Image, exponent: float) -> Image:
    """Bend the grey levels; 0 and 255 stay."""
    bent: Image = np.power(np.clip(image, 0, 255) / np.float32(255), np.float32(exponent))
    return bent * np.float32(255)


def contrast(image: Image, gain: float) -> Image:
    """Scale the distance of every value from the mean of the image."""
    mean = np.float32(image.mean())
    scaled: Image = (image - mean) * np.float32(gain) + mean
    return scaled


def jpeg(image: Image, quality: int) -> Image:
    """Return what is left of the image after JPEG compression."""
    _, data = cv2.imencode(".jpg", to_uint8(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Image = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32)
    return decoded


def quantise(image: Image, levels: int) -> Image:
    """Keep so many grey levels."""
    step = np.float32(255 / (levels - 1))
    return np.rint(image / step) * step


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Round and clip to bytes."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), np.uint8)


def to_colour(image: Image, tint: NDArray[np.float32] | None = None) -> Image:
    """Turn (H, W) into (H, W, 3), each channel times its part of `tint` ((3,))."""
    if tint is None:
        colour: Image = cv2.merge([image, image, image])
        return colour
    return image[..., None] * tint


def underwater(
    image: Image,
    distance: NDArray[np.float32],
    *,
    attenuation: NDArray[np.float32],
    backscatter: NDArray[np.float32],
    veil: NDArray[np.float32],
) -> Image:
    """Return how a scene looks through water.

    `I = J exp(-b_D z) + B (1 - exp(-b_B z))` in each channel: the direct signal fades at another
    rate than that at which scattered light gathers.

    Args:
        image: J, the scene without water, (H, W, 3).
        distance: z, (H, W), metres from the camera.
        attenuation: b_D, (3,), 1 / metre.
        backscatter: b_B, (3,), 1 / metre.
        veil: B, colour of the water far away, (3,) or (H, W, 3), 0 to 255.

    Source: Akkaynak and Treibitz 2018, "A Revised Underwater Image Formation Model", CVPR,
        equation 20; Akkaynak and Treibitz 2019, "Sea-thru", CVPR, equation 1.
    """
    seen = []
    for channel in range(3):
        direct = np.exp(distance * -attenuation[channel])
        scattered = 1 - np.exp(distance * -backscatter[channel])
        seen.append(image[..., channel] * direct + veil[..., channel] * scattered)
    mixed: Image = cv2.merge(seen)
    return mixed


def camera(rng: Generator, image: Image, *, noise: float = 1.0) -> Image:
    """Pass a finished scene through a random lens, sensor and file format; it is overwritten.

    The border of an object blurs by at least half a pixel, as it was painted without any.

    Args:
        rng: Source of everything random.
        image: The scene.
        noise: Factor on the noise.
    """
    size = image.shape[0]
    if rng.random() < 0.4:
        light = uneven_light(rng, size, rng.uniform(0.1, 0.6))
        dim(image, light)
    image = _lens(rng, image)
    if rng.random() < 0.25:
        image = contrast(image, float(np.exp(rng.uniform(np.log(0.35), 0))))
    if rng.random() < 0.25:
        image = gamma(image, float(np.exp(rng.uniform(-0.6, 0.6))))
    if rng.random() < 0.6:
        spread = float(cv2.meanStdDev(image.reshape(size, -1))[1][0, 0])
        level = noise * spread * float(np.exp(rng.uniform(np.log(0.02), np.log(0.35))))
        image = sensor_noise(rng, image, read=level, shot=level * float(rng.integers(0, 2)))
    return _storage(rng, image)


def _lens(rng: Generator, image: Image) -> Image:
    unit = image.shape[0] / 256
    image = blur(image, unit * float(rng.choice([0.5, 0.6, 0.8, 1.2], p=[0.4, 0.3, 0.2, 0.1])))
    kind = rng.random()
    if kind < 0.04:
        image = defocus(image, unit * rng.uniform(1, 2.5))
    elif kind < 0.08:
        image = motion_blur(image, unit * rng.uniform(2, 5), rng.uniform(0, np.pi))
    elif kind < 0.16:
        image = lower_resolution(image, rng.uniform(1.3, 2.5))
    return image


def _storage(rng: Generator, image: Image) -> Image:
    kind = rng.random()
    if kind < 0.12:
        image = jpeg(image, int(rng.integers(35, 95)))
    elif kind < 0.15:
        image = quantise(image, int(rng.integers(16, 64)))
    if rng.random() < 0.05:
        image = np.float32(255) - image
    return image
