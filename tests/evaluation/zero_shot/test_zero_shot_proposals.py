"""Object proposals: AR@k as pycocotools has it, ranks, groups, what is unknown, errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from evaluation.zero_shot.bright_sam import BrightSam, drawn_objects
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samft.errors import ConfigError, DatasetError
from samft.evaluation.zero_shot.proposal_settings import ProposalSettings
from samft.evaluation.zero_shot.proposals import (
    FREQUENCIES,
    ClassGroups,
    ProposalMasks,
    propose,
    run_proposals,
)
from samft.inference import masks as masks_module
from samft.inference.images import image_tensor
from samft.inference.predictions import decode_rle, encode_rle
from samft.types import IGNORE, NO_CLASS, Sample

GRID = ProposalSettings(points_per_side=8)


def sample(name, seed=0, *, shift=2, classes=(0, 1, 2), unknown=None):
    """Three objects, which the model sees moved by some pixels."""
    image, labels = drawn_objects(seed)
    labels = np.roll(labels, shift, axis=1)
    if unknown is not None:
        labels[unknown] = IGNORE
    return Sample(
        image=torch.from_numpy(image.transpose(2, 0, 1).copy()),
        layers=torch.from_numpy(labels.astype(np.int32))[None],
        object_layer=torch.zeros(3, dtype=torch.int64),
        object_class=torch.tensor(classes),
        sample_id=name,
        case_id=name,
    )


class VariedSam(BrightSam):
    """Is more or less sure of every answer, and draws each a little differently."""

    def decode(self, embedding, prompts, *, multimask):
        output = super().decode(embedding, prompts, multimask=multimask)
        x, y = prompts.points[:, 0].T
        sure = (0.3 + 0.3 * torch.sin(x / 7) * torch.cos(y / 5))[:, None]
        wide = torch.linspace(-3, 3, output.iou.shape[1])[None, :, None, None]
        tilt = torch.linspace(-1, 1, 64) * torch.sin(x + y)[:, None, None, None] * 4
        return type(output)(logits=output.logits + wide + tilt, iou=output.iou - sure)


def coco_recalls(samples, found, *, most):
    """AR@most of all objects and by size, by COCOeval without classes."""
    dataset = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}]}
    results = []
    for number, (item, records) in enumerate(zip(samples, found, strict=True), start=1):
        height, width = item.size
        dataset["images"].append({"id": number, "height": height, "width": width})
        for mask in item.masks().numpy():
            rle = encode_rle(mask)
            dataset["annotations"].append(
                {
                    "id": len(dataset["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": rle,
                    "area": float(mask.sum()),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": 0,
                }
            )
        results += [
            {
                "image_id": number,
                "category_id": 1,
                "segmentation": record.runs.coco(),
                "score": (record.predicted_iou + record.stability_score) / 2,
            }
            for record in records
        ]
    truth = COCO()
    truth.dataset = dataset
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.params.useCats = 0
    evaluation.params.maxDets = [1, 2, most]  # it sorts them
    evaluation.evaluate()
    evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0, :, 2]  # thresholds by areas
    return [float(np.mean(column)) if (column > -1).all() else math.nan for column in recall.T]


def test_recall_is_that_of_pycocotools() -> None:
    samples = [sample("b", 1, shift=1), sample("a", 2, shift=3), sample("c", 3, shift=0)]
    # Everything that is found, unsorted and uncut; pycocotools sorts and cuts.
    everything = ProposalMasks(VariedSam(), GRID)
    found = [everything.records(item.image) for item in samples]
    assert min(len(records) for records in found) > 12
    for most in (4, 1000):
        settings = ProposalSettings(points_per_side=8, most=most)
        report = run_proposals(VariedSam(), samples, settings)
        names = [f"ar_{most}{suffix}" for suffix in ("", "_small", "_medium", "_large")]
        assert list(report.scores) == names
        expected = coco_recalls(samples, found, most=most)
        assert list(report.scores.values()) == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert 0.2 < report.scores[names[0]] < 1
        assert math.isnan(report.scores[names[3]]), "no object of 96 pixels squared"
        assert report.mean_proposals == np.mean([min(most, len(each)) for each in found])
    alone = run_proposals(VariedSam(), samples[1:2], settings)
    assert [row.sample_id for row in report.rows] == ["a", "b", "c"]
    assert report.rows[0].scores == pytest.approx(alone.scores, nan_ok=True)
    assert (report.num_images, report.num_objects) == (3, 9)
    assert [row.num_objects for row in report.rows] == [3, 3, 3]
    assert json.loads(json.dumps(report.to_dict()))["images"][0]["sample_id"] == "a"


def test_the_best_come_first_and_all_are_kept() -> None:
    image = sample("a").image
    found = propose(VariedSam(), image, GRID)
    quality = [record.predicted_iou + record.stability_score for record in found]
    assert quality == sorted(quality, reverse=True)
    assert min(record.predicted_iou for record in found) < 0.5, "no filter by predicted IoU"
    cut = propose(VariedSam(), image, ProposalSettings(points_per_side=8, most=5))
    assert [record.runs.coco() for record in cut] == [r.runs.coco() for r in found[:5]]


def test_one_prompt_at_a_time_gives_the_same(monkeypatch) -> None:
    image = sample("a").image
    whole = propose(VariedSam(), image, GRID)
    monkeypatch.setattr(masks_module, "CPU_CHUNK_PIXELS", 1)
    single = propose(VariedSam(), image, ProposalSettings(points_per_side=8, points_per_batch=1))
    assert [r.runs.coco() for r in single] == [r.runs.coco() for r in whole]


def test_a_random_rank_is_seeded() -> None:
    def order(seed, number):
        settings = ProposalSettings(points_per_side=8, rank="random", seed=seed)
        found = propose(VariedSam(), sample("a").image, settings, number=number)
        return [record.runs.coco()["counts"] for record in found]

    first = order(0, 0)
    assert len(first) > 8
    assert order(0, 0) == first
    assert order(1, 0) != first
    assert order(0, 1) != first
    assert sorted(order(1, 0)) == sorted(first) == sorted(order(0, 1))


def test_the_single_output_asks_for_one_mask_on_a_finer_grid() -> None:
    settings = ProposalSettings.single_output(points_per_side=6)
    assert settings.nms_thresh == 0.95
    assert settings.rank == "random"
    assert ProposalSettings.single_output().points_per_side == 128
    sam = BrightSam()
    masks = ProposalMasks(sam, settings).records(image_tensor(drawn_objects()[0]))
    assert {multimask for _, multimask in sam.asked} == {False}
    assert sum(number for number, _ in sam.asked) == 36
    assert len(masks) == 3
    three = BrightSam()
    propose(three, drawn_objects()[0], GRID)
    assert {multimask for _, multimask in three.asked} == {True}
    with pytest.raises(ConfigError, match="unknown setting 'points'") as unknown:
        ProposalSettings.single_output(points=3)
    assert "where: proposals.points" in str(unknown.value)


def test_groups_of_classes() -> None:
    frequency = ClassGroups.by_frequency([1, 10, 11, 100, 101, 5000])
    assert frequency.of_class == (0, 0, 1, 1, 2, 2)
    assert frequency.names == FREQUENCIES == ("rare", "common", "frequent")
    each = ClassGroups.each(["small", "square"])  # a class may be called as a size is
    exact, moved = sample("a", shift=0, classes=(0, 1, NO_CLASS)), sample("b", shift=4)
    moved = moved.replace(object_class=torch.tensor([0, NO_CLASS, 0]))
    report = run_proposals(BrightSam(), [exact, moved], GRID, groups=each)
    plain = run_proposals(BrightSam(), [exact, moved], GRID)
    assert report.scores == pytest.approx(plain.scores, nan_ok=True)
    assert plain.groups == {}
    assert list(report.groups) == ["small", "square"]
    assert report.groups["square"] == 1, "the only square is where it is seen"
    assert 0.3 < report.groups["small"] < 1
    assert report.rows[1].scores == pytest.approx(plain.rows[1].scores, nan_ok=True)


def test_pixels_of_which_nothing_is_known_do_not_count() -> None:
    unknown = np.zeros((64, 64), bool)
    unknown[:, 20:] = True
    item = sample("a", shift=0, unknown=unknown)
    item = item.replace(object_layer=torch.zeros(2, dtype=torch.int64))
    item = item.replace(object_class=torch.zeros(2, dtype=torch.int64))
    assert run_proposals(BrightSam(), [item], GRID).scores["ar_1000"] == 1
    counted = item.replace(layers=item.layers.clamp(min=0))
    assert run_proposals(BrightSam(), [counted], GRID).scores["ar_1000"] < 0.7
    whole = decode_rle(propose(BrightSam(), item.image, GRID)[0].runs.coco())
    assert (whole & unknown).any(), "the model itself sees everything"


def test_an_image_without_objects_and_one_without_proposals() -> None:
    nothing = sample("dark").replace(image=torch.zeros(3, 64, 64, dtype=torch.uint8))
    no_object = sample("empty").replace(
        layers=torch.zeros(1, 64, 64, dtype=torch.int32),
        object_layer=torch.zeros(0, dtype=torch.int64),
        object_class=torch.zeros(0, dtype=torch.int64),
    )
    report = run_proposals(BrightSam(), [nothing, no_object, sample("some", shift=0)], GRID)
    assert report.scores["ar_1000"] == pytest.approx(0.5), "three of six objects"
    assert [row.num_proposals for row in report.rows] == [0, 3, 3]
    assert math.isnan(report.rows[1].scores["ar_1000"])


def test_errors() -> None:
    with pytest.raises(DatasetError, match="there is no image to propose objects in"):
        run_proposals(BrightSam(), [], GRID)
    with pytest.raises(ConfigError) as rank:
        run_proposals(BrightSam(), [], ProposalSettings(rank="chance"))
    assert "where: proposals.rank, found: 'chance'" in str(rank.value)
    with pytest.raises(ConfigError, match="most is out of range"):
        ProposalSettings.from_dict({"most": 0})
