"""Named choices of what is trained, and the check that a run trains what its name says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from samft.errors import ConfigError, did_you_mean
from samft.models.adaptation.parts import COMPONENTS, components, named_parameters
from samft.models.adaptation.settings import (
    AdaptationPreset,
    AdaptationSettings,
    LoraSettings,
    nothing_trained,
)
from samft.models.sam import Sam

_SOME = 1e-6
_NONE, _ALL = (0.0, 0.0), (1.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A named choice of what is trained.

    Args:
        settings: What it trains.
        shares: Least and largest share of the parameters of each component that is trained under
            this name, 0 to 1; components that are left out may have any.
    """

    settings: AdaptationSettings
    shares: Mapping[str, tuple[float, float]]


PRESETS: Final[dict[str, Preset]] = {
    "frozen": Preset(
        settings=AdaptationSettings(preset="frozen"),
        shares={"image_encoder": _NONE, "prompt_encoder": _NONE, "mask_decoder": _ALL},
    ),
    "lora": Preset(
        settings=AdaptationSettings(preset="lora", lora=LoraSettings()),
        shares={"image_encoder": (_SOME, 0.25), "mask_decoder": (_SOME, 1.0)},
    ),
    "late_lora": Preset(
        settings=AdaptationSettings(
            preset="late_lora",
            lora=LoraSettings(
                targets=["q", "k", "v", "mlp"], rank=32, alpha=32.0, blocks="upper_half"
            ),
        ),
        shares={"image_encoder": (_SOME, 0.25), "mask_decoder": (_SOME, 1.0)},
    ),
    "late": Preset(
        settings=AdaptationSettings(
            preset="late", train=["neck", "mask_decoder"], blocks="upper_half"
        ),
        shares={"image_encoder": (0.25, 0.95), "mask_decoder": _ALL},
    ),
    "full": Preset(
        settings=AdaptationSettings(
            preset="full", train=["image_encoder", "prompt_encoder", "mask_decoder"]
        ),
        shares=dict.fromkeys(COMPONENTS, _ALL),
    ),
}
"""`frozen`: the mask decoder alone. `lora`: also low-rank updates of q and v in every block, with
as many directions as SAMed has. `late_lora`: of q, k, v and MLP in the upper half of the blocks,
with the rank that peft-sam found best; no gradient goes below. `late`: the upper half of the blocks
itself. `full`: everything.

Source: Zhang and Liu 2023 (SAMed), arXiv:2304.13785; Teuber et al. 2025 (peft-sam),
    arXiv:2502.00418.
"""


class TrainableRow(NamedTuple):
    """How much of a component is trained.

    Args:
        part: `image_encoder`, `prompt_encoder`, `mask_decoder`, or `channel_adapter`.
        trained: Numbers that are trained, those of LoRA and adapters included.
        of: Numbers that there are, without what nothing reads.
    """

    part: str
    trained: int
    of: int

    @property
    def share(self) -> float:
        """The trained share, 0 to 1."""
        return self.trained / max(1, self.of)  # a fixed channel adapter has nothing to train


def preset(name: AdaptationPreset) -> AdaptationSettings:
    """Return the settings of a preset.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"no preset is called {name!r}", where="adapt", fix=did_you_mean(name, PRESETS)
        )
    return PRESETS[name].settings


def settle(
    given: AdaptationSettings | AdaptationPreset | Mapping[str, Any],  # Any: plain data
    *,
    from_scratch: bool,
) -> AdaptationSettings:
    """Return what is trained, with all settled that depends on where training starts.

    Args:
        given: Settings, or the name of a preset.
        from_scratch: Whether the weights are random.

    Raises:
        ConfigError: if no preset has the name, or the settings are malformed.
    """
    found = preset(given) if isinstance(given, str) else AdaptationSettings.resolve(given)
    if found.update_statistics is None:
        found = replace(found, update_statistics=from_scratch)
    return found


def trainable_table(sam: Sam) -> list[TrainableRow]:
    """Count what is trained of each component; LoRA and adapters count with theirs."""
    sizes = {component: [0, 0] for component in components(sam)}
    for key, _, parameter in named_parameters(sam):
        counts = sizes[key.partition(".")[0]]
        counts[0] += parameter.numel() if parameter.requires_grad else 0
        counts[1] += parameter.numel()
    return [TrainableRow(component, *counts) for component, counts in sizes.items()]


def check_share(sam: Sam, settings: AdaptationSettings) -> None:
    """Check that something is trained, and what the preset's name says.

    Args:
        sam: The model with its parameters frozen or not.
        settings: What was asked for.

    Raises:
        ConfigError: if nothing is trained, or the share of a component is not the preset's.
    """
    rows = trainable_table(sam)
    if not any(row.trained for row in rows):
        raise nothing_trained()
    shares = PRESETS[settings.preset].shares if settings.preset in PRESETS else {}
    for row in rows:
        low, high = shares.get(row.part, (0.0, 1.0))
        if not low <= row.share <= high:
            raise ConfigError(
                f"the preset {settings.preset!r} does not train this much of the {row.part}",
                where=f"adapt ({row.part})",
                found=f"{row.trained:,} of {row.of:,} ({row.share:.3%})",
                expected=f"{low:.3%} to {high:.3%}",
                fix="set adapt.preset to custom if this is what you want",
            )
