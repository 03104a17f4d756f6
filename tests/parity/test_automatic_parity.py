"""`samft.AutomaticMasks` against the official generator: the same records, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from official_inference import official_inference
from pycocotools import mask as coco_mask
from reference_models import TINY, official_sam, randomise

from samft import AutomaticMasks
from samft.models.registry import build_from_config

pytestmark = pytest.mark.parity
SIZES = [(260, 400), (256, 256)]
EVERYTHING = {
    "points_per_side": 6,
    "pred_iou_thresh": -10.0,
    "stability_score_thresh": 0.0,
    "stability_score_offset": 0.05,
    "box_nms_thresh": 0.9,
}
CROPS = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
CASES = {
    "whole image": {"points_per_batch": 7},
    "default nms": {"box_nms_thresh": 0.7},
    "crops": CROPS,
    "crops and cleaning": {**CROPS, "min_mask_region_area": 60, "crop_nms_thresh": 0.5},
    "cleaning": {"min_mask_region_area": 25},
}


@pytest.fixture(scope="module")
def pair():
    """Models of the same random weights, whose masks differ from point to point."""
    torch.manual_seed(1)
    ours, official = build_from_config(TINY).eval(), official_sam(TINY).eval()
    randomise(ours, seed=1)
    for name, parameter in ours.mask_decoder.named_parameters():
        if "attn" in name and parameter.ndim > 1:
            parameter.data *= 4
    ours.mask_decoder.iou_prediction_head.layers[-1].bias.data += 0.6
    official.load_state_dict(ours.state_dict(), strict=True)
    for model in (ours, official):
        model.mask_threshold = 1.3  # masks of a part of the image, not of half of it
    return ours, official


def picture(size):
    """Rectangles in front of each other: smooth regions with edges."""
    generator = np.random.default_rng(4)
    image = np.full((*size, 3), 90, np.uint8)
    for _ in range(12):
        y, x = generator.integers(0, size)
        image[y : y + size[0] // 3, x : x + size[1] // 3] = generator.integers(0, 256, 3)
    return image


def both(pair, size, **options):
    """Records of both; of the official ones without the empty masks, which samft never keeps."""
    image = picture(size)
    ours = AutomaticMasks(pair[0], **options).generate(image)
    theirs = official_inference()[1](pair[1], **options).generate(image)
    return ours, [record for record in theirs if record["area"] > 0]


def assert_same_records(ours, theirs, size):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        assert mine["bbox"] == other["bbox"]
        assert mine["crop_box"] == other["crop_box"]
        assert mine["point_coords"][0] == pytest.approx(other["point_coords"][0], abs=1e-9)
        assert mine["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert mine["stability_score"] == pytest.approx(other["stability_score"], abs=2e-3)
        a, b = mine["segmentation"], other["segmentation"]
        assert a.shape == b.shape == size
        assert (a & b).sum() / (a | b).sum() > 0.99
        assert mine["area"] == a.sum()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_same_records(pair, case, size):
    ours, theirs = both(pair, size, **{**EVERYTHING, **CASES[case]})
    assert len(theirs) >= 5
    if case == "crops":
        assert len({tuple(record["crop_box"]) for record in theirs}) > 2
    assert_same_records(ours, theirs, size)


def test_thresholds_cut_at_the_same_place(pair):
    size = SIZES[0]
    options = {**EVERYTHING, "box_nms_thresh": 1.0}
    _, everything = both(pair, size, **options)
    for key, name in (
        ("predicted_iou", "pred_iou_thresh"),
        ("stability_score", "stability_score_thresh"),
    ):
        values = np.unique([record[key] for record in everything])
        middle = len(values) // 2
        limit = float(values[middle - 1 : middle + 1].mean())
        assert 0 < limit < 1
        ours, theirs = both(pair, size, **{**options, name: limit})
        assert 5 <= len(theirs) < len(everything)
        assert_same_records(ours, theirs, size)


def test_given_grids_and_run_lengths(pair):
    size = SIZES[1]
    grid = np.array([[0.2, 0.3], [0.7, 0.4], [0.5, 0.9]])
    options = {**EVERYTHING, "points_per_side": None, "point_grids": [grid]}
    for mode in ("uncompressed_rle", "coco_rle"):
        ours, theirs = both(pair, size, **options, output_mode=mode)
        assert len(ours) == len(theirs) > 0
        for mine, other in zip(ours, theirs, strict=True):
            assert type(mine["segmentation"]["counts"]) is type(other["segmentation"]["counts"])
            iou = coco_mask.iou([_packed(mine)], [_packed(other)], [0])
            assert iou[0, 0] > 0.99


def _packed(record):
    rle = record["segmentation"]
    if isinstance(rle["counts"], str):
        return {**rle, "counts": rle["counts"].encode()}
    return coco_mask.frPyObjects(rle, *rle["size"])
