"""Make a model train what the settings say."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from samft.errors import ConfigError
from samft.models.adaptation.adapters import attach_adapters, is_adapter
from samft.models.adaptation.cut import EncoderCut
from samft.models.adaptation.lora import inject_lora, is_lora, lora_targets
from samft.models.adaptation.parts import components, encoder_blocks, trained_themselves
from samft.models.adaptation.presets import check_share
from samft.models.adaptation.settings import AdaptationSettings, LoraSettings
from samft.models.sam import Sam


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A model that trains what its settings say.

    Args:
        sam: The model.
        settings: What is trained.
    """

    sam: Sam
    settings: AdaptationSettings

    @property
    def frozen(self) -> tuple[str, ...]:
        """The components of which nothing is trained."""
        parts = components(self.sam)
        return tuple(name for name in parts if not _is_trained(self.sam.get_submodule(name)))

    @property
    def embeddings_change(self) -> bool:
        """Whether training changes what is computed of an image; only then it needs a graph.

        It does where the image encoder is trained, and where a channel adapter in front of it is.
        """
        return self.cut.stop is not None

    @property
    def num_frozen_blocks(self) -> int:
        """How many blocks of the image encoder, from its input, need no backward pass.

        What they compute of an image never changes. With nothing trained in the encoder it is all
        of them; the neck after them may be trained.
        """
        stop = self.cut.stop
        return len(encoder_blocks(self.sam)) if stop is None else stop

    @property
    def cut(self) -> EncoderCut:
        """Where the part of the image encoder ends that never changes."""
        return EncoderCut.of(self.sam)

    def train(self, mode: bool = True) -> None:
        """Switch to training mode; frozen components, blocks and batch norms stay in evaluation.

        What the frozen blocks below the first trained one compute of an image stays the same: there
        is no stochastic depth in them, which could teach them nothing.

        A batch norm whose weights are frozen must not take up the statistics of the new images:
        they would be a change that nobody asked for and no adapter file holds. Others do only
        where the settings say so.
        """
        self.sam.train(mode)
        for name in self.frozen:
            self.sam.get_submodule(name).eval()
        for block in encoder_blocks(self.sam)[: self.num_frozen_blocks]:
            block.module.eval()
        updated = self.settings.update_statistics
        for module in self.sam.modules():
            if isinstance(module, _BatchNorm) and not (updated and _is_trained(module)):
                module.eval()


def adapt(sam: Sam, settings: AdaptationSettings) -> Adapted:
    """Freeze and unfreeze the parameters of a model and put LoRA and adapters into it, in place.

    What the model answers does not change by this.

    Args:
        sam: A model without LoRA and adapters, with its weights loaded.
        settings: What is trained.

    Raises:
        ConfigError: if settings are out of range or contradict each other, the model has adapters
            already, or the share that is trained is not that of the preset.
        DependencyError: if LoRA is asked for and `peft` is not installed.
    """
    settings.validate()
    if is_adapted(sam):
        raise ConfigError(
            "the model has LoRA or adapters already",
            where="adapt",
            fix="merge them first, or load the plain weights again",
        )
    trained = trained_themselves(sam, settings)
    if settings.lora is not None:
        _check_apart(sam, settings.lora, trained)
    sam.requires_grad_(requires_grad=False)
    if settings.lora is not None:
        inject_lora(sam, settings.lora)
    if settings.adapter is not None:
        attach_adapters(sam, settings.adapter)
    for parameter in trained:
        parameter.requires_grad = True
    check_share(sam, settings)
    adapted = Adapted(sam=sam, settings=settings)
    adapted.train(sam.training)
    return adapted


def is_adapted(sam: Sam) -> bool:
    """Whether the model has LoRA or adapters in it."""
    return any(is_lora(key) or is_adapter(key) for key, _ in sam.named_parameters())


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _check_apart(sam: Sam, lora: LoraSettings, trained: list[nn.Parameter]) -> None:
    ids = {id(parameter) for parameter in trained}
    for name in lora_targets(sam, lora):
        if id(sam.get_parameter(f"{name}.weight")) in ids:
            raise ConfigError(
                "a layer is trained itself and by LoRA",
                where="adapt.lora",
                found=name,
                fix="take it out of adapt.train and adapt.blocks, or out of adapt.lora; mask_heads "
                "is the decoder without its transformer",
            )
