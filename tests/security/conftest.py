"""What hostile files are read under: a small limit of memory, and an alarm against hanging."""

import signal

import pytest

LIMIT = 16 * 2**20


class Hang(BaseException):
    """No reader catches it."""


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(LIMIT))


@pytest.fixture
def no_hang():
    def stop(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
