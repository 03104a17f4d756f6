"""Trains while things go wrong, and compares the result with a training that nothing happened to.

    python -m benchmarks.soak --minutes 60                 # as long as it takes, on the CPU
    python -m benchmarks.soak --minutes 3 --seed 7 --keep OUT

A training of a tiny model is struck at random moments: killed (SIGKILL), told to end (SIGTERM), or
killed with its last checkpoint cut short or overwritten in part, as a failing disk does it. Each
time `samft resume` takes it up again. Printed are a table of what was done and what came of it, and
whether the weights, the optimiser's state and the scores at the end are those of the undisturbed
training, bit by bit. The exit code is 0 if they are.

Once the training is finished and there is time left, another one begins, with another seed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch.utils import _pytree as pytree

from samft.checkpoints import read_checkpoint
from samft.errors import CheckpointError
from samft.safe_checkpoint import check_archive

_COMPARED: Final = ("state_dict", "optimizer_states", "lr_schedulers", "samft", "global_step")
_STARTED: Final = "What is trained"  # before the first step
_GIVE_UP_S: Final = 600.0  # without a process that ends, something hangs
_LONGEST_S: Final = 5.0  # from there to a fault
_TRAINING: Final = (
    *("--model", "samft.SamModule", "--model.arch", "vit_nano", "--model.image_size", "64"),
    *("--model.adapt", "late_lora", "--model.prompts.rounds", "1"),
    *("--model.prompts.max_objects_per_image", "4", "--data", "samft.SyntheticDataModule"),
    *("--data.size", "64", "--data.num_train", "8", "--data.num_val", "2"),
    *("--data.batch_size", "2", "--data.transforms", "flip", "--overlays.images", "0"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "6"),
    *("--trainer.enable_progress_bar", "false", "--saving.every_n_steps", "2"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a training.

    Args:
        fault: What.
        step: Optimiser step of the last checkpoint before it; `None` if there was none.
        outcome: How the process ended.
    """

    fault: str
    step: int | None
    outcome: str


@dataclass(slots=True)
class Struck:
    """A training to which things happen.

    Args:
        folder: Where it runs.
        seed: Of the training.
        chance: Draws faults and moments.
        events: What has happened.
        started: Processes that have begun to train.
    """

    folder: Path
    seed: int
    chance: random.Random
    events: list[Event] = field(default_factory=list)
    started: int = 0

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run" / "0"

    def undisturbed(self) -> None:
        """Train without faults.

        Raises:
            RuntimeError: if that fails.
        """
        if self._finish(self._start()) != 0:
            raise RuntimeError(f"the undisturbed training failed: see {self.folder}/log.txt")

    def strike(self, until: float) -> None:
        """Train with faults until a time, then to the end.

        Args:
            until: Of `time.monotonic`; no fault comes later.

        Raises:
            RuntimeError: if it does not go on.
        """
        code = -1
        while code != 0:
            process = self._start()
            fault = self.chance.choice(list(FAULTS)) if time.monotonic() < until else None
            if fault is None or not self._reached(process, self.chance.uniform(0.0, _LONGEST_S)):
                code = self._finish(process)
                if code != 0:
                    raise RuntimeError(f"exit code {code}: see {self.folder}/log.txt")
                continue
            if fault in _DAMAGES and not _newest(self.run):
                fault = "SIGKILL"  # nothing to go on from would be left
            FAULTS[fault](process, self.run, self.chance)
            ended = self._finish(process)
            self.events.append(Event(fault, step_of(self.run), f"ended with {ended}, resumed"))
            if ended == 0:  # it was done before the signal came
                code = 0

    def _start(self) -> subprocess.Popen[bytes]:
        words = ["resume", str(self.run)]
        if not (self.run / "config.fit.yaml").is_file():
            words = ["fit", *_TRAINING, "--runs", str(self.folder)]
            words += ["--seed_everything", str(self.seed), "--model.seed", str(self.seed)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "samft", *words],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )

    def _reached(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Wait until it trains and some seconds more; whether it still runs then."""
        deadline = time.monotonic() + _GIVE_UP_S
        while process.poll() is None and self._starts() <= self.started:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self.started = self._starts()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _starts(self) -> int:
        """Return how many processes have said what they train."""
        return (self.folder / "log.txt").read_text(errors="replace").count(_STARTED)

    def _finish(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(timeout=_GIVE_UP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError(f"it hangs: see {self.folder}/log.txt") from None


Fault = Callable[[subprocess.Popen[bytes], Path, random.Random], None]


def _kill(process: subprocess.Popen[bytes], _: Path, __: random.Random) -> None:
    process.kill()


def _terminate(process: subprocess.Popen[bytes], _: Path, __: random.Random) -> None:
    process.send_signal(signal.SIGTERM)


def _cut_short(process: subprocess.Popen[bytes], run: Path, chance: random.Random) -> None:
    process.kill()
    process.wait()
    for path in _newest(run):
        os.truncate(path, chance.randrange(path.stat().st_size))


def _overwrite(process: subprocess.Popen[bytes], run: Path, chance: random.Random) -> None:
    process.kill()
    process.wait()
    for path in _newest(run):
        with path.open("r+b") as file:
            file.seek(chance.randrange(max(1, path.stat().st_size - 512)))
            file.write(chance.randbytes(512))


def _newest(run: Path) -> list[Path]:
    """Return the last checkpoint, if there is another one to go on from."""
    last, best = (run / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    return [last] if last.is_file() and best.is_file() else []


FAULTS: Final[dict[str, Fault]] = {
    "SIGKILL": _kill,
    "SIGTERM": _terminate,
    "checkpoint cut short": _cut_short,
    "checkpoint overwritten": _overwrite,
}


_DAMAGES: Final = ("checkpoint cut short", "checkpoint overwritten")


def step_of(run: Path) -> int | None:
    """Return the step of the last checkpoint; `None` if there is none that can be read."""
    last = run / "checkpoints" / "last.ckpt"
    try:
        check_archive(last)
        return int(read_checkpoint(last)["global_step"])
    except CheckpointError:  # not there, or damaged on purpose
        return None


def differences(one: Path, other: Path) -> list[str]:
    """Return which parts of two runs' last checkpoints are not the same, bit by bit."""
    first, second = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (one, other))
    return [name for name in _COMPARED if not _same(first[name], second[name])]


def _same(one: Any, other: Any) -> bool:  # Any: what a checkpoint holds
    pairs = pytree.tree_flatten(one)[0], pytree.tree_flatten(other)[0]
    if len(pairs[0]) != len(pairs[1]):
        return False
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b or (a != a and b != b)
        for a, b in zip(*pairs, strict=True)
    )


def soak(folder: Path, *, minutes: float, seed: int) -> int:
    """Strike trainings for some minutes; return how many ended otherwise than undisturbed."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    until = time.monotonic() + 60 * minutes
    wrong, number = 0, 0
    while number == 0 or time.monotonic() < until:
        clean = Struck(folder / f"{number}_undisturbed", seed + number, chance)
        struck = Struck(folder / f"{number}_struck", seed + number, chance)
        clean.undisturbed()
        struck.strike(until)
        apart = differences(clean.run, struck.run)
        wrong += bool(apart)
        print(f"training {number}, seed {seed + number}: {len(struck.events)} faults")
        for event in struck.events:
            step = "nothing readable" if event.step is None else f"saved: step {event.step}"
            print(f"  {event.fault:<24}{step:<28}{event.outcome}")
        counts = Counter(event.fault for event in struck.events)
        print("  " + ", ".join(f"{count} x {fault}" for fault, count in sorted(counts.items())))
        print(f"  the end is {'another: ' + ', '.join(apart) if apart else 'the same, bit by bit'}")
        number += 1
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the runs, kept afterwards")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        return min(1, soak(folder, minutes=options.minutes, seed=options.seed))


if __name__ == "__main__":
    sys.exit(main())
