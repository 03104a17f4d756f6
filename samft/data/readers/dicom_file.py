"""Opening DICOM files through pydicom, and what is asked of their elements everywhere.

Nothing of what a file says about a patient leaves these readers: messages state sizes and kinds,
never the text of an element, and identifiers become keys that only tell same from different.
"""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from samft._deps import require
from samft.data.readers.limits import is_special, max_bytes, reading, unreadable

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""File name endings, lower case; many files of scanners have none."""
_MAGIC_AT, _MAGIC = 128, b"DICM"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_START = _MAGIC_AT + len(_MAGIC)


def is_dicom(path: Path) -> bool:
    """Tell by its name, or else by its first bytes, whether a file is DICOM."""
    return path.suffix.lower() in DICOM_SUFFIXES or _head(path, _META_START).endswith(_MAGIC)


@contextmanager
def reading_dicom(path: Path, expected: str) -> Iterator[None]:
    """Turn what pydicom raises into a `DatasetError` that repeats nothing of the file.

    Args:
        path: The file being read.
        expected: What it should have been, such as `a DICOM image`.

    Raises:
        DatasetError: in place of pydicom's exceptions.
        DependencyError: if pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom", purpose="read DICOM files")
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the values of elements
        own = (pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException)
        with reading(path, expected, also=own, quote=False):
            yield


def load(path: Path, keywords: Sequence[str] | None = None) -> Any:  # Any: pydicom has no types
    """Read a file inside `reading_dicom`.

    Args:
        path: The file.
        keywords: The elements to read, none of them pixels; default: everything.
    """
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    _refuse_bomb(path)
    bare = not _head(path, _META_START).endswith(_MAGIC)  # older programs leave the preamble out
    tags = None if keywords is None else list(keywords)
    data = dcmread(path, force=bare, stop_before_pixels=tags is not None, specific_tags=tags)
    if bare and not (data.get("SOPClassUID") or data.get("Modality")):
        raise unreadable(path, "no DICOM header", "a DICOM file")
    if not data.file_meta.get("TransferSyntaxUID"):
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def key_of(value: object) -> str:
    """Return a key that tells same identifiers from different ones, empty for no identifier."""
    text = "" if value is None else str(value).strip()
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest() if text else ""


def numbers(value: Any, count: int) -> tuple[float, ...] | None:  # Any: an element's value
    """Return an element's numbers, `None` unless there are `count` finite ones."""
    found = tuple(float(item) for item in value) if value is not None and value != "" else ()
    return found if len(found) == count and np.isfinite(found).all() else None


def items(data: Any, keyword: str) -> Sequence[Any]:  # Any: pydicom
    """Return the items of a sequence, none if it is missing or is no sequence."""
    value = data.get(keyword)
    return value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else ()


def first_item(data: Any, keyword: str) -> Any:  # Any: pydicom
    """Return the first item of a sequence, an empty one if there is none."""
    found = items(data, keyword)
    return found[0] if len(found) else {}


def in_groups(group: Any, shared: Any, sequence: str, keyword: str) -> Any:  # Any: pydicom
    """Return an element of a frame's functional groups, else of those that all frames share."""
    value = first_item(group, sequence).get(keyword)
    return first_item(shared, sequence).get(keyword) if value is None else value


def is_native(data: Any) -> bool:  # Any: pydicom
    """Whether the pixels of a data set lie in it as they are, not compressed frame by frame."""
    return not data.file_meta.TransferSyntaxUID.is_compressed


def _head(path: Path, count: int) -> bytes:
    try:
        if is_special(path):
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def _refuse_bomb(path: Path) -> None:
    """Refuse a file that unpacks, as a whole, to more than is allowed; pydicom sets no limit."""
    head = _head(path, 4096)
    if _DEFLATED not in head:
        return
    # The first element is the length of the group that follows it, 12 bytes long itself.
    start = _META_START + 12 + int.from_bytes(head[_META_START + 8 : _META_START + 12], "little")
    with path.open("rb") as file:
        file.seek(start)
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        size = 0
        while block := (unpacker.unconsumed_tail or file.read(2**16)):
            size += len(unpacker.decompress(block, 2**20))
            if size > max_bytes():
                raise unreadable(path, "more data than is allowed", "SAMFT_MAX_BYTES at most")
