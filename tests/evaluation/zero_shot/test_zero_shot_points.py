"""Clicks one after another: where they fall, what is scored, by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models.tiny_sam import tiny_sam
from scipy import ndimage

from samft.data.collate import collate
from samft.errors import ConfigError
from samft.evaluation.zero_shot import points
from samft.evaluation.zero_shot.points import ClickedObject, PointReport, run_points
from samft.evaluation.zero_shot.settings import PointSettings
from samft.types import IGNORE, NEGATIVE, POSITIVE, MaskOutput, Sample
from samft.validation import Validation

SIDE = 128  # the tiny model's own, so that both frames are the same


def sample(*squares: tuple[int, int, int], name: str = "a.png", size: int = SIDE) -> Sample:
    """Return an image with squares (left, top, side)."""
    layers = torch.zeros(1, size, size, dtype=torch.int32)
    for number, (left, top, side) in enumerate(squares, start=1):
        layers[0, top : top + side, left : left + side] = number
    count = len(squares)
    return Sample(
        image=torch.randint(0, 256, (3, size, size), dtype=torch.uint8),
        layers=layers,
        object_layer=torch.zeros(count, dtype=torch.int64),
        object_class=torch.zeros(count, dtype=torch.int64),
        sample_id=name,
        case_id="patient",
    )


def always(monkeypatch: pytest.MonkeyPatch, value: float, seen: list) -> None:
    """Answer every prompt with the same logits, and remember the prompts."""

    def answer(sam, embeddings, prompts):
        seen.append(prompts)
        side = 4 * embeddings.shape[-1]
        logits = torch.full((prompts.num_prompts, 1, side, side), value)
        return MaskOutput(logits=logits, iou=torch.ones(prompts.num_prompts, 1))

    monkeypatch.setattr(points, "answer", answer)


def test_a_missed_object_is_clicked_in_its_middle(monkeypatch):
    seen: list = []
    always(monkeypatch, -1.0, seen)
    settings = PointSettings(clicks=2, oracle=False)
    report = run_points(tiny_sam(), [sample((10, 20, 21))], settings)
    assert report.objects[0].iou == (0.0, 0.0)
    assert report.objects[0].area == 21 * 21
    assert [prompts.points.shape[1] for prompts in seen] == [1, 2]
    assert seen[1].points[0].tolist() == [[20, 30], [20, 30]]
    assert seen[1].labels.tolist() == [[POSITIVE, POSITIVE]]
    assert bool((seen[1].mask_logits == -1).all())  # handed back
    assert seen[0].mask_logits is None


def test_too_much_is_clicked_where_it_is_deepest(monkeypatch):
    seen: list = []
    always(monkeypatch, 1.0, seen)
    item = sample((70, 60, 30))
    settings = PointSettings(clicks=2, oracle=False, feed_mask=False)
    report = run_points(tiny_sam(), [item], settings)
    assert report.objects[0].iou[0] == pytest.approx(900 / SIDE**2)
    outside = np.pad(item.layers[0].numpy() == 0, 1)
    depth = ndimage.distance_transform_edt(outside)[1:-1, 1:-1]
    x, y = seen[1].points[0, 1].long().tolist()
    assert depth[y, x] == depth.max()
    assert seen[1].labels[0].tolist() == [POSITIVE, NEGATIVE]
    assert seen[1].mask_logits is None


def test_clicks_are_told_in_the_input_frame(monkeypatch):
    seen: list = []
    always(monkeypatch, -1.0, seen)
    run_points(tiny_sam(), [sample((10, 20, 21), size=64)], PointSettings(clicks=1, oracle=False))
    assert seen[0].points.tolist() == [[[40.0, 60.0]]]


def test_unknown_pixels_neither_count_nor_are_clicked(monkeypatch):
    seen: list = []
    always(monkeypatch, 1.0, seen)
    item = sample((70, 60, 30))
    item.layers[item.layers == 0] = IGNORE
    report = run_points(tiny_sam(), [item], PointSettings(clicks=2, oracle=False))
    assert report.objects[0].iou == (1.0, 1.0)
    assert seen[1].labels[0].tolist() == [POSITIVE, -10]  # nothing is wrong


def test_objects_without_a_pixel_are_counted():
    item = sample((10, 10, 20), (60, 60, 20))
    item.layers[item.layers == 2] = 0
    report = run_points(tiny_sam(), [item], PointSettings(clicks=1, oracle=False))
    assert [each.object_id for each in report.objects] == [1]
    assert report.outcome().notes == ("objects without a pixel were left out: 1",)
    assert report.outcome().rows[0]["class_name"] == ""
    assert report.outcome(("cell",)).rows[0]["class_name"] == "cell"


def test_the_oracle_is_never_worse_at_the_first_click():
    sam = tiny_sam(3)
    items = [sample((10, 10, 20), (60, 60, 40), name=name) for name in "ab"]
    report = run_points(sam, items, PointSettings(clicks=3))
    assert len(report.objects) == 4
    assert all(each.oracle[0] >= each.iou[0] for each in report.objects)
    alone = run_points(sam, items, PointSettings(clicks=3, oracle=False))
    assert [each.iou for each in alone.objects] == [each.iou for each in report.objects]
    assert alone.objects[0].oracle == ()


def test_further_clicks_leave_the_truth_nothing_to_choose(monkeypatch):
    sam, item = tiny_sam(5), sample((10, 10, 30), (60, 50, 40))
    asked: list = []
    answer = points.answer

    def remember(sam, embeddings, prompts):
        output = answer(sam, embeddings, prompts)
        asked.append((embeddings, prompts, output))
        return output

    monkeypatch.setattr(points, "answer", remember)
    report = run_points(sam, [item], PointSettings(clicks=3))
    # Three clicks of the model's own game; of the oracle's all but the first.
    assert [prompts.labels.shape[1] for _, prompts, _ in asked] == [1, 2, 3, 2, 3]
    embeddings, prompts, output = asked[-1]
    with torch.no_grad():
        clear = sam.decode(embeddings, prompts, multimask=False)
    assert torch.allclose(output.logits, clear.logits, atol=1e-4)
    assert [len(each.oracle) for each in report.objects] == [3, 3]


def test_random_first_points_depend_on_object_and_seed_alone(monkeypatch):
    def first(items, seed=0):
        seen: list = []
        with monkeypatch.context() as patch:
            always(patch, -1.0, seen)
            settings = PointSettings(first="random", clicks=1, oracle=False, seed=seed)
            run_points(tiny_sam(), items, settings)
        return [point for prompts in seen for point in prompts.points[:, 0].tolist()]

    one, other = sample((10, 10, 20), (60, 60, 40)), sample((10, 10, 20), name="b.png")
    assert first([one, other]) == first([one]) + first([other])
    assert first([other]) != first([one])[:1]
    assert first([one], seed=1) != first([one])
    for (x, y), (left, top, side) in zip(first([one]), [(10, 10, 20), (60, 60, 40)], strict=True):
        assert left <= x < left + side
        assert top <= y < top + side


def test_scores_are_means_over_objects():
    def row(number: int, *iou: float) -> ClickedObject:
        return ClickedObject(
            sample_id="a", case_id="p", object_id=number, class_index=-1, area=5,
            iou=iou, oracle=iou[::-1],
        )  # fmt: skip

    report = PointReport(clicks=3, objects=[row(1, 0.2, 0.6, 0.9), row(2, 0.4, 0.8, 0.8)])
    outcome = report.outcome()
    assert outcome.scores["iou_click1"] == pytest.approx(0.3)
    assert outcome.scores["iou_click2"] == pytest.approx(0.7)
    assert outcome.scores["oracle_iou_click1"] == pytest.approx(0.85)
    assert outcome.scores["noc_85"] == pytest.approx(3)
    assert outcome.scores["failed_85"] == pytest.approx(0.5)
    assert "iou_click5" not in outcome.scores
    assert outcome.compared["iou_click3"] == {"a#1": 0.9, "a#2": 0.8}
    assert outcome.groups == {"a#1": "p", "a#2": "p"}
    assert list(outcome.rows[0])[5:8] == ["iou_click1", "iou_click2", "iou_click3"]


def test_nothing_to_click_has_no_score():
    report = run_points(tiny_sam(), [sample()], PointSettings(clicks=2))
    assert report.objects == []
    assert np.isnan(report.outcome().scores["iou_click1"])


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match=r"where: zeroshot\.point\.clicks, found: 0"):
        PointSettings.from_dict({"clicks": 0})


def test_where_both_frames_are_the_same_it_is_what_validation_says():
    sam = tiny_sam(4)
    items = [sample((10, 10, 30), (60, 50, 40), name="a"), sample((5, 70, 25), name="b")]
    found = run_points(sam, items, PointSettings(clicks=3, oracle=False)).outcome().scores
    batch = collate(items, image_size=SIDE, keep_samples=True)
    validation = Validation(["point"], clicks=3)
    with torch.no_grad():
        validation.update(sam, batch, sam.encode_image(batch.images, batch.input_sizes))
    expected = validation.compute()
    for number in (1, 3):
        wanted = float(expected[f"iou_point{number}"])
        assert found[f"iou_click{number}"] == pytest.approx(wanted, abs=1e-4)
