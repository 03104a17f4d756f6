"""Download one file of known size and sha256: over https, resumed after a break, as a whole."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Any, Final, Protocol

from filelock import FileLock, Timeout

import samft
from samft.errors import CheckpointError, MachineError
from samft.models.https import https_opener

_logger = logging.getLogger(__name__)

_RETRIES: Final = 3
_TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 2**18
_TRY_AGAIN_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
# ValueError: what urllib makes of an address in a redirect that is none.
_NETWORK_ERRORS = (OSError, ValueError, http.client.HTTPException)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Opener(Protocol):
    """What `urllib.request.build_opener` returns, as far as it is used here."""

    def open(self, fullurl: urllib.request.Request, *, timeout: float) -> Any:
        """Send the request; Any: urllib's responses share no base class."""


def download(
    url: str,
    destination: Path,
    *,
    num_bytes: int,
    sha256: str,
    opener: Opener | None = None,
    backoff_s: float = 1.0,
) -> None:
    """Fetch `url` to `destination`, which appears only when it is complete and verified.

    What has arrived is kept in `<destination>.part` and continued by the next attempt, also that of
    another day. Of several processes one downloads and the others wait for it.

    Args:
        url: https address.
        destination: The file to make; its folder is made too.
        num_bytes: Size of the file; more is not taken.
        sha256: Its hash, hexadecimal.
        opener: Sends the requests; default is one that can do nothing but https.
        backoff_s: Pause before the first retry, doubled for each further one.

    Raises:
        CheckpointError: if what the server sends is not the expected file.
        MachineError: if the network or the disk fails.
    """
    part_path = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked(destination.with_name(destination.name + ".lock")):
            if destination.is_file():  # another process was faster
                return
            with part_path.open("a+b") as file:
                part = _Part(file, url=url, num_bytes=num_bytes)
                _check_space(part, destination)
                _transfer(part, opener or https_opener(), backoff_s=backoff_s)
                file.flush()
                os.fsync(file.fileno())
            _verify(part, part_path, sha256)
            part_path.replace(destination)
    except OSError as error:
        raise MachineError(
            "the weights could not be stored",
            where=destination,
            found=error.strerror or type(error).__name__,
            fix="free some disk space, or choose another folder with SAMFT_CACHE",
        ) from error


class _Part:
    """What has arrived of a file, on disk and as a running hash.

    Args:
        file: Open for appending and reading; its content is the beginning of the file.
        url: Where it comes from.
        num_bytes: Size of the complete file.
    """

    def __init__(self, file: IO[bytes], *, url: str, num_bytes: int) -> None:
        self._file = file
        self.url = url
        self.num_bytes = num_bytes
        self.digest = hashlib.sha256()
        self.size = 0
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            self.digest.update(chunk)
            self.size += len(chunk)
        if self.size > num_bytes:
            self.restart()

    @property
    def is_complete(self) -> bool:
        return self.size == self.num_bytes

    def restart(self) -> None:
        """Forget what has arrived."""
        self._file.truncate(0)
        self.digest = hashlib.sha256()
        self.size = 0

    def append(self, chunk: bytes) -> None:
        """Add the next bytes."""
        if self.size + len(chunk) > self.num_bytes:
            raise self.wrong_size(f"more than {self.num_bytes} bytes")
        self._file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def wrong_size(self, found: str) -> CheckpointError:
        """Return the error that says that the server sends another file."""
        return CheckpointError(
            "the server does not send the published weights",
            where=self.url,
            found=found,
            expected=f"{self.num_bytes} bytes",
            fix="a log-in page or proxy may be in between: open the address in a browser",
        )


class _BrokenOffError(Exception):
    """The connection failed in a way that another attempt may mend."""


def _check_space(part: _Part, destination: Path) -> None:
    needed = part.num_bytes - part.size
    free = shutil.disk_usage(destination.parent).free
    if free < needed:
        raise MachineError(
            "there is not enough disk space for the weights",
            where=destination.parent,
            found=f"{free / 1e9:.2f} GB free",
            expected=f"{needed / 1e9:.2f} GB",
            fix="free some, or choose another folder with SAMFT_CACHE",
        )


def _transfer(part: _Part, opener: Opener, *, backoff_s: float) -> None:
    """Fetch until `part` is complete; only attempts that get no further count as failures."""
    failures, furthest = 0, part.size
    with _progress(part) as advance:
        while not part.is_complete:
            try:
                _fetch(part, opener, advance)
            except _BrokenOffError as error:
                failures = 0 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if failures > _RETRIES:
                    raise MachineError(
                        "the weights could not be downloaded",
                        where=part.url,
                        found=f"{error} after {part.size} of {part.num_bytes} bytes",
                        fix="check the network and start again: what has arrived is kept",
                    ) from error
                _logger.info("download broke off (%s), trying again", error)
                time.sleep(backoff_s * 2**failures)


def _fetch(part: _Part, opener: Opener, advance: Callable[[int], None]) -> None:
    """Make one request for what is missing and append what comes."""
    headers = {"Accept-Encoding": "identity", "User-Agent": f"samft/{samft.__version__}"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
    request = urllib.request.Request(part.url, headers=headers)  # noqa: S310  # the opener decides
    with _response(request, part, opener) as response:
        _place(part, response.status, response.headers)
        advance(part.size)
        while chunk := _read(response):
            part.append(chunk)
            advance(part.size)
    if not part.is_complete:
        raise _BrokenOffError("the server closed the connection")


def _response(
    request: urllib.request.Request, part: _Part, opener: Opener
) -> Any:  # Any: see `Opener`
    try:
        return opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.restart()
        elif error.code not in _TRY_AGAIN_CODES:
            raise MachineError(
                "the server does not give out the weights",
                where=part.url,
                found=f"{error.code} {error.reason}",
                fix="download the file by other means and pass its path",
            ) from error
        raise _BrokenOffError(f"the server answered {error.code}") from error
    except _NETWORK_ERRORS as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error


def _read(response: Any) -> bytes:  # Any: see `Opener`
    try:
        chunk: bytes = response.read(_CHUNK_BYTES)
    except _NETWORK_ERRORS as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    return chunk


def _place(part: _Part, status: int, headers: Message) -> None:
    """Make `part` end where the body of the response begins."""
    if status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        start, total = match.groups() if match else (None, None)
        if start != str(part.size) or total not in {str(part.num_bytes), "*"}:
            raise part.wrong_size(f"the range {headers.get('Content-Range')!r}")
        return
    length = headers.get("Content-Length")
    if length not in {None, str(part.num_bytes)}:
        raise part.wrong_size(f"{length} bytes of {headers.get_content_type()}")
    part.restart()


def _verify(part: _Part, path: Path, sha256: str) -> None:
    found = part.digest.hexdigest()
    if found != sha256:
        path.unlink()
        raise CheckpointError(
            "the downloaded weights are not the published ones and were removed",
            where=part.url,
            found=f"sha256 {found}",
            expected=sha256,
            fix="try again; if it stays so, the server or the connection is not to be trusted",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.info("waiting for another process that downloads %s", path.with_suffix("").name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _progress(part: _Part) -> Iterator[Callable[[int], None]]:
    """Show how much has arrived: a bar on a terminal, a line per tenth in a log."""
    name = part.url.rpartition("/")[2]
    if not sys.stderr.isatty():
        yield _log_tenths(name, part)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=part.num_bytes, completed=part.size)
        yield lambda size: bar.update(task, completed=size)


def _log_tenths(name: str, part: _Part) -> Callable[[int], None]:
    told = -1

    def advance(size: int) -> None:
        nonlocal told
        tenth = 10 * size // part.num_bytes
        if tenth != told:
            told = tenth
            _logger.info("%s: %d %% of %.0f MB", name, 10 * tenth, part.num_bytes / 1e6)

    return advance
