"""Fine-tuning for a given number of seconds, with the settings of the recipes."""

from __future__ import annotations

import copy
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from samft.data.datamodule import SamDataModule
from samft.errors import ConfigError
from samft.module import SamModule

ROOT: Final = Path(__file__).parents[2]
NANO: Final = ROOT / "configs/model/vit_nano.yaml"
NANO_RANDOM: Final = ROOT / "configs/model/vit_nano_random.yaml"
_TIMED_STEPS = 10


def read_settings(files: Sequence[Path]) -> dict[str, Any]:  # Any: YAML
    """Read recipes and config fragments, the later ones on top, as `samft fit --config` does.

    Raises:
        ConfigError: if a file is missing or no recipe.
    """
    merged: dict[str, Any] = {}
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError("the config cannot be read", where=path, found=error) from error
        if not isinstance(content, dict):
            raise ConfigError("the config holds no settings", where=path)
        merged = on_top(merged, content)
    return merged


def arguments(settings: Mapping[str, Any], section: str) -> dict[str, Any]:  # Any: YAML
    """Return the arguments that settings give to the class of `model` or `data`."""
    return dict(settings.get(section, {}).get("init_args", {}))


def tune(
    make_data: Callable[[], SamDataModule],
    settings: Mapping[str, Any],  # Any: YAML
    *,
    weights: str | None,
    arch: str,
    seconds: float,
) -> tuple[SamModule, int]:
    """Train for `seconds` on a data set; nothing of it stays on disk.

    The time of a few steps is measured first, on a copy, so that the learning-rate schedule comes
    to its end when the time is over. There is no validation on the way.

    Args:
        make_data: Makes the datamodule; called twice.
        settings: Those of a recipe: the arguments of `SamModule` and of the trainer.
        weights: Where to start; `None` for random weights.
        arch: The architecture.
        seconds: Wall time of the training.

    Returns:
        The tuned module, in evaluation mode, and how many steps it made.
    """
    seed_everything(0, verbose=False)
    module = SamModule(**{**arguments(settings, "model"), "arch": arch, "weights": weights})
    timer = _StepTimer()
    _fit(copy.deepcopy(module), make_data(), settings, steps=_TIMED_STEPS, callbacks=[timer])
    steps = max(1, int(seconds / timer.seconds_per_step()))
    seed_everything(0, verbose=False)
    trainer = _fit(module, make_data(), settings, steps=steps, seconds=seconds)
    return module.cpu().eval(), trainer.global_step


class _StepTimer(Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002  # Lightning's names
        pl_module: LightningModule,  # noqa: ARG002
        *rest: object,  # noqa: ARG002
    ) -> None:
        self._ends.append(time.perf_counter())

    def seconds_per_step(self) -> float:
        """Return the median; the first step, which warms up, does not count."""
        return median(after - before for before, after in pairwise(self._ends))


def _fit(
    module: SamModule,
    data: SamDataModule,
    settings: Mapping[str, Any],  # Any: YAML
    *,
    steps: int,
    seconds: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    chosen = {**settings.get("trainer", {}), "max_epochs": -1, "max_steps": steps}
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on workers and logging
        trainer = Trainer(
            **chosen,
            max_time=None if seconds is None else timedelta(seconds=seconds),
            callbacks=list(callbacks),
            limit_val_batches=0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, datamodule=data)
    return trainer


def on_top(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:  # Any: YAML
    """Return settings with others laid over them, section by section."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = on_top(old, value)
        else:
            merged[key] = value
    return merged
