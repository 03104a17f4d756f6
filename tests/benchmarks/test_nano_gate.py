"""The rule for weights that ship."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.nano.gate import GateError, check, refuse
from benchmarks.nano.scores import ModelScores, SetScores
from benchmarks.nano.sets import SETS

GATED = [name for name, entry in SETS.items() if entry.gated]


def scores(name: str, *, box: float = 0.9, point: float = 0.7) -> SetScores:
    return SetScores(
        name=name,
        title=name,
        images=1,
        objects=2,
        radius=3.0,
        model=ModelScores(iou={"box": box, "point": point, "oracle": 1.0}, empty={}),
        untrained=None,
        baselines={
            "filled box": 0.7,
            "ellipse": 0.8,
            "Otsu": 0.75,
            "Otsu and ellipse": 0.6,
            "disc": 0.5,
        },
    )


def everything(**changes: SetScores) -> list[SetScores]:
    return [changes.get(name, scores(name)) for name in SETS]


def test_nuclei_ct_and_generated_images_are_gated():
    assert set(GATED) == {"synthetic", "dsb2018", "stardist_tiles", "ct_chest"}


def test_better_than_every_baseline_passes():
    assert check(everything()) == []


def test_every_lost_comparison_is_named_with_both_numbers():
    found = check(everything(dsb2018=scores("dsb2018", box=0.72, point=0.41)))
    assert found == [
        "dsb2018 box 0.720, ellipse 0.800",
        "dsb2018 box 0.720, Otsu 0.750",
        "dsb2018 point 0.410, disc 0.500",
    ]


@pytest.mark.parametrize("name", GATED)
def test_a_tie_or_a_nan_is_lost(name):
    assert len(check(everything(**{name: scores(name, box=0.8)}))) == 1
    assert len(check(everything(**{name: scores(name, box=math.nan, point=math.nan)}))) == 5


def test_one_point_is_judged_by_the_mask_the_model_prefers():
    item = scores("stardist_tiles", point=0.4)
    assert item.model.iou["oracle"] == 1.0
    assert check(everything(stardist_tiles=item)) == ["stardist_tiles point 0.400, disc 0.500"]


def test_photographs_are_only_reported():
    assert check(everything(suim=scores("suim", box=0), grabcut=scores("grabcut", box=0))) == []


def test_a_set_that_was_not_measured_is_not_passed():
    missing = [item for item in everything() if item.name != "ct_chest"]
    assert check(missing) == ["ct_chest was not measured"]
    renamed = [replace(item, name="other") for item in everything()]
    assert len(check(renamed)) == len(GATED)


def test_refusal():
    refuse([], where="x.ckpt")
    with pytest.raises(GateError) as caught:
        refuse(["dsb2018 box 0.720, ellipse 0.800", "ct_chest was not measured"], where="x.ckpt")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "x.ckpt" in lines[1]
    assert "dsb2018 box 0.720, ellipse 0.800; ct_chest was not measured" in lines[1]
    assert "nothing was written" in lines[2]
    assert caught.value.exit_code == 1
