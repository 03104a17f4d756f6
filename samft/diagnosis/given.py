"""A run folder and a data folder that the user asks about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from samft.checkpoints import read_checkpoint
from samft.data.layouts.registry import recognise
from samft.data.roots import resolve_root
from samft.diagnosis.rows import Row
from samft.errors import SamftError
from samft.runs import FIT_CONFIG, load_run

_CHECKPOINTS = "checkpoints"


def look_at_run(path: Path) -> Iterator[Row]:
    """Read every checkpoint of a run, as safely as loading it would.

    Args:
        path: Run folder or `.ckpt` file.
    """
    try:
        run = load_run(path)
    except SamftError as error:
        yield _refused("run", error)
        return
    folder = run.folder / _CHECKPOINTS if run.folder else run.checkpoint.parent
    files = sorted({run.checkpoint, *(folder.glob("*.ckpt") if run.folder else ())})
    for file in files:
        try:
            content = read_checkpoint(file)
        except SamftError as error:
            yield _refused(f"checkpoint {file.name}", error)
            continue
        yield Row(
            group="given",
            name=f"checkpoint {file.name}",
            status="ok",
            found=f"step {content.get('global_step', 'unknown')}, "
            f"{file.stat().st_size / 1e6:.1f} MB, read without running anything in it",
        )
    complete = run.config is not None
    yield Row(
        group="given",
        name="run configuration",
        status="ok" if complete else "warn",
        found=FIT_CONFIG if complete else "none beside the checkpoint",
        expected="" if complete else FIT_CONFIG,
        advice="" if complete else "give the run folder; without it data settings are not known",
    )


def look_at_data(path: Path) -> Iterator[Row]:
    """Say how a data set would be read, and whether all of it may be read.

    Args:
        path: Its folder.
    """
    try:
        root = resolve_root(str(path))
        best = recognise(root)[0]
    except SamftError as error:
        yield _refused("data", error)
        return
    closed, count = _closed_files(root)
    yield Row(
        group="given",
        name="data",
        status="error" if closed or not count else "ok",
        found=f"{count} files, layout {best.name}: {best.reason}"
        + (f"; {len(closed)} may not be read, such as {closed[0].name}" if closed else ""),
        expected="files that may be read" if closed or not count else "",
        advice="change their permissions" if closed else "samft check DIR looks into every file",
    )


def _closed_files(root: Path) -> tuple[list[Path], int]:
    closed, count = [], 0
    for folder, _, names in os.walk(root):
        for name in names:
            count += 1
            path = Path(folder, name)
            if not os.access(path, os.R_OK):
                closed.append(path)
    return closed, count


def _refused(name: str, error: SamftError) -> Row:
    details = (error.where, error.found)
    found = ", ".join([error.what, *(str(detail) for detail in details if detail is not None)])
    return Row(
        group="given",
        name=name,
        status="error",
        found=found,
        expected=str(error.expected or ""),
        advice=error.fix or "",
    )
