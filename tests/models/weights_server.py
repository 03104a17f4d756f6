"""A web server on this machine that fails on purpose."""

import hashlib
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from samft.models.download import download

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

    def __init__(
        self,
        content=CONTENT,
        *,
        ranges=True,
        die_after=(),
        statuses=(),
        sized=True,
        content_range=None,
        delay_s=0.0,
    ):
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
    assert len(text.splitlines()) <= 3
    for word in (server.url, *words):
        assert word in text, text
