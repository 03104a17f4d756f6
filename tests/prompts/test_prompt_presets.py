from pathlib import Path

import pytest
import yaml

from samft.errors import ConfigError
from samft.prompts.presets import PRESETS, preset

FOLDER = Path(__file__).parents[2] / "configs" / "prompts"


@pytest.mark.parametrize("name", PRESETS)
def test_the_config_file_says_the_same(name):
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert config["model"]["init_args"]["prompts"] == PRESETS[name]


@pytest.mark.parametrize(
    ("name", "passes"), [("paper", 11), ("sam2", 8), ("micro_sam", 8), ("box_only", 1)]
)
def test_presets_are_valid_and_have_their_number_of_passes(name, passes):
    settings = preset(name)
    assert 1 + settings.rounds + settings.extra_passes == passes


def test_the_papers_is_the_default_but_for_three_masks_of_boxes():
    paper = preset("paper").to_dict()
    assert paper.pop("mix") == type(preset("paper"))().shares()
    assert paper.pop("multimask") == "all"
    plain = type(preset("paper"))().to_dict()
    plain.pop("mix")
    plain.pop("multimask")
    assert paper == plain


def test_presets_cannot_be_changed_through_settings():
    preset("sam2").mix["point"] = 9.0
    assert preset("sam2").mix == {"point": 0.5, "box": 0.5}


def test_an_unknown_name():
    with pytest.raises(ConfigError) as caught:
        preset("sam3")
    assert "no prompt preset is called 'sam3'" in str(caught.value)
    assert "did you mean 'sam2'" in str(caught.value)
