import pytest

from samft.errors import ConfigError
from samft.prompts.settings import PromptSettings


def test_defaults_are_the_papers_and_valid():
    settings = PromptSettings()
    settings.validate()
    assert 1 + settings.rounds + settings.extra_passes == 11
    assert settings.to_dict() == {
        "point_probability": 0.5,
        "box_noise": 0.1,
        "box_noise_max_px": 20.0,
        "rounds": 8,
        "extra_passes": 2,
        "rounds_from": 0.0,
        "click": "uniform",
        "feed_back_logits": True,
        "max_objects_per_image": 64,
        "max_area_fraction": 0.9,
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
