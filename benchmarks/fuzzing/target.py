"""What is fuzzed, and what an input may not do."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from samft.errors import SamftError

Mutate = Callable[[bytes, int], bytes]
"""Changes an input, given the seed of the change."""

LONGEST_INPUT: Final = 65_536
LARGEST_GROWTH: Final = 320 * 1024**2  # bytes one input may take: five copies of LARGEST_FILE
LONGEST_MESSAGE: Final = 3000
LARGEST_FILE: Final = 64 * 1024**2  # SAMFT_MAX_BYTES while fuzzing
_WATCHED: Final = {"open", "os.remove", "os.rename", "os.mkdir", "os.symlink", "os.truncate"}
_NEVER: Final = {"socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and what it reads.

    Args:
        name: Of the target; also of its corpus.
        file_name: What the input is called in its folder; may hold folders.
        read: Reads the file to the end; raises errors of samft's alone.
        seeds: Makes valid files to begin with; given an empty folder to work in.
        mutate: Changes that keep a file's form (JSON stays JSON); bytes are changed as well.
        wrap: Makes the file from the input, such as an archive around it; the input itself if
            `None`.
        around: Other files of the folder, by name: a header beside pixels, a mask beside a table.
    """

    name: str
    file_name: str
    read: Callable[[Path], object]
    seeds: Callable[[Path], Sequence[bytes]]
    mutate: Mutate | None = None
    wrap: Callable[[bytes], bytes] | None = None
    around: Mapping[str, bytes] | None = None

    def write(self, data: bytes, folder: Path) -> Path:
        """Write an input into a folder and return the file to read."""
        for name, content in (self.around or {}).items():
            beside = folder / name
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
        path = folder / self.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if self.wrap is None else self.wrap(data))
        return path


class Finding(AssertionError):  # noqa: N818  (what fuzzers call it)
    """An input did what no input may."""


def run_input(target: Target, data: bytes, folder: Path) -> str:
    """Give an input to a reader and see that it keeps its promises.

    The reader returns or raises an error of samft's, of at most three lines; it opens nothing
    outside the folder, starts nothing, connects to nothing, and takes less than `LARGEST_GROWTH`.

    Args:
        target: The reader.
        data: The input.
        folder: An empty folder for it.

    Returns:
        `read`, or the error it was refused with: its class and what it says happened.

    Raises:
        Finding: if it did anything else.
    """
    path = target.write(data, folder)
    before = _peak()
    try:
        with watched(folder):
            _exhaust(target.read(path))
        outcome = "read"
    except SamftError as error:
        outcome = _checked(error)
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]) from error
    grown = _peak() - before
    if grown > LARGEST_GROWTH:
        raise Finding(f"took {grown / 1024**2:.0f} MB")
    return outcome


def _exhaust(result: object) -> None:
    if isinstance(result, Iterator):
        for _ in result:
            pass


def _checked(error: SamftError) -> str:
    text = str(error)
    if len(text.splitlines()) > 3 or len(text) > LONGEST_MESSAGE:
        raise Finding(f"a message of {len(text.splitlines())} lines, {len(text)} characters")
    return f"{type(error).__name__}: {error.what}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Watch:
    """An audit hook, which stays for the life of the process; looks while a folder is set."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:  # Any: as Python gives
        if self.folder is None or (event not in _WATCHED and event not in _NEVER):
            return
        if event in _NEVER:
            self._report(f"{event}{arguments[:2]}")
        for name in arguments[:2]:
            if isinstance(name, str | bytes) and not self._allowed(name):
                self._report(f"{event}: {name!r}")
            if event == "open":  # its second argument is the mode
                break

    def _report(self, what: str) -> None:
        self.folder = None  # one report is enough, and making it may open files
        raise Finding(f"reached out of its folder: {what}")

    def _allowed(self, name: str | bytes) -> bool:
        text = name.decode(errors="replace") if isinstance(name, bytes) else name
        folder = str(self.folder)
        if text.startswith((folder, *_PROGRAM)) and ".." not in text.split("/"):
            return True
        return text.endswith(_OF_PACKAGES) and ".." not in text


_PROGRAM: Final = (sys.prefix, sys.base_prefix, "/usr/share/zoneinfo", "/proc/", "/sys/", "/dev/")
_OF_PACKAGES: Final = (".py", ".pyc", ".so", ".json.gz", "entry_points.txt")
_WATCH: Final = _Watch()


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise `Finding` where the block opens a file outside `folder`, or starts a program."""
    if not _WATCH.installed:
        sys.addaudithook(_WATCH)
        _WATCH.installed = True
    _WATCH.folder = folder.resolve()
    try:
        yield
    finally:
        _WATCH.folder = None
