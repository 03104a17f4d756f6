"""Two processes: equal shares in training, no sample twice in evaluation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from lightning.pytorch import LightningModule, Trainer
import torch
from samft import MicroscopyDataModule

class Recorder(LightningModule):
    image_size = 32

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.train_ids, self.val_ids = [], []

    def training_step(self, batch, batch_idx):
        self.train_ids.append(list(batch.sample_ids))
        return self.weight * batch.images.float().mean()

    def validation_step(self, batch, batch_idx):
        self.val_ids += batch.sample_ids

    def predict_step(self, batch, batch_idx):
        return batch.sample_ids[0]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    torch.set_num_threads(1)
    root, out = sys.argv[1:]
    module = Recorder()
    data = MicroscopyDataModule(root=root, batch_size=2, val_fraction=0.5)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data)
    predicted = trainer.predict(module, datamodule=data)
    with open(f"{out}/{trainer.global_rank}.json", "w") as file:
        json.dump([module.train_ids, module.val_ids, predicted], file)
"""


@pytest.mark.slow
def test_two_processes_share_the_data(dsb_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(dsb_folder), str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    # Three training images: two each, one of them twice.
    assert [len(batch) for batch in first[0]] == [len(batch) for batch in second[0]] == [2, 2]
    for epoch in range(2):
        seen = first[0][epoch] + second[0][epoch]
        assert len(seen) == 4
        assert len(set(seen)) == 3
    assert first[0][0] + second[0][0] != first[0][1] + second[0][1]
    # Three validation images: each once per epoch, and once in prediction.
    assert len(first[1]) == 4
    assert len(second[1]) == 2
    assert len(set(first[1] + second[1])) == 3
    assert sorted(first[2] + second[2]) == sorted(set(first[1] + second[1]))
