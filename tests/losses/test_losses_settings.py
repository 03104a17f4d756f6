"""The weights of the objective: what is accepted, and how one fades."""

import pytest

from samft.errors import ConfigError
from samft.losses import SamLoss, SamLossSettings


def test_no_fading_time_means_no_balanced_term():
    settings = SamLossSettings(balanced_bce=1.0, balanced_bce_until=0.0)
    assert settings.balanced_bce_at(0.0) == 0


def test_settings_round_trip_and_refuse():
    assert SamLossSettings.from_dict({"focal": 1}).focal == 1
    settings = SamLossSettings(balanced_bce=1.0, supervise_all_iou=True)
    assert SamLossSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(ConfigError, match="did you mean 'focal_gamma'"):
        SamLossSettings.from_dict({"focal_gama": 2.0})
    with pytest.raises(ConfigError) as caught:
        SamLoss(SamLossSettings(dice=-1.0))
    assert "loss.dice" in str(caught.value)
    assert "found: -1.0, expected: at least 0" in str(caught.value)
    with pytest.raises(ConfigError, match=r"loss\.focal_alpha"):
        SamLossSettings(focal_alpha=1.5).validate()


def test_settings_of_older_runs_still_load():
    old = {"focal": 20.0, "dice": 1.0, "iou": 1.0, "focal_alpha": 0.25, "focal_gamma": 2.0}
    old |= {"balanced_bce": 0.0, "balanced_bce_until": 0.6, "supervise_all_iou": False}
    assert SamLossSettings.from_dict(old) == SamLossSettings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bce", -0.1, "at least 0"),
        ("tversky", -1.0, "at least 0"),
        ("tversky_beta", -1.0, "at least 0"),
        ("tversky_gamma", 0.75, "at least 1"),
        ("boundary", -1.0, "at least 0"),
        ("surface", -1.0, "at least 0"),
        ("cldice", -1.0, "at least 0"),
        ("cldice_iterations", 0, "at least 1"),
        ("points", -1, "at least 0"),
        ("points_oversample", 0.5, "at least 1"),
        ("points_uncertain", 1.5, "0 to 1"),
    ],
)
def test_out_of_range(name, value, expected):
    with pytest.raises(ConfigError) as caught:
        SamLoss(SamLossSettings(**{name: value}))
    assert f"loss.{name}" in str(caught.value)
    assert f"found: {value}, expected: {expected}" in str(caught.value)


def test_the_iou_error_has_two_choices():
    with pytest.raises(ConfigError, match=r"loss\.iou_error.*found: 'l2'"):
        SamLossSettings.from_dict({"iou_error": "l2"})
