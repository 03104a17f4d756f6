"""The key of a rating study: which job is whose mask of which object."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from samft.errors import DatasetError
from samft.evaluation.ratings.jobs import Job, ObjectKey
from samft.evaluation.ratings.tables import read_table
from samft.inference.output_folder import write_atomically

_COLUMNS: Final = (
    "job", "model", "data", "sample_id", "case_id", "object_id", "class_name", "raters",
)  # fmt: skip
_NEEDED: Final = ("job", "model", "sample_id", "object_id")


@dataclass(frozen=True, slots=True)
class Key:
    """What `key.csv` says.

    Args:
        jobs: By code.
    """

    jobs: dict[str, Job]

    @property
    def models(self) -> list[str]:
        """Names of all models, sorted."""
        return sorted({job.model for job in self.jobs.values()})


def write_key(jobs: Sequence[Job], path: Path) -> None:
    """Write `key.csv`, which raters must not see.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for job in jobs:
        target = job.target
        writer.writerow(
            [
                job.code,
                job.model,
                target.data,
                target.sample_id,
                target.case_id,
                target.object_id,
                target.class_name,
                " ".join(map(str, job.raters)),
            ]
        )
    write_atomically(path, lambda place: place.write_text(text.getvalue(), "utf-8"))


def read_key(path: Path) -> Key:
    """Read `key.csv`.

    Args:
        path: As `write_key` wrote it, maybe saved again by a spreadsheet.

    Raises:
        DatasetError: if it cannot be read, names a job twice, or a model has two masks of an
            object.
    """
    jobs: dict[str, Job] = {}
    seen: dict[tuple[str, ObjectKey], str] = {}
    for row in read_table(path, _NEEDED):
        where = f"{path}, line {row.line}"
        job = _job(row.cells, where)
        if job.code in jobs:
            raise DatasetError(
                "the key names a job twice",
                where=where,
                found=job.code,
                fix="take the key that samft ratings sheet wrote",
            )
        other = seen.setdefault((job.model, job.target), job.code)
        if other != job.code:
            raise DatasetError(
                "a model has two masks of the same object",
                where=where,
                found=f"{job.code} and {other}",
                fix="take the key that samft ratings sheet wrote",
            )
        jobs[job.code] = job
    if not jobs:
        raise DatasetError("the key names no jobs", where=path)
    return Key(jobs)


def _job(cells: dict[str, str], where: str) -> Job:
    number = cells["object_id"]
    raters = cells.get("raters", "1").split()
    if not number.isdecimal() or not all(word.isdecimal() for word in raters):
        raise DatasetError(
            "a number in the key is none",
            where=where,
            found=f"object_id {number!r}, raters {' '.join(raters)!r}",
            fix="take the key that samft ratings sheet wrote",
        )
    sample_id = cells["sample_id"]
    return Job(
        code=cells["job"].lower(),
        model=cells["model"],
        target=ObjectKey(
            data=cells.get("data", ""),
            sample_id=sample_id,
            case_id=cells.get("case_id") or sample_id,
            object_id=int(number),
            class_name=cells.get("class_name", ""),
        ),
        raters=tuple(int(word) for word in raters),
    )
