import pytest

from samft.errors import ConfigError
from samft.prompts.settings import PromptSettings


def test_defaults_are_valid_and_the_papers_but_for_boxes():
    settings = PromptSettings()
    settings.validate()
    assert 1 + settings.rounds + settings.extra_passes == 11
    assert settings.to_dict() == {
        "point_probability": 0.5,
        "mix": {},
        "box_shift": "gaussian",
        "box_noise": 0.1,
        "box_noise_max_px": 20.0,
        "min_points": 1,
        "max_points": 5,
        "negative_share": 0.25,
        "scribble_points": 8,
        "mask_damage": 0.1,
        "rounds": 8,
        "extra_passes": 2,
        "rounds_from": 0.0,
        "click": "uniform",
        "click_from_truth": 0.0,
        "feed_back_logits": True,
        "feed_back_probability": 1.0,
        "background_clicks": 0,
        "multimask": "ambiguous",
        "max_objects_per_image": 64,
        "balance": "none",
        "max_area_fraction": 0.9,
        "min_area": 1,
    }
    assert PromptSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    "values",
    [
        {"point_probability": 1.5},
        {"box_noise": -0.1},
        {"box_noise_max_px": -1.0},
        {"rounds": -1},
        {"extra_passes": -2},
        {"max_objects_per_image": 0},
        {"max_area_fraction": 1.1},
        {"min_points": 0},
        {"max_points": 0},
        {"negative_share": -0.5},
        {"scribble_points": 0},
        {"mask_damage": 1.5},
        {"click_from_truth": 2.0},
        {"feed_back_probability": -0.5},
    ],
)
def test_each_range_is_checked(values):
    ((name, value),) = values.items()
    with pytest.raises(ConfigError) as caught:
        PromptSettings(**values).validate()
    message = str(caught.value)
    assert f"prompts.{name}" in message
    assert str(value) in message


def test_typo_in_a_key():
    with pytest.raises(ConfigError, match="did you mean 'point_probability'"):
        PromptSettings.from_dict({"point_probabilty": 1.0})


def test_clicks_begin_late_when_asked() -> None:
    settings = PromptSettings(rounds=3, extra_passes=1, rounds_from=0.5)
    early, late = settings.at(0.49), settings.at(0.5)
    assert (early.rounds, early.extra_passes) == (0, 0)
    assert late == settings


def test_a_mix_survives_as_plain_data() -> None:
    settings = PromptSettings.from_dict({"mix": {"box": 0.75, "point": 0.25}})
    assert settings.to_dict()["mix"] == {"box": 0.75, "point": 0.25}
    again = PromptSettings.from_dict(settings.to_dict())
    assert again == settings
    assert again.mix is not settings.mix


def test_the_order_in_which_a_mix_is_written_means_nothing() -> None:
    one = PromptSettings(mix={"mask+point": 0.25, "box": 0.5, "point": 0.25})
    other = PromptSettings(mix={"point": 0.25, "box": 0.5, "mask+point": 0.25})
    assert list(one.shares()) == list(other.shares()) == ["point", "box", "mask+point"]


def test_without_a_mix_the_point_probability_counts() -> None:
    assert PromptSettings(point_probability=0.25).shares() == {"point": 0.25, "box": 0.75}
    assert PromptSettings(mix={"box": 1}).shares() == {"box": 1}


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"point": 0.5, "box": 0.6}, ("do not make a whole", "together 1.1")),
        ({"point": 1.5, "box": -0.5}, ("do not make a whole", "each 0 to 1")),
        ({"point": float("nan")}, ("do not make a whole",)),
        ({"scribbel": 1.0}, ("no prompt is called 'scribbel'", "did you mean 'scribble'")),
        ({"box+pont": 1.0}, ("no prompt is called 'pont'", "did you mean 'point'", "'box+pont'")),
        ({"box+frame": 1.0}, ("cannot be given to one object together", "'box+frame'")),
        ({"mask+lasso": 1.0}, ("cannot be given to one object together", "at most one mask")),
        ({"none+point": 1.0}, ("cannot be given to one object together",)),
        ({"point": "half"}, ("mix.point is of the wrong type", "'half' (str)", "float")),
        ({"point": True}, ("mix.point is of the wrong type", "True (bool)")),
        (["point"], ("mix is of the wrong type", "['point'] (list)", "names with a number each")),
        ({1: 1.0}, ("mix is of the wrong type", "{1: 1.0} (dict)")),
    ],
)
def test_a_wrong_mix_says_what_is_wrong(mix, words) -> None:
    with pytest.raises(ConfigError) as caught:
        PromptSettings.from_dict({"mix": mix})
    message = str(caught.value)
    assert "prompts.mix" in message
    for word in words:
        assert word in message
    assert message.count("\n") <= 2
