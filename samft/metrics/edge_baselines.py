"""Edges without learning: what an edge map of a model has to be compared with."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_LEVELS = 99


def sobel_edges(image: Image, *, sigma_px: float = 0.0) -> Floats:
    """Return the gradient's strength where it is largest across the edge.

    Args:
        image: (H, W, 3) uint8, RGB.
        sigma_px: Of a Gaussian before; 0 for none, as in the published baseline. 2 is far better.

    Returns:
        (H, W) float32, linearly scaled so that the strongest edge is 1; 0 beside edges.

    Source: the operator of Sobel and Feldman 1968, as in Duda and Hart 1973; the smoothed variant
    is the gradient magnitude of Martin et al. 2004, IEEE PAMI 26(5).
    """
    across, down = _gradient(image, sigma_px)
    return scaled(suppress_non_maxima(np.hypot(across, down), across, down))


def canny_edges(image: Image, *, sigma_px: float = math.sqrt(2), low_ratio: float = 0.4) -> Floats:
    """Return, for each pixel, the highest threshold at which Canny's detector still keeps it.

    Thresholding the result at t gives Canny's edges with the upper threshold at t and the lower
    one at `low_ratio` of it, in shares of the strongest gradient.

    Args:
        image: (H, W, 3) uint8, RGB.
        sigma_px: Of the Gaussian before.
        low_ratio: The lower threshold of hysteresis over the upper one.

    Returns:
        (H, W) float32, multiples of 0.01 in [0, 0.99].

    Source: Canny 1986, IEEE PAMI 8(6); width and ratio are MATLAB's defaults.
    """
    thinned = sobel_edges(image, sigma_px=sigma_px)
    highest = np.zeros_like(thinned)
    around = np.ones((3, 3), dtype=bool)
    for level in range(1, _LEVELS + 1):
        upper = np.float32(level / (_LEVELS + 1))
        if not (thinned >= upper).any():
            break
        # Hysteresis: weak edges stay where a strong one is among the pixels they are linked to.
        labels, count = ndimage.label(thinned >= low_ratio * upper, structure=around)
        strong = np.zeros(count + 1, dtype=bool)
        strong[labels[thinned >= upper]] = True
        strong[0] = False
        highest[strong[labels]] = upper
    return highest


def suppress_non_maxima(strength: Floats, across: Floats, down: Floats) -> Floats:
    """Set a strength to 0 unless it is the largest along a direction.

    Compared with the strengths one pixel ahead and behind, interpolated between pixels; of a pair
    of equal neighbours the one behind stays.

    Args:
        strength: (H, W) float32.
        across: (H, W) float32, x of the direction across the edge; its length does not matter.
        down: (H, W) float32, y of it.

    Returns:
        (H, W) float32.

    Source: Canny 1986, IEEE PAMI 8(6), section VIII.
    """
    length = np.hypot(across, down)
    safe = np.where(length > 0, length, 1).astype(np.float32)
    x, y = across / safe, down / safe
    columns, rows = np.meshgrid(
        *(np.arange(side, dtype=np.float32) for side in strength.shape[::-1])
    )
    ahead, behind = (
        cv2.remap(
            strength,
            (columns + sign * x).astype(np.float32),
            (rows + sign * y).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for sign in (1, -1)
    )
    largest = (strength >= ahead) & (strength > behind) & (length > 0)
    return np.where(largest, strength, 0).astype(np.float32)


def thin_edge_map(strength: Floats, *, sigma_px: float = 2.0) -> Floats:
    """Thin any map of edge strengths to its ridges, without the image's gradient.

    The direction across an edge is that in which the smoothed strength bends most.

    Args:
        strength: (H, W) float32.
        sigma_px: Of the Gaussian the direction is measured after.

    Returns:
        (H, W) float32, the strength on ridges, 0 elsewhere.

    Source: the thinning of Dollar and Zitnick 2015, arXiv:1406.5549, section 3.3, by the second
    derivatives' main direction.
    """
    smooth = ndimage.gaussian_filter(strength.astype(np.float32), sigma_px, mode="nearest")
    down, across = np.gradient(smooth)
    (yy, yx), xx = np.gradient(down), np.gradient(across, axis=1)
    # The eigenvector of the Hessian with the most negative eigenvalue.
    angle = 0.5 * np.arctan2(2 * yx, xx - yy) + np.pi / 2
    return suppress_non_maxima(
        strength.astype(np.float32),
        np.cos(angle).astype(np.float32),
        np.sin(angle).astype(np.float32),
    )


def scaled(strength: Floats) -> Floats:
    """Return a map scaled so that its largest value is 1; zeros stay zeros."""
    most = strength.max(initial=0)
    return (strength / most if most > 0 else strength).astype(np.float32)


def _gradient(image: Image, sigma_px: float) -> tuple[Floats, Floats]:
    """Return the smoothed luminance's derivatives by x and y, both (H, W) float32."""
    grey = ndimage.gaussian_filter(image.astype(np.float32) @ _LUMA, sigma_px, mode="nearest")
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    return across.astype(np.float32), down.astype(np.float32)
