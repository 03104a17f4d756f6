"""Rows of Hugging Face data sets: Arrow files of `save_to_disk`, Parquet files of the hub.

Read with pyarrow alone. The package `datasets` would copy Parquet into a cache of its own first,
may reach for the network, and brings two dozen packages.
"""

from __future__ import annotations

import json
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from samft._deps import require
from samft.data.cache import ByteLimitedCache
from samft.data.readers.limits import max_bytes, reading, unreadable
from samft.errors import DatasetError

ROW_SUFFIXES: Final = (".arrow", ".parquet")
"""File name endings, lower case."""
_EXPECTED = "an Arrow or Parquet file of a Hugging Face data set"
_AT_ONCE = 16  # rows decoded together; a cell may hold many megabytes
_KEPT = 2**28  # bytes of decoded Parquet rows that are kept, per process
_ARROW_FILE = b"ARROW1\0\0"


class RowFile(ABC):
    """One file of rows.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema: Any = None  # Any: pyarrow.Schema
        self.num_rows = 0

    @abstractmethod
    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:  # Any: cells
        """Return the cells of a row in some columns."""

    @abstractmethod
    def texts(self, column: str) -> Iterator[str]:
        """Yield a column of short texts or numbers."""

    def features(self) -> Mapping[str, Any]:  # Any: JSON
        """Return what `datasets` noted about the columns, if it did."""
        noted = (self.schema.metadata or {}).get(b"huggingface")
        try:
            found = json.loads(noted)["info"]["features"] if noted else {}
        except (ValueError, LookupError, TypeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def image_columns(self) -> dict[str, bool]:
        """Return the columns that hold images, and whether a cell holds a list of them."""
        features = self.features()
        found: dict[str, bool] = {}
        with _reading(self.path):  # the names inside a column are decoded when they are asked for
            for field in self.schema:
                listed, inner = _inner_type(field.type)
                noted = _noted(features.get(field.name))
                if noted is not None:
                    found[field.name] = noted
                elif field.name not in features and _holds_images(inner):
                    found[field.name] = listed
        return found

    def _check_rows(self) -> None:
        _ = self.schema.names  # decoded here, where an error is one of the file
        # Rows of nothing take no space: a short file could announce as many as it likes.
        if self.num_rows > self.path.stat().st_size:
            found = f"{self.num_rows} rows in {self.path.stat().st_size} bytes"
            raise unreadable(self.path, found, _EXPECTED)


class ArrowRows(RowFile):
    """An Arrow file, mapped into memory: a row is read where it lies."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        arrow = _arrow()
        with _reading(path):
            as_file = _check_uncompressed(path, arrow)
            mapped = arrow.memory_map(str(path))
            opened = arrow.ipc.open_file(mapped) if as_file else arrow.ipc.open_stream(mapped)
            self._table = opened.read_all()
            self._table.validate(full=True)
            self.schema, self.num_rows = self._table.schema, self._table.num_rows
            self._check_rows()

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """See `RowFile`."""
        with _reading(self.path):
            found: dict[str, Any] = self._table.select(columns).slice(index, 1).to_pylist()[0]
            return found

    def texts(self, column: str) -> Iterator[str]:
        """See `RowFile`."""
        with _reading(self.path):
            for chunk in self._table.column(column).chunks:
                yield from (str(value) for value in chunk.to_pylist())


class ParquetRows(RowFile):
    """A Parquet file: its groups of rows are decoded as a whole, and the last ones kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        _arrow()
        parquet = require("pyarrow.parquet", extra="datasets", purpose="read Parquet files")
        with _reading(path):
            self._file = parquet.ParquetFile(path, memory_map=True)
            metadata = self._file.metadata
            self.schema, self.num_rows = self._file.schema_arrow, metadata.num_rows
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._ends = list(accumulate(sizes))
            if min(sizes, default=0) < 0 or sum(sizes) != self.num_rows:
                raise unreadable(path, "its groups have not as many rows as the file", _EXPECTED)
            self._check_rows()
        self._groups: ByteLimitedCache[Any] = ByteLimitedCache(_KEPT)

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """See `RowFile`."""
        group = bisect_right(self._ends, index)
        start = self._ends[group - 1] if group else 0
        with _reading(self.path):
            table = self._groups.get(
                (group, tuple(columns)), lambda: self._decode([group], columns)
            )
            found: dict[str, Any] = table.slice(index - start, 1).to_pylist()[0]
            return found

    def texts(self, column: str) -> Iterator[str]:
        """See `RowFile`."""
        with _reading(self.path):
            for batch in self._file.iter_batches(4096, columns=[column], use_threads=False):
                yield from (str(value) for value in batch.column(0).to_pylist())

    def _decode(self, groups: list[int], columns: Sequence[str]) -> Any:  # Any: pyarrow.Table
        taken, limit = 0, max_bytes()
        batches = []
        decoded = self._file.iter_batches(
            _AT_ONCE, row_groups=groups, columns=list(columns), use_threads=False
        )
        for batch in decoded:
            taken += batch.nbytes
            if taken > limit:
                raise DatasetError(
                    "a group of rows would take more memory than allowed",
                    where=self.path,
                    expected=f"at most {limit} bytes",
                    fix="write the file again with fewer rows in each group, or save the data set "
                    "with save_to_disk",
                )
            batches.append(batch)
        return _arrow().Table.from_batches(batches)


def open_rows(path: Path) -> RowFile:
    """Open a file of rows; the last ones stay open.

    Raises:
        DatasetError: if it is unreadable.
        DependencyError: if pyarrow is not installed.
    """
    with _reading(path):
        status = path.stat()
    return _open_rows(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _open_rows(path: Path, changed: int, size: int) -> RowFile:  # noqa: ARG001  # the file's state
    return ParquetRows(path) if path.suffix.lower() == ".parquet" else ArrowRows(path)


def has_image_features(features: object) -> bool:
    """Tell whether `dataset_info.json` names at least two columns of images."""
    if not isinstance(features, dict):
        return False
    return sum(_noted(feature) is not None for feature in features.values()) >= 2


def _noted(feature: object) -> bool | None:
    """Return whether a feature is a list of images; `None` if it is none of images."""
    if isinstance(feature, list) and len(feature) == 1:
        return True if _noted(feature[0]) is False else None
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "Image":
        return False
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return True if _noted(feature.get("feature")) is False else None
    return None


def _inner_type(kind: Any) -> tuple[bool, Any]:  # Any: pyarrow.DataType
    types = _arrow().types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return True, kind.value_type
    return False, kind


def _holds_images(kind: Any) -> bool:  # Any: pyarrow.DataType
    types = _arrow().types
    if types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _arrow() -> ModuleType:
    return require("pyarrow", extra="datasets", purpose="read Hugging Face data sets")


def _reading(path: Path) -> Any:  # Any: a context manager
    return reading(path, _EXPECTED, also=(_arrow().ArrowException,))


def _check_uncompressed(path: Path, arrow: ModuleType) -> bool:
    """Refuse compressed Arrow, whose size in memory nothing limits; tell whether it is a file.

    `datasets` writes streams without compression.
    """
    with path.open("rb") as file:
        as_file = file.read(8) == _ARROW_FILE
    mapped = arrow.memory_map(str(path))
    mapped.seek(8 if as_file else 0)
    messages = arrow.ipc.MessageReader.open_stream(mapped)
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return as_file
        if message.type in ("record batch", "dictionary") and _is_compressed(
            message.metadata.to_pybytes(), nested=message.type == "dictionary"
        ):
            raise unreadable(
                path, "compressed columns", "Arrow without compression, as save_to_disk writes it"
            )


def _is_compressed(metadata: bytes, *, nested: bool) -> bool:
    """Look into a message of Arrow (a flatbuffer) for the field that says how it is compressed.

    Source:
        Arrow columnar format, Message.fbs: Message.header is field 2, DictionaryBatch.data field 1,
        RecordBatch.compression field 3.
    """
    table = _table_in(metadata, 0)
    for number in (2, 1) if nested else (2,):
        place = _field(metadata, table, number)
        if place is None:
            return False
        table = _table_in(metadata, place)
    return _field(metadata, table, 3) is not None


def _table_in(data: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", data, place)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number + 2 > size:
        return None
    (shift,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + shift if shift else None
