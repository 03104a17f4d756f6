"""COCO AP and AR@k against pycocotools fed with whole files, and by hand."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samft.errors import ConfigError
from samft.metrics.average_precision import AveragePrecision
from samft.metrics.matching import areas
from samft.metrics.proposals import ProposalRecall

SIZE = 160


def test_more_masks_than_eight_bits_count():
    rles = [box(index % 100, 3, 1 + index % 50) for index in range(600)]
    assert areas(rles).tolist() == [(1 + index % 50) ** 2 for index in range(600)]
    assert areas(rles[:0]).tolist() == []
    metric = ProposalRecall()
    metric.update(rles[:300], rles[:4], case_id="a", scores=np.arange(300.0))
    assert float(metric.compute()["ar_1000"]) == 1


def box(left: int, top: int, side: int) -> dict:
    mask = np.zeros((SIZE, SIZE), np.uint8, order="F")
    mask[top : top + side, left : left + side] = 1
    return coco_mask.encode(mask)


def scene(seed: int) -> dict:
    """Return boxes of all sizes, detections near them and elsewhere, one crowd."""
    generator = np.random.default_rng(seed)
    wanted, given = [], []
    for _ in range(generator.integers(0, 6)):
        left, top, side = (
            generator.integers(0, 80),
            generator.integers(0, 80),
            generator.integers(8, 120),
        )
        wanted.append(box(left, top, side))
        for _ in range(generator.integers(0, 4)):
            shift = generator.integers(-side // 5, side // 5 + 1, 2)
            given.append(box(max(left + shift[0], 0), max(top + shift[1], 0), side))
    given += [box(generator.integers(0, 99), generator.integers(0, 99), 25) for _ in range(3)]
    return {
        "predicted": given,
        "target": wanted,
        # Few different scores: ties decide.
        "scores": generator.integers(1, 6, len(given)) / 5,
        "predicted_class": generator.integers(0, 2, len(given)),
        "target_class": generator.integers(0, 2, len(wanted)),
        "crowd": generator.random(len(wanted)) < 0.15,
    }


SCENES = [scene(seed) for seed in range(8)]


def coco_eval(scenes: list[dict], *, use_cats: bool = True, most=(1, 10, 100)) -> COCOeval:
    """Return pycocotools' own evaluation of files with these scenes."""
    annotations, results = [], []
    for image, each in enumerate(scenes):
        for mask, label, crowd in zip(
            each["target"], each["target_class"], each["crowd"], strict=True
        ):
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label)}
            entry |= {
                "segmentation": mask,
                "area": float(coco_mask.area(mask)),
                "iscrowd": int(crowd),
            }
            annotations.append(entry)
        for mask, label, score in zip(
            each["predicted"], each["predicted_class"], each["scores"], strict=True
        ):
            entry = {"image_id": image, "category_id": int(label), "segmentation": mask}
            results.append(entry | {"score": float(score)})
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": image, "height": SIZE, "width": SIZE} for image in range(len(scenes))],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.params.useCats = int(use_cats)
        evaluation.params.maxDets = list(most)
        evaluation.evaluate()
        evaluation.accumulate()
        if len(most) == 3:
            evaluation.summarize()
    return evaluation


def filled(scenes: list[dict]) -> AveragePrecision:
    metric = AveragePrecision(["cat", "dog"])
    for number, each in enumerate(scenes):
        metric.update(**each, case_id=f"{number:03}")
    return metric


def test_the_twelve_numbers_of_pycocotools(capsys) -> None:
    result = filled(SCENES).compute()
    assert not capsys.readouterr().out
    names = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100")
    names += ("ar_small", "ar_medium", "ar_large")
    expected = coco_eval(SCENES).stats
    assert [result[name].item() for name in names] == pytest.approx(expected.tolist(), abs=1e-7)
    assert 0 < result["ap"] < 1
    assert result["ap"] == pytest.approx((result["ap/cat"] + result["ap/dog"]).item() / 2)


@pytest.mark.parametrize(
    "scenes", [SCENES[:1], [scene(100) | {"target": [], "target_class": [], "crowd": []}]]
)
def test_single_images_and_images_without_objects(scenes) -> None:
    result = filled(scenes).compute()
    stats = coco_eval(scenes).stats
    for name, value in zip(("ap", "ap_50", "ap_75"), stats, strict=False):
        assert math.isnan(result[name]) if value == -1 else result[name] == pytest.approx(value)


def test_average_precision_by_hand() -> None:
    metric = AveragePrecision(thresholds=(50,))
    truth = [box(0, 0, 20), box(50, 50, 20)]
    metric.update([box(0, 0, 20), box(90, 0, 20)], truth, case_id="a", scores=(0.5, 0.9))
    # The false one comes first: precision is 1 / 2 up to recall 1 / 2, which 51 of 101 points are.
    assert metric.compute()["ap"] == pytest.approx(51 / 101 / 2)
    assert metric.per_case()[1].scores["ar_100"] == 0.5


def test_missing_predictions_and_areas() -> None:
    metric = AveragePrecision()
    metric.update(None, [box(0, 0, 20)], case_id="a")
    metric.update([], [box(0, 0, 20)], case_id="b", target_area=[2000.0])
    metric.update([box(0, 0, 20)], [box(0, 0, 20)], case_id="c", scores=[1.0], target_area=[2000.0])
    result = metric.compute()
    assert result["num_missing"] == 1
    assert result["num_cases"] == 3
    assert result["ar_100"] == pytest.approx(1 / 3)
    assert result["ar_small"] == 0  # by the stated area two objects are of medium size
    assert result["ar_medium"] == 0.5


def test_numbers_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="1 scores, 2 areas") as error:
        AveragePrecision().update([box(0, 0, 5)] * 2, [], case_id="a", scores=[1.0])
    assert "expected: 2 of each" in str(error.value)
    with pytest.raises(ConfigError, match="number of classes or groups") as error:
        AveragePrecision().update([], [box(0, 0, 5)], case_id="im_3", target_class=[0, 0])
    assert "im_3" in str(error.value)
    with pytest.raises(ConfigError, match="a class the metric does not know"):
        AveragePrecision().update([], [box(0, 0, 5)], case_id="a", target_class=[1])


@pytest.mark.parametrize("most", [2, 1000])
def test_proposal_recall_is_that_of_pycocotools(most) -> None:
    scenes = [each | {"crowd": np.zeros(len(each["target"]), bool)} for each in SCENES]
    metric = ProposalRecall(["rare", "common"], most=(most,))
    for number, each in enumerate(scenes):
        metric.update(
            each["predicted"],
            each["target"],
            case_id=f"{number}",
            scores=each["scores"],
            group=each["target_class"],
        )
    result = metric.compute()
    recall = coco_eval(scenes, use_cats=False, most=(most,)).eval["recall"]  # (T, K, A, M)
    for area, suffix in enumerate(("", "_small", "_medium", "_large")):
        assert result[f"ar_{most}{suffix}"] == pytest.approx(recall[:, 0, area, 0].mean(), abs=1e-6)
    for group, name in enumerate(("rare", "common")):
        own = []
        for each in scenes:
            kept = np.flatnonzero(each["target_class"] == group)
            own.append(
                each
                | {key: [each[key][i] for i in kept] for key in ("target", "target_class", "crowd")}
            )
        recall = coco_eval(own, use_cats=False, most=(most,)).eval["recall"]
        assert result[f"ar_{most}_{name}"] == pytest.approx(recall[:, 0, 0, 0].mean(), abs=1e-6)


def test_proposals_by_hand() -> None:
    metric = ProposalRecall(most=(1, 3))
    truth = [box(0, 0, 20), box(100, 100, 40)]
    # 19 of 20 columns: an IoU of 0.95 reaches every threshold.
    metric.update([box(0, 0, 20), box(100, 100, 39)], truth, case_id="a", scores=[0.1, 0.9])
    metric.update(None, truth[:1], case_id="b")
    metric.update([box(0, 0, 9)], [], case_id="c", scores=[0.5])
    result = metric.compute()
    # 39^2 / 40^2 = 0.9506.
    assert result["ar_1"] == pytest.approx(1 / 3)
    assert result["ar_3"] == pytest.approx(2 / 3)
    assert result["ar_3_small"] == pytest.approx(1 / 2)
    assert result["ar_3_medium"] == 1
    assert math.isnan(result["ar_3_large"])
    assert result["num_missing"] == 1
