"""The settings of optimiser and learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings(Settings):
    """How weights are updated.

    Args:
        lr: Peak learning rate of the mask decoder, and what the factors below multiply. 1e-4 suits
            a tuned decoder; weights trained from nothing want 5e-4 to 3e-3.
        encoder_lr_factor: Learning rate of the image encoder as a multiple of `lr`; 0.1 to 0.6
            keeps what pre-training taught it.
        prompt_encoder_lr_factor: Learning rate of the prompt encoder as a multiple of `lr`.
        channel_lr_factor: Learning rate of a channel adapter (`model.channels`) as a multiple of
            `lr`. Its few weights are about 1, far larger than those of other layers.
        layer_decay: Each block of the image encoder learns this much slower than the one after it,
            the patch embedding slowest; 1 is off. SAM was trained with 0.6 (ViT-B) and 0.8; 0.9 is
            what SAM 2 is fine-tuned with.
        weight_decay: AdamW decay; not applied to biases, norms, tokens and position tables.
        method: `adamw`; `adamw_8bit`, which keeps its running averages in 8 bits: 6 bytes less for
            each number that is trained (`pip install "samft[lowbit]"`); or `muon`, which updates
            the matrices of linear layers with Muon and all else with AdamW: fewer steps for weights
            that are trained from nothing.
        matrix_lr_factor: With `muon`, the learning rate of those matrices as a multiple of what the
            other parameters of the same part get.
        warmup_steps: Steps of linear warm-up from zero.
        schedule: What follows the warm-up: `constant`; `cosine`, `linear` or `poly` down to
            `end_factor` at the last step; `step`, two drops; `plateau`, a drop whenever a
            validation score stops getting better.
        end_factor: Where `cosine`, `linear` and `poly` end, and below which `plateau` never goes,
            as a share of the peak.
        poly_power: Power of `poly`; 1 is linear, less keeps the rate up for longer.
        step_factor: With `step`, what each drop multiplies the rate by.
        step_first: With `step`, the share of the training after which the first drop comes.
        step_second: With `step`, the share after which the second comes; 1 for never.
        plateau_factor: With `plateau`, what each drop multiplies the rate by.
        plateau_patience: With `plateau`, epochs without a better score that are put up with.
        plateau_monitor: With `plateau`, the score that is watched.
        plateau_mode: Whether the best such score is the `max` or the `min`.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A (AdamW, betas 0.9 and 0.999, decay
        0.1, warm-up 250, drops by 0.1 at 60,000 and 86,666 of 90,000 steps, layer decay); the power
        is that of SAMed (arXiv:2304.13785), factor and patience of `plateau` are micro-sam's.
    """

    section: ClassVar[str] = "optimizer"

    lr: float = 1e-4
    encoder_lr_factor: float = 0.1
    prompt_encoder_lr_factor: float = 1.0
    channel_lr_factor: float = 10.0
    layer_decay: float = 1.0
    weight_decay: float = 0.1
    method: Literal["adamw", "adamw_8bit", "muon"] = "adamw"
    matrix_lr_factor: float = 3.0
    warmup_steps: int = 50
    schedule: Literal["constant", "cosine", "linear", "step", "poly", "plateau"] = "cosine"
    end_factor: float = 0.01
    poly_power: float = 0.9
    step_factor: float = 0.1
    step_first: float = 0.667
    step_second: float = 0.963
    plateau_factor: float = 0.9
    plateau_patience: int = 3
    plateau_monitor: str = "val/iou"
    plateau_mode: Literal["max", "min"] = "max"

    def _check_ranges(self) -> None:
        factors = ("encoder_lr_factor", "prompt_encoder_lr_factor", "matrix_lr_factor")
        for name in ("lr", *factors, "channel_lr_factor"):
            self._require(name, low=1e-12)
        for name in ("weight_decay", "warmup_steps", "plateau_patience"):
            self._require(name, low=0)
        for name in ("end_factor", "step_factor", "step_first", "step_second"):
            self._require(name, low=0, high=1)
        self._require("layer_decay", low=0.01, high=1)
        self._require("poly_power", low=0.01)
        self._require("plateau_factor", low=0.01, high=0.99)
