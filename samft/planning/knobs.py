"""Which settings would save most memory, and how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from samft.objective import objects_at_once
from samft.planning.estimate import estimate_memory
from samft.planning.step import StepShape, Trainable
from samft.planning.variants import Variant

_WORTH_IT = 0.02  # share of the step's memory below which a knob is not named


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting that lowers memory.

    Args:
        setting: As it is written on the command line, such as `model.checkpoint_blocks true`.
        saved: Bytes that the step would take less, estimated.
    """

    setting: str
    saved: int

    def __str__(self) -> str:
        """Return the setting and what it saves, for a message."""
        return f"{self.setting} (saves about {gigabytes(self.saved)})"


def best_knobs(module: Trainable, shape: StepShape, *, count: int = 2) -> list[Knob]:
    """Return the settings that save most, the best first; none that saves next to nothing.

    Args:
        module: The model and its settings.
        shape: The size of the step.
        count: How many at most.
    """
    now = estimate_memory(module, shape, base=0).tensors
    knobs = [
        Knob(setting, now - estimate_memory(variant, changed, base=0).tensors)
        for setting, variant, changed in _candidates(module, shape)
    ]
    useful = [knob for knob in knobs if knob.saved > _WORTH_IT * now]
    return sorted(useful, key=lambda knob: knob.saved, reverse=True)[:count]


def _candidates(module: Trainable, shape: StepShape) -> Iterator[tuple[str, Trainable, StepShape]]:
    if shape.images > 1:
        half = shape.images // 2
        smaller = replace(shape, images=half, objects=-(-shape.objects * half // shape.images))
        yield f"data.batch_size {half}", module, smaller
    if module.adapted.embeddings_change:
        yield "model.checkpoint_blocks true", Variant.of(module).recomputing(), shape
        yield "model.adapt frozen", Variant.of(module).frozen(), shape
    at_once = min(_at_once(module, shape), shape.objects)
    if at_once > 1:
        few = max(1, at_once // 4)
        yield f"model.max_prompts_per_step {few}", Variant.of(module).decoding(few), shape
    if shape.precision == "32-true" and shape.device_type != "cpu":
        yield "trainer.precision bf16-mixed", module, replace(shape, precision="bf16-mixed")


def _at_once(module: Trainable, shape: StepShape) -> int:
    cells = module.sam.config.grid_size**2
    given = module.objective.max_prompts_per_step
    return given or objects_at_once(cells, on_cpu=shape.device_type == "cpu")


def advice(module: Trainable, shape: StepShape) -> str | None:
    """Return the two best knobs as the fix of an error; `None` where nothing helps."""
    knobs = best_knobs(module, shape)
    return f"set {', or '.join(map(str, knobs))}" if knobs else None


def gigabytes(size: float) -> str:
    """Return bytes in GB of 2^30, or in MB below one tenth of it."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MB"
