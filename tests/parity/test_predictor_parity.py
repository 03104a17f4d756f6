"""`samft.Predictor` against the official `SamPredictor`: every kind of prompt, several shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from official_inference import official_inference
from PIL import Image
from reference_models import TINY, relative_difference

from samft import Predictor

pytestmark = pytest.mark.parity
TOLERANCE = 1e-5
SIDE = TINY.image_size
CASES = ("point", "points", "box", "points and box", "mask", "point and mask", "box and mask")
SIZES = ((SIDE, SIDE), (96, SIDE), (71, 50), (150, 301))


def picture(size):
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BILINEAR))


def prompt(case, size):
    height, width = size
    parts = {}
    if "point" in case:
        number = 3 if "points" in case else 1
        shares = np.array([[0.3, 0.6], [0.9, 0.1], [0.5, 0.5]])[:number]
        parts["points"] = shares * [width - 1, height - 1]
        parts["labels"] = np.array([1, 0, 1])[:number]
    if "box" in case:
        parts["box"] = np.array([0.2 * width, 0.1 * height, 0.8 * width, 0.7 * height])
    if "mask" in case:
        logits = np.random.default_rng(1).normal(size=(1, SIDE // 4, SIDE // 4))
        parts["mask"] = logits.astype(np.float32)
    return parts


def official_names(parts):
    names = {"points": "point_coords", "labels": "point_labels", "mask": "mask_input"}
    return {names.get(name, name): value for name, value in parts.items()}


@pytest.fixture(params=SIZES, ids=str)
def pair(trio, request):
    """Both predictors with the same picture set, and its size."""
    ours, theirs = Predictor(trio.ours), official_inference()[0](trio.official)
    image = picture(request.param)
    ours.set_image(image)
    theirs.set_image(image)
    return ours, theirs, request.param


def test_one_prompt_of_every_kind(pair, record):
    ours, theirs, size = pair
    differences = []
    for case in CASES:
        for multimask in (True, False):
            parts = prompt(case, size)
            found = ours.predict(**parts, multimask=multimask)
            masks, scores, logits = theirs.predict(
                **official_names(parts), multimask_output=multimask, return_logits=True
            )
            differences += [
                relative_difference(mine, torch.from_numpy(other))
                for mine, other in (
                    (found.mask_logits(), masks),
                    (found.scores, scores),
                    (found.logits, logits),
                )
            ]
            assert max(differences) < TOLERANCE, case
            disagree = found.masks.numpy() != (masks > 0)
            assert disagree.mean() < 1e-4
            assert not disagree[np.abs(masks) > 1e-3].any()
    record("segment_anything", f"predictor, all prompts, {size}", max(differences))


def test_many_prompts_and_fed_back_logits(pair):
    ours, theirs, (height, width) = pair
    generator = torch.Generator().manual_seed(3)
    limit = torch.tensor([width, height]) - 1
    points = torch.rand(5, 2, 2, generator=generator) * limit
    labels = torch.tensor([[1, 0]]).repeat(5, 1)
    first = ours.predict(points, labels)
    moved = theirs.transform.apply_coords_torch(points, (height, width))
    masks, scores, logits = theirs.predict_torch(moved, labels, return_logits=True)
    assert relative_difference(first.mask_logits(), masks) < TOLERANCE
    assert relative_difference(first.scores, scores) < TOLERANCE

    again = ours.predict(points, labels, mask=first.best().logits, multimask=False)
    best = logits[torch.arange(5), scores.argmax(1)][:, None]
    _, scores, logits = theirs.predict_torch(moved, labels, None, best, multimask_output=False)
    assert relative_difference(again.logits, logits) < TOLERANCE
    assert relative_difference(again.scores, scores) < TOLERANCE


def test_embedding_and_colour_order(pair):
    ours, theirs, size = pair
    assert relative_difference(ours.embeddings, theirs.get_image_embedding()) < TOLERANCE
    image = picture(size)
    ours.set_image(image, "BGR")
    theirs.set_image(image, "BGR")
    assert relative_difference(ours.embeddings, theirs.get_image_embedding()) < TOLERANCE
