"""A training that is only played: it counts batches, saves every other one, says where it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.soak.watching import FOLDER_VARIABLE, Phase, Seen

BATCHES, EPOCH = 40, 10
SLOW = 4  # its checkpoint takes long enough to be struck on a busy machine


def play(words: list[str]) -> int:
    """Do what `samft fit --config F` and `samft resume RUN` do, in a second."""
    run = Path(words[1]) if words[0] == "resume" else Path(words[2]).parent / "training" / "0"
    last = run / "checkpoints" / "last.ckpt"
    part = last.with_name(".last.ckpt.part")
    last.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    (run / "config.fit.yaml").touch()
    for batch in range(_saved(last) + 1, BATCHES + 1):
        _tell(batch, "step")
        if batch % 2 == 0:
            _tell(batch, "saving")
            part.write_text(str(batch))
            time.sleep(1.0 if batch == SLOW else 0.01)
            part.replace(last)
        if batch % EPOCH == 0:
            _tell(batch, "validation")
            time.sleep(0.3)
    _tell(BATCHES, "over")
    return 0


def with_a_child(words: list[str]) -> int:
    """Start a process, as a loader does, and hang; the words are a folder for its number."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    Path(words[0], "child_" + os.environ.get("RANK", "0")).write_text(str(child.pid))
    time.sleep(60)
    return 0


def one_dies(words: list[str]) -> int:
    """Fail in the second process, hang in the first."""
    if os.environ["RANK"] == "1":
        return 7
    time.sleep(60)
    return 0


def _saved(last: Path) -> int:
    return int(last.read_text()) if last.exists() else 0


def _tell(batch: int, phase: Phase) -> None:
    text = Seen(os.getpid(), batch, batch, phase).text()
    Path(os.environ[FOLDER_VARIABLE], "0").write_bytes(text)
    time.sleep(0.005)
