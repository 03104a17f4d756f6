"""The presets by GPU memory use it, by the estimate, and leave room to spare."""

from pathlib import Path

import pytest
import torch
import yaml

from samft import SamModule
from samft.planning.estimate import estimate_memory
from samft.planning.step import StepShape

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "configs" / "gpu").glob("*.yaml"), key=lambda path: int(path.stem[:-2]))


def test_there_is_one_for_each_size() -> None:
    sizes = [path.stem for path in PRESETS]
    assert sizes == ["8gb", "12gb", "16gb", "24gb", "40gb", "80gb"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_the_preset_fits_with_a_margin(preset: Path) -> None:
    config = yaml.safe_load(preset.read_text())
    settings = config["model"]["init_args"]
    with torch.device("meta"):
        module = SamModule("vit_b", **settings).train()
    assert module.image_size == 1024
    images = config["data"]["init_args"]["batch_size"]
    shape = StepShape(
        images=images,
        objects=images * module.prompt_settings.max_objects_per_image,
        precision=config["trainer"]["precision"],
        device_type="cuda",
    )
    room = int(preset.stem[:-2]) * 1e9  # as GPUs are sold
    # Less would waste the memory; more leaves nothing for validation and what no estimate knows.
    assert 0.33 * room < estimate_memory(module, shape).total < 0.7 * room
