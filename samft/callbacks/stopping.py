"""Ending a run early and in order: what asks for it, and how the process then ends."""

from __future__ import annotations

import re
import signal
import threading
from enum import IntEnum
from types import FrameType
from typing import Any, Final, NoReturn

from samft.errors import ConfigError


class Stop(IntEnum):
    """What asks a run to end; where several do, the highest counts."""

    NOT = 0
    TIME_LIMIT = 1
    REQUEUE = 2
    TERMINATED = 3
    INTERRUPTED = 4

    @property
    def exit_code(self) -> int:
        """What the process ends with: 0 where all went as planned."""
        return {Stop.TERMINATED: 143, Stop.INTERRUPTED: 130}.get(self, 0)

    @property
    def words(self) -> str:
        """What it is called in messages."""
        return _WORDS[self]


_WORDS: Final = {
    Stop.NOT: "nothing",
    Stop.TIME_LIMIT: "the time limit",
    Stop.REQUEUE: "SIGUSR1",
    Stop.TERMINATED: "SIGTERM",
    Stop.INTERRUPTED: "Ctrl-C",
}
_SIGNALS: Final = {
    name: stop
    for name, stop in (
        ("SIGINT", Stop.INTERRUPTED),
        ("SIGTERM", Stop.TERMINATED),
        ("SIGUSR1", Stop.REQUEUE),
    )
    if hasattr(signal, name)  # Windows has no SIGUSR1
}


class TrainingStopped(SystemExit):
    """A run ended before its end, in order, with everything saved that there was to save.

    Args:
        stop: What asked for it.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.exit_code)
        self.stop = stop


class StopSignals:
    """Remembers the signals that ask for an end, instead of dying of them.

    A second Ctrl-C ends the process at once.
    """

    def __init__(self) -> None:
        self.received = Stop.NOT
        self._before: dict[int, Any] = {}  # Any: what `signal.getsignal` gives

    def install(self) -> None:
        """Listen; in a thread of its own, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _SIGNALS:
            number = getattr(signal, name)
            if signal.getsignal(number) != self._heard:
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._heard)

    def release(self) -> None:
        """Restore what was there before."""
        for number, handler in self._before.items():
            if handler is not None and signal.getsignal(number) == self._heard:
                signal.signal(number, handler)
        self._before.clear()

    def _heard(self, number: int, _: FrameType | None) -> None:
        stop = _SIGNALS[signal.Signals(number).name]
        if stop is Stop.INTERRUPTED and self.received is Stop.INTERRUPTED:
            self._end(stop)
        self.received = max(self.received, stop)

    def _end(self, stop: Stop) -> NoReturn:
        raise TrainingStopped(stop)


def parse_duration(text: str, *, where: str) -> float:
    """Return the seconds of a length of time as queues write it.

    Args:
        text: `HH:MM:SS`, or with days `D-HH:MM:SS` or `DD:HH:MM:SS`.
        where: The setting, for the message.

    Raises:
        ConfigError: if it is none of them, or zero.
    """
    found = re.fullmatch(r"(?:(\d+)[:-])?(\d+):(\d\d):(\d\d)", text.strip())
    seconds = 0
    if found:
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if seconds <= 0:
        raise ConfigError(
            "this is no length of time",
            where=where,
            found=text,
            expected="hours:minutes:seconds such as 11:30:00, or 1-11:30:00 with days",
        )
    return float(seconds)
