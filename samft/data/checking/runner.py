"""Goes over a data set, image by image, and collects what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from samft.data.checking.assignment import splits_of
from samft.data.checking.cache import FactsCache
from samft.data.checking.files import check_tree, check_unused, walk
from samft.data.checking.findings import Finding, FindingLog
from samft.data.checking.inspection import Inspector, empty_file, finding_of, name_of, pieces_of
from samft.data.checking.sets import SetCheck
from samft.data.checking.settings import CheckSettings
from samft.data.checking.showing import Examples
from samft.data.checking.summary import Summary
from samft.data.checking.survey import Survey
from samft.data.files import SUFFIXES
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.registry import LAYOUT_NAMES, layout_class, recognise
from samft.data.readers.image import read_image
from samft.data.readers.tiff_stack import is_stack, read_stack
from samft.data.readers.volumes import is_volume, read_volume
from samft.data.records import Record
from samft.errors import ConfigError, SamftError

_log = logging.getLogger(__name__)

REVISION: Final = 1
"""Goes up when the checks of single files change, so that nothing older is remembered."""
_BY_NAME: Final = ("pairs", "suim")
"""Layouts in which every image file needs a mask with a name like its own."""
_TABLES: Final = frozenset({".json", ".csv", ".tsv", ".txt", ".xml", ".yaml", ".yml"})
_MOST_TABLES = 1000

Progress = Callable[[int, int], None]
"""Told how many records are done, of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check gives.

    Args:
        root: The data root.
        layout: Name of the layout, and by what it was recognised; empty if there is none.
        reason: By what it was recognised.
        findings: The worst first.
        counts: Findings of each kind, also of those not kept.
        log: All of it.
        summary: Numbers.
        examples: Some of the records that can be read.
        indexed: The layout, where the data set could be indexed.
        remembered: Records whose files had not changed since an earlier check.
    """

    root: Path
    layout: str
    reason: str
    findings: list[Finding]
    log: FindingLog
    summary: Summary
    examples: Examples
    indexed: Layout | None = None
    remembered: int = 0


def check_folder(
    root: Path,
    settings: CheckSettings,
    *,
    layout: str = "auto",
    names: Sequence[str] = LAYOUT_NAMES,
    workers: int = 0,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Look at every file of a data set.

    Args:
        root: The absolute folder.
        settings: How it will be used.
        layout: Name of a layout, or auto.
        names: The layouts that auto tries.
        workers: Processes besides this one.
        use_cache: Remember what was found in files, and believe it while they stay the same.
        progress: Told about every record.

    Raises:
        ConfigError: if the settings contradict each other or the data.
        MachineError: if a process was killed.
    """
    log = FindingLog()
    log.add(check_tree(root))
    kind, name, reason = _layout(root, settings.layout, layout, names)
    indexed = _index(kind, root, settings.layout, log)
    if indexed is None:
        seen = Seen(summary=Summary(), examples=Examples())
        log.add(_scan(root, log, seen.summary))
    else:
        seen = _survey(
            *indexed,
            root=root,
            settings=settings,
            log=log,
            workers=workers,
            use_cache=use_cache,
            progress=progress,
        )
    return Report(
        root=root,
        layout=name,
        reason=reason,
        findings=log.sorted(),
        log=log,
        summary=seen.summary,
        examples=seen.examples,
        indexed=None if indexed is None else indexed[0],
        remembered=seen.remembered,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What was seen in the files of a data set.

    Args:
        summary: Counts.
        examples: Images to show.
        remembered: How many files were not read again.
    """

    summary: Summary
    examples: Examples
    remembered: int = 0


def _survey(
    chosen: Layout,
    records: Sequence[Record],
    *,
    root: Path,
    settings: CheckSettings,
    log: FindingLog,
    workers: int,
    use_cache: bool,
    progress: Progress | None,
) -> Seen:
    """Read every file, or remember it, and compare them."""
    if chosen.name in _BY_NAME:
        used = {path for record in records for path in pieces_of(record)}
        log.add(check_unused(root, used, settings.layout))
    splits, torn = splits_of(records, root, settings)
    log.add(torn)
    whole = SetCheck(chosen.class_names, settings, chosen.settings)
    key = settings.fingerprint(REVISION, _meaning(chosen), _tables(root))
    survey = Survey(FactsCache.of_root(root, key) if use_cache else FactsCache(None, key))
    files = [name_of(record.images[0], root) for record in records]
    examples = Examples()
    try:
        for row, facts in enumerate(survey.all(Inspector(chosen, settings), records, workers)):
            record = records[row]
            label = name_of((*record.labels, record.images[0])[0], root)
            log.add(whole.add(facts, files[row], splits[row], label=label))
            examples.add(record, facts, splits[row])
            if progress is not None:
                progress(row + 1, len(records))
    finally:
        survey.cache.close()
    log.add(whole.finish(files, splits))
    return Seen(summary=whole.summary, examples=examples, remembered=survey.remembered)


def _layout(
    root: Path, settings: LayoutSettings, name: str, names: Sequence[str]
) -> tuple[type[Layout], str, str]:
    if name == "auto" and (settings.images is not None or settings.labels is not None):
        name = "pairs"
    if name != "auto":
        return layout_class(name), name, "asked for"
    best = recognise(root, names)[0]
    return layout_class(best.name), best.name, best.reason


def _index(
    kind: type[Layout], root: Path, settings: LayoutSettings, log: FindingLog
) -> tuple[Layout, Sequence[Record]] | None:
    """Index the data as strictly as it can be; what stands against it becomes a finding."""
    lenient = replace(settings, on_missing="skip")
    tries = [lenient] if kind.name in _BY_NAME else [settings, lenient]
    if settings.objects == "auto":  # which looks into masks, of which some may be damaged
        tries.append(replace(lenient, objects="component"))
    problem: Finding | None = None
    for attempt in tries:
        layout = kind(root, attempt)
        try:
            records = layout.records()
        except ConfigError:
            raise
        except SamftError as error:
            if problem is None:
                problem = finding_of(error, root, root, default="layout")
            continue
        if problem is not None and attempt.objects == settings.objects:
            log.add([problem])  # files were left out; damaged ones say so themselves
        return layout, records
    if problem is not None and not log.counts["link-outside"]:
        log.add([problem])
    return None


def _meaning(layout: Layout) -> tuple[str, ...]:
    """Return what a layout found out about all files, which decides how each of them is read."""
    # Guessed from some masks: when these change, it may change for all.
    return layout.name, str(layout.settings), layout.concluded, *layout.class_names


def _tables(root: Path) -> list[tuple[str, int, int]]:
    """Return the state of the files that may say something about all images, such as tables."""
    found = [*root.glob("*"), *root.glob("*/*")]
    tables = sorted(path for path in found if path.suffix.lower() in _TABLES and path.is_file())
    stats = [(path, path.stat()) for path in tables[:_MOST_TABLES]]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def _scan(root: Path, log: FindingLog, summary: Summary) -> Iterator[Finding]:
    """Open every file of a folder that could not be indexed."""
    said = {finding.file for finding in log.sorted() if finding.code == "file-unreadable"}
    for folder, _, names in walk(root):
        for path in (folder / name for name in names if name.lower().endswith(SUFFIXES)):
            summary.images += 1
            if path.is_file() and path.stat().st_size == 0:
                yield empty_file(name_of(path, root))
                continue
            try:
                _open(path)
            except SamftError as error:
                finding = finding_of(error, root, path)
                if finding.file not in said:
                    yield finding
            else:
                summary.readable += 1


def _open(path: Path) -> None:
    if is_volume(path):
        read_volume(path)
    elif is_stack(path):
        read_stack(path)
    else:
        read_image(path, every_channel=True)
