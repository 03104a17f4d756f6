"""Prompts that people recorded, from a file to the training step."""

import json
from pathlib import Path

import pytest
import torch
from quick_trainer import quick_trainer

from samft import PromptSettings, SamModule, WindowSettings
from samft.data.microscopy import MicroscopyDataModule
from samft.errors import ConfigError, PromptError
from samft.types import ABSENT, PromptBatch


def write(folder: Path, prompts: dict[str, object]) -> str:
    file = folder / "clicks.json"
    file.write_text(json.dumps(prompts))
    return str(file)


def make(root: Path, **settings: object) -> MicroscopyDataModule:
    return MicroscopyDataModule(
        root=str(root), **({"image_size": 64, "val_fraction": 0.34} | settings)
    )


def box_of(data: MicroscopyDataModule, index: int) -> tuple[str, list[int]]:
    """The name of a training image, and the tight box of its first object."""
    record = data.records("train")[index]
    rows, columns = torch.nonzero(data.read(record).masks()[0], as_tuple=True)
    box = [int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())]
    return record.sample_id, box


def test_files_name_samples_or_files_of_any_split(dsb_folder: Path, tmp_path: Path) -> None:
    plain = make(dsb_folder)
    assert plain.recorded is None
    name, box = box_of(plain, 0)
    other, other_box = box_of(plain, 1)
    unseen = plain.records("val")[0].sample_id
    file = write(
        tmp_path,
        {
            name: [{"box": box}],
            Path(other).name: [{"box": other_box}],
            unseen: [{"points": [[1, 1]]}],
        },
    )
    recorded = make(dsb_folder, recorded_prompts=file).recorded
    assert set(recorded.prompts) == {name, other, unseen}
    assert recorded.prompts[other][0].box == tuple(other_box)


def test_training_asks_what_people_asked(
    dsb_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, box = box_of(make(dsb_folder), 0)
    data = make(dsb_folder, recorded_prompts=write(tmp_path, {name: [{"box": box}]}), batch_size=8)
    module = SamModule(
        "vit_nano",
        image_size=64,
        prompts=PromptSettings(rounds=0, extra_passes=0, mix={"point": 1.0}),
    )
    seen: list[PromptBatch] = []
    decode = module.sam.decode

    def spy(embeddings: torch.Tensor, prompts: PromptBatch, **settings: object) -> object:
        if torch.is_grad_enabled():
            seen.append(prompts)
        return decode(embeddings, prompts, **settings)

    monkeypatch.setattr(module.sam, "decode", spy)
    trainer = quick_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, datamodule=data)
    (prompts,) = seen
    assert prompts.has_box.sum() == 1
    assert (prompts.labels[prompts.has_box] == ABSENT).all()
    assert (prompts.labels[~prompts.has_box] != ABSENT).any(dim=1).all()


def test_mistakes_show_before_training(dsb_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"there is no image 'case9.png' in the source"):
        make(
            dsb_folder, recorded_prompts=write(tmp_path, {"case9.png": [{"points": [[1, 1]]}]})
        ).prepare_index()
    with pytest.raises(PromptError, match=r"cannot be read"):
        make(dsb_folder, recorded_prompts=str(tmp_path / "none.json")).prepare_index()
    with pytest.raises(
        ConfigError,
        match=r"where: data.recorded_prompts, found: data.transforms flip\n.*transforms to none",
    ):
        make(dsb_folder, recorded_prompts="clicks.json", transforms="flip")


def test_windows_would_move_images_away_from_the_prompts(dsb_folder: Path, tmp_path: Path) -> None:
    name, box = box_of(make(dsb_folder), 0)
    data = make(dsb_folder, recorded_prompts=write(tmp_path, {name: [{"box": box}]}))
    module = SamModule("vit_nano", image_size=64, windows=WindowSettings(parts=2))
    with pytest.raises(ConfigError, match=r"where: model.windows.parts, found: 2, expected: 1"):
        module.objective.replay(data.recorded)
