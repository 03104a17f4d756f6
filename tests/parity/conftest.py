"""Shared fixtures of the parity tests and the table of differences (`pytest -rP`)."""

from __future__ import annotations

import pytest
import torch
from reference_models import TINY, Trio, build_trio

_ROWS: list[tuple[str, str, float]] = []


@pytest.fixture(scope="session")
def _trio() -> Trio:
    return build_trio(TINY)


@pytest.fixture
def trio(_trio):
    """samft and both references with the same weights and no gradients."""
    for model in (_trio.ours, _trio.official, _trio.huggingface):
        model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    return _trio


@pytest.fixture
def record():
    """Note a measured difference for the table."""

    def note(reference: str, what: str, difference: float) -> float:
        _ROWS.append((reference, what, difference))
        return difference

    return note


def pytest_terminal_summary(terminalreporter, config):
    if not _ROWS or "P" not in config.option.reportchars:
        return
    terminalreporter.write_sep("-", "largest differences, relative to the largest reference value")
    for reference, what, difference in sorted(_ROWS):
        terminalreporter.write_line(f"{reference:18} {what:58} {difference:.1e}")
