"""Keeping a part of samft's log off the terminal for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_least(name: str, level: int) -> Iterator[None]:
    """Let a logger say only what is of a level or above; afterwards it is as it was.

    Args:
        name: The logger's.
        level: Such as `logging.WARNING`.
    """
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)
