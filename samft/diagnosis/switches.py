"""Environment variables that change what samft does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from samft.diagnosis.rows import Row, Status

_KNOWN: Final = (
    "SAMFT_CACHE",
    "SAMFT_DEBUG",
    "SAMFT_KEEP_MEMORY",
    "SAMFT_MAX_BYTES",
    "SAMFT_OFFLINE",
)
_OTHERS: Final = ("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "PYTORCH_CUDA_ALLOC_CONF")


def look_at_variables() -> Iterator[Row]:
    """List the variables that are set, and warn of those that mean nothing."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("SAMFT_")}
    shown = {name: value for name, value in sorted(ours.items()) if name in _KNOWN}
    shown |= {name: os.environ[name] for name in _OTHERS if name in os.environ}
    unknown = sorted(set(ours) - set(_KNOWN))
    problems = [f"{name} is no setting of samft" for name in unknown]
    limit = ours.get("SAMFT_MAX_BYTES", "").strip()
    if limit and (not limit.isdecimal() or int(limit) == 0):
        problems.append(f"SAMFT_MAX_BYTES={limit} is no number of bytes")
    status: Status = "warn" if problems else "ok"
    yield Row(
        group="machine",
        name="environment variables",
        status=status,
        found=", ".join([*problems, *(f"{name}={value}" for name, value in shown.items())])
        or "none set",
        expected=f"of {', '.join(_KNOWN)}" if unknown else "",
        advice="correct or unset them" if problems else "",
    )


def nvidia_driver(proc: Path = Path("/proc/driver/nvidia"), devices: Path = Path("/dev")) -> str:
    """Say what there is of an NVIDIA driver; empty if there is none.

    Args:
        proc: Where the driver describes itself.
        devices: Where the devices are.
    """
    try:
        line = (proc / "version").read_text("ascii", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        line = ""
    numbers = [word for word in line.split() if word[:1].isdigit() and "." in word]
    nodes = sorted(devices.glob("nvidia[0-9]*"))
    if not line and not nodes:
        return ""
    return f"driver {numbers[0] if numbers else 'of unknown version'}, {len(nodes)} GPUs"
