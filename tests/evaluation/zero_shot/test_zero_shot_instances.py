"""Masks for boxes: what is asked, and that AP is pycocotools' on whole files."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from models.tiny_sam import tiny_sam
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samft.data.geometry import logits_to_original
from samft.evaluation.zero_shot.boxes import DetectedBoxes, GivenBox
from samft.evaluation.zero_shot.instances import baseline_answers, run_instances, sam_answers
from samft.evaluation.zero_shot.settings import InstanceSettings
from samft.inference.embedding import embed_images
from samft.types import IGNORE, NO_CLASS, PromptBatch, Sample

HEIGHT, WIDTH = 96, 128
CLASSES = ("cell", "dirt")


def scene(seed: int, *, count: int = 5) -> Sample:
    """Return ellipses of two classes, each in a layer of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((HEIGHT, WIDTH))
    layers = np.zeros((count, HEIGHT, WIDTH), np.int32)
    for number in range(count):
        cx, cy, rx, ry = rng.uniform((20, 20, 6, 6), (108, 76, 34, 30))
        layers[number][((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1] = number + 1
    return Sample(
        image=torch.from_numpy(rng.integers(0, 256, (3, HEIGHT, WIDTH)).astype(np.uint8)),
        layers=torch.from_numpy(layers),
        object_layer=torch.arange(count),
        object_class=torch.from_numpy(rng.integers(0, 2, count)),
        sample_id=f"{seed}.png",
        case_id=f"{seed}.png",
    )


def detections(scenes: list[Sample]) -> DetectedBoxes:
    """Return moved boxes of the truth with scores, and wrong ones."""
    rng = np.random.default_rng(5)
    boxes = DetectedBoxes()
    for item in scenes:
        found = []
        for row, mask in enumerate(item.masks().numpy()):
            rows, columns = np.nonzero(mask)
            box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], float)
            box += rng.uniform(-4, 4, 4)
            index = int(item.object_class[row]) if rng.random() < 0.8 else 0
            found.append(GivenBox(box=tuple(box), score=rng.integers(1, 9) / 8, class_index=index))
        found.append(GivenBox(box=(3, 3, 30, 30), score=0.9, class_index=1))
        boxes.by_image[item.sample_id] = found
    return boxes


def by_pycocotools(scenes: list[Sample], boxes: DetectedBoxes) -> np.ndarray:
    """Score the filled boxes as a whole annotation file and results file."""
    annotations, results = [], []
    for image, item in enumerate(scenes):
        for row, mask in enumerate(item.masks().numpy()):
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "iscrowd": 0, "area": mask.sum(),
                 "category_id": int(item.object_class[row]), "segmentation": rle}
            )  # fmt: skip
        for given in boxes.by_image[item.sample_id]:
            x0, y0, x1, y1 = given.box
            mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
            rows = slice(max(0, math.ceil(y0)), max(0, math.floor(y1) + 1))
            mask[rows, max(0, math.ceil(x0)) : max(0, math.floor(x1) + 1)] = 1
            rle = coco_mask.encode(mask)
            results.append(
                {"image_id": image, "category_id": given.class_index, "segmentation": rle,
                 "score": given.score}
            )  # fmt: skip
    truth = COCO()
    images = [{"id": index, "height": HEIGHT, "width": WIDTH} for index in range(len(scenes))]
    truth.dataset = {
        "images": images, "annotations": annotations, "categories": [{"id": 0}, {"id": 1}],
        "info": {},
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_ap_is_that_of_pycocotools_on_whole_files():
    scenes = [scene(seed) for seed in range(4)]
    boxes = detections(scenes)
    expected = by_pycocotools(scenes, boxes)
    report = run_instances(
        baseline_answers("filled box"), scenes, InstanceSettings(), class_names=CLASSES, boxes=boxes
    )
    found = report.outcome().scores
    names = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium")
    assert [found[name] for name in names] == pytest.approx(expected[:5].tolist(), abs=1e-6)
    assert 0.05 < found["ap"] < 0.95
    assert math.isnan(found["ap_large"])
    assert found["num_boxes"] == 4 * 6


def test_true_boxes_are_those_of_a_perfect_detector():
    item = scene(1)
    boxes = DetectedBoxes()
    boxes.by_image[item.sample_id] = []
    for row, mask in enumerate(item.masks().numpy()):
        x, y, w, h = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, np.uint8))).tolist()
        given = GivenBox(
            box=(x, y, x + w - 1, y + h - 1), score=1, class_index=int(item.object_class[row])
        )
        boxes.by_image[item.sample_id].append(given)
    answer = baseline_answers("ellipse")
    own, detected = (
        run_instances(answer, [item], InstanceSettings(), class_names=CLASSES, boxes=each)
        for each in (None, boxes)
    )
    assert own.outcome().scores["ap"] == detected.outcome().scores["ap"] > 0.5
    assert [each.box for each in own.instances] == [each.box for each in detected.instances]
    assert own.outcome().scores["iou"] > 0.9


def test_the_most_confident_mask_is_refined_once_with_its_box():
    sam, item = tiny_sam(2), scene(0, count=3)
    boxes = torch.tensor([[10.0, 10, 60, 50], [30, 20, 90, 80]])
    embeddings, (frame,) = embed_images(sam, [item.image])
    prompts = PromptBatch(image_index=torch.zeros(2, dtype=torch.int64), boxes=boxes)
    with torch.no_grad():
        first = sam.decode(embeddings, prompts, multimask=True)
        best = first.take(first.iou.argmax(dim=1))
        second = sam.decode(embeddings, prompts.with_mask_logits(best.logits), multimask=False)
        single = sam.decode(embeddings, prompts, multimask=False)
        for refine, multimask, wanted in ((0, True, best), (1, True, second), (0, False, single)):
            settings = InstanceSettings(refine=refine, multimask=multimask)
            found = list(sam_answers(sam, settings)(item, boxes))
            masks = logits_to_original(wanted.logits, frame)[:, 0] > 0
            assert np.array_equal([mask for mask, _ in found], masks.numpy())
            assert [iou for _, iou in found] == pytest.approx(wanted.iou[:, 0].tolist(), rel=1e-4)
    assert list(sam_answers(sam, settings)(item, torch.zeros(0, 4))) == []


@pytest.mark.parametrize(
    ("score", "expected"), [("box", 0.5), ("predicted_iou", 0.8), ("product", 0.4)]
)
def test_what_ranks(score, expected):
    item = scene(0, count=1)
    boxes = DetectedBoxes()
    boxes.by_image[item.sample_id] = [GivenBox(box=(0, 0, 9, 9), score=0.5, class_index=0)]
    settings = InstanceSettings(score=score)
    masks = iter([(np.ones((HEIGHT, WIDTH), bool), 0.8)])
    report = run_instances(lambda *_: masks, [item], settings, boxes=boxes)
    assert report.instances[0].score == pytest.approx(expected)
    assert report.instances[0].predicted_iou == 0.8


def test_unknown_regions_and_objects_without_class():
    item = scene(2, count=2)
    item.object_class[:] = torch.tensor([0, NO_CLASS])
    item.layers[0, :, 64:] = IGNORE
    item.layers[0, 10:30, 10:30] = 1
    boxes = DetectedBoxes()
    boxes.by_image[item.sample_id] = [
        GivenBox(box=(10, 10, 29, 29), score=0.1, class_index=0),
        GivenBox(box=(70, 10, 100, 60), score=0.9, class_index=0),  # nobody knows
    ]
    settings = InstanceSettings()
    answer = baseline_answers("filled box")
    item.layers[0][:, :64] = 0
    item.layers[0, 10:30, 10:30] = 1
    report = run_instances(answer, [item], settings, class_names=CLASSES, boxes=boxes)
    assert report.outcome().scores["ap"] == pytest.approx(1)
    assert report.instances[0].iou == 1
    assert report.notes == ["objects without class or without a pixel were left out: 1"]


def test_images_without_boxes_count_as_missed():
    scenes = [scene(3), scene(4)]
    boxes = detections(scenes[:1])
    answer = baseline_answers("filled box")
    one, both = (
        run_instances(answer, part, InstanceSettings(), class_names=CLASSES, boxes=boxes)
        for part in (scenes[:1], scenes)
    )
    assert both.outcome().scores["ar_100"] < one.outcome().scores["ar_100"]


def test_images_of_other_channels():
    item = scene(0, count=1)
    for channels in (1, 5):
        image = item.image[:1].expand(channels, -1, -1)
        many = item.replace(image=image)
        report = run_instances(baseline_answers("Otsu"), [many], InstanceSettings())
        assert len(report.instances) == 1
