"""What a command prints before it starts and when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table
from torch.optim import Optimizer

from samft.callbacks.run_folder import run_folder
from samft.module import SamModule
from samft.optim import describe
from samft.optim.advice import unusual_rates

_LOWER_IS_BETTER = ("clicks_to_", "same_answer", "background_hit")
_PUBLISHED = ("vit_b", "vit_l", "vit_h")  # for which there is experience with learning rates
_NOISE = 0.01  # changes of a score below this say nothing


def best_epoch(module: SamModule, monitor: str = "val/iou", mode: str = "max") -> dict[str, float]:
    """Return the recorded scores of the epoch whose checkpoint was kept; empty without any."""
    scored = [entry for entry in module.history if monitor in entry]
    if not scored:
        return module.history[-1] if module.history else {}
    choose = max if mode == "max" else min
    return choose(scored, key=lambda entry: entry[monitor])


def print_comparison(trainer: Trainer, module: SamModule, console: Console | None = None) -> None:
    """Print zero-shot against tuned, and where the run, its checkpoint and its pictures are."""
    console = console or Console()
    checkpoint = trainer.checkpoint_callback
    kept = checkpoint if isinstance(checkpoint, ModelCheckpoint) else None
    tuned = best_epoch(module, kept.monitor or "val/iou", kept.mode) if kept else best_epoch(module)
    if tuned:
        console.print(_comparison(module.zero_shot, tuned))
        worse = worse_than_before(module.zero_shot, tuned)
        if worse:
            console.print(
                f"worse than before training: {', '.join(worse)}; fewer steps, a lower rate or "
                "more kinds of prompts (configs/prompts) may keep it",
                style="yellow",
                highlight=False,
            )
    folder = run_folder(trainer) or Path()
    picture = folder / "overlays" / "best.png"
    for title, path in (
        ("run", folder),
        ("checkpoint", Path(kept.best_model_path) if kept and kept.best_model_path else None),
        ("overlays", picture if picture.is_file() else None),
    ):
        if path is not None:
            console.print(f"{title:<11}{path}", soft_wrap=True, highlight=False)


def worse_than_before(zero_shot: dict[str, float], tuned: dict[str, float]) -> list[str]:
    """Return the scores of `tuned` that training has made clearly worse."""
    worse = []
    for name, value in tuned.items():
        lower_is_better = any(part in name for part in _LOWER_IS_BETTER)
        loss = value - zero_shot.get(name, value)
        if (loss if lower_is_better else -loss) > _NOISE:
            worse.append(name.removeprefix("val/"))
    return worse


def _comparison(zero_shot: dict[str, float], tuned: dict[str, float]) -> Table:
    table = Table(title=f"Validation, best epoch ({int(tuned['epoch'])})", title_justify="left")
    for column, justify in (
        ("", "left"),
        ("zero-shot", "right"),
        ("tuned", "right"),
        ("", "right"),
    ):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for name, value in tuned.items():
        if not name.startswith("val/"):
            continue
        before = zero_shot.get(name)
        table.add_row(
            name.removeprefix("val/"),
            "-" if before is None else f"{before:.3f}",
            f"{value:.3f}",
            "" if before is None else f"{value - before:+.3f}",
        )
    return table


def print_scores(trainer: Trainer, console: Console | None = None) -> None:
    """Print the scores of a validation or test run."""
    table = Table()
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in sorted(trainer.callback_metrics.items()):
        table.add_row(name, f"{float(value):.3f}")
    (console or Console()).print(table)


class ShowTrained(Callback):
    """Prints what is trained when the optimiser is there, before the first step."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See the class."""
        if trainer.is_global_zero and isinstance(pl_module, SamModule):
            print_trained(pl_module, trainer.optimizers[0])


def print_trained(
    module: SamModule,
    optimizer: Optimizer,
    console: Console | None = None,
    *,
    memory: Mapping[str, str] | None = None,
) -> None:
    """Print which parts of the model are trained, at which peak learning rate and decay.

    Args:
        module: The model.
        optimizer: Of its trained parameters.
        console: Where to print.
        memory: For each part, what it takes of the memory of a step; a column more.
    """
    settings = module.optimizer_settings
    table = Table(
        title="What is trained",
        title_justify="left",
        caption=f"{settings.method}, {settings.schedule} after a warm-up",
        caption_justify="left",
    )
    table.add_column("part")
    for column in ("trained", "of", "peak LR", "decay", *(["memory"] if memory else [])):
        table.add_column(column, justify="right")
    rows = describe(optimizer)
    for part, child in module.sam.named_children():
        own = [row for row in rows if row.name.split("/")[0] == part]
        table.add_row(
            part,
            f"{sum(row.num_parameters for row in own):,}" if own else "frozen",
            f"{sum(parameter.numel() for parameter in child.parameters()):,}",
            _span([row.lr for row in own], ".1e"),
            _span([row.weight_decay for row in own], "g"),
            *([memory.get(part, "")] if memory else []),
        )
    console = console or Console()
    console.print(table)
    if module.base_weights and settings.method != "muon" and module.hparams["arch"] in _PUBLISHED:
        for sentence in unusual_rates(rows):
            console.print(sentence, style="yellow", highlight=False)


def _span(values: list[float], form: str) -> str:
    """Return the lowest and the highest value, once if they read the same."""
    ends = [format(end(values), form) for end in (min, max)] if values else ["-"]
    return " to ".join(dict.fromkeys(ends))
