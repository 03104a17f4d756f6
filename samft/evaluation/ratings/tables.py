"""Tables as spreadsheets save them: comma, semicolon or tab, any of the usual encodings."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from samft.errors import DatasetError, did_you_mean

_DELIMITERS: Final = (",", ";", "\t")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row.

    Args:
        line: Its number in the file, from 1.
        cells: By column, without surrounding spaces.
    """

    line: int
    cells: dict[str, str]


def read_table(path: Path, needed: Sequence[str]) -> list[TableRow]:
    """Read a table with a header; empty rows are left out.

    The delimiter is that of the header. UTF-8 with or without a byte-order mark, UTF-16 with one,
    and else Windows' western encoding are understood, and the line `sep=;` that some programs
    write.

    Args:
        path: The file.
        needed: Columns that there must be; others may be there too, in any order.

    Raises:
        DatasetError: if the file cannot be read, a column is missing or a row is too long.
    """
    text = _text(path)
    above = 1 if text[:4].lower() == "sep=" else 0
    body = "".join(text.splitlines(keepends=True)[above:])
    first = body.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header, needed, path)
        rows = []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                line = reader.line_num + above
                rows.append(TableRow(line, _named(header, cells, f"{path}, line {line}")))
    except csv.Error as error:
        raise DatasetError(
            "the table cannot be read",
            where=path,
            found=str(error),
            fix="save it again as CSV, UTF-8",
        ) from error
    return rows


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(
                "the table is too large",
                where=path,
                found=f"{path.stat().st_size} bytes",
                expected=f"at most {_MOST_BYTES}",
            )
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            "the table cannot be read", where=path, found=error.strerror or error
        ) from error
    if content.startswith(_UTF16):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _check_header(header: Sequence[str], needed: Sequence[str], path: Path) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        known = [name for name in header if name]
        raise DatasetError(
            f"the table has no column {missing[0]!r}",
            where=f"{path}, line 1",
            found=", ".join(known)[:200] or "nothing",
            expected=", ".join(needed),
            fix=did_you_mean(missing[0], known) if known else None,
        )
    counts = Counter(header)
    double = next((name for name in header if name and counts[name] > 1), None)
    if double is not None:
        raise DatasetError(
            "the table has two columns of the same name", where=f"{path}, line 1", found=double
        )


def _named(header: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    stripped = [cell.strip() for cell in cells]
    if any(stripped[len(header) :]):
        raise DatasetError(
            "a row has more cells than the table has columns",
            where=where,
            found=f"{len(cells)} cells",
            expected=f"{len(header)}: {', '.join(header)}",
            fix='put a cell with a comma in quotes, such as "7,0"',
        )
    padded = [*stripped, *[""] * len(header)]
    return dict(zip(header, padded, strict=False))
