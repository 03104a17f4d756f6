"""Keep freed memory in the process, so that a CPU does not fetch it anew from the system each step.

Training frees and asks for the same large tensors in every step. By default the C library hands
them back to the operating system, which has to clear every page again before the next use; on CPUs
that costs as much time as much of the arithmetic (`benchmarks/train_step.py`).
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys

_logger = logging.getLogger(__name__)

_VARIABLE = "SAMFT_KEEP_MEMORY"
# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER_TRIM = 2**31 - 1  # the largest value of a C int, 2 GiB
_GROW_BY = 2**28


def keep_freed_memory() -> bool:
    """Tell the C library not to give memory back; `SAMFT_KEEP_MEMORY=0` prevents it.

    The process then stays as large as its largest step was.

    Returns:
        Whether it was done: only on Linux with glibc, the one library that has the switches.
    """
    if not sys.platform.startswith("linux") or os.environ.get(_VARIABLE) == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    switches = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER_TRIM), (_TOP_PAD, _GROW_BY))
    done = all(mallopt(parameter, value) == 1 for parameter, value in switches)
    _logger.debug("freed memory is kept in the process: %s", done)
    return done
