"""What every test gets: no network, caches of its own, and the tiny data sets."""

import gc
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["fixtures_data"]

_LOOPBACK = ("127.", "::1", "localhost")


def pytest_configure(config: pytest.Config) -> None:
    """Import what every test needs, but not where `-n` leaves the tests to others: it takes long.

    The examples of hypothesis are the same in every run, so that a change is judged by itself;
    others are looked for with HYPOTHESIS_PROFILE=random.
    """
    if config.getoption("numprocesses", None):
        return
    gc.disable()  # until all is imported and collected, nearly all of which stays
    import hypothesis
    import lightning.pytorch  # noqa: F401  (its log handlers must not get a test's captured stderr)

    hypothesis.settings.register_profile("repeatable", derandomize=True)
    hypothesis.settings.register_profile("random", derandomize=False)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_finish() -> None:
    """Leave half a million objects of modules and tests out of every later search for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point caches at a temporary folder and forget the user's settings."""
    home = tmp_path_factory.getbasetemp() / "cache"
    for name in ("SAMFT_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    for name in ("SAMFT_OFFLINE", "HF_HUB_OFFLINE", "SAMFT_DEBUG", "SAMFT_MAX_BYTES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any connection to another machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and not str(host).startswith(_LOOPBACK):
            pytest.fail(f"a test tried to connect to {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """Seed torch, and give every test the logging it expects."""
    import torch

    torch.manual_seed(0)
    yield
    logging.getLogger("samft").handlers.clear()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several test processes share the cores; more threads would only get in each other's way."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips where it is absent."""
    folder = Path(os.environ.get("SAMFT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: SAMFT_DATA is not set and ../shared/data does not exist")
    return folder
