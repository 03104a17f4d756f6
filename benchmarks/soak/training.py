"""A training in a folder, which can be started again and again until it is finished."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from benchmarks.soak.launch import Launch
from benchmarks.soak.settings import Setting
from samft.checkpoints import read_checkpoint
from samft.errors import CheckpointError
from samft.safe_checkpoint import check_archive

GIVE_UP_S: Final = 600.0
"""Without a process that ends, something hangs."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training.

    Args:
        folder: Where it runs.
        setting: What is trained.
        seed: Of everything random in it.
    """

    folder: Path
    setting: Setting
    seed: int

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "training" / "0"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.run / "checkpoints"

    def start(self) -> Launch:
        """Start it, or let it go on."""
        words = ["resume", str(self.run)]
        if not (self.run / "config.fit.yaml").is_file():
            recipe = self.folder / "training.yaml"
            config = self.setting.config()
            config["model"]["init_args"] = config["model"]["init_args"] | {"seed": self.seed}
            config |= {"runs": str(self.folder), "seed_everything": self.seed}
            recipe.parent.mkdir(parents=True, exist_ok=True)
            recipe.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
            words = ["fit", "--config", str(recipe)]
        return Launch(
            words, ranks=self.setting.ranks, forked=self.setting.forked, folder=self.folder
        )

    def finish(self, launch: Launch | None = None) -> None:
        """Let it come to its end, undisturbed from now on.

        Args:
            launch: One that has been started.

        Raises:
            RuntimeError: if it fails.
        """
        started = time.monotonic()
        code = (launch or self.start()).wait(GIVE_UP_S)
        if code != 0:
            seconds = time.monotonic() - started
            text = (self.folder / "log.txt").read_text(errors="replace")
            raise RuntimeError(f"exit code {code} after {seconds:.0f} s:\n{text[-3000:]}")

    def leftovers(self) -> list[Path]:
        """Return the files that were being written when a process was killed."""
        return sorted(self.checkpoints.glob(".*.part"))


def step_of(run: Path) -> int | None:
    """Return the step of the last checkpoint; `None` if there is none that can be read."""
    last = run / "checkpoints" / "last.ckpt"
    try:
        check_archive(last)
        return int(read_checkpoint(last)["global_step"])
    except CheckpointError:  # not there, or damaged on purpose
        return None
