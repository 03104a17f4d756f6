"""Downloading against a real server on this machine: every way it can go wrong."""

import hashlib
import resource
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from samft.errors import CheckpointError, MachineError
from samft.models import download as module
from samft.models.download import download
from samft.models.https import https_opener

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """Serves `content` with faults; `ranges` lists the Range header of each request.

    Args:
        content: What is served.
        ranges: Whether Range is understood.
        die_after: For each request in turn, after how many bytes the connection breaks; `None` and
            later requests are served in full.
        statuses: For each request in turn, an error code to answer, or `None`.
        sized: Whether Content-Length is sent.
        content_range: Sent instead of the true Content-Range.
        delay_s: Pause before each answer.
    """

    def __init__(self, content=CONTENT, *, ranges=True, die_after=(), statuses=(), sized=True,
                 content_range=None, delay_s=0.0):  # fmt: skip
        self.content, self.understands_ranges = content, ranges
        self.die_after, self.statuses = list(die_after), list(statuses)
        self.sized, self.content_range, self.delay_s = sized, content_range, delay_s
        self.ranges = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/weights/sam.pth"
        threading.Thread(
            target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def answer(self, handler):
        asked = handler.headers["Range"]
        self.ranges.append(asked)
        time.sleep(self.delay_s)
        status = self.statuses.pop(0) if self.statuses else None
        if status is not None:
            handler.send_error(status)
            return
        start = 0
        if asked and self.understands_ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        body = self.content[start:]
        handler.send_response(206 if asked and self.understands_ranges else 200)
        if asked and self.understands_ranges:
            total = len(self.content)
            handler.send_header(
                "Content-Range", self.content_range or f"bytes {start}-{total - 1}/{total}"
            )
        if self.sized:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        limit = self.die_after.pop(0) if self.die_after else None
        handler.wfile.write(body[:limit])


@pytest.fixture
def serve():
    servers = []

    def start(*args, **options):
        servers.append(Server(*args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.httpd.shutdown()
        server.httpd.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights" / "sam.pth"


def get(server, target, **options):
    settings = {"num_bytes": len(CONTENT), "sha256": SHA256, "opener": OPENER, "backoff_s": 0.001}
    download(server.url, target, **(settings | options))


def arrived(target, size, content=CONTENT):
    """Leave the beginning of a file as an earlier attempt would."""
    target.parent.mkdir(parents=True)
    target.with_name("sam.pth.part").write_bytes(content[:size])


def leftovers(target):
    return {item.name for item in target.parent.iterdir()} - {"sam.pth.lock"}


def failed(error, server, *words):
    text = str(error.value)
    assert len(text.splitlines()) <= 4
    for word in (server.url, *words):
        assert word in text, text


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


# --- several at once -----------------------------------------------------------------------------


def test_two_threads_make_one_download(serve, target):
    server = serve(delay_s=0.1)
    threads = [threading.Thread(target=get, args=(server, target)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_two_processes_make_one_download(serve, target):
    server = serve(delay_s=0.5)
    code = f"""
import logging, sys, urllib.request
from pathlib import Path
from samft.models.download import download
logging.basicConfig(level=logging.INFO)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
download({server.url!r}, Path({str(target)!r}), num_bytes={len(CONTENT)}, sha256={SHA256!r},
         opener=opener)
assert "torch" not in sys.modules
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_waiting_is_told(serve, target, caplog):
    server = serve(delay_s=0.2)
    first = threading.Thread(target=get, args=(server, target))
    with caplog.at_level("INFO"):
        first.start()
        while not server.ranges:
            time.sleep(0.005)
        get(server, target)
        first.join()
    assert "waiting for another process that downloads sam.pth" in caplog.messages


# --- the machine ---------------------------------------------------------------------------------


def test_too_little_space_is_told_before_anything_is_fetched(serve, target, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: mock_usage(free=10))
    server = serve()
    with pytest.raises(MachineError, match=r"not enough disk space(?s:.*)SAMFT_CACHE") as error:
        get(server, target)
    assert str(target.parent) in str(error.value)
    assert server.ranges == []


def mock_usage(*, free):
    return type("Usage", (), {"free": free})()


def test_disk_full_midway(serve, target):
    server = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(MachineError, match=r"could not be stored(?s:.*)free some disk") as error:
            get(server, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(target) in str(error.value)
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_interrupted_by_the_user(serve, target):
    class Impatient:
        def open(self, request, *, timeout):
            response = OPENER.open(request, timeout=timeout)
            read, calls = response.read, []

            def interrupted(size):
                calls.append(size)
                if len(calls) == 3:
                    raise KeyboardInterrupt
                return read(size)

            response.read = interrupted
            return response

    server = serve()
    with pytest.raises(KeyboardInterrupt):
        get(server, target, opener=Impatient())
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={2**19}-"]


# --- what the user sees --------------------------------------------------------------------------


def test_log_lines_where_there_is_no_terminal(serve, target, caplog):
    with caplog.at_level("INFO"):
        get(serve(), target)
    assert caplog.messages[0] == "sam.pth: 0 % of 1 MB"
    assert caplog.messages[-1] == "sam.pth: 100 % of 1 MB"
    assert len(caplog.messages) <= 11


def test_a_bar_on_a_terminal(serve, target, monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level("INFO"):
        get(serve(), target)
    captured = capsys.readouterr()
    assert "sam.pth" in captured.err
    assert captured.out == ""
    assert caplog.messages == []


# --- https only ----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_the_opener_in_use_speaks_https_only(url):
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        https_opener().open(url)


class Redirecting(urllib.request.BaseHandler):
    """Answers any https request with a redirect, as a hostile or broken server would."""

    handler_order = 1

    def __init__(self, target):
        self.target = target

    def https_open(self, request):
        headers = Message()
        headers["Location"] = self.target
        response = urllib.request.addinfourl(BytesIO(), headers, request.full_url, code=302)
        response.msg = "Found"
        return response


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "ftp://127.0.0.1/x", "//a:b@[", "file:///x"])
def test_redirects_do_not_leave_https(tmp_path, url):
    opener = https_opener()
    opener.add_handler(Redirecting(url))
    with pytest.raises(MachineError) as error:
        download(
            "https://weights.example/sam.pth",
            tmp_path / "sam.pth",
            num_bytes=10,
            sha256=SHA256,
            opener=opener,
            backoff_s=0.001,
        )
    assert "https://weights.example/sam.pth" in str(error.value)
    assert not (tmp_path / "sam.pth").exists()


def test_endless_redirects(tmp_path):
    opener = https_opener()
    opener.add_handler(Redirecting("https://weights.example/again"))
    with pytest.raises(MachineError, match="302"):
        download(
            "https://weights.example/sam.pth",
            tmp_path / "sam.pth",
            num_bytes=10,
            sha256=SHA256,
            opener=opener,
            backoff_s=0.001,
        )
