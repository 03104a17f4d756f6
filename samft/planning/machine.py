"""What this process and its devices have of memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

_STATM, _MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")
_CGROUPS = (  # folder, limit and use of a container, version 2 and 1
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def resident_bytes() -> int:
    """Return what this process has in the machine's memory now, or its maximum so far."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 2**10
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_bytes(device: torch.device) -> int:
    """Return what this process may still take on `device`, beside what it has.

    On a GPU that is the total less what other processes use; elsewhere what the system calls
    available, or what is left of a container's limit if that is less.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    limits = [_system_bytes(), *_container_bytes()]
    return min(limits)


def _system_bytes() -> int:
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 2**10
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container_bytes() -> list[int]:
    found = []
    for folder, limit, used in _CGROUPS:
        try:
            most, now = (int(Path(folder, name).read_text("ascii")) for name in (limit, used))
            lines = Path(folder, "memory.stat").read_text("ascii").splitlines()
        except (OSError, ValueError):  # none, or the word max
            continue
        counts = dict(line.split() for line in lines)
        files = int(counts.get("total_inactive_file") or counts.get("inactive_file") or 0)
        found.append(max(0, most - now + files))  # what caches files is given up when needed
    return found
