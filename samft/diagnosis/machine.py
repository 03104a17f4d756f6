"""What the operating system gives this process. Neither torch nor numpy is needed to ask."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from samft.diagnosis.rows import Row, Status

GIGABYTE: Final = 1e9
_ENOUGH_SHARED: Final = 1.0  # GB; two loader workers with images of 1024 pixels stay below
_FEW_DESCRIPTORS: Final = 1024
_LITTLE_DISK, _NO_DISK = 10.0, 1.0  # GB; a checkpoint of ViT-B with its optimiser is 1.1 GB
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_SHARED: Final = Path("/dev/shm")  # noqa: S108  (Linux's name for shared memory)


def allowed_cores(cgroups: Path = _CGROUPS) -> float:
    """Return how many cores this process may use: its affinity, or less by a container's limit.

    Args:
        cgroups: Where the system shows the limits of containers.
    """
    if sys.platform.startswith("linux"):
        cores = float(len(os.sched_getaffinity(0)))
    else:
        cores = float(os.cpu_count() or 1)
    quota = _quota(cgroups)
    return cores if quota is None else min(cores, quota)


def look_at_cores(cgroups: Path = _CGROUPS) -> Iterator[Row]:
    """Compare the threads that were asked for with the cores there are."""
    allowed, there = allowed_cores(cgroups), os.cpu_count() or 1
    asked = {name: os.environ[name] for name in _THREADS if name in os.environ}
    numbers = [int(value) for value in asked.values() if value.isdecimal()]
    status: Status = "ok"
    advice = ""
    if any(not value.replace(",", "").isdecimal() for value in asked.values()):
        status, advice = "warn", "the variables take a whole number"
    elif max(numbers, default=0) > allowed:
        status = "warn"
        advice = f"more threads than cores wait for each other: set them to {max(1, int(allowed))}"
    settings = "".join(f", {name}={value}" for name, value in asked.items())
    yield Row(
        group="machine",
        name="cpu cores",
        status=status,
        found=f"{allowed:g} of {there} may be used{settings}",
        expected="" if status == "ok" else f"at most {allowed:g} threads",
        advice=advice,
    )


def look_at_shared_memory(folder: Path = _SHARED) -> Iterator[Row]:
    """Look for the 64 MB that Docker gives by default, in which loader workers die."""
    if not folder.is_dir():
        if sys.platform.startswith("linux"):
            yield Row(
                group="machine",
                name="shared memory",
                status="warn",
                found="there is none",
                expected=f"{_SHARED}",
                advice="use --data.num_workers 0, or mount it",
            )
        return
    usage = shutil.disk_usage(folder)
    total, free = usage.total / GIGABYTE, usage.free / GIGABYTE
    enough = free >= _ENOUGH_SHARED
    yield Row(
        group="machine",
        name="shared memory",
        status="ok" if enough else "warn",
        found=f"{free:.2f} of {total:.2f} GB free",
        expected="" if enough else f"{_ENOUGH_SHARED:g} GB free for loader workers",
        advice=""
        if enough
        else "docker run --shm-size=8g (or --ipc=host), in Kubernetes an emptyDir with medium: "
        "Memory; else --data.num_workers 0",
    )


def look_at_descriptors() -> Iterator[Row]:
    """Compare the limit of open files with what loader workers need."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    enough = unlimited or soft >= _FEW_DESCRIPTORS
    yield Row(
        group="machine",
        name="open files",
        status="ok" if enough else "warn",
        found="no limit" if unlimited else f"at most {soft}",
        expected="" if enough else f"at least {_FEW_DESCRIPTORS}",
        advice="" if enough else f"ulimit -n {4096 if hard < 0 else min(4096, hard)}",
    )


def look_at_temporary_folder() -> Iterator[Row]:
    """Write and read a file where temporary files go."""
    advice = "free some space there, or set TMPDIR to another folder"
    try:
        with tempfile.NamedTemporaryFile(prefix="samft-doctor-") as file:
            file.write(b"samft")
            file.flush()
            place = Path(file.name).parent
        free = shutil.disk_usage(place).free / GIGABYTE
    except OSError as error:
        yield Row(
            group="machine",
            name="temporary files",
            status="error",
            found=error.strerror or type(error).__name__,
            expected="a folder that can be written",
            advice=advice,
        )
        return
    yield Row(
        group="machine",
        name="temporary files",
        status="ok" if free >= _NO_DISK else "warn",
        found=f"{place}, {free:.0f} GB free",
        expected="" if free >= _NO_DISK else f"{_NO_DISK:g} GB free",
        advice="" if free >= _NO_DISK else advice,
    )


def look_at_folder(folder: Path, name: str, advice: str) -> Iterator[Row]:
    """Compare the free space of a folder, which need not exist yet, and its rights.

    Nothing is written there.

    Args:
        folder: The folder.
        name: What it is called in the row.
        advice: What to do if it cannot be used.
    """
    place = folder.expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield Row(
            group="storage",
            name=name,
            status="error",
            found=f"{place} {'may not be written' if place.is_dir() else 'is a file'}",
            expected="a folder that can be written",
            advice=advice,
        )
        return
    usage = shutil.disk_usage(place)
    free = usage.free / GIGABYTE
    full = _free_names(place) == 0
    status: Status = "error" if free < _NO_DISK or full else "warn" if free < _LITTLE_DISK else "ok"
    names = ", but no more files can be made there" if full else ""
    yield Row(
        group="storage",
        name=name,
        status=status,
        found=f"{folder}, {free:.1f} of {usage.total / GIGABYTE:.0f} GB free{names}",
        expected="" if status == "ok" else f"{_LITTLE_DISK:g} GB free for checkpoints and caches",
        advice="" if status == "ok" else advice,
    )


def _free_names(place: Path) -> int | None:
    """Return how many more files the file system can have; `None` if it does not count them."""
    if not hasattr(os, "statvfs"):
        return None
    stat = os.statvfs(place)
    return stat.f_favail if stat.f_files else None


def _quota(cgroups: Path) -> float | None:
    """Return the cores of a container's limit, of cgroups version 2 or 1; `None` without one."""
    try:
        most, period = (cgroups / "cpu.max").read_text("ascii").split()[:2]
    except (OSError, ValueError):
        try:
            most = (cgroups / "cpu/cpu.cfs_quota_us").read_text("ascii").strip()
            period = (cgroups / "cpu/cpu.cfs_period_us").read_text("ascii").strip()
        except (OSError, ValueError):
            return None
    if not most.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # max, or -1: no limit
    return int(most) / int(period)
