"""The exception tree of samft.

Every error a user can cause is a `SamftError`. The command line prints it without a traceback and
exits with the class's `exit_code`. A message has at most three lines: what happened; where, and
what was found against what was expected; what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_LONGEST_PART: Final = 500  # characters; names and values of a damaged file can be megabytes


class SamftError(Exception):
    """Base of all samft errors; the message is built from parts so that every error reads alike.

    Args:
        what: What happened, one line without a full stop.
        where: The file, key or index it happened at.
        found: What was found, when there is something to show against `expected`.
        expected: What would have been right.
        fix: What the user can do next, as a command or a setting where possible.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        found: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.found = found
        self.expected = expected
        self.fix = fix
        super().__init__(self._text())

    def _text(self) -> str:
        parts = (("where", self.where), ("found", self.found), ("expected", self.expected))
        details = ", ".join(f"{name}: {shown(value)}" for name, value in parts if value is not None)
        lines = [
            shown(self.what),
            *([f"  {details}"] if details else []),
            *([f"  fix: {shown(self.fix)}"] if self.fix is not None else []),
        ]
        return "\n".join(lines)


def shown(value: object) -> str:
    """Return a value as one line for a terminal, whatever a file has put into it.

    Line breaks, terminal control and half characters are written as escapes; the middle of what is
    very long is left out.

    Args:
        value: Such as a path, or a name from a damaged file.
    """
    text = str(value)
    if len(text) > _LONGEST_PART:
        text = f"{text[: _LONGEST_PART * 2 // 3]} ... {text[-_LONGEST_PART // 4 :]}"
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


class ConfigError(SamftError):
    """A setting is unknown, out of range or contradicts another one."""


class DatasetError(SamftError):
    """A file of the data set is missing, unreadable or does not fit its partner."""


class PromptError(SamftError):
    """A point, box or mask prompt is malformed or lies outside the image."""


class CheckpointError(SamftError):
    """A weights file is unreadable, unsafe, or does not fit the architecture."""


class TrainingError(SamftError):
    """Training went wrong in a way that more of it will not mend."""


class OutputError(SamftError):
    """A result cannot be written, or writing it would overwrite something."""


class DependencyError(SamftError, ImportError):
    """An optional package is not installed."""


class MachineError(SamftError):
    """The machine failed, not the user: disk full, network down, out of memory."""

    exit_code = 3


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return the sentence that lists close matches to `name` and all allowed values."""
    names = sorted(allowed)
    close = get_close_matches(name, names, n=2)
    hint = f"did you mean {' or '.join(repr(match) for match in close)}? " if close else ""
    return f"{hint}choose from {', '.join(names)}"
