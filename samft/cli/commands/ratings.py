"""`samft ratings`: masks judged by people from 1 to 10, as in SAM's paper: sheets and analysis."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samft.cli.parser import CommandParser
from samft.errors import ConfigError

if TYPE_CHECKING:
    from samft.cli.zeroshot.data import OpenData
    from samft.evaluation.competitor import Competitor
    from samft.evaluation.ratings.analysis import RatingAnalysis
    from samft.evaluation.ratings.jobs import Job
    from samft.evaluation.ratings.settings import RatingSettings
    from samft.evaluation.ratings.tabulating import Table

_EPILOG = """\
examples:
  samft ratings sheet runs/medical/0 before=vit_b --out study
  samft ratings sheet vit_b runs/cells/3 --data DIR --config recipes/microscopy.yaml --out study
  samft ratings analyse study/key.csv anna.csv ben.csv

sheet draws objects, asks every model for them, hides whose masks they are, and writes a folder for
each rater: open index.html in any browser, judge, save ratings.csv. key.csv is not for raters.
"""
_COUNTED = 10_000  # masks beyond which a large data set is cut down before objects are drawn


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of both sub-commands."""
    parser = CommandParser("samft ratings", description=__doc__, epilog=_EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="sheet|analyse")
    _add_sheet(commands.add_parser("sheet", help="write rating sheets", description=__doc__))
    _add_analyse(commands.add_parser("analyse", help="read them back", description=__doc__))
    return parser


def _add_sheet(parser: argparse.ArgumentParser) -> None:
    from samft.cli.zeroshot.data import SPLIT_CHOICES
    from samft.cli.zeroshot.words import add_settings
    from samft.evaluation.ratings.settings import RatingSettings

    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="MODEL",
        help="run folder, .ckpt, weights file or name, as it is or as NAME=PATH; also unet.ckpt",
    )
    add("--out", required=True, type=Path, help="folder for the sheets and the key")
    add("--data", metavar="DIR", help="the images (default: those of the first run)")
    add("--config", metavar="FILE", help="recipe or fragment whose data section says how to read")
    add("--split", choices=SPLIT_CHOICES, help="default: test, or else validation, or everything")
    add("--arch", help="architecture of weights files, such as vit_b")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--overwrite", action="store_true", help="delete the sheets that are in --out")
    add_settings(parser, RatingSettings)


def _add_analyse(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("key", type=Path, metavar="KEY.csv", help="the key of the study")
    add("sheets", nargs="+", type=Path, metavar="RATED.csv", help="one filled-in table per rater")
    add("--out", type=Path, help="folder for analysis.json and .md (default: that of the key)")
    add("--level", type=float, default=0.99, help="confidence of the intervals (default: 0.99)")
    add("--samples", type=int, default=10_000, help="bootstrap samples (default: 10000)")
    add(
        "--by",
        choices=["object", "case"],
        default="object",
        help="what is resampled: objects as in SAM's paper, or cases, where objects of a case are "
        "alike (default: object)",
    )


def main(argv: list[str]) -> int:
    """Write sheets, or analyse them.

    Raises:
        SamftError: if a model, the data, a table or an option is refused.
    """
    from samft.cli.zeroshot.words import split_data_options

    words, further = split_data_options(argv)
    options = build_parser().parse_args(words)
    if options.command == "sheet":
        _sheet(options, further)
    elif further:
        raise ConfigError(
            "options of the data go with samft ratings sheet",
            where="samft ratings analyse",
            found=further[0],
        )
    else:
        _analyse(options)
    return 0


def _sheet(options: argparse.Namespace, further: Sequence[str]) -> None:
    from samft.cli.lightning import quiet
    from samft.cli.predicting.model import chosen_device
    from samft.cli.zeroshot.results import make_folder
    from samft.cli.zeroshot.words import given_settings
    from samft.evaluation.ratings.asking import choose_objects, rated_masks
    from samft.evaluation.ratings.jobs import TRUTH, plan_jobs
    from samft.evaluation.ratings.settings import RatingSettings
    from samft.evaluation.ratings.sheet import KEY, write_sheets
    from samft.inference.output_folder import refuse_to_overwrite

    quiet()
    settings = given_settings(options, RatingSettings)
    refuse_to_overwrite(options.out, overwrite=options.overwrite)
    device = chosen_device(options.device)
    models, runs = _models(options)
    data = _data(options, further, runs, settings)
    chosen = choose_objects(
        _track(data.samples(), "looking for objects", len(data)),
        settings,
        name=data.name,
        class_names=data.class_names,
        image_sizes=[getattr(model, "image_size", 1024) for model in models],
    )
    names = [model.name for model in models]
    jobs = plan_jobs(
        [each.key for each in chosen],
        [*names, TRUTH] if settings.truth else names,
        seed=settings.seed,
        raters=settings.raters,
        common=settings.common,
    )
    make_folder(options.out)
    _delete_sheets(options.out)
    for model in models:
        model.to(device).eval()
    rated = rated_masks(data, chosen, models, settings, device=device)
    shown = _track(rated, "drawing jobs", len(jobs))
    folders = write_sheets(jobs, shown, options.out, max_side=settings.max_side)
    _write_study(options.out, models, data, settings)
    _say(jobs, len(chosen), data, folders, key=options.out / KEY)


def _say(
    jobs: Sequence[Job], objects: int, data: OpenData, folders: Sequence[Path], *, key: Path
) -> None:
    from samft.cli.zeroshot.words import counted

    names = ", ".join(sorted({job.model for job in jobs}))
    print(f"jobs        {len(jobs)}: {counted(objects, 'object')} of {data.name}, masks of {names}")
    for note in data.notes:
        print(f"note        {note}")
    for folder in folders:
        print(f"for a rater {folder / 'index.html'}")
    print(f"for you     {key}")


def _models(options: argparse.Namespace) -> tuple[list[Competitor], dict[str, Path | None]]:
    """Return the models, and the names and configurations of those that were trained."""
    from samft.cli.zeroshot.models import load_contestants
    from samft.evaluation.sam_competitor import SamCompetitor
    from samft.evaluation.unet.competitor import NAME, load_unet
    from samft.evaluation.unet.files import CHECKPOINT

    unets = [word for word in options.models if Path(word).name == CHECKPOINT]
    others = [word for word in options.models if word not in unets]
    contestants = load_contestants(others, options.arch)
    models: list[Competitor] = [
        SamCompetitor(each.name, each.model.sam, source=each.source) for each in contestants
    ]
    runs = {each.name: each.run.config for each in contestants if each.run}
    for word in unets:
        name, equals, path = word.rpartition("=")
        models.append(load_unet(Path(path).expanduser(), name if equals else NAME))
        runs[models[-1].name] = None
    return models, runs


def _data(
    options: argparse.Namespace,
    further: Sequence[str],
    runs: Mapping[str, Path | None],
    settings: RatingSettings,
) -> OpenData:
    from samft.cli.data_opening import data_sections, open_module
    from samft.cli.zeroshot.data import (
        OpenData,
        choose_images,
        choose_splits,
        name_of_root,
    )
    from samft.cli.zeroshot.models import training_notes

    own = options.data is None and options.config is None
    configs = [config for config in runs.values() if config is not None]
    if own and not configs:
        raise ConfigError(
            "there are no images to show",
            where="samft ratings sheet",
            fix="add --data DIR, with --config for how to read it",
        )
    given = [str(configs[0])] if own else [options.config] if options.config else []
    roots = [options.data] if options.data else []
    ((section, root),) = data_sections(given, roots)
    module = open_module(section, root, further)
    splits = choose_splits(module, options.split, own=own)
    folder = str(root or getattr(module, "root", "data"))
    data = OpenData(
        name=name_of_root(folder),
        root=folder,
        module=module,
        splits=splits,
        keys=[(split, number) for split in splits for number in range(len(module.dataset(split)))],
    )
    data.notes += training_notes(splits, list(runs), own=own)
    most = max(_COUNTED, 10 * settings.masks)
    choose_images(data, max_images=0, max_masks=most, seed=settings.seed, track=_track)
    return data


def _delete_sheets(out: Path) -> None:
    """Delete the sheets of an earlier study, and nothing else."""
    for folder in out.glob("rater_*") if out.is_dir() else ():
        if folder.is_dir() and (folder / "index.html").is_file():
            shutil.rmtree(folder)


def _write_study(
    out: Path, models: Sequence[Competitor], data: OpenData, settings: RatingSettings
) -> None:
    import samft
    from samft.inference.output_folder import write_atomically

    content = {
        "samft": samft.__version__,
        "models": [
            {"name": model.name, "kind": model.kind, **model.describe()} for model in models
        ],
        "data": data.describe(),
        "settings": settings.to_dict(),
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(out / "study.json", lambda place: place.write_text(text, "utf-8"))


def _analyse(options: argparse.Namespace) -> None:
    from samft.cli.zeroshot.results import make_folder
    from samft.evaluation.ratings.analysis import analyse
    from samft.evaluation.ratings.key import read_key
    from samft.evaluation.ratings.reading import read_sheets
    from samft.evaluation.ratings.tabulating import write_analysis

    out = options.out or options.key.parent
    key = read_key(options.key)
    make_folder(out)
    sheets = read_sheets(options.sheets, key.jobs)
    found = analyse(key.jobs, sheets, level=options.level, samples=options.samples, by=options.by)
    _show(found)
    for place in write_analysis(found, out):
        print(f"written     {place}")


def _show(found: RatingAnalysis) -> None:
    from rich.console import Console

    from samft.evaluation.ratings.tabulating import (
        agreement,
        difference_table,
        model_table,
        rater_table,
    )

    console = Console()
    tables = [
        (f"ratings ({found.num_rated} of {found.num_jobs} jobs)", model_table(found)),
        ("differences on the same objects", difference_table(found)),
        ("raters", rater_table(found)),
    ]
    for title, table in tables:
        if table[1]:
            console.print(_rich(title, table))
    console.print(agreement(found), markup=False, highlight=False)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _rich(title: str, content: Table) -> Any:  # Any: rich is imported where it is used
    from rich.table import Table as RichTable
    from rich.text import Text

    header, rows = content
    table = RichTable(title=title, title_justify="left")
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _track(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    from rich.progress import track

    return track(items, what, total=total)
