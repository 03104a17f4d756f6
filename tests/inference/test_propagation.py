"""Propagation: an object shown in one slice is followed until it ends, in both directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from threshold_models import GuardedArray, ThresholdPredictor

from samft import Predictor, PropagationSettings, VolumePrompt, VolumePropagation, VolumeSource
from samft.errors import ConfigError, OutputError, PromptError
from samft.inference.slice_prompts import mask_logits
from samft.models.config import config_for
from samft.models.registry import build_from_config

DEPTH = 30
ROWS, COLUMNS = np.mgrid[:64, :64]


def disc(y: float, x: float, radius: float):
    return (ROWS - y) ** 2 + (COLUMNS - x) ** 2 < radius**2


@pytest.fixture(scope="module")
def moving():
    """(volume, labels): two discs that move apart and grow; one begins late and ends early."""
    labels = np.zeros((DEPTH, 64, 64), np.int32)
    for z in range(DEPTH):
        labels[z][disc(12 + z / 2, 16 + z, 6 + z / 8)] = 1
        if 5 <= z < 21:
            labels[z][disc(48, 40 - z, 5)] = 2
    return np.where(labels > 0, 220, 10).astype(np.uint8), labels


def prompts(labels):
    rows, columns = np.nonzero(labels[18] == 1)
    box = [columns.min(), rows.min(), columns.max(), rows.max()]
    return [VolumePrompt(slice=18, box=box), VolumePrompt(slice=9, points=[[31, 48]], labels=[1])]


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"use_mask": False},
        {"use_box": False},
        {"use_box": False, "use_mask": False, "use_point": True},
    ],
)
def test_discs_are_followed_to_their_ends(moving, tmp_path, parts) -> None:
    volume, labels = moving
    predictor = ThresholdPredictor()
    guarded = GuardedArray(volume, 64 * 64)
    result = VolumePropagation(predictor, **parts).label(
        guarded, prompts(labels), tmp_path / "labels.npy"
    )
    assert np.array_equal(np.load(result.path), labels)
    assert result.spans.tolist() == [[0, DEPTH - 1], [5, 20]]
    assert result.endings == (("volume", "volume"), ("empty", "empty"))
    assert np.allclose(result.scores, 0.9)
    asked = {"box", "mask", "points", "labels"}
    asked -= {"box"} if not parts.get("use_box", True) else set()
    asked -= {"mask"} if not parts.get("use_mask", True) else set()
    asked -= set() if parts.get("use_point", False) else {"points", "labels"}
    assert predictor.asked[-1] == asked


@pytest.mark.parametrize("axis", ["y", "x"])
def test_along_other_axes(moving, tmp_path, axis) -> None:
    volume, labels = (np.pad(part, ((17, 17), (0, 0), (0, 0))) for part in moving)
    turned = {"y": (1, 0, 2), "x": (1, 2, 0)}[axis]
    source = VolumeSource(volume.transpose(turned), axis=axis)
    given = [replace(prompt, slice=prompt.slice + 17) for prompt in prompts(labels[17:-17])]
    result = VolumePropagation(ThresholdPredictor()).label(source, given, tmp_path / "labels.npy")
    assert np.array_equal(np.load(result.path), labels.transpose(turned))


def test_a_mask_is_the_truth_of_its_slice(moving, tmp_path) -> None:
    volume, labels = moving
    drawn = disc(21, 34, 7)
    prompt = VolumePrompt(slice=18, mask=drawn)
    result = VolumePropagation(ThresholdPredictor()).label(volume, [prompt], tmp_path / "l.npy")
    found = np.load(result.path)
    assert np.array_equal(found[18] == 1, drawn)
    for z in (*range(18), *range(19, DEPTH)):
        assert np.array_equal(found[z] == 1, labels[z] == 1)


def stop(volume, tmp_path, *, predictor=None, **options):
    tracker = VolumePropagation(predictor or ThresholdPredictor(), **options)
    given = [VolumePrompt(slice=10, points=[[20, 20]], labels=[1])]
    return tracker.label(volume, given, tmp_path / "labels.npy")


def column(radii, at=lambda z: (20, 20)):
    discs = [disc(*at(z), radius) for z, radius in enumerate(radii)]
    return np.stack(discs).astype(np.uint8) * 255


def test_an_object_ends_where_its_size_jumps(tmp_path) -> None:
    volume = column([4] * 5 + [8] * 10 + [16] * 5)
    result = stop(volume, tmp_path)
    assert result.spans.tolist() == [[5, 14]]
    assert result.endings == (("area", "area"),)


def test_an_object_ends_where_it_lies_elsewhere(tmp_path) -> None:
    volume = column([6] * 20, lambda z: (20, 20 if 3 < z < 16 else 27))
    result = stop(volume, tmp_path, min_overlap=0.4)
    assert result.spans.tolist() == [[4, 15]]
    assert result.endings == (("overlap", "overlap"),)


def test_an_object_ends_where_the_model_is_unsure(tmp_path) -> None:
    class Unsure(ThresholdPredictor):
        def set_image(self, image) -> None:
            super().set_image(image)
            self.score = 0.4 if self.images == 7 else 0.9

    # Images: the prompted slice, then 9 to 0, of which the sixth is doubtful.
    result = stop(column([6] * 20), tmp_path, predictor=Unsure())
    assert result.endings == (("score", "volume"),)
    assert result.spans.tolist() == [[5, 19]]


def test_an_object_is_followed_no_further_than_asked(tmp_path) -> None:
    result = stop(column([6] * 20), tmp_path, max_slices=3)
    assert result.spans.tolist() == [[7, 13]]
    assert result.endings == (("limit", "limit"),)


def test_nothing_where_the_prompt_points(tmp_path) -> None:
    result = stop(column([0] * 20), tmp_path)
    assert result.spans.tolist() == [[-1, -1]]
    assert result.endings == (("empty", "empty"),)
    assert not np.load(result.path).any()


@pytest.mark.parametrize("images", [0, 1, 2, 20, 39])
def test_an_interrupted_run_goes_on_to_the_same_result(moving, tmp_path, images) -> None:
    volume, labels = moving
    whole = ThresholdPredictor()
    first = VolumePropagation(whole).label(volume, prompts(labels), tmp_path / "whole.npy")
    out = tmp_path / "labels.npy"
    with pytest.raises(KeyboardInterrupt):
        VolumePropagation(ThresholdPredictor(stop_after=images)).label(volume, prompts(labels), out)
    assert not out.exists()
    rest, steps = ThresholdPredictor(), []
    result = VolumePropagation(rest).label(
        volume, prompts(labels), out, progress=lambda *step: steps.append(step)
    )
    assert rest.images == whole.images - images
    assert np.array_equal(np.load(out), np.load(first.path))
    assert result.endings == first.endings
    assert np.array_equal(result.spans, first.spans)
    assert np.array_equal(result.scores, first.scores)
    assert steps == [(step, 3 * DEPTH) for step in range(1, 3 * DEPTH + 1)]


def test_other_prompts_are_another_computation(moving, tmp_path) -> None:
    volume, labels = moving
    out = tmp_path / "labels.npy"
    with pytest.raises(KeyboardInterrupt):
        VolumePropagation(ThresholdPredictor(stop_after=4)).label(volume, prompts(labels), out)
    with pytest.raises(OutputError, match="made with other settings, weights or pixels"):
        VolumePropagation(ThresholdPredictor()).label(volume, prompts(labels)[:1], out)


def test_slices_are_encoded_once_for_all_objects(moving, tmp_path) -> None:
    volume, labels = moving
    one, both = ThresholdPredictor(), ThresholdPredictor()
    VolumePropagation(one).label(volume, prompts(labels)[:1], tmp_path / "one.npy")
    VolumePropagation(both).label(volume, prompts(labels), tmp_path / "both.npy")
    assert one.images == DEPTH
    # From 9 to 18 the second comes alone: the first passes there in the other direction.
    assert both.images == DEPTH + 10


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (VolumePrompt(slice=30, box=[1, 1, 5, 5]), "there is no such slice\n  where: prompt 0"),
        (VolumePrompt(slice=3), "there is no prompt\n  where: prompt 0, expected: points, a box"),
        (
            VolumePrompt(slice=3, mask=np.zeros((4, 4), bool)),
            r"found: shape \(4, 4\), bool, expected: shape \(64, 64\), bool",
        ),
    ],
)
def test_prompts_that_cannot_be(moving, tmp_path, prompt, message) -> None:
    with pytest.raises(PromptError, match=message):
        VolumePropagation(ThresholdPredictor()).label(moving[0], [prompt], tmp_path / "l.npy")


def test_settings_that_cannot_be(moving, tmp_path) -> None:
    with pytest.raises(PromptError, match="there is no prompt\n  expected: at least one object"):
        VolumePropagation(ThresholdPredictor()).label(moving[0], [], tmp_path / "l.npy")
    with pytest.raises(ConfigError, match="the next slice would be asked nothing"):
        PropagationSettings.from_dict({"use_box": False, "use_mask": False})


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_from_config(replace(config_for("vit_nano"), image_size=64)).eval()


def test_a_real_model_is_asked_in_its_own_shapes(sam, tmp_path) -> None:
    volume = np.random.default_rng(0).integers(0, 255, (4, 40, 56), dtype=np.uint8)
    anything = {"min_score": -10, "min_overlap": 0, "max_area_change": 1e9, "use_point": True}
    mask = np.zeros((40, 56), bool)
    mask[10:30, 10:30] = True
    given = [
        VolumePrompt(slice=1, points=[[20, 20]], labels=[1]),
        VolumePrompt(slice=1, box=[5, 5, 30, 30], points=[[20, 20], [1, 1]], labels=[1, 0]),
        VolumePrompt(slice=2, mask=mask),
    ]
    result = VolumePropagation(Predictor(sam), **anything).label(
        volume, given, tmp_path / "labels.npy"
    )
    assert np.load(result.path).shape == volume.shape
    assert (result.spans[2][0] <= 2) and (result.spans[2][1] >= 2)


def test_a_mask_as_logits_lies_in_the_padded_frame(sam) -> None:
    mask = np.zeros((32, 64), bool)
    mask[:, :32] = True
    logits = mask_logits(mask, sam)
    side = 4 * sam.config.grid_size
    assert logits.shape == (1, 1, side, side)
    assert (logits[0, 0, : side // 2, : side // 2 - 1] == 6).all()
    assert (logits[0, 0, : side // 2, side // 2 + 1 :] == -6).all()
    assert (logits[0, 0, side // 2 :] == -6).all()
