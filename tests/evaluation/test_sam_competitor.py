"""A SAM in an evaluation answers as it does in validation."""

from functools import partial

import numpy as np
import pytest
import torch
from evaluated_scene import batch_of
from models.tiny_sam import tiny_sam

from samft.data.synthetic import generate
from samft.data.trimming import trim_padding
from samft.evaluation.sam_competitor import SamCompetitor
from samft.evaluation.scoring import score_batch
from samft.evaluation.settings import EvaluationSettings
from samft.inference.automatic import AutomaticMasks
from samft.models import build_sam
from samft.models.sam import Sam
from samft.types import SamBatch
from samft.validation import Validation

SETTINGS = EvaluationSettings(clicks=3, distances=False)


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build_sam("vit_nano", "vit_nano", image_size=128).eval()


@pytest.fixture(scope="module")
def batch() -> SamBatch:
    first, second = (generate(seed, size=96, look="shapes") for seed in (3, 5))
    narrow = second.replace(image=second.image[:, :60], layers=second.layers[:, :60])
    return batch_of(first, narrow, image_size=128)


def means(sam: Sam, batch: SamBatch) -> dict[str, tuple[float, float]]:
    rows = score_batch(SamCompetitor("it", sam, source="x"), batch, SETTINGS, []).objects
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row.prompt, []).append((row.scores["iou"], row.scores["dice"]))
    return {name: tuple(np.mean(pairs, axis=0)) for name, pairs in found.items()}


@pytest.mark.parametrize("trimmed", [False, True])
def test_scores_are_those_of_validation(sam: Sam, batch: SamBatch, trimmed: bool) -> None:
    if trimmed:
        batch = trim_padding(batch_of(batch.samples[1], image_size=128), sam.config.patch_size)
    validation = Validation(["box", "point"], clicks=3)
    with torch.no_grad():
        validation.update(sam, batch, sam.encode_image(batch.images, batch.input_sizes))
    expected = validation.compute()
    found = means(sam, batch)
    assert list(found) == ["box", "loose_box", "point1", "point2", "point3"]
    for prompt in ("box", "point1", "point3"):
        wanted = [float(expected[f"{score}_{prompt}"]) for score in ("iou", "dice")]
        assert found[prompt] == pytest.approx(wanted, abs=1e-5)


def test_every_prompt_is_answered_once_about_every_object(sam: Sam, batch: SamBatch) -> None:
    answers = list(SamCompetitor("it", sam, source="x").answers(batch, SETTINGS))
    for prompt in ("box", "loose_box", "point1", "point2", "point3"):
        rows = [row for each in answers if each.prompt == prompt for row in each.rows.tolist()]
        assert sorted(rows) == list(range(batch.num_objects))
    for each in answers:
        assert each.masks.shape[1:] == batch.frames[each.image].original_size
        assert set(batch.image_index[each.rows].tolist()) == {each.image}
        assert len(each.marks) == len(each.predicted_iou) == len(each.rows)
    third = next(each for each in answers if each.prompt == "point3")
    assert len(third.marks[0]["points"]) == len(third.marks[0]["labels"]) == 3


def test_only_what_is_asked_for(sam: Sam, batch: SamBatch) -> None:
    settings = EvaluationSettings(prompts=("point",), clicks=1)
    answers = SamCompetitor("it", sam, source="x").answers(batch, settings)
    assert {each.prompt for each in answers} == {"point1"}


def test_instances_are_the_automatic_masks(
    sam: Sam, batch: SamBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    generous = partial(
        AutomaticMasks, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    monkeypatch.setattr("samft.evaluation.sam_competitor.AutomaticMasks", generous)
    masks = SamCompetitor("it", sam, source="x").instances(batch, 1)
    expected = [each["segmentation"] for each in generous(sam).generate(batch.samples[1].image)]
    assert len(expected) > 1
    assert np.array_equal(masks.numpy(), np.stack(expected))


def test_description() -> None:
    sam = tiny_sam()
    said = SamCompetitor("it", sam, source="medical/3", facts={"adapt": "lora"}).describe()
    assert said["num_parameters"] == sum(each.numel() for each in sam.parameters())
    assert (said["source"], said["arch"], said["adapt"]) == ("medical/3", "tiny", "lora")
    other = SamCompetitor("it", tiny_sam(seed=1), source="medical/3").describe()
    assert len(said["weights_sha256"]) == 64
    assert other["weights_sha256"] != said["weights_sha256"]


def test_trimming_follows_the_model() -> None:
    sam = tiny_sam()
    assert SamCompetitor("it", sam, source="x").trim_to is None
    sam.trim_padding = True
    assert SamCompetitor("it", sam, source="x").trim_to == sam.config.patch_size
