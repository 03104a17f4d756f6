"""Two processes under torchrun do what one does: DDP and FSDP2, every way of training."""

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from samft.checkpoints import read_checkpoint

sys.path.insert(0, str(Path(__file__).parent))
import jobs

Ranks = list[dict]


@pytest.mark.slow
def test_two_processes_are_one(dsb_folder: Path, tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, jobs.__file__, str(tmp_path), str(dsb_folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "unused parameters" not in done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    _gradients_are_means_over_objects(ranks)
    _data_is_shared(ranks)
    _scores_are_those_of_one(ranks)
    for adapt in jobs.PRESETS:
        _training_is_that_of_one(adapt, tmp_path)
    assert ranks[0]["apart"] == ranks[1]["apart"] == 0


def _gradients_are_means_over_objects(ranks: Ranks) -> None:
    everything = torch.cat([jobs.points(count) for count in jobs.COUNTS])
    weight = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    ((everything @ weight).square().sum() / len(everything)).backward()
    for rank in ranks:
        torch.testing.assert_close(torch.tensor(rank["line"]), weight.grad, rtol=1e-5, atol=1e-7)


def _data_is_shared(ranks: Ranks) -> None:
    first, second = (rank["shares"] for rank in ranks)
    # Three training images: two each, one of them twice.
    assert [len(batch) for batch in first["train"] + second["train"]] == [2, 2, 2, 2]
    for epoch in range(2):
        assert len(set(first["train"][epoch] + second["train"][epoch])) == 3
    assert first["train"][0] + second["train"][0] != first["train"][1] + second["train"][1]
    # Three validation images: each once per epoch, and once in prediction.
    assert (len(first["val"]), len(second["val"])) == (4, 2)
    every = set(first["val"] + second["val"])
    assert len(every) == 3
    assert sorted(first["predicted"] + second["predicted"]) == sorted(every)


def _scores_are_those_of_one(ranks: Ranks) -> None:
    expected = jobs.scores()
    for rank in ranks:
        for name in jobs.STRATEGIES:
            assert rank[f"scores_{name}"] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def _training_is_that_of_one(adapt: str, folder: Path) -> None:
    """Both ways give the same file, with the keys and nearly the weights of one process."""
    ddp, sharded = (
        read_checkpoint(folder / f"{name}_{adapt}.ckpt")["state_dict"] for name in jobs.STRATEGIES
    )
    alone = jobs.fitted(adapt)
    torch.manual_seed(0)
    before = jobs.SamModule("vit_nano", image_size=64, adapt=adapt, seed=3).state_dict()
    assert list(ddp) == list(sharded) == list(alone.state_dict())
    for name, tensor in ddp.items():
        torch.testing.assert_close(tensor, sharded[name], rtol=1e-4, atol=1e-6, msg=name)
    way = _length(alone.state_dict(), before)
    assert way > 1e-3
    # Batch norms in training see two images on each process, four on one.
    allowed = 0.5 if adapt == "full" else 0.02
    assert _length(alone.state_dict(), ddp) < allowed * way


def _length(first: OrderedDict, second: OrderedDict) -> float:
    gaps = [(first[name].float() - second[name].float()).square().sum() for name in first]
    return float(torch.stack(gaps).sum().sqrt())
