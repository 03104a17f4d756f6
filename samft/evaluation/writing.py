"""The folder of an evaluation: `metrics.json`, `objects.csv`, `objects.json`, `images.csv`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from samft.errors import MachineError, OutputError
from samft.evaluation.facts import CompetitorRecord, DataFacts
from samft.evaluation.row_files import (
    in_order,
    write_images_csv,
    write_objects_csv,
    write_objects_json,
)
from samft.evaluation.rows import Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.summary import Summary, summarise
from samft.inference.output_folder import write_atomically

METRICS: Final = "metrics.json"
GALLERY: Final = "gallery"
_STAGE: Final = ".results.part"
_TABLE: Final = b"model,prompt,"
_JSON: Final = b'{"format":"samft-'
_MARKS: Final = {
    METRICS: _JSON,
    "objects.json": _JSON,
    "objects.csv": _TABLE,
    "images.csv": _TABLE,
}
"""How the files begin, without spaces."""
_PICTURE: Final = re.compile(r"[a-z0-9_]+_(?:best|worst|improved|worsened)_\d+\.jpg")


def write_results(
    rows: Rows,
    *,
    folder: Path,
    competitors: Sequence[CompetitorRecord],
    settings: EvaluationSettings,
    data: DataFacts,
    reference: str | None,
    device: str | None = None,
) -> Summary:
    """Write what an evaluation found, in place of what was there.

    All files are written to a folder beside their places first and then renamed, `metrics.json`
    last: whoever is interrupted keeps the old results. An old gallery is removed.

    Args:
        rows: Of all models and prompts.
        folder: Made where it does not exist.
        competitors: Who answered, in the order of tables.
        settings: How it was evaluated.
        data: What was answered about.
        reference: Name of the model that others are compared with, or `None`.
        device: What the models ran on; default: what torch would use.

    Returns:
        What `metrics.json` holds.

    Raises:
        OutputError: if the folder is a file.
        MachineError: if the disk is full or cannot be written.
    """
    summary = summarise(
        rows,
        competitors=competitors,
        settings=settings,
        data=data,
        reference=reference,
        device=device,
    )
    order = [record.name for record in competitors]
    objects, images = in_order(rows.objects, order), in_order(rows.images, order)
    _replace_all(
        folder,
        {
            "objects.csv": partial(write_objects_csv, rows=objects),
            "objects.json": partial(write_objects_json, rows=objects),
            "images.csv": partial(write_images_csv, rows=images),
            METRICS: partial(_write_metrics, summary=summary),
        },
    )
    return summary


def write_metrics(summary: Summary, folder: Path) -> None:
    """Write `metrics.json` once more, such as with the gallery.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    write_atomically(folder / METRICS, partial(_write_metrics, summary=summary))


def foreign_file(folder: Path) -> Path | None:
    """Return a file that results would overwrite and no test has written; `None` without any.

    Args:
        folder: For results; need not exist.
    """
    for name, mark in _MARKS.items():
        path = folder / name
        if path.is_dir() or (path.is_file() and not _begins_with(path, mark)):
            return path
    gallery = folder / GALLERY
    if gallery.is_dir():
        return next((each for each in gallery.iterdir() if not _PICTURE.fullmatch(each.name)), None)
    return gallery if gallery.exists() else None


def _begins_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        begin = file.read(64)
    return not begin or b"".join(begin.split()).startswith(mark)


def _write_metrics(path: Path, summary: Summary) -> None:
    text = json.dumps(summary.to_dict(), indent=1, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _replace_all(folder: Path, writers: Mapping[str, Callable[[Path], None]]) -> None:
    """Write files to a folder of their own, then move them to their places in this order."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(
            "the folder for the results is a file", where=folder, fix="choose another --out"
        )
    stage = folder / _STAGE
    try:
        shutil.rmtree(stage, ignore_errors=True)  # of a killed process
        stage.mkdir(parents=True)
        for name, write in writers.items():
            write(stage / name)
        for name in writers:
            (stage / name).replace(folder / name)
        if (folder / GALLERY).is_dir():
            shutil.rmtree(folder / GALLERY)
    except OSError as error:
        raise MachineError(
            "a result could not be written", where=folder, found=error.strerror or error
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
