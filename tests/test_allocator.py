"""The switch of the C library: set where it exists, passed over where not."""

import subprocess
import sys

import pytest

from samft import allocator

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has the switch")


@linux
def test_freed_memory_stays_in_the_process() -> None:
    # In a process of its own: the switches cannot be taken back.
    code = """
import torch
from samft.allocator import keep_freed_memory
def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 2**20
assert keep_freed_memory()
torch.ones(64 * 2**20)          # 256 MiB, touched and freed
print(resident() > 256)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "True"


def test_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMFT_KEEP_MEMORY", "0")
    assert not allocator.keep_freed_memory()


def test_other_systems_and_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
