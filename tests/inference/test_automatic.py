"""Automatic masks: filters, crops, candidates, forms of output, memory, settings."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from samft import AutomaticMasks, AutomaticMaskSettings, Predictor
from samft.errors import ConfigError, PromptError
from samft.inference import automatic as automatic_module
from samft.inference import masks as masks_module
from samft.inference.predictions import decode_rle
from samft.inference.records import to_sa1b
from samft.inference.small_regions import clean_regions
from samft.models.config import config_for
from samft.models.registry import build_from_config

SEED = 0  # one whose random weights answer different clicks differently
SIZE = (50, 70)
EVERYTHING = {
    "points_per_side": 4,
    "pred_iou_thresh": -10,
    "stability_score_thresh": 0,
    "stability_score_offset": 0.05,
}


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(SEED)
    model = build_from_config(replace(config_for("vit_nano"), image_size=64)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            # Sharp attention makes the masks of different points differ.
            spread = 4 if "attn" in name and "mask_decoder" in name else 1
            parameter.data.normal_(std=spread * parameter[0].numel() ** -0.5)
    model.mask_decoder.iou_prediction_head.layers[-1].bias.data.fill_(1.0)
    model.mask_threshold = 0.5  # masks of a part of the image, not of half of it
    return model


@pytest.fixture(scope="module")
def image():
    generator = np.random.default_rng(0)
    picture = np.full((*SIZE, 3), 60, np.uint8)
    for _ in range(8):
        y, x = generator.integers(0, SIZE)
        picture[y : y + 15, x : x + 20] = generator.integers(0, 256, 3)
    return picture


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        one["bbox"] == other["bbox"]
        and one["point_coords"] == other["point_coords"]
        and np.array_equal(one["segmentation"], other["segmentation"])
        for one, other in zip(first, second, strict=True)
    )


def test_records_hold_together(sam, image) -> None:
    records = AutomaticMasks(sam, **EVERYTHING).generate(image)
    assert records
    scores = [record["predicted_iou"] for record in records]
    assert scores == sorted(scores, reverse=True)
    for record in records:
        mask = record["segmentation"]
        assert mask.shape == SIZE
        assert mask.sum() == record["area"] > 0
        rows, columns = np.nonzero(mask)
        x, y = columns.min(), rows.min()
        assert record["bbox"] == [x, y, columns.max() - x, rows.max() - y]
        assert 0 <= record["stability_score"] <= 1
        assert record["crop_box"] == [0, 0, 70, 50]


def test_every_form_says_the_same(sam, image) -> None:
    modes = ("binary_mask", "uncompressed_rle", "coco_rle")
    found = {
        mode: AutomaticMasks(sam, **EVERYTHING, output_mode=mode).generate(image) for mode in modes
    }
    for dense, sparse, packed in zip(*(found[mode] for mode in modes), strict=True):
        assert np.array_equal(decode_rle(packed["segmentation"]), dense["segmentation"])
        assert sum(sparse["segmentation"]["counts"][1::2]) == dense["area"]
    files = [
        json.dumps(to_sa1b(found[mode], image_id=1, file_name="a.jpg", size=SIZE)) for mode in modes
    ]
    assert files[0] == files[1] == files[2]


def test_nothing_found_is_a_result(sam, image) -> None:
    generator = AutomaticMasks(sam, points_per_side=2, pred_iou_thresh=1.0, crop_n_layers=1)
    assert generator.generate(image) == []
    assert generator.generate(image, candidates=np.zeros((0, 2))) == []
    cleaning = AutomaticMasks(sam, pred_iou_thresh=1.0, min_mask_region_area=9, points_per_side=2)
    assert cleaning.generate(image, candidates=[[5, 5]]) == []


def test_filters(sam, image) -> None:
    options = {**EVERYTHING, "box_nms_thresh": 1.0}
    everything = AutomaticMasks(sam, **options).generate(image)
    for key, name in (
        ("predicted_iou", "pred_iou_thresh"),
        ("stability_score", "stability_score_thresh"),
    ):
        values = np.unique([record[key] for record in everything])
        limit = float(values[len(values) // 2])
        assert 0 < limit < values.max()
        fewer = AutomaticMasks(sam, **{**options, name: limit}).generate(image)
        kept = [r for r in everything if r[key] > limit or (r[key] == limit and "stab" in key)]
        assert 0 < len(fewer) < len(everything)
        assert same(fewer, kept)
    limit = float(np.median([record["area"] for record in everything])) / (50 * 70)
    small = AutomaticMasks(sam, **options, max_mask_area_fraction=limit).generate(image)
    assert same(small, [r for r in everything if r["area"] < limit * 50 * 70])
    assert 0 < len(small) < len(everything)


def test_only_confident_candidates_grow_and_only_a_few_at_a_time(sam, image, monkeypatch) -> None:
    options = {**EVERYTHING, "box_nms_thresh": 1.0, "points_per_batch": 16}
    generator = AutomaticMasks(sam, **options)
    whole = generator.generate(image)
    limit = float(np.median([record["predicted_iou"] for record in whole]))
    grown = []

    def watched(logits, rows, frame):
        for part, upscaled in masks_module.original_logits(logits, rows, frame):
            grown.append(len(upscaled))
            yield part, upscaled

    monkeypatch.setattr(masks_module, "CHUNK_PIXELS", 3 * 64 * 64)
    monkeypatch.setattr(automatic_module, "original_logits", watched)
    assert same(generator.generate(image), whole)
    assert max(grown) == 3
    assert sum(grown) == 4 * 4 * 3
    grown.clear()
    assert limit > 0
    confident = AutomaticMasks(sam, **{**options, "pred_iou_thresh": limit}).generate(image)
    assert sum(grown) < 4 * 4 * 3
    assert sum(grown) >= len(confident)


def test_batches_do_not_matter(sam, image) -> None:
    options = {**EVERYTHING, "box_nms_thresh": 0.9}
    first = AutomaticMasks(sam, **options, points_per_batch=64).generate(image)
    second = AutomaticMasks(sam, **options, points_per_batch=5).generate(image)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)


def test_crops(sam, image, monkeypatch) -> None:
    monkeypatch.setattr(sam, "mask_threshold", 1.0)  # small masks, away from the edges
    options = {**EVERYTHING, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
    big = np.kron(image, np.ones((4, 4, 1), np.uint8))
    records = AutomaticMasks(sam, **options).generate(big)
    crops = {tuple(record["crop_box"]) for record in records}
    assert (0, 0, 280, 200) in crops
    assert len(crops) > 1
    for record in records:
        x, y, width, height = record["crop_box"]
        left, top, w, h = record["bbox"]
        assert x <= left <= left + w < x + width
        assert y <= top <= top + h < y + height
        (point,) = record["point_coords"]
        assert x < point[0] < x + width
        assert y < point[1] < y + height


def test_candidate_points(sam, image, monkeypatch) -> None:
    monkeypatch.setattr(sam, "mask_threshold", -1.0)  # no empty masks
    points = np.array([[10.0, 10.0], [40.5, 20.0], [60.0, 45.0]])
    generator = AutomaticMasks(sam, **EVERYTHING, mask_nms_thresh=1.0)
    records = generator.generate(image, candidates=points)
    assert sorted(r["point_coords"][0] for r in records) == points.tolist()
    predictor = Predictor(sam)
    predictor.set_image(image)
    for record in records:
        best = predictor.predict(record["point_coords"], [1]).best()
        assert record["predicted_iou"] == pytest.approx(best.scores.item(), abs=1e-4)
        assert (record["segmentation"] != best.masks[0].numpy()).mean() < 1e-2
    twice = np.concatenate([points, points])
    assert len(generator.generate(image, candidates=twice)) == 6
    strict = AutomaticMasks(sam, **EVERYTHING, mask_nms_thresh=0.95)
    assert len(strict.generate(image, candidates=twice)) <= 3
    cut = AutomaticMasks(sam, pred_iou_thresh=-10, stability_score_thresh=1.0)
    assert cut.generate(image, candidates=points) == []


def test_candidate_boxes_and_crops(sam, image, monkeypatch) -> None:
    monkeypatch.setattr(sam, "mask_threshold", -1.0)  # no empty masks
    boxes = [[5, 5, 25, 20], [30, 10, 60, 45]]
    options = {**EVERYTHING, "mask_nms_thresh": 1.0}
    records = AutomaticMasks(sam, **options).generate(image, candidates=boxes)
    assert sorted(record["box_coords"] for record in records) == boxes
    assert all(record["point_coords"] == [] for record in records)
    big = np.kron(image, np.ones((4, 4, 1), np.uint8))
    inside = torch.tensor([[20.0, 20.0, 60.0, 60.0]])
    cropped = AutomaticMasks(sam, **options, crop_n_layers=1).generate(big, candidates=inside)
    assert {tuple(r["crop_box"]) for r in cropped} <= {(0, 0, 280, 200), (0, 0, 174, 134)}


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (np.zeros((3, 3)), "found: shape (3, 3), expected: points (N, 2) or boxes (N, 4)"),
        ([5, 6], "found: shape (2,)"),
        ([[5, 51]], "where: candidates, found: x 5, y 51"),
        ([[30, 5, 20, 9]], "x1 <= x2"),
    ],
)
def test_mistakes_in_candidates(sam, image, candidates, message) -> None:
    with pytest.raises(PromptError) as caught:
        AutomaticMasks(sam).generate(image, candidates=candidates)
    assert message in str(caught.value)


def test_cleaning(sam, image) -> None:
    records = AutomaticMasks(sam, **EVERYTHING, min_mask_region_area=40).generate(image)
    assert records
    for record in records:
        mask = record["segmentation"]
        assert mask.sum() == record["area"]
        islands_only, _ = clean_regions(mask, 40)
        assert islands_only.sum() >= mask.sum() or mask.sum() < 40
        rows, columns = np.nonzero(mask)
        assert record["bbox"][:2] == [columns.min(), rows.min()]


def test_half_precision_and_training_mode(image) -> None:
    model = build_from_config(replace(config_for("vit_nano"), image_size=64)).bfloat16()
    model.train()
    records = AutomaticMasks(model, **EVERYTHING, box_nms_thresh=1.0).generate(image)
    assert model.image_encoder.training
    assert all(isinstance(record["predicted_iou"], float) for record in records)
    json.dumps(to_sa1b(records, image_id=1, file_name="a.jpg", size=SIZE))


def test_settings_are_plain_data(sam) -> None:
    settings = AutomaticMaskSettings.from_dict({"points_per_side": 8, "output_mode": "coco_rle"})
    assert AutomaticMaskSettings.from_dict(settings.to_dict()) == settings
    generator = AutomaticMasks(sam, settings=settings, points_per_side=3)
    assert generator.settings.points_per_side == 3
    assert generator.settings.output_mode == "coco_rle"
    given = AutomaticMasks(sam, points_per_side=None, point_grids=[[[0.5, 0.5]]])
    assert [grid.tolist() for grid in given.grids] == [[[0.5, 0.5]]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pred_iou_threshold": 0.5}, "did you mean 'pred_iou_thresh'"),
        ({"pred_iou_thresh": 88.0}, "automatic.pred_iou_thresh, found: 88.0, expected: -10 to 1"),
        ({"stability_score_thresh": -0.1}, "expected: 0 to 1"),
        ({"points_per_side": 0}, "expected: at least 1"),
        ({"points_per_side": 4.5}, "points_per_side is of the wrong type"),
        ({"points_per_batch": 0}, "expected: at least 1"),
        ({"crop_overlap_ratio": 1.0}, "expected: 0 to 0.9"),
        ({"max_mask_area_fraction": 0.0}, "max_mask_area_fraction is out of range"),
        ({"output_mode": "rle"}, "output_mode is not one of its choices"),
        (
            {"points_per_side": 3, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
            "the last layer of crops has no points",
        ),
        ({"points_per_side": 3, "point_grids": [[[0.5, 0.5]]]}, "exclude each other"),
        ({"point_grids": []}, "there is not one point grid for every layer"),
    ],
)
def test_mistakes_in_settings(sam, changes, message) -> None:
    with pytest.raises(ConfigError) as caught:
        AutomaticMasks(sam, **changes)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") <= 2
