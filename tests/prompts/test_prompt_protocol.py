from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.errors import CheckpointError
from samft.prompts.presets import PRESETS, preset
from samft.prompts.protocol import PromptProtocol
from samft.prompts.settings import PromptSettings


def protocol(**changes):
    return PromptProtocol.of(PromptSettings(**changes))


@pytest.mark.parametrize("name", PRESETS)
def test_it_survives_a_file(name):
    first = PromptProtocol.of(preset(name))
    assert PromptProtocol.from_dict(first.to_dict()) == first
    assert PromptProtocol.from_json(first.to_json()) == first


def test_what_a_training_with_boxes_alone_says():
    boxes = PromptProtocol.of(preset("box_only"))
    assert boxes.describe() == "box 100 %; no corrective clicks"
    assert boxes.warnings_for("box") == []
    (point,) = boxes.warnings_for("point")
    assert "never trained with a point alone (trained with: box 100 %; no corrective" in point
    assert "prompt with boxes, or train with --model.prompts.mix" in point
    (automatic,) = boxes.warnings_for("automatic")
    assert "candidate boxes instead of a grid" in automatic
    (mask,) = boxes.warnings_for("mask")
    assert "leave the mask out, or train with --model.prompts.rounds 4" in mask


@pytest.mark.parametrize("use", ["point", "box", "mask", "automatic"])
@pytest.mark.parametrize("name", ["paper", "sam2", "micro_sam"])
def test_interactive_trainings_are_for_everything(name, use):
    assert PromptProtocol.of(preset(name)).warnings_for(use) == []


def test_points_beside_a_box_are_not_points_alone():
    both = protocol(mix={"box+points": 0.6, "scribble": 0.4}, rounds=2)
    assert both.share_of("points") == 1.0
    assert both.share_of("box") == 0.6
    assert not both.trains_lone_points
    assert both.warnings_for("point")
    assert not both.warnings_for("box")
    assert not both.warnings_for("mask")


def test_points_alone_are_not_for_boxes():
    (warning,) = protocol(point_probability=1.0).warnings_for("box")
    assert "never trained with a box (trained with: point 100 %; 8 corrective clicks" in warning


def test_without_boxes_several_points_are_advised():
    (warning,) = protocol(mix={"scribble": 1.0}).warnings_for("point")
    assert "give more than one point" in warning


@pytest.mark.parametrize(
    "changes", [{"feed_back_logits": False}, {"feed_back_probability": 0.0}, {"rounds": 0}]
)
def test_masks_need_logits_that_were_fed_back(changes):
    settings = replace(PromptSettings(extra_passes=0), **changes)
    assert PromptProtocol.of(settings).warnings_for("mask")
    with_masks = replace(settings, mix={"mask": 0.5, "point": 0.5})
    assert not PromptProtocol.of(with_masks).warnings_for("mask")


def test_kinds_with_no_share_were_not_trained():
    assert protocol(point_probability=0.0).shares == {"box": 1.0}


def test_boxes_have_three_masks_only_where_they_were_trained():
    assert protocol(multimask="all").multimask == "all"
    assert protocol(multimask="all", rounds=0, extra_passes=0).multimask == "ambiguous"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "shares None"),
        ({"shares": {}}, "shares {}"),
        ({"shares": {"boxes": 1.0}}, "the share 'boxes': 1.0"),
        ({"shares": {"box": 2}}, "the share 'box': 2"),
        ({"shares": {"box": "1"}}, "the share 'box': '1'"),
        ({"shares": {"box": 1.0}, "clicks": True}, "clicks True"),
        ({"shares": {"box": 1.0}, "clicks": 1, "feeds_back": 0}, "feeds_back 0"),
        (
            {"shares": {"box": 1.0}, "clicks": 1, "feeds_back": True, "multimask": "none"},
            "multimask 'none'",
        ),
    ],
)
def test_something_else_is_refused(values, said):
    with pytest.raises(CheckpointError) as caught:
        PromptProtocol.from_dict(values)
    assert "the prompt protocol of the file cannot be read" in str(caught.value)
    assert said in str(caught.value)


@given(st.text(max_size=40) | st.from_regex(r"[\[\{\]\}\":,0-9a-z]*", fullmatch=True))
@settings(deadline=None, max_examples=50)
def test_any_text_is_refused_in_the_same_way(text):
    with pytest.raises(CheckpointError, match="cannot be read"):
        PromptProtocol.from_json(text)


def test_deeply_nested_text_is_refused():
    with pytest.raises(CheckpointError, match="cannot be read"):
        PromptProtocol.from_json("[" * 100_000)
