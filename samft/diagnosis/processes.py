"""Whether several processes could train together. Nothing is sent to any network to find out."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch.distributed

from samft.diagnosis.devices import training_device
from samft.diagnosis.rows import Row

_ETC: Final = Path("/etc")
_INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def look_at_backends() -> Iterator[Row]:
    """Say which of gloo and NCCL this torch has."""
    there = torch.distributed.is_available()
    have = {
        "gloo": there and torch.distributed.is_gloo_available(),
        "nccl": there and torch.distributed.is_nccl_available(),
    }
    needed = "nccl" if training_device().type == "cuda" else "gloo"
    found = [name for name, is_there in have.items() if is_there]
    wanting = not have[needed] and sys.platform.startswith("linux")
    yield Row(
        group="processes",
        name="backends",
        status="warn" if wanting else "ok",
        found=", ".join(found) or "none: one process only",
        expected=needed if wanting else "",
        advice="install torch from pytorch.org to train with several processes" if wanting else "",
    )


def look_at_interfaces() -> Iterator[Row]:
    """Compare the network interfaces that were asked for with those there are."""
    there = [name for _, name in socket.if_nameindex()]
    asked = {name: os.environ[name] for name in _INTERFACES if os.environ.get(name)}
    lost = [
        f"{variable}={value}"
        for variable, value in asked.items()
        if not any(_matches(value, name) for name in there)
    ]
    yield Row(
        group="processes",
        name="network interfaces",
        status="error" if lost else "ok",
        found=f"{', '.join(there) or 'none'}{'; ' if asked else ''}"
        + ", ".join(f"{variable}={value}" for variable, value in asked.items()),
        expected=f"one that exists, not {', '.join(lost)}" if lost else "",
        advice="correct or unset the variable" if lost else "",
    )


def look_at_host_name(etc: Path = _ETC) -> Iterator[Row]:
    """Look whether this machine knows its own name, which gloo asks for; no server is asked.

    Args:
        etc: Folder with `hosts` and `nsswitch.conf`.
    """
    if not (etc / "hosts").is_file():  # not a Unix
        return
    name = socket.gethostname()
    names = [word for line in _lines(etc / "hosts") for word in line.split()[1:]]
    services = " ".join(line for line in _lines(etc / "nsswitch.conf") if line.startswith("hosts:"))
    known = name in names or bool({"myhostname", "resolve"} & set(services.split()))
    fixed = bool(os.environ.get("GLOO_SOCKET_IFNAME"))
    yield Row(
        group="processes",
        name="host name",
        status="ok" if known or fixed else "warn",
        found="known to this machine" if known else "not in /etc/hosts",
        expected="" if known or fixed else "a name that resolves without asking a server",
        advice=""
        if known or fixed
        else "if starting several processes hangs: export GLOO_SOCKET_IFNAME=lo on one machine, "
        "or add the name to /etc/hosts",
    )


def _matches(asked: str, name: str) -> bool:
    """Whether an interface is what was asked for: `eth0`, or for NCCL `=eth0`, `eth`, `^lo`."""
    for word in asked.split(","):
        if word.startswith("^"):
            return True
        if name == word.lstrip("=") or (not word.startswith("=") and name.startswith(word)):
            return True
    return False


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    return [line.partition("#")[0].strip() for line in text.splitlines()]
