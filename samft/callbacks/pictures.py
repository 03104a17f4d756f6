"""Writing what a run can do without: a full disk must not end a training for a picture."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from samft.errors import MachineError
from samft.inference.output_folder import write_atomically

_log = logging.getLogger(__name__)


def write_or_warn(path: Path, write: Callable[[Path], object]) -> bool:
    """Write a file and its folder, or say why not; return whether it was written.

    Args:
        path: The file.
        write: Fills the file it is given; see `write_atomically`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except (OSError, MachineError) as error:
        _log.warning("%s is left out: %s", path, getattr(error, "found", None) or error)
        return False
    return True
