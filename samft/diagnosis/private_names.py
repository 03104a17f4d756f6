"""Take the names of person and machine out of what is shown, so that it can be posted."""

from __future__ import annotations

import getpass
import re
import socket
from dataclasses import replace
from pathlib import Path

from samft.diagnosis.rows import Row

_COMMON = frozenset({"root", "user", "home", "localhost"})
"""Names that say nothing about anybody, and would be found in innocent words."""


class NameRemover:
    """Replaces the home folder by `~`, and the names of user and machine.

    Args:
        home: The home folder; default the user's.
        user: Login name; default the user's.
        host: Name of the machine; default its own.
    """

    def __init__(
        self, *, home: str | None = None, user: str | None = None, host: str | None = None
    ) -> None:
        self._changes: list[tuple[re.Pattern[str], str]] = []
        home = home or _home()
        if len(home) > 1:
            self._changes.append((re.compile(re.escape(home) + r"(?![\w.-])"), "~"))
        user = user or _user()
        if user and user not in _COMMON:
            self._changes.append((_word(user), "<user>"))
        host = host or socket.gethostname()
        for name in dict.fromkeys((host, host.partition(".")[0])):
            if name and name not in _COMMON:
                self._changes.append((_word(name), "<host>"))

    def __call__(self, text: str) -> str:
        """Return the text without the names."""
        for pattern, stand_in in self._changes:
            text = pattern.sub(stand_in, text)
        return text

    def row(self, row: Row) -> Row:
        """Return a row without the names."""
        return replace(
            row, found=self(row.found), expected=self(row.expected), advice=self(row.advice)
        )


def _word(name: str) -> re.Pattern[str]:
    # Part of another word it is not the name: the user "al" is not in "albumentations".
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # a container without an entry for its user
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
