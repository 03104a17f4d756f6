"""What `samft zeroshot` does: opens models and data, runs the protocol, writes results."""

from __future__ import annotations

import argparse
import gc
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from samft.cli.configs import read_config
from samft.cli.data_opening import data_sections, open_module
from samft.cli.lightning import quiet
from samft.cli.predicting.model import chosen_device
from samft.cli.zeroshot.data import (
    OpenData,
    Track,
    choose_images,
    choose_splits,
    name_of_root,
    unique_names,
)
from samft.cli.zeroshot.models import Contestant, load_contestants, training_notes
from samft.cli.zeroshot.printing import print_results
from samft.cli.zeroshot.results import Results, make_folder, write_results
from samft.cli.zeroshot.tasks import Task
from samft.cli.zeroshot.words import counted
from samft.errors import ConfigError
from samft.inference.output_folder import refuse_to_overwrite
from samft.module_checks import check_channels

_ASKED = ("num_objects", "num_boxes", "num_texts")
_NOTHING = "there was nothing to ask for: no image has an object that counts"
_log = logging.getLogger(__name__)


def run_experiment(protocol: str, task: Task, options: argparse.Namespace) -> int:
    """Run a protocol as the options say, and print and write what it gave.

    Args:
        protocol: Its name.
        task: What it does.
        options: Of the command, with `data_options`, those of the data module.

    Returns:
        0.

    Raises:
        SamftError: if a model, data or an option is refused.
    """
    quiet()
    out = Path(options.out)
    refuse_to_overwrite(out, overwrite=options.overwrite)
    device = chosen_device(options.device)
    contestants = load_contestants(options.model, options.arch)
    for contestant in contestants:
        if contestant.name in task.baseline_names:
            raise ConfigError(
                "a model has the name of a baseline",
                where="MODEL",
                found=contestant.name,
                fix="give it another: NAME=PATH",
            )
    with _progress() as track:
        data = _open(options, contestants, task, track)
        make_folder(out)
        results = Results(protocol=protocol, settings=task.describe(), device=_named(device))
        results.data = [each.describe() for each in data]
        for each in data:
            images = counted(len(each), "image")
            _log.info("%s: %s of %s", each.name, images, each.described_splits)
        _answer(results, task, contestants, data, device, track, baseline=options.baseline)
    # Notes that reading the images brought.
    results.data = [each.describe() for each in data]
    document = write_results(results, out)
    print_results(results, document, task.headline, Console())
    print(f"results  {out}")
    return 0


def _open(
    options: argparse.Namespace, contestants: Sequence[Contestant], task: Task, track: Track
) -> list[OpenData]:
    """Open all data sets, check them against the models, and cut them down."""
    own = not options.config and not options.data
    sections = _sections(options, contestants)
    modules = [
        open_module(section, root, options.data_options, where=name)
        for name, section, root in sections
    ]
    roots = [str(getattr(module, "root", name)) for module, (name, _, _) in
             zip(modules, sections, strict=True)]  # fmt: skip
    names = unique_names(name_of_root(root) for root in roots)
    tuned = [each.name for each in contestants if each.run is not None]
    found = []
    for name, root, module in zip(names, roots, modules, strict=True):
        for contestant in contestants:
            check_channels(contestant.model.sam, module)
        splits = choose_splits(module, options.split, own=own)
        keys = [(split, index) for split in splits for index in range(len(module.dataset(split)))]
        each = OpenData(name=name, root=root, module=module, splits=splits, keys=keys)
        each.notes += training_notes(each.splits, tuned, own=own)
        found.append(each)
    task.prepare(found)
    limit = task.max_masks if options.max_masks is None else options.max_masks
    for each in found:
        choose_images(
            each, max_images=options.max_images, max_masks=limit, seed=options.seed, track=track
        )
    return found


def _sections(
    options: argparse.Namespace, contestants: Sequence[Contestant]
) -> list[tuple[str, dict[str, Any], str | None]]:  # Any: YAML
    """Return (what it is called in messages, `data` section, folder) of each data set."""
    if options.config or options.data:
        found = data_sections(options.config, options.data)
        names = options.config if len(options.config) == len(found) else options.data
        return [(n, section, root) for n, (section, root) in zip(names, found, strict=True)]
    runs = (each.run for each in contestants)
    config = next((run.config for run in runs if run is not None and run.config is not None), None)
    if config is None:
        raise ConfigError(
            "there is no data", where="samft zeroshot", fix="add --data DIR, or --config FILE"
        )
    return [(str(config), read_config(config).get("data") or {}, None)]


def _answer(
    results: Results,
    task: Task,
    contestants: Sequence[Contestant],
    data: Sequence[OpenData],
    device: torch.device,
    track: Track,
    *,
    baseline: bool,
) -> None:
    """Let one model after another answer about every data set; each leaves the device after."""
    for contestant in contestants:
        sam = contestant.model.sam.to(device).eval()
        began = time.perf_counter()
        for each in data:
            outcome = task.run(sam, each, track, name=contestant.name)
            results.outcomes.setdefault(each.name, {})[contestant.name] = outcome
            if any(outcome.scores.get(name) == 0 for name in _ASKED) and _NOTHING not in each.notes:
                each.notes.append(_NOTHING)
        seconds = time.perf_counter() - began
        results.models.append({"kind": "sam", **contestant.describe(), "seconds": seconds})
        sam.to("cpu")
        gc.collect()
    if not baseline:
        return
    for each in data:
        results.outcomes[each.name] |= task.run_baselines(each, track)
    known = {model["name"] for model in results.models}
    results.models += [
        {"kind": "baseline", "name": name} for name in results.names() if name not in known
    ]


@contextmanager
def _progress() -> Iterator[Track]:
    """Show how far the work is, on a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:

        def track(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
            task = bar.add_task(what, total=total)
            try:
                for item in items:
                    yield item
                    bar.advance(task)
            finally:
                bar.remove_task(task)

        yield track


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
