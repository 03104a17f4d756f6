"""What cannot be trained with the image encoder in shards, and what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from samft.errors import ConfigError

if TYPE_CHECKING:
    from samft.module import SamModule

_DDP: Final = "set trainer.strategy: ddp"


def check_shardable(module: SamModule, trainer: Trainer) -> None:
    """Refuse what the shards of an encoder do not allow, before anything is sharded.

    Args:
        module: What is to be sharded; whole as yet.
        trainer: What trains or evaluates it.

    Raises:
        ConfigError: naming the setting, and what to set.
    """
    if module.cached_encoder is not None:
        # Devices that wait for each other inside the encoder never meet when one of them reads an
        # embedding which another has to compute.
        raise ConfigError(
            "cached embeddings do not go with an encoder in shards",
            where="model.cache_embeddings",
            found=module.cached_encoder.dtype,
            expected="off",
            fix=f"{_DDP}: what is cached is frozen and has no optimiser state that shards would "
            "divide; or leave model.cache_embeddings off",
        )
    if trainer.state.fn == TrainerFn.FITTING:
        _check_updates(module, trainer)


def _check_updates(module: SamModule, trainer: Trainer) -> None:
    method = module.optimizer_settings.method
    trained = any(each.requires_grad for each in module.sam.image_encoder.parameters())
    if method != "adamw" and trained:
        raise ConfigError(
            f"{method} cannot update weights of which every device holds a part",
            where="model.optimizer.method",
            found=method,
            expected="adamw",
            fix=f"set model.optimizer.method: adamw, or {_DDP}",
        )
    callbacks = vars(trainer)["callbacks"]
    if any(isinstance(callback, WeightAveraging) for callback in callbacks):
        raise ConfigError(
            "weights in shards cannot be averaged over steps",
            where="trainer.callbacks",
            found=next(type(one).__name__ for one in callbacks if isinstance(one, WeightAveraging)),
            fix=f"{_DDP}, or leave the callback out",
        )
    if trainer.gradient_clip_val and trainer.gradient_clip_algorithm == "value":
        raise ConfigError(
            "gradients in shards are clipped by their norm alone",
            where="trainer.gradient_clip_algorithm",
            found="value",
            expected="norm",
            fix=f"set trainer.gradient_clip_algorithm: norm, or {_DDP}",
        )
    if vars(trainer.strategy).get("_layer_sync") is not None:
        raise ConfigError(
            "batch norms beside an encoder in shards cannot share their statistics",
            where="trainer.sync_batchnorm",
            found="true",
            fix=f"leave it out, or {_DDP}",
        )
