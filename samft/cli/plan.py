"""`samft fit --plan`: says what a fit would do and what it takes, and stops."""

from __future__ import annotations

import inspect
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import yaml
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from samft.callbacks.run_folder import run_folder
from samft.cli.lightning import SamftCLI
from samft.cli.summary import print_trained
from samft.data.records import SPLITS
from samft.data.split_datamodule import SplitDataModule
from samft.data.trimming import trim_padding
from samft.errors import ConfigError
from samft.inference.overlay import Marks, draw_marks, draw_masks, picture, side_by_side, stack_rows
from samft.losses import SamLossSettings
from samft.models.adaptation.settings import AdaptationSettings
from samft.models.channels import ChannelSettings
from samft.module import SamModule
from samft.optim import OptimizerSettings, build_optimizer
from samft.planning.batch_size import (
    budget,
    held_elsewhere,
    num_processes,
    settle_batch_size,
)
from samft.planning.estimate import MemoryEstimate, estimate_memory
from samft.planning.knobs import advice, gigabytes
from samft.planning.shapes import fullest_shape, shape_of
from samft.planning.step import GRADIENTS, OPTIMIZER, WEIGHTS
from samft.prompts.settings import PromptSettings
from samft.seeding import generator_for
from samft.types import NEGATIVE, PromptBatch, SamBatch
from samft.window_settings import WindowSettings

_DRAWN_IMAGES = 4
_LONG_ENOUGH = 5.0  # seconds of a batch, beside which what only the first one takes is little
_SETTINGS: Final[dict[str, Any]] = {  # Any: classes of several kinds
    "prompts": PromptSettings,
    "loss": SamLossSettings,
    "optimizer": OptimizerSettings,
    "windows": WindowSettings,
    "channels": ChannelSettings,
    "adapt": AdaptationSettings,
}


class PlanCLI(SamftCLI):
    """Builds everything as `fit` does, and shows it instead of training.

    Attributes:
        estimate: The memory of a step.
    """

    estimate: MemoryEstimate

    def _run_subcommand(self, subcommand: str) -> None:
        if not self.trainer.is_global_zero:
            return  # one process says it for all
        self.before_fit()
        if not isinstance(self.model, SamModule) or not isinstance(
            self.datamodule, SplitDataModule
        ):
            raise ConfigError(
                "only a SamModule with training data can be planned",
                where="model, data",
                found=f"{type(self.model).__name__}, {type(self.datamodule).__name__}",
            )
        console = Console()
        text = self._parser(subcommand).dump(self.config[subcommand], skip_default=True)
        changed = without_defaults(yaml.safe_load(text))
        changed.pop("weights_only", None)  # samft sets it, always
        console.print("# resolved configuration, without what is as it is by default")
        text = yaml.safe_dump(changed, sort_keys=False)
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.estimate = show_plan(self.model, self.datamodule, self.trainer, console=console)


def show_plan(
    module: SamModule, data: SplitDataModule, trainer: Trainer, *, console: Console
) -> MemoryEstimate:
    """Print what is trained, on what, how long and in how much memory; draw the first batch.

    Args:
        module: What would be trained; its weights stay as they are.
        data: With its splits found.
        trainer: Knows device, precision and length of the run.
        console: Where to print.
    """
    data.image_size = data.image_size or module.image_size  # no trainer runs that would tell it
    data.num_workers = 0
    device = trainer.strategy.root_device
    elsewhere = held_elsewhere(module, trainer)
    room = budget(device, sharing=trainer.num_devices) + elsewhere
    settle_batch_size(module, data, trainer)
    module.train()
    loader = data.train_dataloader()
    batch: SamBatch = next(iter(loader))
    if module.trim_to is not None:
        batch = trim_padding(batch, module.trim_to)
    shape = fullest_shape(
        module,
        data,
        images=len(batch.sample_ids),
        precision=str(trainer.precision),
        device_type=device.type,
    )
    estimate = estimate_memory(module, shape)
    optimizer = build_optimizer(module.sam, module.optimizer_settings)
    print_trained(module, optimizer, console, memory=_shares(module, estimate))
    print_memory(estimate, room, console, elsewhere=elsewhere)
    fits = (estimate.total if device.type == "cpu" else estimate.tensors) <= room
    if not fits:
        fix = advice(module, shape)
        console.print(f"does not fit; {fix or 'use a smaller model'}", style="yellow")
    _print_data(data, batch, shape_of(module, batch).objects, console)
    # No trainer runs that would share the images out.
    batches = -(-len(loader) // num_processes(trainer))
    steps = _steps_of_epoch(batches, trainer)
    seconds = step_seconds(module, batch, trainer) if fits else None
    console.print(_duration(steps, seconds, trainer), highlight=False, soft_wrap=True)
    path = (run_folder(trainer) or Path()).parent / "plan.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(first_batch_picture(module, batch)).save(path)
    console.print(f"first batch, with its first prompts: {path}", highlight=False, soft_wrap=True)
    return estimate


def without_defaults(config: dict[str, Any]) -> dict[str, Any]:  # Any: YAML
    """Leave out the settings of classes that have the value they have anyway."""
    kept = {}
    for name, value in config.items():
        if not isinstance(value, dict):
            kept[name] = value
        elif set(value) <= {"class_path", "init_args"}:
            module, _, kind = value["class_path"].rpartition(".")
            changed = _changed(value.get("init_args", {}), getattr(import_module(module), kind))
            kept[name] = {"class_path": value["class_path"], "init_args": changed}
        else:
            kept[name] = value
    return kept


def _changed(values: dict[str, Any], kind: Any) -> dict[str, Any]:  # Any: YAML, and any class
    defaults = {name: item.default for name, item in inspect.signature(kind).parameters.items()}
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name in _SETTINGS and isinstance(value, dict):
            inner = _changed(value, _SETTINGS[name])
            changed |= {name: inner} if inner else {}
        elif value not in (None, {}, []) and value != defaults.get(name):
            changed[name] = value
    return changed


def _shares(module: SamModule, estimate: MemoryEstimate) -> dict[str, str]:
    """Return what each part's weights, gradients and optimiser state are of the whole."""
    weights = {
        name: sum(each.numel() for each in part.parameters())
        for name, part in module.sam.named_children()
    }
    trained = {
        name: sum(each.numel() for each in part.parameters() if each.requires_grad)
        for name, part in module.sam.named_children()
    }
    own = estimate.parts.get(GRADIENTS, 0) + estimate.parts.get(OPTIMIZER, 0)
    shares = {}
    for name, count in weights.items():
        size = estimate.parts[WEIGHTS] * count / max(1, sum(weights.values()))
        size += own * trained[name] / max(1, sum(trained.values()))
        shares[name] = f"{size / estimate.total:.0%}"
    return shares


def print_memory(
    estimate: MemoryEstimate, room: int, console: Console, *, elsewhere: int = 0
) -> None:
    """Print the estimate part by part.

    Args:
        estimate: Of a step, with the whole model on one device.
        room: What there is, bytes.
        console: Where to print.
        elsewhere: What of `room` is that other devices hold a part of the model, bytes.
    """
    table = Table(title="Memory of a step, estimated", title_justify="left")
    table.add_column("part")
    table.add_column("memory", justify="right")
    table.add_column("share", justify="right")
    for name, size in estimate.parts.items():
        table.add_row(name, gigabytes(size), f"{size / estimate.total:.0%}")
    table.add_row("together", gigabytes(estimate.total), "")
    table.add_row("there is room for", gigabytes(room), "")
    if elsewhere:
        table.add_row("  by shards on other devices", gigabytes(elsewhere), "")
    console.print(table)


def _print_data(data: SplitDataModule, batch: SamBatch, taken: int, console: Console) -> None:
    sizes = ", ".join(f"{split} {len(data.dataset(split))}" for split in SPLITS)
    console.print(
        f"images: {sizes}; {batch.num_objects} objects in the first batch of "
        f"{len(batch.sample_ids)}, {taken} taken (prompts.max_objects_per_image)",
        highlight=False,
        soft_wrap=True,
    )


def _steps_of_epoch(batches: int, trainer: Trainer) -> int:
    limit = trainer.limit_train_batches
    if isinstance(limit, float):
        batches = int(batches * limit)
    elif limit is not None:
        batches = min(batches, limit)
    return -(-batches // trainer.accumulate_grad_batches)


def _duration(steps: int, seconds: float | None, trainer: Trainer) -> str:
    epochs = "no end set"
    if trainer.max_steps and trainer.max_steps > 0:
        epochs = f"{trainer.max_steps} steps at most"
    elif trainer.max_epochs is not None and trainer.max_epochs > 0:
        epochs = f"{trainer.max_epochs} epochs"
    text = f"{steps} steps per epoch, {epochs}"
    if seconds is None:
        return f"{text}; not timed, as a step does not fit"
    batch_seconds = seconds * trainer.accumulate_grad_batches
    return (
        f"{text}; {seconds:.2f} s per batch, measured on the first one; "
        f"{_clock(batch_seconds * steps)} per epoch without validation, extrapolated"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def step_seconds(module: SamModule, batch: SamBatch, trainer: Trainer) -> float:
    """Return the time of loss and gradients of a batch.

    It is that of the second time they are computed, or of the first if that took long enough.
    Embeddings are computed as in the first epoch, and not stored.
    """
    device = trainer.strategy.root_device
    cached, module.cached_encoder = module.cached_encoder, None
    module.to(device)
    placed = batch.to(device)
    seconds = 0.0
    try:
        for _ in range(2):
            start = _now(device)
            with trainer.precision_plugin.train_step_context():
                loss = module.training_loss(placed, step=0).total
            loss.backward()  # type: ignore[no-untyped-call]  # torch left it untyped
            seconds = _now(device) - start
            module.zero_grad()
            if seconds > _LONG_ENOUGH:
                break
    finally:
        module.cached_encoder = cached
    return seconds


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def first_batch_picture(module: SamModule, batch: SamBatch) -> NDArray[np.uint8]:
    """Draw the first images of a batch: as the model sees them, with truth, with first prompts."""
    generator = generator_for(module.seed, 0, 0)
    chosen, prompts = module.objective.first_prompts(batch.to("cpu"), generator=generator)
    masks = chosen.masks()
    rows = []
    for index in range(min(_DRAWN_IMAGES, len(batch.sample_ids))):
        plain = picture(chosen.images[index, :3])
        truth = list(masks[chosen.image_index == index].numpy())
        asked = (prompts.image_index == index).nonzero()[:, 0].tolist()
        marked = draw_masks(plain, truth)
        for row in asked:
            marked = draw_marks(marked, _marks(prompts, row))
        rows.append(side_by_side([(batch.sample_ids[index][-34:], plain), ("prompts", marked)]))
    return stack_rows(rows)


def _marks(prompts: PromptBatch, row: int) -> Marks:
    boxes = points = labels = None
    if prompts.boxes is not None and (prompts.has_box is None or bool(prompts.has_box[row])):
        boxes = prompts.boxes[row : row + 1].numpy()
    if prompts.points is not None and prompts.labels is not None:
        used = prompts.labels[row] >= NEGATIVE
        points, labels = prompts.points[row][used].numpy(), prompts.labels[row][used].numpy()
    return Marks(boxes=boxes, points=points, labels=labels)
