"""Training meets a dead loader process, files damaged after they were checked, and a slow disk."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from samft import MicroscopyDataModule
from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader, ResumableSampler
from samft.data.worker_errors import explained
from samft.errors import DatasetError, MachineError


class Deadly(Dataset[Tensor]):
    """Kills the process that asks for the third sample."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, key: SampleKey) -> Tensor:
        if key.index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(key.index)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_dead_worker_ends_training_with_advice() -> None:
    loader = ResumableLoader(
        Deadly(),
        ResumableSampler(4, seed=0, shuffle=False),
        batch_size=1,
        num_workers=1,
        collate_fn=torch.stack,
    )
    with pytest.raises(MachineError) as caught:
        list(loader)
    what, where, fix = str(caught.value).splitlines()
    assert what == "a process that loads data has died"
    assert where.startswith("  where: data.num_workers, found: process ")
    # Which depends on what this process was doing.
    assert where.endswith(("is killed by signal: Killed", "exited unexpectedly", "with -9"))
    assert fix.startswith("  fix: memory may have run out: lower data.num_workers or")


def test_shared_memory_is_named_where_torch_suspects_it() -> None:
    said = (
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your limit."
    )
    error = explained(RuntimeError(said))
    assert isinstance(error, MachineError)
    assert error.found == "process 7 is killed by signal: Bus error"
    assert "docker run --shm-size 8g" in str(error.fix)
    assert explained(RuntimeError("mat1 and mat2 cannot be multiplied")) is None
    assert explained(DatasetError("as it was")) is None


def microscopy(root: Path, **settings: object) -> MicroscopyDataModule:
    return MicroscopyDataModule(
        **{"root": str(root), "batch_size": 1, "image_size": 64, "transforms": "none", **settings}
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_damaged_later_is_named(workers: int, dsb_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(dsb_folder, tmp_path / "data"))
    data = microscopy(root, num_workers=workers)
    data.prepare_index()
    loader = data.train_dataloader()
    damaged = []
    for path in root.rglob("images/*.png"):
        path.write_bytes(path.read_bytes()[:60])
        damaged.append(path.name)
    with pytest.raises(DatasetError) as caught:
        list(loader)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert any(name in lines[1] for name in damaged), lines
    assert "Traceback" not in str(caught.value)
    assert "Caught" not in lines[0]


def test_a_slow_disk_changes_nothing(dsb_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, usual = [], Image.open

    def open_slowly(*arguments: object, **settings: object) -> Image.Image:
        opened.append(time.sleep(0.02))
        return usual(*arguments, **settings)

    batches = []
    for _ in range(2):
        loader = microscopy(dsb_folder).train_dataloader()
        batches.append({batch.sample_ids[0]: batch.images for batch in loader})
        monkeypatch.setattr(Image, "open", open_slowly)
    fast, slow = batches
    assert len(opened) >= len(slow) == len(fast) > 1
    assert all(torch.equal(images, slow[name]) for name, images in fast.items())
