"""What `samft check` does: from options to settings, over the files, to the report."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

import samft
from samft.cli.check_preview import check_target, draw_preview
from samft.cli.check_report import print_report, report_json
from samft.cli.configs import MUST_BE_GIVEN, find_config, read_config
from samft.cli.quiet_log import at_least
from samft.data.checking.runner import Report, check_folder
from samft.data.checking.settings import CheckSettings
from samft.data.folder import FolderDataModule
from samft.data.preprocessing import Preprocessing
from samft.data.roots import resolve_root
from samft.errors import ConfigError
from samft.models.config import config_for

_DOMAINS: Final[dict[str, type[FolderDataModule]]] = {
    "folder": samft.FolderDataModule,
    "medical": samft.MedicalDataModule,
    "microscopy": samft.MicroscopyDataModule,
    "underwater": samft.UnderwaterDataModule,
}
_MANY_BYTES = 200_000_000  # of files; what takes a process longer than it takes to start more
_MOST_WORKERS = 8


def check(options: argparse.Namespace) -> int:
    """Check a data set as the options of `samft check` say, and print what was found.

    Returns:
        0, or 1 if there is an error among the findings.

    Raises:
        SamftError: if the options do not go together, or there is no such folder.
    """
    if options.preview is not None:
        check_target(Path(options.preview))
    config = {} if options.config is None else read_config(find_config(options.config))
    data = _datamodule(options, config)
    settings = _settings(options, data, config)
    root = data.folder
    workers = _workers(root) if options.workers is None else options.workers
    # What layouts log on what they leave out, findings say.
    with at_least("samft", logging.ERROR), _progress(shown=not options.json) as progress:
        report = check_folder(
            root,
            settings,
            layout=options.layout or data.layout,
            names=data.layouts_to_try(),
            workers=workers,
            use_cache=not options.no_cache,
            progress=progress,
        )
    if options.json:
        print(json.dumps(report_json(report, settings), indent=1))
    else:
        print_report(report, settings, Console(), every=options.all)
    if options.preview is not None:
        _preview(options, data, report, settings, config)
    return int(report.log.by_severity()["error"] > 0)


def _datamodule(options: argparse.Namespace, config: dict[str, Any]) -> FolderDataModule:
    section = config.get("data") or {}
    given = dict(section.get("init_args") or {}) if isinstance(section, dict) else {}
    if options.domain is not None and section:
        raise ConfigError("give --domain or a recipe with data, not both", where="samft check")
    kind = _DOMAINS[options.domain or "folder"]
    if section:
        kind = _class_of(section, options.config)
    if options.dir is not None:
        root = options.dir
        given["root"] = root if ":" in root else str(resolve_root(root))
    if given.get("root") in (None, MUST_BE_GIVEN):
        raise ConfigError("no folder to check", where="samft check", fix="samft check DIR")
    try:
        return kind(**given)
    except TypeError as error:  # a name that is no setting
        raise ConfigError(
            "the recipe has a setting that its datamodule does not know",
            where=options.config,
            found=str(error).rpartition(" ")[2],
            fix=f"samft fit --config {options.config} says which ones there are",
        ) from error


def _class_of(section: Any, path: str) -> type[FolderDataModule]:  # Any: YAML
    name = str(section.get("class_path", "")) if isinstance(section, dict) else ""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not isinstance(found, type) or not issubclass(found, FolderDataModule):
        raise ConfigError(
            "only data that lies in files can be checked",
            where=f"{path}: data.class_path",
            found=name or "nothing",
            expected="samft.FolderDataModule, or one of "
            + ", ".join(kind.__name__ for kind in _DOMAINS.values()),
        )
    return found


def _settings(
    options: argparse.Namespace, data: FolderDataModule, config: dict[str, Any]
) -> CheckSettings:
    return CheckSettings(
        image_size=options.image_size or data.image_size or _model_size(config),
        tiny=options.tiny,
        min_area=data.min_area,
        layout=data.layout_settings(),
        preprocessing=Preprocessing.of_settings(
            {name: getattr(data, name) for name in ("axis", "channels", "context_slices")}
        ),
        check_affine=data.check_affine,
        windowed=data.window != "auto",
        split_folders=data.split_folders,
        case_pattern=data.case_pattern,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        draw_splits=options.split_by == "case",
        seed=data.seed,
    )


def _model_size(config: dict[str, Any]) -> int:
    section = config.get("model")
    model = (section.get("init_args") or {}) if isinstance(section, dict) else {}
    size = model.get("image_size")
    return int(size) if size else config_for(model.get("arch") or "vit_b").image_size


def _workers(root: Path) -> int:
    """Return how many processes are worth their start."""
    total = 0
    for folder, _, names in os.walk(root):
        total += sum(Path(folder, name).lstat().st_size for name in names)
        if total > _MANY_BYTES:
            available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
            return min(_MOST_WORKERS, available or os.cpu_count() or 1)
    return 0


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _preview(
    options: argparse.Namespace,
    data: FolderDataModule,
    report: Report,
    settings: CheckSettings,
    config: dict[str, Any],
) -> None:
    path = Path(options.preview)
    drawn = draw_preview(
        path,
        data,
        report,
        image_size=settings.image_size,
        count=options.preview_images,
        model=config.get("model") or {},
    )
    print(drawn, file=sys.stderr)
