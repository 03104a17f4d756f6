"""What a command prints when it is done."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table

from samft.module import SamModule


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
    folder = Path(trainer.log_dir or ".")
    picture = folder / "overlays" / "best.png"
    for title, path in (
        ("run", folder),
        ("checkpoint", Path(kept.best_model_path) if kept and kept.best_model_path else None),
        ("overlays", picture if picture.is_file() else None),
    ):
        if path is not None:
            console.print(f"{title:<11}{path}", soft_wrap=True, highlight=False)


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
