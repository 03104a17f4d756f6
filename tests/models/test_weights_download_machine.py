"""Downloading on a real machine: several processes, a full disk, a terminal, https only."""

import resource
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from email.message import Message
from io import BytesIO

import pytest
from weights_server import CONTENT, OPENER, SHA256, get, serve, target

from samft.errors import MachineError
from samft.models import download as module
from samft.models.download import download
from samft.models.https import https_opener

__all__ = ["serve", "target"]  # fixtures


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
        with pytest.raises(
            MachineError, match=r"could not be stored(?s:.*)free some disk"
        ) as error:
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


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/x", "unprotected address"),
        ("HTTP://127.0.0.1/x", "unprotected address"),
        ("ftp://127.0.0.1/x", "unprotected address"),
        ("file:///x", "'file:///x' is not allowed"),
        ("//a:b@[", "Invalid IPv6 URL"),
    ],
)
def test_redirects_do_not_leave_https(tmp_path, url, words):
    opener = https_opener()
    opener.add_handler(Redirecting(url))
    with pytest.raises(MachineError, match=words) as error:
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
