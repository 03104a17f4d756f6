"""Where the files of a tar lie: its headers read one by one, nothing unpacked.

Understands what Python's `tarfile`, GNU tar and bsdtar write: ustar, GNU long names, pax headers.
Links, sparse files and names that lead out of the archive are refused, and so is an archive that
ends before it says so: half a copy must not pass as a small data set.

Source: POSIX.1-2017, "pax"; the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from samft.data.readers.limits import reading, unreadable
from samft.errors import DatasetError

EXPECTED: Final = "an uncompressed tar file"
_BLOCK: Final = 512
_MAX_EXTENSION: Final = 2**20  # bytes of a header that holds nothing but names
_MAX_DIGITS: Final = 8
_FILES: Final = (b"0", b"\0", b"7")
_WITHOUT_DATA: Final = (b"5", b"3", b"4", b"6", b"V")  # folders, devices, pipes, labels
_NAMES: Final = {b"L": "path", b"x": "pax", b"X": "pax"}
_IGNORED: Final = (b"K", b"g", b"A", b"N")  # names of links, defaults of all: no file by themselves


class Member(NamedTuple):
    """A regular file in a tar.

    Args:
        name: Its relative name, with forward slashes.
        offset: Where its content begins, bytes.
        size: Length of its content, bytes.
    """

    name: str
    offset: int
    size: int


def read_members(path: Path) -> Iterator[Member]:
    """Yield the regular files of a tar in the order in which they lie there.

    Raises:
        DatasetError: if it is no tar, is damaged or incomplete, or holds a link or a name that
            leads out of it.
    """
    with reading(path, EXPECTED), path.open("rb", buffering=2**16) as file:
        yield from _Scan(path, file).members()


class _Scan:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.length = os.fstat(file.fileno()).st_size
        self.offset = 0

    def members(self) -> Iterator[Member]:
        extended: dict[str, str] = {}
        while (header := self._next_header()) is not None:
            kind = header[156:157]
            size = int(extended["size"]) if "size" in extended else self._number(header[124:136])
            self._check_room(size, kind)
            start = self.offset
            if kind in _NAMES or kind in _IGNORED:
                self._read_extension(kind, size, extended)
            elif kind in _FILES:
                name = extended.get("path") or _ustar_name(header)
                if not name.endswith("/"):  # a folder, as the first tars wrote it
                    yield Member(self._inside(name), start, size)
                extended = {}
            elif kind in _WITHOUT_DATA:
                size, extended = (0 if kind in b"5346" else size), {}
            else:
                self._refuse_kind(kind, extended.get("path") or _ustar_name(header))
            self.offset = start + -(-size // _BLOCK) * _BLOCK

    def _next_header(self) -> bytes | None:
        self.file.seek(self.offset)
        header = self.file.read(_BLOCK)
        if len(header) < _BLOCK:
            raise self._truncated("no end of the archive")
        if header == bytes(_BLOCK):
            return None
        stated = self._number(header[148:156])
        total = sum(header) - sum(header[148:156]) + 8 * ord(" ")  # as if there were blanks
        # Some old programs summed signed bytes.
        if stated != total and stated != total - 256 * sum(byte > 127 for byte in header):
            raise unreadable(self.path, f"no header of a file at byte {self.offset}", EXPECTED)
        self.offset += _BLOCK
        return header

    def _number(self, text: bytes) -> int:
        if text[0] in (0x80, 0xFF):  # GNU: larger than eleven octal digits
            value = int.from_bytes(text, "big", signed=True)
            return value if text[0] == 0xFF else int.from_bytes(text[1:], "big")
        digits = text.split(b"\0")[0].strip()
        try:
            return int(digits, 8) if digits else 0
        except ValueError:
            found = f"no header of a file at byte {self.offset}"
            raise unreadable(self.path, found, EXPECTED) from None

    def _check_room(self, size: int, kind: bytes) -> None:
        if size < 0 or (kind not in _WITHOUT_DATA and self.offset + size > self.length):
            raise self._truncated(f"a file of {size} bytes at byte {self.offset}")

    def _read_extension(self, kind: bytes, size: int, extended: dict[str, str]) -> None:
        if size > _MAX_EXTENSION:
            raise unreadable(self.path, f"a name of {size} bytes", EXPECTED)
        content = self.file.read(size)
        if kind == b"L":
            extended["path"] = _text(content.split(b"\0")[0])
        elif kind in b"xX":
            extended |= self._pax(content)

    def _pax(self, content: bytes) -> dict[str, str]:
        """Return path and size of a pax header: records of `length key=value` and a line feed."""
        found: dict[str, str] = {}
        place, end = 0, len(content.rstrip(b"\0"))
        while place < end:
            # Each record is cut out of the whole: a header has room for 200,000 of them.
            digits = content[place : place + _MAX_DIGITS].partition(b" ")[0]
            length = int(digits) if digits.isdigit() and len(digits) < _MAX_DIGITS else 0
            record = content[place + len(digits) + 1 : place + length]
            place += length
            key, equals, value = record.partition(b"=")
            if not (length and equals and value.endswith(b"\n") and place <= end):
                raise unreadable(self.path, "a damaged pax header", EXPECTED)
            if key.startswith(b"GNU.sparse"):
                self._refuse_kind(b"S", found.get("path", "?"))
            if key == b"path" or (key == b"size" and value[:-1].isdigit()):
                found[key.decode()] = _text(value[:-1])
        return found

    def _inside(self, name: str) -> str:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
            raise DatasetError(
                "a shard names a file outside itself",
                where=self.path,
                found=repr(name[:200]),
                expected="relative names without ..",
                fix="pack it again, or leave the shard out",
            )
        return "/".join(parts)

    def _refuse_kind(self, kind: bytes, name: str) -> None:
        what = {b"1": "a link", b"2": "a link", b"S": "a sparse file"}.get(kind)
        raise DatasetError(
            "a shard holds something that is no plain file",
            where=self.path,
            found=f"{name[:200]!r}, {what or f'an entry of type {kind!r}'}",
            expected="files and folders",
            fix="pack it again with links followed: tar --dereference --hard-dereference",
        )

    def _truncated(self, found: str) -> DatasetError:
        return DatasetError(
            "the shard is incomplete",
            where=self.path,
            found=f"{self.length} bytes, {found}",
            expected="a tar file with an end: two blocks of zeros",
            fix="copy or download it again",
        )


def _ustar_name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
