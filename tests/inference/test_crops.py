"""Where crops and grids lie, and what counts as the edge of a crop."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from samft.errors import ConfigError
from samft.inference.crops import Crop, crop_boxes, given_grids, layer_grids, point_grid
from samft.inference.filters import near_crop_edge, stability_scores

OVERLAP = 512 / 1500


def test_the_crops_of_sa1b() -> None:
    crops = crop_boxes((1500, 2250), layers=2, overlap_ratio=OVERLAP)
    assert [crop.layer for crop in crops] == [0] + [1] * 4 + [2] * 16
    assert crops[0].box == (0, 0, 2250, 1500)
    assert crops[1].box == (0, 0, 1381, 1006)
    assert crops[1].size == (1006, 1381)
    assert crops[5].size == (567, 755)
    assert {crop.box[2] for crop in crops[1:]} >= {2250}
    grids = layer_grids(32, layers=2, downscale=2)
    assert [len(grid) for grid in grids] == [1024, 256, 64]


@settings(deadline=None, max_examples=50)
@given(height=st.integers(1, 300), width=st.integers(1, 300), layers=st.integers(0, 3))
def test_each_layer_covers_the_image(height, width, layers) -> None:
    for layer in range(layers + 1):
        covered = np.zeros((height, width), bool)
        for crop in crop_boxes((height, width), layers=layers, overlap_ratio=OVERLAP):
            x1, y1, x2, y2 = crop.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            if crop.layer == layer:
                covered[y1:y2, x1:x2] = True
        assert covered.all()


def test_grid_points_are_the_centres_of_equal_cells() -> None:
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    crop = Crop((10, 20, 50, 40), 1)
    assert crop.place(point_grid(1)).tolist() == [[30.0, 30.0]]


def test_prompts_inside_a_crop() -> None:
    crop = Crop((10, 20, 50, 40), 1)
    points = torch.tensor([[10.0, 20.0], [9.0, 30.0], [30.0, 41.0], [50.0, 40.0]])
    assert crop.inside(points).tolist() == [[10, 20], [50, 40]]
    boxes = torch.tensor([[12.0, 22.0, 30.0, 30.0], [12.0, 22.0, 51.0, 30.0]])
    assert crop.inside(boxes).tolist() == [[12, 22, 30, 30]]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ([], "found: 0, expected: 1: the whole image and crop_n_layers=0"),
        ([np.zeros((3, 3))], "point_grids[0], found: shape (3, 3)"),
        ([[[0.5, 1.5]]], "from 0 to 1 as shares of the crop"),
    ],
)
def test_malformed_grids(grids, message) -> None:
    with pytest.raises(ConfigError) as caught:
        given_grids(grids, layers=0)
    assert message in str(caught.value)


def test_edges_of_a_crop_that_are_no_edges_of_the_image() -> None:
    crop, size = (0, 0, 100, 200), (200, 300)
    boxes = torch.tensor(
        [
            [2.0, 3.0, 50.0, 60.0],  # at edges of the image
            [30.0, 30.0, 79.0, 60.0],  # 21 px from the right edge of the crop
            [30.0, 30.0, 80.0, 60.0],  # 20 px from it
            [30.0, 30.0, 60.0, 199.0],  # at the bottom, which is the image's
        ]
    )
    assert near_crop_edge(boxes, crop, size).tolist() == [False, False, True, False]
    assert not near_crop_edge(boxes, (0, 0, 300, 200), size).any()


def test_stability_is_the_iou_of_two_thresholds() -> None:
    logits = torch.randn(7, 15, 20, generator=torch.Generator().manual_seed(0)) * 2
    logits[6] = -5.0
    found = stability_scores(logits, threshold=0.3, offset=0.8)
    for score, one in zip(found.tolist(), logits, strict=True):
        high, low = one > 1.1, one > -0.5
        union = (high | low).sum().item()
        assert score == pytest.approx((high & low).sum().item() / union if union else 0.0)
    assert found[6] == 0
