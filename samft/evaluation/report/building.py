"""From a run folder to its report: read, compose, write."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import samft
from samft.errors import OutputError
from samft.evaluation.plain_json import plain
from samft.evaluation.report import comparisons, quality, records
from samft.evaluation.report.blocks import Block, Chart, Gallery, Picture, Report, Section
from samft.evaluation.report.case_table import per_case
from samft.evaluation.report.conclusion import conclude, conclude_training
from samft.evaluation.report.markdown import FILES, chart_file, markdown_page
from samft.evaluation.report.model_card import model_card
from samft.evaluation.report.page import html_page
from samft.evaluation.report.pictures import gallery, training_pictures
from samft.evaluation.report.results import METRICS_FILE
from samft.evaluation.report.sources import Sources, find, read
from samft.inference.output_folder import write_atomically

HTML_FILE: Final = "report.html"
MARKDOWN_FILE: Final = "report.md"
CARD_FILE: Final = "model_card.md"
NEW_CARD_FILE: Final = "model_card.new.md"
_TRAINING_FORMAT: Final = "samft-training"
_OURS: Final = "samft-"
_SEAL: Final = re.compile(r"\n<!-- written by samft report, ([0-9a-f]{16}) -->\n\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What was made.

    Args:
        files: Their places, the page first.
        report: What they say.
        kept_card: Whether a model card that somebody edited was left as it is.
    """

    files: Sequence[Path]
    report: Report
    kept_card: bool


def build_report(
    path: Path,
    *,
    results: Path | None = None,
    out: Path | None = None,
    which: Literal["best", "last"] = "best",
    keep_names: bool = False,
) -> Written:
    """Make `report.html`, `report.md`, `metrics.json` and `model_card.md`.

    Args:
        path: A run folder, a checkpoint, or a folder of test results.
        results: Folder of the test results; default: `test` in the run folder.
        out: Where to; default: the run folder.
        which: The checkpoint of a run folder that has both.
        keep_names: Show ids, folders and users as they are.

    Raises:
        SamftError: if something is there and cannot be read, or the files cannot be written.
    """
    place = find(path, results, which=which)
    target = out or place.folder
    _check_out(target, place.results)
    sources = read(place, keep_names=keep_names)
    base = place.folder if sources.results is None else sources.results.folder
    report, copies = _linked(compose(sources), base, target)
    files = [target / HTML_FILE, target / MARKDOWN_FILE]
    _write(files[0], html_page(report))
    write_atomically(target / FILES, lambda folder: _fill(folder, report, copies))
    _write(files[1], markdown_page(report))
    if not _same(target, place.results):
        files.append(target / METRICS_FILE)
        _write(files[-1], _metrics(sources))
    card = _card_place(target)
    _write(card, _sealed(model_card(sources, report)))
    return Written(files=[*files, card], report=report, kept_card=card.name == NEW_CARD_FILE)


def compose(sources: Sources) -> Report:
    """Return the report that sources give, before it is written in any form."""
    found = sources.results
    # First, because its file may be broken and drawings take time.
    cases = [] if found is None else [per_case(found, sources.privacy)]
    if found is None:
        conclusion = conclude_training(sources.training, records.test_command(sources.label))
        tested: list[Section] = []
    else:
        conclusion = conclude(found)
        tested = [
            comparisons.by_prompt(found),
            comparisons.by_click(found),
            comparisons.by_size(found),
            comparisons.by_class(found),
            comparisons.by_image(found),
            quality.instances(found),
            quality.calibration(found),
        ]
    seen = training_pictures(sources.place.folder) if found is None else gallery(found)
    sections = [
        *tested,
        quality.training(sources.training),
        seen,
        *cases,
        records.configuration(sources),
        records.environment(sources),
        records.data(sources),
        records.commands(sources),
        records.terms(),
    ]
    return Report(
        title=f"samft report: {sources.label}",
        about=_about(sources),
        headline=conclusion.headline,
        verdict=conclusion.paragraphs,
        warnings=conclusion.warnings,
        sections=[section for section in sections if section.blocks],
    )


def _about(sources: Sources) -> str:
    parts = []
    if sources.results is not None:
        content = sources.results.content
        parts.append(f"Data: {content['data']['root'] or 'unnamed'}")
        if content["created"]:
            parts.append(f"tested {content['created'][:10]}")
    if sources.weights is not None:
        arch = sources.weights.settings.get("arch")
        base = sources.weights.base or "random weights"
        parts.append(f"model {arch}, begun with {base}" if arch else f"begun with {base}")
    return "; ".join([*parts, f"samft {samft.__version__}"])


def _check_out(target: Path, results: Path | None) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError("the output folder is a file", where=target, fix="choose another --out")
    existing = target / METRICS_FILE
    if existing.exists() and not _same(target, results) and not _is_ours(existing):
        raise OutputError(
            "a metrics.json of something else would be overwritten",
            where=existing,
            fix="choose another folder with --out DIR",
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "the output folder cannot be made",
            where=target,
            found=error.strerror,
            fix="choose another --out",
        ) from error


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("format", "")).startswith(_OURS)


def _same(target: Path, results: Path | None) -> bool:
    return results is not None and target.resolve() == results.resolve()


def _metrics(sources: Sources) -> str:
    if sources.results is None:
        content: dict[str, Any] = {"format": _TRAINING_FORMAT, "version": 1}  # Any: JSON
    else:
        content = dict(sources.results.content)
    content["training"] = sources.training.to_json()
    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _linked(report: Report, base: Path, target: Path) -> tuple[Report, dict[str, bytes]]:
    """Give every picture a link from the report; pictures that lie elsewhere are copied."""
    copies: dict[str, bytes] = {}
    inside = base.resolve().is_relative_to(target.resolve())
    prefix = base.resolve().relative_to(target.resolve()).as_posix() if inside else ""

    def place(picture: Picture) -> Picture:
        if inside:
            link = os.path.normpath(f"{prefix}/{picture.link}").replace(os.sep, "/")
            return replace(picture, link=link)
        name = f"picture_{len(copies) + 1:03}.{picture.media_type.rpartition('/')[2]}"
        copies[name] = picture.data
        return replace(picture, link=f"{FILES}/{name}")

    def placed(block: Block) -> Block:
        if not isinstance(block, Gallery):
            return block
        return replace(block, pictures=[place(picture) for picture in block.pictures])

    sections = [
        replace(section, blocks=[placed(block) for block in section.blocks])
        for section in report.sections
    ]
    return replace(report, sections=sections), copies


def _fill(folder: Path, report: Report, copies: dict[str, bytes]) -> None:
    folder.mkdir()
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Chart):
                (folder / Path(chart_file(block)).name).write_bytes(block.light)
    for name, data in copies.items():
        (folder / name).write_bytes(data)


def _write(path: Path, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda place: place.write_bytes(data))


def _card_place(target: Path) -> Path:
    """Return where the card goes: a card that somebody filled in is not overwritten."""
    card = target / CARD_FILE
    if not card.exists():
        return card
    text = card.read_text(encoding="utf-8", errors="replace")
    seal = _SEAL.search(text)
    untouched = seal is not None and seal[1] == _hash(text[: seal.start()])
    return card if untouched else target / NEW_CARD_FILE


def _sealed(card: str) -> str:
    return f"{card}\n<!-- written by samft report, {_hash(card)} -->\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
