"""Prompts about large images: the answer is that of the tile around the prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from threshold_models import GuardedArray

from samft import Predictor, TiledPredictor
from samft.errors import PromptError
from samft.inference.tiles import TileGrid
from samft.models.config import config_for
from samft.models.registry import build_from_config

SIDE, HALO = 64, 12


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    sam = build_from_config(replace(config_for("vit_nano"), image_size=64)).eval()
    sam.mask_threshold = 0.02  # masks of a part of the image, not of half of it
    return Predictor(sam, prompts_per_batch=2)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 255, (150, 210, 3), dtype=np.uint8)


def paste(answer, size):
    whole = np.zeros(size, bool)
    x1, y1, x2, y2 = answer.box
    whole[y1:y2, x1:x2] = answer.mask
    return whole


def test_answers_are_those_of_the_tile(predictor, image) -> None:
    boxes = np.array([[10, 12, 30, 40], [120, 90, 150, 110], [12, 20, 28, 30], [14, 1, 20, 9]])
    guarded = GuardedArray(image, SIDE * SIDE * 3)
    tiled = TiledPredictor(predictor, halo=HALO)
    answers = list(tiled.predict(guarded, boxes=boxes, multimask=False))
    assert sorted(answer.prompt for answer in answers) == [0, 1, 2, 3]
    grid = TileGrid(image.shape[:2], side=SIDE, halo=HALO)
    alone = Predictor(predictor.sam)
    for answer in answers:
        x1, y1, x2, y2 = boxes[answer.prompt]
        left, top, right, bottom = grid[grid.owner((x1 + x2) / 2, (y1 + y2) / 2)].outer
        alone.set_image(image[top:bottom, left:right])
        expected = alone.predict(box=boxes[answer.prompt] - [left, top, left, top], multimask=False)
        whole = np.zeros(image.shape[:2], bool)
        whole[top:bottom, left:right] = expected.masks[0].numpy()
        assert whole.any()
        assert np.array_equal(paste(answer, image.shape[:2]), whole)
        assert np.array_equal(answer.runs(image.shape[:2]).decode(), whole)
        assert answer.mask[0].any() and answer.mask[:, -1].any()
        assert answer.score == pytest.approx(expected.scores[0].item(), abs=1e-6)


def test_large_prompts_get_crops_of_their_own(predictor, image) -> None:
    guarded = GuardedArray(image, 3 * 150 * 151)
    points = [[[5, 60], [100, 64]], [[200, 140], [205, 141]]]
    tiled = TiledPredictor(predictor, halo=HALO)
    answers = list(tiled.predict(guarded, points=points, labels=[[1, 1], [1, 0]]))
    assert sorted(answer.prompt for answer in answers) == [0, 1]
    # 95 pixels across, half as much again, as a square
    assert guarded.largest == 3 * 143 * 143


def test_prompts_that_cannot_be(predictor, image) -> None:
    tiled = TiledPredictor(predictor, halo=HALO)
    with pytest.raises(PromptError, match="there is no prompt"):
        list(tiled.predict(image))
    with pytest.raises(PromptError, match="points and labels come together"):
        list(tiled.predict(image, points=[[[1, 2]]]))
    with pytest.raises(PromptError, match=r"found: boxes \(4,\)\, expected: points \(P, N, 2\)"):
        list(tiled.predict(image, boxes=[1, 2, 3, 4]))
    with pytest.raises(PromptError, match=r"found: points \(1, 1, 2\), labels \(1, 1\), boxes \(2"):
        list(tiled.predict(image, points=[[[1, 2]]], labels=[[1]], boxes=[[1, 2, 3, 4]] * 2))
    with pytest.raises(PromptError, match="a prompt lies outside the image"):
        list(tiled.predict(image, boxes=[[1, 2, 300, 4]]))
    large = np.zeros((20, 400), np.uint8)
    with pytest.raises(
        PromptError, match=r"too large for its tile\n  found: 390 pixels, expected: at most 256"
    ):
        list(tiled.predict(large, boxes=[[1, 2, 391, 4]]))
