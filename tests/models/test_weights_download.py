"""Downloading from a server that breaks off, refuses, or sends something else."""

import hashlib

import pytest
from weights_server import CONTENT, SHA256, arrived, failed, get, leftovers, serve, target

from samft.errors import CheckpointError, MachineError
from samft.models import download as module

__all__ = ["serve", "target"]  # fixtures


def test_fresh(serve, target):
    server = serve()
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert leftovers(target) == {"sam.pth"}


def test_a_file_that_is_there_is_not_fetched_again(serve, target):
    server = serve()
    get(server, target)
    get(server, target)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("size", [1, 300_000, len(CONTENT) - 1])
def test_resumed(serve, target, size):
    server = serve()
    arrived(target, size)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={size}-"]


def test_resumed_from_a_server_that_cannot(serve, target):
    server = serve(ranges=False)
    arrived(target, 300_000, content=bytes(300_000))
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=300000-"]


def test_everything_had_arrived_before_the_last_run_was_killed(serve, target):
    server = serve()
    arrived(target, len(CONTENT))
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == []


def test_more_had_arrived_than_the_file_has(serve, target):
    server = serve()
    arrived(target, 2 * len(CONTENT), content=2 * CONTENT)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]


def test_range_refused(serve, target):
    server = serve(statuses=[416])
    arrived(target, 300_000)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=300000-", None]


def test_server_dies_midway_again_and_again(serve, target):
    server = serve(die_after=[200_000] * 5)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={200_000 * n}-" for n in range(1, 6))]


def test_server_dies_midway_and_cannot_resume(serve, target):
    server = serve(ranges=False, die_after=[100, 200_000, 100])
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_server_stays_dead(serve, target):
    server = serve(die_after=[200_000] + [0] * 9)
    with pytest.raises(MachineError) as error:
        get(server, target)
    failed(error, server, "after 200000 of 1048576 bytes", "what has arrived is kept")
    assert len(server.ranges) == 5  # one that got somewhere, one that did not, three retries
    assert target.with_name("sam.pth.part").read_bytes() == CONTENT[:200_000]
    assert not target.exists()


def test_nobody_there(serve, target):
    server = serve()
    server.httpd.shutdown()
    server.httpd.server_close()
    with pytest.raises(MachineError, match="Connection refused") as error:
        get(server, target)
    failed(error, server, "check the network")


def test_server_that_hangs(serve, target, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.05)
    server = serve(delay_s=0.3)
    with pytest.raises(MachineError, match="timed out"):
        get(server, target)
    assert len(server.ranges) == 4


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_trouble_of_the_server(serve, target, code):
    server = serve(statuses=[code, code])
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 3


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_lasting_trouble_of_the_server(serve, target, code):
    server = serve(statuses=[code])
    with pytest.raises(MachineError) as error:
        get(server, target)
    failed(error, server, f"found: {code} ", "pass its path")
    assert len(server.ranges) == 1


def test_wrong_content(serve, target):
    wrong = CONTENT[:-1] + b"\0"
    server = serve(wrong)
    with pytest.raises(CheckpointError) as error:
        get(server, target)
    failed(error, server, SHA256, hashlib.sha256(wrong).hexdigest(), "were removed")
    assert leftovers(target) == set()


def test_wrong_beginning_is_forgotten(serve, target):
    server = serve()
    arrived(target, 300_000, content=bytes(300_000))
    with pytest.raises(CheckpointError, match="not the published ones"):
        get(server, target)
    assert leftovers(target) == set()
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_a_page_instead_of_the_file(serve, target):
    server = serve(b"<html>Please log in</html>")
    with pytest.raises(CheckpointError) as error:
        get(server, target)
    failed(error, server, "26 bytes of text/plain", "expected: 1048576 bytes", "log-in page")


@pytest.mark.parametrize("sized", [True, False])
def test_no_more_is_taken_than_announced(serve, target, sized):
    server = serve(CONTENT * 8, sized=sized)
    with pytest.raises(CheckpointError, match="does not send the published weights") as error:
        get(server, target)
    failed(error, server, "expected: 1048576 bytes")
    assert target.with_name("sam.pth.part").stat().st_size <= len(CONTENT)
    assert not target.exists()


@pytest.mark.parametrize(
    "header", ["bytes 0-1048575/1048576", "bytes 300000-400000/400001", "bytes */9", "nonsense"]
)
def test_another_range_than_asked(serve, target, header):
    server = serve(content_range=header)
    arrived(target, 300_000)
    with pytest.raises(CheckpointError, match="does not send the published weights") as error:
        get(server, target)
    failed(error, server, header)


def test_range_of_unknown_total(serve, target):
    server = serve(content_range="bytes 300000-1048575/*")
    arrived(target, 300_000)
    get(server, target)
    assert target.read_bytes() == CONTENT
