"""The settings of what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from samft.errors import ConfigError, did_you_mean
from samft.settings import Settings

Blocks = Literal["none", "all", "upper_half"] | tuple[int, int]
"""Blocks of the image encoder: by name, or from the first to the last of a pair, both included,
counted from 0; negative numbers count from the end."""

Part = Literal[
    "image_encoder",
    "neck",
    "prompt_encoder",
    "mask_decoder",
    "mask_heads",
    "mask_tokens",
    "prompt_tokens",
    "norms",
    "biases",
    "positions",
]
Target = Literal["q", "k", "v", "out", "mlp"]
AdaptationPreset = Literal["frozen", "lora", "late_lora", "late", "full"]
PresetName = Literal["custom", "frozen", "lora", "late_lora", "late", "full"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _PartSettings(Settings):
    """Settings that also take lists of names, blocks, and settings that may be left out."""

    def _check_type(self, name: str, hint: Any) -> None:  # Any: a type or a form of typing
        value = getattr(self, name)
        if hint == Blocks:
            return self._check_blocks(name, value)
        if get_origin(hint) is list:
            return self._check_list(name, value, get_args(get_args(hint)[0]))
        if type(None) in get_args(hint):
            (kind,) = (option for option in get_args(hint) if option is not type(None))
            return self._check_optional(name, value, kind)
        return Settings._check_type(self, name, hint)

    def _check_optional(self, name: str, value: object, kind: type) -> None:
        if value is None:
            return
        if not issubclass(kind, Settings):
            Settings._check_type(self, name, kind)
        elif isinstance(value, Settings) and isinstance(value, kind):
            value.validate()
        else:
            raise self._wrong_type(name, value, f"the settings of {name}, or nothing")

    def _check_list(self, name: str, value: object, choices: tuple[str, ...]) -> None:
        if not isinstance(value, list | tuple):
            raise self._wrong_type(name, value, "a list of names")
        for item in value:
            if item not in choices:
                raise ConfigError(
                    f"{name} has no choice {item!r}",
                    where=f"{self.section}.{name}",
                    fix=did_you_mean(str(item), choices),
                )

    def _check_blocks(self, name: str, value: object) -> None:
        names = get_args(get_args(Blocks)[0])
        if isinstance(value, tuple):
            if len(value) != 2 or any(type(item) is not int for item in value):
                raise self._wrong_type(name, value, "two block numbers, the first and the last")
        elif value not in names:
            raise ConfigError(
                f"{name} is neither a name nor two block numbers",
                where=f"{self.section}.{name}",
                found=repr(value),
                fix=f"{did_you_mean(str(value), names)}, or give [first, last]",
            )


def _as_tuple(blocks: object) -> Any:  # Any: whatever a file held, checked by `validate`
    """Return block numbers from YAML or JSON, which have no tuples, as they are typed."""
    return tuple(blocks) if isinstance(blocks, list) else blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings(_PartSettings):
    """Low-rank updates of linear layers, all else in these layers staying as it is.

    The scale of an update is `alpha / rank` (with `rslora` it is `alpha / sqrt(rank)`). Other
    programs count differently, so their learning rates do not carry over: SAMed multiplies by 1,
    micro-sam by its alpha; both correspond to `alpha = rank` here when their alpha is 1.

    The encoder has one layer for queries, keys and values; the chosen ones share the `rank`
    directions of their input. SAMed's rank of 4 for q and v each has as many as a rank of 8 here.

    Args:
        targets: What is updated in attention (`q`, `k`, `v`, `out`) and after it (`mlp`).
        rank: Directions of an update.
        alpha: Numerator of the scale.
        dropout: Share of a layer's inputs that its update does not see in training.
        variant: `plain`; `dora` also trains the length of every row; `rslora` keeps the scale of
            large ranks from vanishing.
        blocks: Blocks of the image encoder.
        decoder: Whether the transformer of the mask decoder is updated too.

    Source: Hu et al. 2021, arXiv:2106.09685; Liu et al. 2024 (DoRA), arXiv:2402.09353;
        Kalajdzievski 2023 (rsLoRA), arXiv:2312.03732.
    """

    section: ClassVar[str] = "adapt.lora"

    targets: list[Target] = field(default_factory=lambda: ["q", "v"])
    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    variant: Literal["plain", "dora", "rslora"] = "plain"
    blocks: Blocks = "all"
    decoder: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", _as_tuple(self.blocks))

    def _check_ranges(self) -> None:
        self._require("rank", low=1)
        self._require("alpha", low=1e-6)
        self._require("dropout", low=0, high=0.95)
        if not self.targets or (self.blocks == "none" and not self.decoder):
            raise ConfigError(
                "LoRA has nothing to update",
                where=self.section,
                found=f"targets {list(self.targets)}, blocks {self.blocks}, decoder false",
                fix="name targets and blocks, or remove adapt.lora",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSettings(_PartSettings):
    """Small bottlenecks beside the frozen layers of the image encoder.

    They have a non-linearity, so they cannot be merged into the weights: what is trained with them
    needs samft to run. LoRA merges.

    Args:
        kind: `adaptformer`: beside the MLP, with a learned scale; `medsa`: one after the attention,
            with a residual path, and one beside the MLP, halved.
        dim: Width of the bottleneck; default `ratio` of the block's.
        ratio: Width of the bottleneck as a share of the block's.
        blocks: Blocks of the image encoder.

    Source: Chen et al. 2022, arXiv:2205.13535, section 3; Wu et al. 2023, arXiv:2304.12620.
    """

    section: ClassVar[str] = "adapt.adapter"

    kind: Literal["adaptformer", "medsa"] = "adaptformer"
    dim: int | None = None
    ratio: float = 0.25
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", _as_tuple(self.blocks))

    def _check_ranges(self) -> None:
        if self.dim is not None:
            self._require("dim", low=1)
        self._require("ratio", low=1e-3, high=4)
        if self.blocks == "none":
            raise ConfigError(
                "adapters without a block to sit in",
                where=f"{self.section}.blocks",
                fix="name blocks, or remove adapt.adapter",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptationSettings(_PartSettings):
    """What of the model is trained; everything that is not named stays as it was loaded.

    Args:
        train: Parts that are trained themselves. `mask_heads` is the mask decoder without its
            transformer; `mask_tokens` and `prompt_tokens` are the learned tokens of decoder and
            prompt encoder; `norms`, `biases` (BitFit) and `positions` (tables of positions) are
            those of the whole model.
        blocks: Blocks of the image encoder that are trained themselves.
        lora: Low-rank updates.
        adapter: Bottleneck adapters.
        update_statistics: Whether batch norms that are trained (TinyViT alone has any) take up the
            statistics of the training images. Nothing: they do when training starts from random
            weights. The few images of a tuning batch say too little about the rest.
        preset: The preset these settings were made from; the share that is trained must be the one
            that the preset stands for. `custom` for any.

    Source: Ben Zaken et al. 2021 (BitFit), arXiv:2106.10199.
    """

    section: ClassVar[str] = "adapt"

    train: list[Part] = field(default_factory=lambda: ["mask_decoder"])
    blocks: Blocks = "none"
    lora: LoraSettings | None = None
    adapter: AdapterSettings | None = None
    update_statistics: bool | None = None
    preset: PresetName = "custom"

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", _as_tuple(self.blocks))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:  # Any: as read, checked here
        """Build the settings from plain data; see `Settings.from_dict`."""
        ready = dict(values)
        for name, kind in (("lora", LoraSettings), ("adapter", AdapterSettings)):
            if isinstance(ready.get(name), Mapping):
                ready[name] = kind.from_dict(ready[name])
        return super(AdaptationSettings, cls).from_dict(ready)

    def _check_ranges(self) -> None:
        if not self.train and self.blocks == "none" and not self.lora and not self.adapter:
            raise nothing_trained()


def nothing_trained() -> ConfigError:
    """Return the error for settings that leave every part of the model as it is."""
    return ConfigError(
        "nothing would be trained: every part of the model is frozen",
        where="adapt.train",
        fix="name a part, such as mask_decoder, or a preset",
    )
