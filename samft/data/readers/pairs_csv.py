"""Tables of images and their masks: CSV, TSV and JSON lines."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.data.readers.json_files import kind_of, limited_lines, read_json_lines
from samft.data.readers.limits import reading
from samft.errors import DatasetError

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""File name endings of tables, lower case."""
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_EXPECTED = "a table in UTF-8: CSV, TSV or JSON lines"
_DELIMITERS = ",;\t|"
_IMAGE_NAMES = (
    *("image", "images", "img", "image_path", "img_path", "image_file", "image_filename"),
    *("image_file_name", "image_filepath", "image_name", "file_name", "filename", "file"),
    *("filepath", "file_path", "path", "scan", "volume", "input"),
)
_MASK_NAMES = (
    *("mask", "masks", "mask_path", "mask_file", "mask_filename", "mask_file_name"),
    *("mask_filepath", "mask_name", "label_path", "label_file", "label_filename"),
    *("label_file_name", "seg", "seg_path", "segmentation", "segmentation_path"),
    *("segmentation_file_name", "segmentation_mask_file_name", "annotation"),
    *("annotation_path", "annotation_file", "annotation_file_name", "ground_truth", "gt"),
    *("gt_path", "truth", "target", "label_map", "labelmap", "label", "labels"),
)
_CLASS_NAMES = ("class", "class_name", "category", "category_name", "structure", "organ")
_SPLIT_NAMES = ("split", "subset", "set", "partition", "fold_name")
_CASE_NAMES = (
    *("case", "case_id", "patient", "patient_id", "subject", "subject_id", "group"),
    "participant_id",
)
_NUMBERED = re.compile(r"(image|img|channel|modality)_?(\d+)")
_NOTHING = frozenset({"", "nan", "none", "null", "na", "n/a", "-"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRow:
    """One row of a table, with the names as they are written there.

    Args:
        line: Number of its line, from 1.
        images: The image file, or one per channel.
        labels: The mask files; none of an image without objects.
        class_name: What the masks show.
        split: The word for the split.
        case: The case or patient.
    """

    line: int
    images: tuple[str, ...]
    labels: tuple[str, ...]
    class_name: str | None = None
    split: str | None = None
    case: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairColumns:
    """Which columns of a table hold what, by their headers.

    Args:
        images: The image, or its channels in order.
        label: The mask.
        class_name: What the mask shows, if the table says.
        split: The split, if the table says.
        case: The case or patient, if the table says.
    """

    images: tuple[str, ...]
    label: str
    class_name: str | None = None
    split: str | None = None
    case: str | None = None


def find_columns(header: Sequence[str]) -> PairColumns | None:
    """Recognise the columns of a table; `None` if it has no images or no masks.

    Of `mask` and `label` together, the mask is the file and the label its class.

    Args:
        header: The names of the columns.
    """
    by_word = {_word(name): name for name in reversed(header)}
    numbered = sorted(
        (int(match[2]), name)
        for word, name in by_word.items()
        if (match := _NUMBERED.fullmatch(word))
    )
    first = _first(by_word, _IMAGE_NAMES)
    images = [first] if first is not None else []
    images += [name for _, name in numbered]
    label = _first(by_word, _MASK_NAMES)
    if not images or label is None or label in images:
        return None
    class_name = _first(by_word, _CLASS_NAMES)
    if class_name is None and by_word.get("label", label) != label:
        class_name = by_word["label"]
    return PairColumns(
        images=tuple(images),
        label=label,
        class_name=class_name,
        split=_first(by_word, _SPLIT_NAMES),
        case=_first(by_word, _CASE_NAMES),
    )


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Yield the rows of a table, one at a time however long it is; rows without image are empty.

    Raises:
        DatasetError: if it is no table, has no columns of images and masks, or a cell is no text.
    """
    rows = _json_rows(path) if path.suffix.lower() in _JSON_SUFFIXES else _csv_rows(path)
    for line, row, columns in rows:
        where = f"{path}: line {line}"
        images = tuple(t for name in columns.images for t in _texts(row.get(name), where))
        if images:
            yield PairRow(
                line=line,
                images=images,
                labels=_texts(row.get(columns.label), where),
                class_name=_text(row, columns.class_name, where),
                split=_text(row, columns.split, where),
                case=_text(row, columns.case, where),
            )


def read_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a CSV or TSV file; the delimiter is found out.

    Args:
        path: The file, in UTF-8 or, with a byte order mark, in UTF-16.

    Returns:
        The header without blanks at its ends, and the rows with the numbers of their lines.

    Raises:
        DatasetError: if the file cannot be read, also while rows are taken from it.
    """
    rows = _raw_rows(path)
    _, header = next(rows, (0, []))
    return [cell.strip() for cell in header], rows


def _raw_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with reading(path, _EXPECTED, also=(csv.Error,)):
        with path.open("rb") as raw:
            start = raw.read(4)
        wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        with path.open(encoding="utf-16" if wide else "utf-8-sig", newline="") as file:
            lines = limited_lines(path, file, _EXPECTED)
            first = next(lines, "")
            shift, delimiter = 0, None
            if first.lower().startswith("sep=") and len(first.strip()) == 5:  # written by Excel
                shift, delimiter, first = 1, first[4], next(lines, "")
            delimiter = delimiter or _delimiter(first)
            reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
            for row in reader:
                yield reader.line_num + shift, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any], PairColumns]]:
    header, rows = read_csv(path)
    columns = find_columns(header)
    if columns is None:
        raise _no_columns(path, header)
    if len({_word(name) for name in header if name}) < sum(1 for name in header if name):
        raise DatasetError(
            "two columns of the table have the same name",
            where=path,
            found=", ".join(header),
            fix="rename or remove one",
        )
    for line, row in rows:
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise DatasetError(
                "a row of the table has more cells than there are columns",
                where=f"{path}: line {line}",
                found=f"{len(row)} cells",
                expected=f"{len(header)}: {', '.join(header)}",
                fix="put names that contain the delimiter into quotes",
            )
        yield line, dict(zip(header, row, strict=False)), columns


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any], PairColumns]]:
    known: dict[tuple[str, ...], PairColumns | None] = {}
    for line, row in read_json_lines(path, _EXPECTED):
        keys = tuple(row)
        if keys not in known:
            known = {keys: find_columns(keys)}
        columns = known[keys]
        if columns is None:
            raise _no_columns(f"{path}: line {line}", list(row))
        yield line, row, columns


def _no_columns(where: object, header: Sequence[str]) -> DatasetError:
    return DatasetError(
        "the table has no columns of images and masks",
        where=where,
        found=", ".join(header)[:200] or "an empty file",
        expected="a first line such as image,mask,split,case,class",
    )


def _delimiter(header: str) -> str:
    counts = {d: len(next(csv.reader([header], delimiter=d), [])) for d in _DELIMITERS}
    return max(counts, key=lambda d: counts[d])


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _word(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def _first(by_word: dict[str, str], words: Sequence[str]) -> str | None:
    return next((by_word[word] for word in words if word in by_word), None)


def _texts(value: object, where: str) -> tuple[str, ...]:
    """Return the names of a cell: one, several in a JSON list, or none."""
    if value is None:
        return ()
    names: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise DatasetError(
                "a cell of the table is no file name",
                where=where,
                found=kind_of(item),
                expected="a text, or a list of texts",
            )
        name = item.strip()
        if name.lower() not in _NOTHING:
            names.append(name)
    return tuple(names)


def _text(row: dict[str, Any], name: str | None, where: str) -> str | None:
    value = None if name is None else row.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (dict, list, bool)):
        raise DatasetError(
            f"a cell of the column {name!r} is no text",
            where=where,
            found=kind_of(value),
            expected="a text or a number",
        )
    text = str(value).strip()
    return None if text.lower() in _NOTHING else text
