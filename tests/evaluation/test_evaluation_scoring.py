"""Rows of objects and images, against the metrics of whole images."""

import math

import numpy as np
import pytest
import torch
from evaluated_scene import Knowing, batch_of, scene

from samft.evaluation.rows import ImageRow, ObjectRow
from samft.evaluation.scoring import SEMANTIC, score_batch
from samft.evaluation.settings import EvaluationSettings
from samft.metrics.boundary import BoundaryScores
from samft.metrics.overlap import OverlapScores
from samft.metrics.surfaces import SurfaceScores
from samft.types import IGNORE, SamBatch, Sample

BOX = EvaluationSettings(prompts=("box",))


def objects(sample: Sample, shift: int, settings: EvaluationSettings = BOX) -> list[ObjectRow]:
    return score_batch(Knowing(shift=shift), batch_of(sample), settings, ["cell"]).objects


def images(sample: Sample, shift: int, names: list[str]) -> list[ImageRow]:
    return score_batch(Knowing(shift=shift), batch_of(sample), BOX, names).images


@pytest.mark.parametrize("spacing", [None, (0.5, 2.0)])
@pytest.mark.parametrize("shift", [0, 3, 12])
def test_crops_give_what_whole_images_give(shift: int, spacing: tuple[float, float] | None) -> None:
    sample = scene(spacing=spacing)
    found = objects(sample, shift)
    unit = "px" if spacing is None else "mm"
    given, truth = Knowing(shift=shift).moved(sample.masks()), sample.masks()
    for row in range(2):
        pair, name = (given[row][None], truth[row][None]), str(row)
        overlap, outline = OverlapScores(), BoundaryScores()
        distances = SurfaceScores(unit=unit, tolerances=[2.0])
        overlap.update(*pair, case_id=name)
        outline.update(*pair, case_id=name)
        distances.update(*pair, case_id=name, spacing_mm=spacing)
        expected = {
            **overlap.per_case()[0].scores,
            "boundary_iou": outline.per_case()[0].scores["boundary_iou"],
            **{
                name: distances.per_case()[0].scores[key]
                for name, key in (
                    ("hd95", f"hd95_{unit}"),
                    ("assd", f"assd_{unit}"),
                    ("nsd", f"nsd_2{unit}"),
                )
            },
        }
        assert found[row].scores == pytest.approx(expected, abs=1e-6)
        assert (found[row].unit, found[row].object_id) == (unit, row + 1)
        assert found[row].area == int(truth[row].sum())


def test_a_square_moved_by_half_by_hand() -> None:
    sample = scene(boxes=((10, 10, 19, 19),))
    (row,) = objects(sample, 5)
    assert row.scores["iou"] == pytest.approx(50 / 150)
    assert row.scores["dice"] == pytest.approx(0.5)
    assert row.scores["hd95"] == 5
    assert (row.prompt, row.class_name, row.predicted_iou) == ("box", "cell", 0.75)


def test_unknown_pixels_do_not_count() -> None:
    sample = scene(boxes=((10, 10, 19, 19),))
    layers = sample.layers.clone()
    layers[0, :, 20:] = IGNORE
    (row,) = objects(sample.replace(layers=layers), 5)
    assert row.scores["iou"] == pytest.approx(0.5)  # what lies in the unknown is no mistake
    (image,) = images(sample.replace(layers=layers), 5, ["cell"])
    assert image.scores["iou"] == pytest.approx(0.5)


def test_an_empty_answer_has_no_distance() -> None:
    (row,) = objects(scene(boxes=((10, 10, 19, 19),)), 60)
    assert [row.scores[name] for name in ("iou", "dice", "boundary_iou", "nsd")] == [0, 0, 0, 0]
    assert math.isnan(row.scores["hd95"])
    assert math.isnan(row.scores["assd"])


def test_distances_can_be_left_out() -> None:
    (row,) = objects(
        scene(boxes=((10, 10, 19, 19),)), 1, EvaluationSettings(prompts=("box",), distances=False)
    )
    assert set(row.scores) == {"iou", "dice", "boundary_iou"}


def test_the_objects_of_a_class_are_scored_together() -> None:
    sample = scene(
        boxes=((5, 5, 14, 14), (20, 5, 29, 14), (5, 20, 24, 35)), classes=(0, 0, 1), spacing=(1, 1)
    )
    found = {row.class_name: row for row in images(sample, 2, ["round", "long"])}
    assert {name: row.num_objects for name, row in found.items()} == {"round": 2, "long": 1}
    truth = sample.masks()[:2].any(dim=0)
    given = Knowing(shift=2).moved(truth)
    assert found["round"].scores["iou"] == pytest.approx(
        float((given & truth).sum() / (given | truth).sum())
    )
    assert {row.unit for row in found.values()} == {"mm"}


def test_objects_that_overlap_in_other_layers() -> None:
    sample = scene(boxes=((10, 10, 29, 29),))
    layers = torch.cat([sample.layers, torch.zeros_like(sample.layers)])
    layers[1, 15:25, 15:40] = 2
    both = sample.replace(
        layers=layers, object_layer=torch.tensor([0, 1]), object_class=torch.tensor([0, -1])
    )
    found = score_batch(Knowing(), batch_of(both), BOX, ["cell"])
    assert [row.scores["iou"] for row in found.objects] == [1, 1]
    assert [row.class_name for row in found.objects] == ["cell", ""]
    assert {(row.class_name, row.scores["dice"]) for row in found.images} == {("cell", 1), ("", 1)}


def test_batches_do_not_matter() -> None:
    samples = [scene("a"), scene("b", boxes=()), scene("c", boxes=((3, 3, 30, 9),))]
    model = Knowing(shift=2)
    together = score_batch(model, batch_of(*samples), BOX, ["cell"])
    alone = [score_batch(model, batch_of(sample), BOX, ["cell"]) for sample in samples]
    assert together.objects == [row for rows in alone for row in rows.objects]
    assert together.images == [row for rows in alone for row in rows.images]


class Semantic(Knowing):
    """Says which pixels are of which class: all of class 0 where it is, and a false corner."""

    def class_masks(self, batch: SamBatch, image: int) -> torch.Tensor:
        assert batch.samples is not None
        masks = torch.zeros((3, *batch.samples[image].size), dtype=torch.bool)
        masks[0] = batch.samples[image].masks().any(dim=0)
        masks[1, :4, :4] = True
        return masks


def test_a_segmentation_into_classes_gets_a_row_for_each_class() -> None:
    found = score_batch(Semantic(), batch_of(scene()), BOX, ["cell", "debris", "absent"]).images
    semantic = {row.class_name: row for row in found if row.prompt == SEMANTIC}
    assert {name: row.scores["dice"] for name, row in semantic.items()} == {"cell": 1, "debris": 0}
    assert [semantic[name].num_objects for name in ("cell", "debris")] == [2, 0]


def test_instances_that_are_right_and_that_are_not() -> None:
    settings = EvaluationSettings(prompts=("box",), automatic=True)

    def automatic(shift: int) -> dict[str, float]:
        rows = score_batch(Knowing(shift=shift), batch_of(scene()), settings, ["cell"]).images
        (row,) = [row for row in rows if row.prompt == "auto"]
        return dict(row.scores)

    assert set(automatic(0).values()) == {1.0}
    moved = automatic(5)  # IoU 1/3 of the small one, 3/5 of the large one
    assert moved["f1"] == moved["precision"] == moved["recall"] == 0.5
    assert moved["pq"] == pytest.approx(0.5 * 0.6)
    assert moved["sq"] == pytest.approx(0.6)
    assert moved["ap"] == pytest.approx(np.mean([1 / 3, 1 / 3, *[0] * 8]))
    assert moved["aji"] == pytest.approx((50 + 300) / (150 + 500))
