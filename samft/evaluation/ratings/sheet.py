"""The folder that a rater gets: one HTML page, one picture per job, a table to fill in."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image

from samft.errors import OutputError
from samft.evaluation.ratings.jobs import Job, ObjectKey, RatedMask
from samft.evaluation.ratings.key import write_key
from samft.evaluation.ratings.page import PAGE, SCRIPT, STYLE
from samft.evaluation.ratings.reading import COLUMNS
from samft.evaluation.ratings.scale import ANCHORS, CRITERIA, HIGHEST, LOWEST
from samft.evaluation.ratings.views import five_views
from samft.inference.output_folder import write_atomically

KEY: Final = "key.csv"
_VIEWS, _TABLE, _PAGE = "views", "ratings.csv", "index.html"
_LONG_AGO: Final = 946_684_800.0  # every picture's time: when it was written tells models apart
_QUALITY: Final = 90  # JPEG; without subsampling, so that coloured edges stay sharp


def write_sheets(
    jobs: Sequence[Job], rated: Iterable[RatedMask], out: Path, *, max_side: int
) -> list[Path]:
    """Write the sheets of all raters and the key.

    Args:
        jobs: In the order of the queue.
        rated: What is shown of each job, in any order, one at a time; each once.
        out: The folder; made if it is not there.
        max_side: See `five_views`.

    Returns:
        The folder of each rater, to be handed out; `key.csv` beside them is not.

    Raises:
        OutputError: if a job has nothing to show, or something is shown that is no job.
        MachineError: if the disk is full or cannot be written.
    """
    numbers = sorted({rater for job in jobs for rater in job.raters})
    folders = {rater: out / f"rater_{rater:0{len(str(max(numbers)))}d}" for rater in numbers}
    for folder in folders.values():
        (folder / _VIEWS).mkdir(parents=True, exist_ok=True)
    left = {(job.model, job.target): job for job in jobs}
    shown: dict[str, str] = {}
    for each in rated:
        job = _taken(left, each.model, each.target)
        first, *others = [folders[rater] / _VIEWS / f"{job.code}.jpg" for rater in job.raters]
        _save(each, first, max_side)
        shown[job.code] = hashlib.sha256(first.read_bytes()).hexdigest()
        os.utime(first, (_LONG_AGO, _LONG_AGO))
        for place in others:
            _same(first, place)
    if left:
        model, target = next(iter(left))
        raise OutputError(
            "a job has nothing to show",
            where=target.sample_id,
            found=f"no mask of {model} for object {target.object_id}",
        )
    write_key(jobs, out / KEY)
    for rater, folder in folders.items():
        own = [job.code for job in jobs if rater in job.raters]
        _write(folder / _TABLE, _table(own))
        _write(folder / _PAGE, html_page(own, study=_study(shown, rater)))
    return list(folders.values())


def html_page(codes: Sequence[str], *, study: str) -> str:
    """Return the page of a rater.

    It needs nothing from elsewhere but the pictures beside it. Its script only remembers what was
    clicked and hands it back as a CSV file; without scripts the same goes into `ratings.csv`.

    Args:
        codes: Of the rater's jobs, in their order.
        study: What the browser remembers ratings under, so that two studies do not mix.
    """
    scale = "".join(
        f"<tr><th>{anchor.ratings}</th><td>{escape(anchor.text)}</td></tr>" for anchor in ANCHORS
    )
    criteria = "".join(
        f"<li><b>{escape(question)}</b> {escape(text)}</li>" for question, text in CRITERIA
    )
    return PAGE.format(
        style=STYLE,
        script=SCRIPT,
        scale=scale,
        criteria=criteria,
        count=len(codes),
        study=escape(study, quote=True),
        jobs="\n".join(_section(code) for code in codes),
    )


def _section(code: str) -> str:
    name = escape(code, quote=True)
    marks = "".join(
        f'<label><input type="radio" name="{name}" value="{value}">{value}</label>'
        for value in range(LOWEST, HIGHEST + 1)
    )
    return (
        f'<section id="{name}" data-job="{name}"><h2>{name}</h2>'
        f'<img loading="lazy" src="{_VIEWS}/{name}.jpg" alt="five views of the mask of job {name}">'
        f"<fieldset><legend>rating</legend>{marks}</fieldset>"
        f'<input class="comment" type="text" maxlength="500" aria-label="comment on {name}" '
        'placeholder="comment, if you like"></section>'
    )


def _table(codes: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([code, "", ""] for code in codes)
    return text.getvalue()


def _study(shown: Mapping[str, str], rater: int) -> str:
    """Return a name that no study with another picture has, and that says nothing of this one."""
    content = repr(sorted(shown.items())).encode()
    return f"samft-ratings-{hashlib.sha256(content).hexdigest()[:16]}-{rater}"


def _taken(left: dict[tuple[str, ObjectKey], Job], model: str, target: ObjectKey) -> Job:
    job = left.pop((model, target), None)
    if job is None:
        raise OutputError(
            "a mask is no job, or was shown before",
            where=target.sample_id,
            found=f"{model}, object {target.object_id}",
        )
    return job


def _save(rated: RatedMask, place: Path, max_side: int) -> None:
    picture = Image.fromarray(five_views(rated, max_side=max_side))
    write_atomically(
        place,
        lambda path: picture.save(path, format="JPEG", quality=_QUALITY, subsampling=0),
    )


def _same(first: Path, place: Path) -> None:
    """Put the same picture into another sheet, without taking its room twice where that works."""
    place.unlink(missing_ok=True)
    try:
        os.link(first, place)
    except OSError:
        write_atomically(place, lambda path: shutil.copy2(first, path))


def _write(place: Path, text: str) -> None:
    write_atomically(place, lambda path: path.write_text(text, "utf-8", newline=""))
