"""Two processes under torchrun do what one does: DDP and FSDP2, every way of training."""

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from samft.checkpoints import read_checkpoint
from samft.cli.entry import main as samft
from samft.models.checkpoint import read_state_dict

sys.path.insert(0, str(Path(__file__).parent))
import jobs
import resume_jobs

Ranks = list[dict]


@pytest.mark.slow
def test_two_processes_are_one(dsb_folder: Path, tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, jobs.__file__, str(tmp_path), str(dsb_folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    # The last thing they do is to die, and nobody waits for the dead.
    assert (tmp_path / "1.json").is_file(), done.stderr[-3000:]
    assert done.returncode == 1
    assert "rank      : 1 (local_rank: 1)" in done.stderr
    assert "Signal 9 (SIGKILL)" in done.stderr
    _what_was_saved_is_whole(tmp_path / "lost" / "checkpoints")
    assert "unused parameters" not in done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    _gradients_are_means_over_objects(ranks)
    _data_is_shared(ranks)
    _scores_are_those_of_one(ranks)
    for adapt in jobs.PRESETS:
        _training_is_that_of_one(adapt, tmp_path)
    assert ranks[0]["apart"] == ranks[1]["apart"] == 0
    before, scored = ranks[0]["statistics"]
    assert before > 0.5  # every process had its own
    assert scored == 0  # and scored with those that are saved
    _memory_is_agreed_on(ranks)
    _what_shards_do_not_allow_is_refused(ranks)
    _training_goes_on_with_any_strategy(tmp_path)
    _files_of_shards_are_ordinary(tmp_path)
    _one_process_speaks_and_writes(ranks, tmp_path / "runs" / "run")


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


def _memory_is_agreed_on(ranks: Ranks) -> None:
    cached = [rank["cached"] for rank in ranks]
    # Six images: each computed by one process, though the other sees it in the second epoch.
    assert [sum(rank["computed"][turn] for rank in cached) for turn in (0, 1)] == [6, 0]
    assert all(rank["computed"][0] and rank["read"][0] for rank in cached)
    assert sum(rank["read"][1] for rank in cached) == 12
    assert all(rank["again"] and rank["off_by"] < 1e-6 for rank in cached)
    batches = [rank["batches"] for rank in ranks]
    assert [found["size"] for found in batches] == [5, 5]
    here = "MachineError: not even one image at a time fits into the memory"
    assert batches[1]["nothing"].startswith(f"{here}\n  where: data.batch_size auto, found: ")
    assert batches[0]["nothing"].splitlines() == [
        f"{here} of another process",
        "  where: data.batch_size auto",
        "  fix: do what the message of that process says",
    ]
    assert all(rank["pieces"] < 0.01 for rank in ranks)


REFUSED = {
    "cached": ("cached embeddings do not go", "where: model.cache_embeddings, found: float16"),
    "muon": ("muon cannot update weights", "fix: set model.optimizer.method: adamw, or set tr"),
    "averaged": ("cannot be averaged", "where: trainer.callbacks, found: EMAWeightAveraging"),
    "clipped": ("by their norm alone", "fix: set trainer.gradient_clip_algorithm: norm, or"),
    "synced": ("cannot share their statistics", "where: trainer.sync_batchnorm, found: true"),
    "memory": ("out of memory; an encoder in shards", "fix: set model.checkpoint_blocks: true"),
    "few": ("fewer images than devices", "where: the val split, found: 1 images, 2 devices"),
}


def _what_shards_do_not_allow_is_refused(ranks: Ranks) -> None:
    kinds = {"memory": "MachineError", "few": "DatasetError"}
    for rank in ranks:
        assert set(rank["refused"]) == set(REFUSED)
        for name, texts in REFUSED.items():
            said = rank["refused"][name]
            assert said.startswith(f"{kinds.get(name, 'ConfigError')}: "), said
            assert all(text in said for text in texts), said
            assert len(said.splitlines()) == 3, said


def _training_goes_on_with_any_strategy(folder: Path) -> None:
    """The rest of a training is the same whatever wrote the file it went on from, and reads it."""
    whole = read_checkpoint(folder / "end_ddp.ckpt")
    middle = read_checkpoint(folder / "middle_ddp.ckpt")["state_dict"]
    assert _length(whole["state_dict"], middle) > 1e-3
    for start, strategy in resume_jobs.WAYS:
        again = read_checkpoint(folder / f"end_{strategy}_from_{start}.ckpt")
        assert again["global_step"] == resume_jobs.STEPS
        assert again["lr_schedulers"] == whole["lr_schedulers"]
        # One step moves weights by 1e-4; biases of keys have gradients of rounding errors alone.
        torch.testing.assert_close(again["state_dict"], whole["state_dict"], rtol=1e-4, atol=2e-5)
        (found,), (expected,) = again["optimizer_states"], whole["optimizer_states"]
        assert found["param_groups"] == expected["param_groups"]
        torch.testing.assert_close(found["state"], expected["state"], rtol=1e-3, atol=1e-6)


def _files_of_shards_are_ordinary(folder: Path) -> None:
    merged, official = folder / "merged.pth", folder / "official.pth"
    assert samft(["merge", str(folder / "sharded_lora.ckpt"), str(merged)]) == 0
    whole = [str(folder / "sharded_full.ckpt"), str(official)]
    assert samft(["export", *whole, "--to", "official"]) == 0
    expected = jobs.SamModule("vit_nano", image_size=64).sam.state_dict()
    for path in (merged, official):
        found, _ = read_state_dict(path)
        assert {name: each.shape for name, each in found.items()} == {
            name: each.shape for name, each in expected.items()
        }
    tuned = read_checkpoint(folder / "sharded_full.ckpt")["state_dict"]
    assert all(torch.equal(each, tuned[f"sam.{name}"]) for name, each in found.items())


def _one_process_speaks_and_writes(ranks: Ranks, runs: Path) -> None:
    for title in ("What is trained", "Validation, best epoch", "overlays   "):
        assert ranks[0]["printed"].count(title) == 1
    assert ranks[1]["printed"] == ""
    (run,) = runs.iterdir()
    names = {path.relative_to(run).as_posix() for path in run.rglob("*")}
    files = {"config.fit.yaml", "env.json", "data.json", "metrics.csv", "overlays/best.png"}
    assert names >= files | {"checkpoints/last.ckpt", "checkpoints/best.ckpt"}
    assert (run / "metrics.csv").read_text().count("val/iou_box") == 1
    assert "batch_size: 1" in (run / "config.fit.yaml").read_text()
    for name in ("last", "best"):
        assert read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["global_step"] == 2
    assert not list(run.rglob("*.tmp"))


def _what_was_saved_is_whole(checkpoints: Path) -> None:
    assert [path.name for path in checkpoints.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(checkpoints / "last.ckpt")["global_step"] == 2  # the first epoch


def _length(first: OrderedDict, second: OrderedDict) -> float:
    gaps = [(first[name].float() - second[name].float()).square().sum() for name in first]
    return float(torch.stack(gaps).sum().sqrt())
