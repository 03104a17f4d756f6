"""Edges of masks: where they are, how strong, and that nothing is lost by taking few at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation.zero_shot.bright_sam import BrightSam, drawn_objects
from scipy import ndimage

from samft.errors import ConfigError
from samft.evaluation.zero_shot.edge_maps import (
    EdgeMasks,
    boundary_slopes,
    edge_map,
    joined_edges,
)
from samft.evaluation.zero_shot.edge_settings import EdgeSettings
from samft.evaluation.zero_shot.edge_truth import label_edges
from samft.inference import masks as masks_module
from samft.inference.embedding import embed_images
from samft.inference.images import image_tensor
from samft.metrics.edges import EdgeScores
from samft.models.config import config_for
from samft.models.registry import build_from_config
from samft.types import PromptBatch

AROUND = np.ones((3, 3), bool)


def expected_slopes(probabilities, mask, *, holes):
    """The same by scipy, over the whole image."""
    solid = mask if holes else ndimage.binary_fill_holes(mask)
    grown = ndimage.binary_dilation(solid, AROUND)
    shrunk = ndimage.binary_erosion(solid, AROUND, border_value=1)
    slope = np.hypot(
        *(ndimage.sobel(probabilities, axis, mode="nearest", output=np.float64) for axis in (0, 1))
    )
    return np.where(grown & ~shrunk, slope, 0)


def as_map(found, size):
    rows, columns, strengths = found
    full = np.zeros(size)
    full[rows, columns] = strengths
    return full


def test_only_the_outer_boundary_has_edges() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:30, 0:36] = True  # it ends with the image on the left: no edge there
    mask[12:20, 10:22] = False
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random(mask.shape), 2)
    probabilities = (0.5 * mask + 0.5 * smooth).astype(np.float32)
    for holes in (False, True):
        found = as_map(boundary_slopes(probabilities, mask, holes=holes), mask.shape)
        expected = expected_slopes(probabilities, mask, holes=holes)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found[13:19, 0] == 0).all()
        assert (found[4:6, 5] > 0).all()
        assert (found[29:31, 5] > 0).all()
        assert (found[15, 9:11].any()) == holes
        assert found[8, 4] == found[2, 4] == 0, "away from the boundary"


def test_a_mask_that_is_the_whole_image_has_no_edge() -> None:
    rows, columns, strengths = boundary_slopes(
        np.full((6, 7), 0.9, np.float32), np.ones((6, 7), bool), holes=False
    )
    assert len(rows) == len(columns) == len(strengths) == 0
    empty = joined_edges([], (6, 7), thin_sigma_px=2.0)
    assert empty.shape == (6, 7)
    assert not empty.any()


def test_edges_of_a_model_that_sees_objects_exactly() -> None:
    image, labels = drawn_objects()
    found = edge_map(BrightSam(), image)
    assert found.dtype == np.float32
    assert found.shape == labels.shape
    assert found.min() == 0
    assert 0.9 < found.max() <= 1
    scores = EdgeScores(thresholds=19, distance_ratio=0.025)
    scores.update(found, [label_edges(labels)], case_id="drawn")
    result = scores.compute()
    assert result["ods"] > 0.97
    assert result["r50"] > 0.97
    inner = ndimage.binary_erosion(labels > 0, AROUND, iterations=3)
    assert not found[inner].any(), "noise inside an object is no edge"


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    model = build_from_config(replace(config_for("vit_nano"), image_size=64)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            # Sharp attention makes the masks of different points differ.
            spread = 4 if "attn" in name and "mask_decoder" in name else 1
            parameter.data.normal_(std=spread * parameter[0].numel() ** -0.5)
    model.mask_threshold = 0.5  # masks of a part of the image, not of half of it
    return model


def everything_at_once(sam, pixels, settings):
    """Edges of all masks that are not empty, as full-size maps, by (point, predicted IoU)."""
    height, width = pixels.shape[1:]
    embedding, (frame,) = embed_images(sam, [pixels])
    side = settings.points_per_side
    steps = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(steps * height, steps * width, indexing="ij")
    points = torch.stack([x, y], dim=-1).reshape(-1, 2)
    scale = torch.tensor(
        [frame.input_size[1] / width, frame.input_size[0] / height], dtype=torch.float64
    )
    prompts = PromptBatch(
        image_index=torch.zeros(len(points), dtype=torch.int64),
        points=((points + 0.5) * scale - 0.5).float()[:, None],
        labels=torch.ones(len(points), 1, dtype=torch.int64),
    )
    output = sam.decode(embedding, prompts, multimask=True)
    logits = masks_module.logits_to_original(output.logits, frame).numpy()
    maps = {}
    for row, point in enumerate(points.tolist()):
        for logit, iou in zip(logits[row], output.iou[row].tolist(), strict=True):
            if not (logit > sam.mask_threshold).any():
                continue
            probabilities = (1 / (1 + np.exp(-logit.astype(np.float64)))).astype(np.float32)
            maps[tuple(point), round(iou, 4)] = expected_slopes(
                probabilities, logit > sam.mask_threshold, holes=settings.holes
            )
    return maps


@pytest.mark.parametrize("holes", [False, True])
@torch.no_grad()
def test_a_few_masks_at_a_time_give_what_all_at_once_give(sam, monkeypatch, holes) -> None:
    image, _ = drawn_objects()
    pixels = image_tensor(image[:40])
    settings = EdgeSettings(points_per_side=4, nms_thresh=0.9, holes=holes)
    records = EdgeMasks(sam, settings).edges(pixels)
    assert len(records) > 3
    maps = everything_at_once(sam, pixels, settings)
    kept = [maps[record.prompt, round(record.predicted_iou, 4)] for record in records]
    strongest = np.max(kept, axis=0)
    assert strongest.max() > 0
    joined = np.zeros(strongest.size)
    for record in records:
        np.maximum.at(joined, record.places, record.strengths)
    np.testing.assert_allclose(joined.reshape(strongest.shape), strongest, atol=1e-4)
    # One mask at a time, one prompt at a time.
    whole = edge_map(sam, pixels, settings)
    monkeypatch.setattr(masks_module, "CPU_CHUNK_PIXELS", 1)
    single = edge_map(sam, pixels, replace(settings, points_per_batch=1))
    np.testing.assert_allclose(single, whole, atol=1e-4)


@torch.no_grad()
def test_no_mask_is_filtered_and_similar_ones_are_dropped(sam) -> None:
    pixels = image_tensor(drawn_objects()[0])
    counts = [
        len(EdgeMasks(sam, EdgeSettings(points_per_side=4, nms_thresh=at)).edges(pixels))
        for at in (1.0, 0.7, 0.0)
    ]
    # Three masks for each of 16 points, less those that are empty.
    everything = len(everything_at_once(sam, pixels, EdgeSettings(points_per_side=4)))
    assert 48 >= counts[0] == everything > 24
    assert everything > counts[1] > counts[2] >= 1


def test_of_similar_masks_the_most_confident_stays() -> None:
    sam, (image, _) = BrightSam(), drawn_objects()
    records = EdgeMasks(sam, EdgeSettings()).edges(image_tensor(image))
    assert [round(record.predicted_iou, 3) for record in records] == [0.9] * 3
    assert sum(number for number, _ in sam.asked) == 16 * 16
    assert {multimask for _, multimask in sam.asked} == {True}


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError) as error:
        edge_map(BrightSam(), drawn_objects()[0], EdgeSettings(nms_thresh=1.5))
    assert str(error.value).splitlines() == [
        "nms_thresh is out of range",
        "  where: edges.nms_thresh, found: 1.5, expected: 0 to 1",
    ]
    with pytest.raises(ConfigError, match="points_per_side") as unknown:
        EdgeSettings.from_dict({"points_per_sid": 3})
    assert "edges.points_per_sid" in str(unknown.value)
    assert EdgeSettings.from_dict(EdgeSettings().to_dict()) == EdgeSettings()
