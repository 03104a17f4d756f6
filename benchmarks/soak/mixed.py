"""Faults of several kinds, drawn at random, for some minutes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.soak.comparison import differences
from benchmarks.soak.launch import Launch
from benchmarks.soak.settings import SETTINGS
from benchmarks.soak.training import GIVE_UP_S, Training, step_of
from benchmarks.soak.watching import seen

_LONGEST_S: Final = 5.0  # from the first step of a process to a fault
_POLL_S: Final = 0.02


class Victim(Protocol):
    """What is struck: a `Launch`."""

    def kill(self) -> None:
        """SIGKILL."""

    def send_signal(self, number: int) -> None:
        """Another signal."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a training.

    Args:
        fault: What.
        step: Optimiser step of the last checkpoint after it; `None` if there was none.
        outcome: How the process ended.
    """

    fault: str
    step: int | None
    outcome: str


Fault = Callable[[Victim, Path, random.Random], None]


def _kill(process: Victim, _: Path, __: random.Random) -> None:
    process.kill()


def _terminate(process: Victim, _: Path, __: random.Random) -> None:
    process.send_signal(signal.SIGTERM)


def _cut_short(process: Victim, run: Path, chance: random.Random) -> None:
    process.kill()
    for path in _newest(run):
        os.truncate(path, chance.randrange(path.stat().st_size))


def _overwrite(process: Victim, run: Path, chance: random.Random) -> None:
    process.kill()
    for path in _newest(run):
        with path.open("r+b") as file:
            file.seek(chance.randrange(max(1, path.stat().st_size - 512)))
            file.write(chance.randbytes(512))


def _newest(run: Path) -> list[Path]:
    """Return the last checkpoint, if there is another one to go on from."""
    last, best = (run / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    return [last] if last.is_file() and best.is_file() else []


_DAMAGES: Final[dict[str, Fault]] = {
    "checkpoint cut short": _cut_short,
    "checkpoint overwritten": _overwrite,
}
FAULTS: Final[dict[str, Fault]] = {"SIGKILL": _kill, "SIGTERM": _terminate} | _DAMAGES
"""What can happen to a training."""


def strike(training: Training, until: float, chance: random.Random) -> list[Event]:
    """Train with faults until a time, then to the end.

    Args:
        training: Not begun yet.
        until: Of `time.monotonic`; no fault comes later.
        chance: Draws faults and moments.

    Raises:
        RuntimeError: if it does not go on.
    """
    events: list[Event] = []
    while True:
        launch = training.start()
        fault = chance.choice(list(FAULTS)) if time.monotonic() < until else None
        if fault is None or not _trains(launch, chance.uniform(0.0, _LONGEST_S)):
            training.finish(launch)
            return events
        if fault in _DAMAGES and not _newest(training.run):
            fault = "SIGKILL"  # nothing to go on from would be left
        FAULTS[fault](launch, training.run, chance)
        code = launch.wait(GIVE_UP_S)
        events.append(Event(fault, step_of(training.run), f"ended with {code}, resumed"))
        if code == 0:  # it was done before the signal came
            return events


def _trains(launch: Launch, seconds: float) -> bool:
    """Wait until it trains and some seconds more; whether it still runs then."""
    deadline = time.monotonic() + GIVE_UP_S
    while seen(launch.trace) is None and launch.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    end = time.monotonic() + seconds
    while launch.poll() is None and time.monotonic() < end:
        time.sleep(_POLL_S)
    return launch.poll() is None


def soak(folder: Path, *, minutes: float, seed: int) -> int:
    """Strike trainings for some minutes; return how many ended otherwise than undisturbed.

    Once a training is finished and there is time left, another one begins, with another seed.
    """
    chance = random.Random(seed)  # noqa: S311  (no secret)
    until = time.monotonic() + 60 * minutes
    wrong, number = 0, 0
    while number == 0 or time.monotonic() < until:
        place = folder / str(number)
        clean = Training(place / "undisturbed", SETTINGS["plain"], seed + number)
        struck = Training(place / "struck", SETTINGS["plain"], seed + number)
        clean.finish()
        events = strike(struck, until, chance)
        apart = differences(clean.run, struck.run)
        wrong += bool(apart)
        print(_report(number, seed + number, events, apart), flush=True)
        number += 1
    return wrong


def _report(number: int, seed: int, events: list[Event], apart: list[str]) -> str:
    lines = [f"training {number}, seed {seed}: {len(events)} faults"]
    for event in events:
        step = "nothing readable" if event.step is None else f"saved: step {event.step}"
        lines.append(f"  {event.fault:<24}{step:<28}{event.outcome}")
    counts = Counter(event.fault for event in events)
    lines.append("  " + ", ".join(f"{count} x {fault}" for fault, count in sorted(counts.items())))
    end = "another: " + ", ".join(apart) if apart else "the same, bit by bit"
    return "\n".join([*lines, f"  the end is {end}"])
