"""Filled-in rating sheets, read strictly: what cannot be understood is not guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from samft.errors import DatasetError, did_you_mean
from samft.evaluation.ratings.jobs import Job
from samft.evaluation.ratings.scale import HIGHEST, LOWEST
from samft.evaluation.ratings.tables import read_table

COLUMNS: Final = ("job", "rating", "comment")
_NUMBER = re.compile(r"\d{1,2}(?:[.,]\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RatedSheet:
    """What one rater wrote.

    Args:
        rater: The file's name without its ending.
        ratings: By job, `LOWEST` to `HIGHEST`.
        num_blank: Rows without a rating.
        num_comments: Rows with a comment.
    """

    rater: str
    ratings: Mapping[str, float]
    num_blank: int = 0
    num_comments: int = 0


def read_sheet(path: Path, jobs: Mapping[str, Job]) -> RatedSheet:
    """Read a filled-in `ratings.csv`.

    Args:
        path: The file; commas, semicolons or tabs, `7`, `7.0` and `7,0` are all understood.
        jobs: Those of the key.

    Raises:
        DatasetError: if the file cannot be read, a job is unknown or rated twice, or a rating is no
            number from `LOWEST` to `HIGHEST`.
    """
    ratings: dict[str, float] = {}
    lines: dict[str, int] = {}
    comments = 0
    for row in read_table(path, COLUMNS[:2]):
        where = f"{path}, line {row.line}"
        code = row.cells["job"].lower()
        if code not in jobs:
            raise DatasetError(
                f"the key has no job {code!r}",
                where=where,
                fix=did_you_mean(code, jobs) if len(jobs) <= 10 else "take the key of this study",
            )
        if code in lines:
            raise DatasetError(
                "a job is rated twice",
                where=where,
                found=code,
                expected=f"once, on line {lines[code]}",
                fix="delete one of the two rows",
            )
        lines[code] = row.line
        comments += bool(row.cells.get("comment"))
        rating = _rating(row.cells["rating"], where)
        if rating is not None:
            ratings[code] = rating
    return RatedSheet(
        rater=path.stem,
        ratings=ratings,
        num_blank=len(lines) - len(ratings),
        num_comments=comments,
    )


def read_sheets(paths: Sequence[Path], jobs: Mapping[str, Job]) -> list[RatedSheet]:
    """Read the sheets of all raters.

    Raises:
        DatasetError: as `read_sheet`, if two are the same file, or nobody rated anything.
    """
    sheets: list[RatedSheet] = []
    places = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if places[number] in places[:number]:
            raise DatasetError("a sheet is given twice", where=path, fix="give each one once")
        sheet = read_sheet(path, jobs)
        taken = [each.rater for each in sheets]
        # Files of the same name lie in different folders: raters' own.
        if sheet.rater in taken:
            sheet = RatedSheet(
                rater=f"{path.parent.name}/{sheet.rater}",
                ratings=sheet.ratings,
                num_blank=sheet.num_blank,
                num_comments=sheet.num_comments,
            )
        sheets.append(sheet)
    if not any(sheet.ratings for sheet in sheets):
        raise DatasetError(
            "nobody has rated anything yet",
            where=", ".join(map(str, paths))[:200],
            expected=f"a column 'rating' with numbers from {LOWEST} to {HIGHEST}",
        )
    return sheets


def _rating(text: str, where: str) -> float | None:
    if not text:
        return None
    number = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None
    if number is None or not LOWEST <= number <= HIGHEST:
        raise DatasetError(
            "a rating is not on the scale",
            where=where,
            found=text[:40],
            expected=f"a number from {LOWEST} to {HIGHEST}, or nothing",
        )
    return number
