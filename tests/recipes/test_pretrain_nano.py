"""The recipe of the nano weights is repeatable, also across an interruption."""

from pathlib import Path

import pytest
import torch

from samft.checkpoints import read_checkpoint
from samft.cli.entry import main
from samft.module import SamModule

ROOT = Path(__file__).parents[2]
STEPS = 3  # of each of two epochs
SMALL = [
    *("--model.image_size", "64", "--data.size", "64", "--data.batch_size", "1"),
    *("--data.num_train", str(STEPS), "--data.num_val", "2", "--trainer.max_epochs", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    *("--overlays.images", "0", "--empty_masks.after_steps", "0"),
]


@pytest.mark.slow
def test_six_steps_at_once_and_resumed(tmp_path: Path, monkeypatch, capsys) -> None:
    runs = tmp_path / "runs"
    words = ["fit", "--config", str(ROOT / "recipes/pretrain_nano.yaml"), *SMALL]
    words += ["--runs", str(runs)]
    assert main(words) == 0

    step = SamModule.training_step

    def broken(self: SamModule, *arguments: object) -> torch.Tensor:
        if self.global_step == STEPS + 2:
            raise RuntimeError("the power went")
        return step(self, *arguments)

    monkeypatch.setattr(SamModule, "training_step", broken)
    assert main(words) == 3
    assert "the power went" in capsys.readouterr().err
    monkeypatch.undo()
    stopped = runs / "pretrain_nano" / "1"
    assert main(["fit", "--ckpt_path", str(stopped), "--runs", str(runs)]) == 0

    folders = (runs / "pretrain_nano" / "0", runs / "config.fit" / "0")
    first, resumed = (read_checkpoint(each / "checkpoints" / "last.ckpt") for each in folders)
    assert first["global_step"] == resumed["global_step"] == 2 * STEPS
    for part in ("state_dict", "current_model_state"):  # the average, and what it follows
        for name, tensor in first[part].items():
            assert torch.equal(tensor, resumed[part][name]), name
    average, current = first["state_dict"], first["current_model_state"]
    key = "sam.mask_decoder.transformer.layers.0.mlp.lin1.weight"
    assert not torch.equal(average[key], current[key])
