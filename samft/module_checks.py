"""What a `SamModule` refuses, and what it says then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from samft.errors import ConfigError, did_you_mean
from samft.losses import SamLossSettings
from samft.models.adaptation.adapters import is_adapter
from samft.models.adaptation.apply import Adapted
from samft.models.adaptation.cut import EncoderCut
from samft.models.adaptation.lora import is_lora
from samft.models.adaptation.parts import chosen_blocks, encoder_blocks
from samft.models.sam import Sam
from samft.optim import OptimizerSettings
from samft.prompts.settings import PromptSettings

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def check_cacheable(adapted: Adapted) -> None:
    """Refuse to cache embeddings that change, or are not an image's own."""
    channels = adapted.sam.channels
    if channels is not None and channels.mode == "learned":
        raise ConfigError(
            "embeddings change while the channel adapter in front of the encoder is trained",
            where="model.cache_embeddings",
            found="model.channels.mode learned",
            fix="set model.channels.mode to fixed, or leave model.cache_embeddings off",
        )
    if adapted.sam.trim_padding:
        raise ConfigError(
            "with trimmed padding an image's embedding depends on the other images of its batch",
            where="model.cache_embeddings",
            found="model.trim_padding true",
            fix="leave out one of the two",
        )
    if adapted.cut.stop == 0:
        raise ConfigError(
            "nothing of the image encoder can be cached: it is trained from its first block on",
            where="model.cache_embeddings",
            found=f"model.adapt trains {adapted.settings.preset}, {_lowest(adapted)[0]} for one",
            fix=f"{_above_the_first_block(adapted)}, or leave model.cache_embeddings off",
        )


_LATER: Final = {"full": "late", "lora": "late_lora"}
_WHOLE: Final = ("image_encoder", "norms", "biases", "positions")


def _lowest(adapted: Adapted) -> list[str]:
    """Return the names of what is trained up to and with the first block."""
    tensors = EncoderCut(sam=adapted.sam, stop=1).tensors()
    return [name for name, tensor in tensors.items() if tensor.requires_grad]


def _above_the_first_block(adapted: Adapted) -> str:
    """Return what to change so that the first block is not trained."""
    settings = adapted.settings
    if settings.preset in _LATER:
        return f"set model.adapt to {_LATER[settings.preset]}"
    names, first = _lowest(adapted), encoder_blocks(adapted.sam)[0]
    chosen = chosen_blocks(adapted.sam, settings.blocks, where="adapt.blocks")
    reaches = {
        "adapt.blocks": first in chosen,
        "adapt.lora.blocks": any(map(is_lora, names)),
        "adapt.adapter.blocks": any(map(is_adapter, names)),
    }
    changes = [f"set {name} to upper_half" for name, it_does in reaches.items() if it_does]
    parts = [part for part in settings.train if part in _WHOLE]
    if parts:
        changes.append(f"take {', '.join(parts)} out of adapt.train")
    return " and ".join(changes)


def check_variants(data: object) -> None:
    """Refuse data whose training images never come again."""
    if not getattr(data, "repeats", True):  # missing where loaders are handed over
        raise ConfigError(
            "training images are new in every epoch, so that no embedding is used twice",
            where="data.variants",
            found="not set",
            fix="set data.variants to a few, such as 4",
        )


def check_channels(sam: Sam, data: object) -> None:
    """Refuse data with more or fewer channels than the model takes."""
    delivered = getattr(data, "num_channels", None)  # missing where loaders are handed over
    if delivered not in (None, sam.num_channels):
        raise ConfigError(
            "data and model differ in channels",
            where="data.channels",
            found=delivered,
            expected=f"{sam.num_channels}, as the model takes",
            fix=f"set model.channels.count: {delivered}, or choose other data.channels",
        )


class _Settings(Protocol):
    """What a `SamModule` is trained with."""

    optimizer_settings: OptimizerSettings
    prompt_settings: PromptSettings
    loss_settings: SamLossSettings


def check_length(module: _Settings, trainer: Trainer) -> None:
    """Refuse what changes over the steps of a training where only time ends the training."""
    if trainer.max_epochs != -1 or trainer.max_steps != -1:
        return
    schedule = module.optimizer_settings.schedule
    rounds_from = module.prompt_settings.rounds_from
    loss = module.loss_settings
    fades = loss.balanced_bce > 0 and loss.balanced_bce_until > 0
    settings = (
        ("optimizer.schedule", schedule, schedule not in _STEADY, " or ".join(_STEADY)),
        ("prompts.rounds_from", rounds_from, rounds_from > 0, "0"),
        ("loss.balanced_bce", loss.balanced_bce, fades, "0"),
    )
    for name, value, refused, allowed in settings:
        if refused:
            raise ConfigError(
                "this setting goes by the number of steps of the training, and none is set",
                where=f"model.{name}",
                found=f"{value}, without trainer.max_epochs and trainer.max_steps",
                fix=f"set one of these, beside trainer.max_time; or set model.{name}: {allowed}",
            )


_STEADY: Final = ("constant", "plateau")


def check_clicks(clicks: int) -> None:
    """Refuse a validation without a click."""
    if clicks < 1:
        raise ConfigError(
            "validation_clicks is out of range",
            where="model.validation_clicks",
            found=clicks,
            expected="1 or more",
        )


def check_names(names: Iterable[str], allowed: Iterable[str], setting: str, kind: str) -> None:
    """Refuse names that are none of those `allowed`."""
    for name in names:
        if name not in allowed:
            raise ConfigError(
                f"no {kind} is called {name!r}",
                where=f"model.{setting}",
                fix=did_you_mean(name, allowed),
            )
