"""`samft baseline`: a U-Net on a run's own data for the run's own time; is SAM worth it?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from samft.cli.parser import CommandParser
from samft.errors import CheckpointError, ConfigError, OutputError
from samft.runs import Run, load_run

if TYPE_CHECKING:
    from samft.cli.lightning import SamftCLI
    from samft.data.split_datamodule import SplitDataModule
    from samft.evaluation.unet.training import Budget, Show, Trained

_EPILOG = """\
examples:
  samft baseline runs/microscopy/0                 as long as the run was trained
  samft baseline runs/microscopy/0 --minutes 20    for a time of your own
  samft test runs/microscopy/0                     then compares all of them

Data, split, augmentation, batch size and seed are the run's. Options of samft fit change them,
such as --data.root DIR. Needs MONAI: pip install "samft[baseline]".
"""
_DEFAULT_FILTERS: Final = 32
_MIXED: Final = ("16", "16-mixed", "bf16", "bf16-mixed")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft baseline", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("run", help="run folder")
    add("--minutes", type=float, help="training without validation (default: the run's own)")
    add("--max-steps", type=int, metavar="N", help="end after so many steps, if that is earlier")
    add(
        "--base-filters",
        type=int,
        default=_DEFAULT_FILTERS,
        metavar="N",
        help=f"width of the U-Net's first level (default: {_DEFAULT_FILTERS})",
    )
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--overwrite", action="store_true", help="replace the U-Net of an earlier call")
    return parser


def main(argv: list[str]) -> int:
    """Train the U-Net and write it to `baselines/unet.ckpt` in the run folder.

    While it is trained the best so far is in `baselines/unet.part.ckpt`.

    Raises:
        SamftError: if the run, its data or an option is refused, or training fails.
    """
    options, further = build_parser().parse_known_args(argv)
    run = load_run(options.run, which="last")
    if run.folder is None:
        raise ConfigError(
            "this checkpoint lies outside a run folder, so its data is not known",
            where=run.checkpoint,
            fix="give a run folder, such as runs/quickstart/0",
        )
    from samft.evaluation.unet.files import CHECKPOINT, FACTS, FOLDER

    target = run.folder / FOLDER / CHECKPOINT
    for place in (target, target.with_name(FACTS)):
        if place.exists() and not options.overwrite:
            raise OutputError("the run has a U-Net already", where=place, fix="pass --overwrite")
    _train(run, target, options, further)
    return 0


def _train(run: Run, target: Path, options: argparse.Namespace, further: Sequence[str]) -> None:
    from samft._deps import require
    from samft.checkpoints import read_checkpoint
    from samft.cli.predicting.model import chosen_device
    from samft.evaluation.unet.files import UNFINISHED, remove_unfinished, save_unet
    from samft.evaluation.unet.training import train_unet

    device = chosen_device(options.device)
    checkpoint = read_checkpoint(run.checkpoint)
    budget, origin = _budget(options, checkpoint, run)
    size = _image_size(checkpoint, run)
    del checkpoint
    command, data = _open(run, further)
    require("monai.networks.nets", extra="baseline", purpose="train a U-Net")
    seed = _seed(command)
    module = _build(data, size, filters=options.base_filters, seed=seed)
    print(
        f"U-Net       {module.num_parameters / 1e6:.1f} M parameters, images of "
        f"{module.image_size} pixels, {module.shape.num_classes} classes and borders"
    )
    print(f"training    {_told(budget)} on {device}; {origin}", flush=True)
    facts = {"seed": seed, "budget_seconds": budget.seconds, "budget": origin}
    so_far = target.with_name(UNFINISHED)

    def keep(trained: Trained) -> None:
        save_unet(trained, so_far, facts | {"finished": False})

    with _bar() as show, _told_where(so_far):
        trained = train_unet(
            module,
            data,
            budget,
            device=device,
            precision=_precision(command),
            seed=seed,
            show=show,
            keep=keep,
        )
    save_unet(trained, target, facts | {"finished": True})
    remove_unfinished(target.parent)
    _report(trained, target)


@contextmanager
def _told_where(so_far: Path) -> Iterator[None]:
    """Say where the best weights are if training is ended from outside."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if so_far.is_file():
            print(f"stopped     the best so far is in {so_far}; to compare it:")
            print(f"            samft test RUN --evaluation.against '[zero-shot, unet={so_far}]'")
        else:
            print("stopped     before the first validation: nothing is kept")
        raise


def _image_size(checkpoint: dict[str, Any], run: Run) -> int:  # Any: Lightning's layout
    """Return S, the side of the square that the model saw, pixels."""
    size = checkpoint["hyper_parameters"].get("image_size")
    if isinstance(size, int):
        return size
    raise CheckpointError(
        "the checkpoint does not say what size of images it was trained on",
        where=run.checkpoint,
        found=f"image_size {size!r:.40}",
        fix="use a run of samft fit",
    )


def _budget(
    options: argparse.Namespace,
    checkpoint: dict[str, Any],  # Any: Lightning's layout
    run: Run,
) -> tuple[Budget, str]:
    """Return for how long to train, and where that comes from."""
    from samft.callbacks.duration import recorded_time
    from samft.evaluation.unet.training import Budget

    steps = options.max_steps
    if options.minutes is not None:
        return Budget(seconds=60 * options.minutes, steps=steps), "time as given"
    recorded = recorded_time(checkpoint)
    if recorded is not None:
        # One device here: it gets the time of all that the run had.
        devices = int(recorded["devices"])
        beside = (
            f" on {devices} x {recorded['device']}" if devices > 1 else f" on {recorded['device']}"
        )
        seconds = float(recorded["seconds"]) * devices
        return Budget(seconds=seconds, steps=steps), f"time as the run took{beside}"
    if steps is not None:
        return Budget(steps=steps), "steps as given"
    raise ConfigError(
        "the run does not say how long it was trained",
        where=run.checkpoint,
        expected="a checkpoint of this version of samft",
        fix="give the time with --minutes M",
    )


def _open(run: Run, further: Sequence[str]) -> tuple[SamftCLI, SplitDataModule]:
    """Return the run's configuration and its data, checked."""
    from samft.cli.lightning import run as run_lightning
    from samft.cli.predicting.from_truth import TruthCLI
    from samft.data.split_datamodule import SplitDataModule

    words = ["--config", str(run.config), "--ckpt_path", str(run.checkpoint)]
    command = run_lightning(["predict", *words, *further], kind=TruthCLI)
    data = command.datamodule
    if not isinstance(data, SplitDataModule):
        raise ConfigError(
            "the data of the run has no masks to learn from",
            where="data",
            found=type(data).__name__,
            expected="a samft datamodule with a training split",
        )
    data.prepare_index()
    return command, data


def _build(data: SplitDataModule, size: int, *, filters: int, seed: int) -> Any:  # Any: UNetModule
    from lightning.pytorch import seed_everything

    from samft.evaluation.unet.module import UNetModule

    seed_everything(seed, verbose=False)
    return UNetModule(
        data.num_channels, list(data.class_names), data.image_size or size, filters=filters
    )


def _seed(command: SamftCLI) -> int:
    seed = command.config["predict"].get("seed_everything")
    return int(seed) if isinstance(seed, int) and not isinstance(seed, bool) else 0


def _precision(command: SamftCLI) -> str | None:
    """Return the run's precision; weights stay in 32 bits, as a U-Net's have to."""
    given = command.config["predict"]["trainer"].get("precision")
    return str(given) if str(given) in _MIXED else None


def _told(budget: Budget) -> str:
    parts = []
    if budget.seconds is not None:
        parts.append(_duration(budget.seconds))
    if budget.steps is not None:
        parts.append(f"{budget.steps} steps")
    return " or ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"


@contextmanager
def _bar() -> Iterator[Show]:
    """Show how much of the budget is used up."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("training   "),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[step]} steps"),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("training", total=1.0, step=0)
        yield lambda share, step: bar.update(task, completed=share, step=step)


def _report(trained: Trained, target: Path) -> None:
    print(
        f"done        {trained.steps} steps in {_duration(trained.seconds)} "
        f"({_duration(trained.total_seconds)} with validation), {trained.epochs:g} epochs"
    )
    best = trained.best
    if best:
        print(
            f"best        Dice {best['dice']:.3f} on the validation split, at step "
            f"{trained.best_step}"
        )
        print(
            f"objects     F1 {best['f1_split']:.3f} cut apart at borders, {best['f1_whole']:.3f} "
            f"not; it will {'be' if trained.module.split else 'not be'} done"
        )
    else:
        print("best        not known: there is no validation split; these are the last weights")
    print(f"written     {target}")
    print("compare     samft test with the run folder answers with all of them")
