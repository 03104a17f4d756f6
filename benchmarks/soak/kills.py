"""Exactly so many SIGKILL at random moments of a training, and what became of it."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.soak.comparison import differences
from benchmarks.soak.launch import Launch
from benchmarks.soak.settings import EPOCHS, Setting
from benchmarks.soak.training import GIVE_UP_S, Training, step_of
from benchmarks.soak.watching import Phase, Seen, seen

KINDS: Final[dict[Phase, float]] = {"step": 0.5, "saving": 0.3, "validation": 0.2}
"""What a training is doing when it is to be struck, and how often. "step" is any moment at all."""

_LONGEST_S: Final[dict[Phase, float]] = {"step": 0.4, "saving": 0.05, "validation": 0.1}
_LAST: Final = 4  # batches before the end, where no moment is drawn: it could come too late
_MOST_TRAININGS: Final = 8
_POLL_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Moment:
    """When to strike.

    Args:
        batch: Not before so many training batches have begun.
        phase: While this is done.
        wait: Seconds after that.
        rank: The process to kill; `None` for all.
    """

    batch: int
    phase: Phase
    wait: float
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """What was struck.

    Args:
        step: Optimiser steps that were done.
        phase: What was being done.
        saved: Step of the last checkpoint then; `None` if there was none.
        half_written: Whether a file was left half-written.
        rank: The process that was killed; `None` for all.
    """

    step: int
    phase: Phase
    saved: int | None
    half_written: bool
    rank: int | None = None

    def __str__(self) -> str:
        written = "w" if self.half_written else ""
        validating = "v" if self.phase == "validation" else ""
        one = "" if self.rank is None else f"r{self.rank}"
        return f"{self.step}{written}{validating}{one}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a setting.

    Args:
        setting: What was trained.
        kills: What was done to it.
        apart: What is not as it is without; nothing, if all is well.
        seconds: That it took.
    """

    setting: Setting
    kills: tuple[Kill, ...]
    apart: tuple[str, ...]
    seconds: float


def moments(setting: Setting, kills: int, chance: random.Random) -> list[Moment]:
    """Draw when to strike: the first before anything is saved, the others over the whole training.

    Args:
        setting: What is trained.
        kills: How many.
        chance: Draws.

    Returns:
        In the order in which they come.
    """
    phases = ["step", *chance.choices(list(KINDS), list(KINDS.values()), k=kills - 1)]
    drawn = []
    for number, phase in enumerate(phases):
        batch = chance.randrange(1, setting.total_batches - _LAST)
        if phase == "validation":  # not the last one
            batch = chance.randrange(1, EPOCHS) * setting.batches
        rank = chance.choice([None, *range(setting.ranks)]) if setting.ranks > 1 else None
        wait = chance.uniform(0.0, _LONGEST_S[phase])
        drawn.append(Moment(batch, phase, wait, rank))
        if number == 0:
            drawn[0] = Moment(1, "step", 0.0, rank)
    return sorted(drawn, key=lambda moment: moment.batch)


def struck(training: Training, when: Sequence[Moment]) -> tuple[list[Kill], list[Path]]:
    """Strike a training at all these moments, and let it come to its end.

    Should it come to its end before the last of them, another one begins, the same, and what came
    too late comes earlier.

    Args:
        training: Not begun yet.
        when: In their order.

    Returns:
        What was done, and the run folders of all trainings.

    Raises:
        RuntimeError: if one does not go on.
    """
    first = training.folder
    todo, kills, runs = deque(when), list[Kill](), [training.run]
    while todo:
        launch = training.start()
        kill = _strike(training, launch, todo[0])
        if kill is not None:
            kills.append(kill)
            todo.popleft()
            continue
        training.finish(None if launch.killed else launch)
        if len(runs) == _MOST_TRAININGS:
            raise RuntimeError(f"{len(runs)} trainings were over before they were struck")
        todo[0] = replace(todo[0], batch=max(1, todo[0].batch // 2), wait=0.0)
        training = replace(training, folder=first.with_name(f"{first.name}_{len(runs)}"))
        runs.append(training.run)
    training.finish()
    return kills, runs


def _strike(training: Training, launch: Launch, moment: Moment) -> Kill | None:
    """Wait for a moment and kill; `None` if the training was over by then."""
    if not _comes(training, launch, moment):
        return None
    time.sleep(moment.wait)
    struck_rank = seen(launch.trace, moment.rank or 0)
    if struck_rank is None or launch.poll() is not None:
        return None
    if moment.rank is None:
        launch.kill()
    else:
        launch.kill_one(struck_rank.pid)
    code = launch.wait(GIVE_UP_S)
    last = seen(launch.trace, moment.rank or 0) or struck_rank
    if code == 0 or last.phase == "over":
        return None
    return Kill(
        step=last.step,
        phase=last.phase,
        saved=step_of(training.run),
        half_written=bool(training.leftovers()),
        rank=moment.rank,
    )


def _comes(training: Training, launch: Launch, moment: Moment) -> bool:
    """Wait for a moment; whether it comes."""
    deadline = time.monotonic() + GIVE_UP_S
    while launch.poll() is None and time.monotonic() < deadline:
        now = seen(launch.trace)
        everywhere = all(seen(launch.trace, rank) for rank in range(training.setting.ranks))
        if now is not None and everywhere and now.batch >= moment.batch:
            if now.phase == "over":
                return False
            if _is_at(now, moment, training):
                return True
        time.sleep(_POLL_S)
    return False


def _is_at(now: Seen, moment: Moment, training: Training) -> bool:
    if moment.phase == "saving":
        return bool(training.leftovers())  # the trace would still say so when it is written
    return moment.phase == "step" or now.phase == moment.phase


def compare(setting: Setting, folder: Path, *, kills: int, seed: int) -> Result:
    """Train twice, once undisturbed and once struck, and compare.

    Args:
        setting: What is trained.
        folder: Where; must be empty.
        kills: How often it is struck.
        seed: Of the training and of the moments.
    """
    started = time.monotonic()
    chance = random.Random(seed)  # noqa: S311  (no secret)
    undisturbed = Training(folder / "undisturbed", setting, seed)
    undisturbed.finish()
    done, runs = struck(Training(folder / "struck", setting, seed), moments(setting, kills, chance))
    apart = {part for run in runs for part in differences(undisturbed.run, run)}
    return Result(setting, tuple(done), tuple(sorted(apart)), time.monotonic() - started)


HEADER: Final = (
    "| setting | processes | SIGKILL | at optimiser step | while writing a checkpoint "
    "| in a validation | before the first checkpoint | one process of several "
    "| steps done again | bit-equal at the end |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)
"""The first two lines of the table."""

LEGEND: Final = (
    "w: a file was left half-written, v: in a validation, r0 r1: that process alone was killed, "
    "the others ended by themselves or by the launcher"
)
"""What the letters behind the steps mean."""


def row(result: Result) -> str:
    """Return the line of a setting, in Markdown."""
    kills = result.kills
    again = sum(kill.step - (kill.saved or 0) for kill in kills)
    cells = (
        result.setting.name,
        result.setting.processes,
        len(kills),
        ", ".join(map(str, kills)),
        sum(kill.half_written for kill in kills),
        sum(kill.phase == "validation" for kill in kills),
        sum(kill.saved is None for kill in kills),
        sum(kill.rank is not None for kill in kills),
        again,
        "no: " + ", ".join(result.apart) if result.apart else "yes",
    )
    return "| " + " | ".join(map(str, cells)) + " |"
