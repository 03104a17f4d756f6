"""The score of every image, worst first, read line by line from the tables of a test."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from samft.errors import DatasetError
from samft.evaluation.report.blocks import Block, Cell, Section, Table, Text
from samft.evaluation.report.privacy import Privacy
from samft.evaluation.report.results import Results
from samft.evaluation.report.wording import count, leading_prompts, number, prompt_label, signed

MOST_ROWS: Final = 2000
"""Images in the table; the worst are shown of more."""
_FILES: Final = ("images.csv", "objects.csv")  # the first is a hundred times smaller
_NEEDED: Final = ("model", "prompt", "sample_id")
_SCORES: Final = {"images.csv": "dice", "objects.csv": "iou"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")  # as in `samft.evaluation.row_files`
_VISIBLE: Final = 0.0005  # what three digits show
_LABELS: Final = {"dice": "Dice of whole images", "iou": "mean IoU of objects"}


class Column(NamedTuple):
    """What a column of the table shows: a model's answers to a prompt."""

    prompt: str
    model: str


@dataclass(slots=True)
class CaseScores:
    """The scores of one image.

    Args:
        sums: Of its classes or objects, by column.
        counts: How many there are.
        objects: How many true objects it has.
    """

    sums: dict[Column, float] = field(default_factory=dict)
    counts: dict[Column, int] = field(default_factory=dict)
    objects: dict[Column, int] = field(default_factory=dict)

    def add(self, column: Column, score: float, objects: int) -> None:
        """Add a class or an object."""
        self.objects[column] = self.objects.get(column, 0) + objects
        if math.isfinite(score):
            self.sums[column] = self.sums.get(column, 0.0) + score
            self.counts[column] = self.counts.get(column, 0) + 1

    def mean(self, column: Column) -> float:
        """Return the mean over classes or objects; NaN without any."""
        return self.sums[column] / self.counts[column] if column in self.counts else math.nan


def per_case(results: Results, privacy: Privacy) -> Section:
    """Return the table of images.

    Raises:
        DatasetError: if the table that `samft test` wrote cannot be read.
    """
    title, key = "Every image", "cases"
    path = next((results.folder / n for n in _FILES if (results.folder / n).is_file()), None)
    columns = _columns(results)
    if path is None or not columns:
        return Section(key=key, title=title, blocks=[])
    cases = read_cases(path, columns, labels=results.labels)
    if not cases:
        return Section(key=key, title=title, blocks=[])
    present = [column for column in columns if any(column in c.counts for c in cases.values())]
    worst = sorted(cases, key=lambda name: (_rank(cases[name], columns[0]), name))
    rows = [_row(privacy.case(name), cases[name], present, results) for name in worst[:MOST_ROWS]]
    blocks: list[Block] = [Text(text=text) for text in _about(path, len(cases), privacy)]
    label = _LABELS[_SCORES[path.name]]
    caption = f"{label[0].upper()}{label[1:]}, the worst {results.main} first"
    head = ["Image", "Objects", *_heads(present, results)]
    blocks.append(Table(caption=caption, head=head, rows=rows, folded=True, long=True))
    return Section(key=key, title=title, blocks=blocks)


def read_cases(
    path: Path, columns: Sequence[Column], *, labels: dict[str, str] | object = None
) -> dict[str, CaseScores]:
    """Average the rows of a table by image, in the memory of one row.

    Args:
        path: `images.csv` or `objects.csv`.
        columns: Which models and prompts; other rows are skipped.
        labels: From the models' names in the file to those in `columns`.

    Returns:
        The scores by the image's id, in the order of the file.

    Raises:
        DatasetError: if it is no such table.
    """
    known = labels if isinstance(labels, dict) else {}
    originals = {label: name for name, label in known.items()}
    wanted = {(c.model and originals.get(c.model, c.model), c.prompt): c for c in columns}
    cases: dict[str, CaseScores] = {}
    for model, prompt, sample_id, score, objects in _rows(path):
        column = wanted.get((model, prompt))
        if column is not None:
            case = cases.get(sample_id)
            if case is None:
                case = cases[sample_id] = CaseScores()
            case.add(column, score, objects)
    return cases


def _rows(path: Path) -> Iterator[tuple[str, str, str, float, int]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            places = [_place(head, name, path) for name in (*_NEEDED, _SCORES[path.name])]
            objects = head.index("num_objects") if "num_objects" in head else None
            model, prompt, sample_id, score = places
            for row in reader:
                if len(row) != len(head):
                    raise _broken(path, f"line {reader.line_num}: {len(row)} values", len(head))
                number_of = 1 if objects is None else int(row[objects] or 0)
                value = float(row[score] or "nan")
                names = _unprotected(row[model]), row[prompt], _unprotected(row[sample_id])
                yield (*names, value, number_of)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise _broken(path, f"{error}"[:200], None) from error


def _unprotected(text: str) -> str:
    """Return a name without the mark that keeps spreadsheets from computing it."""
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def _place(head: Sequence[str], name: str, path: Path) -> int:
    if name not in head:
        raise DatasetError(
            "the table of a test lacks a column",
            where=path,
            found=f"columns {', '.join(head)[:80] or 'none'}",
            expected=f"a column {name!r}",
            fix="run samft test again",
        )
    return head.index(name)


def _broken(path: Path, found: str, expected: int | None) -> DatasetError:
    return DatasetError(
        "the table of a test cannot be read",
        where=path,
        found=found,
        expected=None if expected is None else f"{expected} values",
        fix="run samft test again",
    )


def _columns(results: Results) -> list[Column]:
    """Return what is shown: both models for the first prompt and the first click, and a U-Net."""
    prompts = leading_prompts(results.content["scores"])
    if not prompts or not results.main:
        return []
    models = [name for name in (results.reference, results.main) if name]
    first = Column(prompts[0], results.main)
    chosen = [prompts[0], *(prompt for prompt in prompts if prompt == "point1")]
    columns = [Column(prompt, model) for prompt in dict.fromkeys(chosen) for model in models]
    columns += [Column(prompts[0], name) for name in results.of_kind("unet")]
    return [first, *(column for column in columns if column != first)]


def _heads(columns: Sequence[Column], results: Results) -> list[str]:
    heads = []
    for column in columns:
        heads.append(f"{column.model}, {prompt_label(column.prompt)}")
        if _has_change(column, results):
            heads.append(f"change, {prompt_label(column.prompt)}")
    return heads


def _row(name: str, case: CaseScores, columns: Sequence[Column], results: Results) -> list[Cell]:
    objects = max(case.objects.values(), default=0)
    cells = [Cell(name), Cell(count(objects))]
    for column in columns:
        value = case.mean(column)
        cells.append(Cell(number(value)))
        if _has_change(column, results):
            change = value - case.mean(Column(column.prompt, results.reference))
            tone = "good" if change > _VISIBLE else "bad" if change < -_VISIBLE else ""
            cells.append(Cell(signed(change), tone))
    return cells


def _has_change(column: Column, results: Results) -> bool:
    return bool(results.reference) and column.model == results.main


def _rank(case: CaseScores, column: Column) -> float:
    value = case.mean(column)
    return math.inf if math.isnan(value) else value


def _about(path: Path, total: int, privacy: Privacy) -> Iterator[str]:
    table = f"{path.parent.name}/{path.name}"
    if total > MOST_ROWS:
        yield (
            f"The worst {count(MOST_ROWS)} of {count(total)} images are shown; all of them are in "
            f"{table}."
        )
    else:
        yield f"All {count(total)} images; every score of each is in {table}."
    if not privacy.keep_names:
        yield (
            f"Images are named by the start of the SHA-256 of their ids. {table} has the ids "
            "themselves, so keep it where the images are kept; with --keep-names the report shows "
            "them too."
        )
