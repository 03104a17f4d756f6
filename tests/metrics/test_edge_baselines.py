"""Edges without learning, on images whose edges are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from samft.metrics.edge_baselines import (
    canny_edges,
    scaled,
    sobel_edges,
    suppress_non_maxima,
    thin_edge_map,
)


def steps(*values: int) -> np.ndarray:
    """Return vertical stripes 12 pixels wide of these grey values."""
    return np.repeat(np.repeat(np.array(values, np.uint8), 12)[None, :, None], 30, 0).repeat(3, 2)


@pytest.mark.parametrize("turned", [False, True])
def test_one_line_along_a_step(turned) -> None:
    image = steps(20, 200, 180)
    edges = sobel_edges(image.transpose(1, 0, 2) if turned else image)
    edges = edges.T if turned else edges
    assert (np.count_nonzero(edges[:, 6:18], axis=1) == 1).all()
    assert edges[:, 11:13].max() == 1
    # The second step is nine times smaller.
    assert edges[:, 22:26].max() == pytest.approx(1 / 9, rel=0.05)


def test_nothing_in_a_flat_image() -> None:
    flat = np.full((20, 20, 3), 90, np.uint8)
    for edges in (sobel_edges(flat), canny_edges(flat)):
        assert edges.dtype == np.float32
        assert not edges.any()
    assert not scaled(np.zeros((3, 3), np.float32)).any()


def test_suppression_by_hand() -> None:
    strength = np.array([[1, 3, 2, 2, 5, 5, 1]], np.float32)
    ones, zeros = np.ones_like(strength), np.zeros_like(strength)
    assert suppress_non_maxima(strength, ones, zeros)[0].tolist() == [0, 3, 0, 0, 5, 0, 0]
    assert not suppress_non_maxima(strength, zeros, zeros).any()


def test_ridges_of_a_map_without_an_image() -> None:
    y, x = np.mgrid[:41, :41].astype(np.float32)
    ring = np.exp(-((np.hypot(x - 20, y - 20) - 12) ** 2) / 8)
    ridge = thin_edge_map(ring)
    found = np.argwhere(ridge > 0.5)
    radii = np.hypot(*(found - 20).T)
    assert np.abs(radii - 12).max() < 0.75
    # About one pixel for each step along the circle, at any angle.
    assert 60 < len(found) < 110
    angles = np.histogram(np.arctan2(*(found - 20).T), bins=12, range=(-np.pi, np.pi))[0]
    assert angles.min() >= 4


def test_canny_is_hysteresis_at_every_threshold() -> None:
    generator = np.random.default_rng(0)
    image = cv2.GaussianBlur(generator.integers(0, 255, (50, 60, 3), np.uint8), (0, 0), 2)
    thinned, edges = (find(image, sigma_px=1.5) for find in (sobel_edges, canny_edges))
    for threshold in (0.2, 0.5, 0.8):
        weak = (thinned >= np.float32(0.4) * np.float32(threshold)).astype(np.uint8)
        count, labels = cv2.connectedComponents(weak, connectivity=8)
        strong = {label for label in labels[thinned >= np.float32(threshold)].tolist() if label}
        expected = np.isin(labels, list(strong))
        assert np.array_equal(edges >= np.float32(threshold), expected)
        assert 0 < expected.sum() < weak.sum() or count == 2
