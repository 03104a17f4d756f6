"""A training step as a rehearsal: which memory it takes and gives back, in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from samft.cached_encoder import CachedEncoder
from samft.losses import SamLossSettings
from samft.models.adaptation.apply import Adapted
from samft.models.adaptation.cut import EncoderCut
from samft.models.sam import Sam
from samft.objective import InteractiveObjective
from samft.optim import OptimizerSettings, build_optimizer
from samft.planning.fake import Rehearsal
from samft.planning.pieces import few_pieces
from samft.planning.tracker import History, LiveMemory
from samft.prompts.combining import JoinedPrompts
from samft.prompts.simulators import NoisyBox, SeveralPoints
from samft.types import Frame, SamBatch

WEIGHTS: Final = "weights"
GRADIENTS: Final = "gradients"
OPTIMIZER: Final = "optimiser state"
ENCODER: Final = "image encoder"
DECODER: Final = "prompts, decoder, loss"
BATCH: Final = "batch"
CHECKPOINT: Final = "checkpoint while saved"

_BATCHES = 2  # the loader makes one while the other is trained on
_SMALLEST_8BIT = 4096  # numbers; bitsandbytes keeps smaller parameters' state in float32
_HALF: Final = {
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
    "bf16-true": torch.bfloat16,
    "16-true": torch.float16,
}


class Trainable(Protocol):
    """What `samft.SamModule` has, as far as memory depends on it."""

    @property
    def sam(self) -> Sam:
        """The model."""
        ...

    @property
    def adapted(self) -> Adapted:
        """What of it is trained."""
        ...

    @property
    def cached_encoder(self) -> CachedEncoder | None:
        """What reads and keeps embeddings."""
        ...

    @property
    def objective(self) -> InteractiveObjective:
        """The objective of a step."""
        ...

    @property
    def loss_settings(self) -> SamLossSettings:
        """Weights of the objective."""
        ...

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        """How weights are updated."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class StepShape:
    """The size of a training step.

    Args:
        images: Of the batch.
        objects: Of the whole batch, after the choice that training makes.
        layers: Label layers of each image.
        size: (height, width) of the images, pixels; default: the square that the model sees.
        pixels: Type of the images as they come from the loader: uint8, or float32.
        precision: The trainer's, such as `32-true` or `bf16-mixed`.
        device_type: `cpu` or `cuda`; the latter needs no GPU.
    """

    images: int
    objects: int
    layers: int = 1
    size: tuple[int, int] | None = None
    pixels: torch.dtype = torch.uint8
    precision: str = "32-true"
    device_type: str = "cpu"


def rehearse(module: Trainable, shape: StepShape) -> History:
    """Return what the first two steps allocate, and on a CPU the checkpoint after them.

    The image encoder, the decoder, the loss, both backward passes and the optimiser run as they are
    on tensors without values; of the decoder's pieces the first ones. The prompts are several
    points and a box for each object, and one corrective click follows: the most that a decoder pass
    holds. As in Lightning's loop, gradients of the step before are there until the loss is
    computed. Only the second step is run. The first is the same without gradients and state of the
    optimiser, which come to lie among what it has left.

    Args:
        module: The model and its settings; is left as it is.
        shape: The size of the step.
    """
    stage = Rehearsal(shape.device_type)
    sam = stage.copy(module.sam)
    if shape.precision.endswith("-true") and shape.precision in _HALF:
        with stage.running():
            sam = sam.to(_HALF[shape.precision])
    mixed = shape.precision.endswith("-mixed")
    dtype = _HALF.get(shape.precision, torch.bfloat16)
    with stage.running() as memory:
        memory.follow([*sam.parameters(), *sam.buffers()], WEIGHTS)
        with memory.labelled(BATCH):
            batch, *_spare = [_batch(sam, shape) for _ in range(_BATCHES)]
        first = len(memory.history.events)
        optimizer = _with_state(sam, module.optimizer_settings, shape, memory)
        start = len(memory.history.events)
        with torch.autocast("cpu", dtype, enabled=mixed):
            total = _loss(module, sam, batch, memory)
        for parameter in sam.parameters():
            parameter.grad = None
        with memory.labelled(ENCODER), torch.autograd.set_multithreading_enabled(False):
            total.backward()  # type: ignore[no-untyped-call]  # torch left it untyped
        del total
        memory.follow(_gradients(sam), GRADIENTS)
        stop = len(memory.history.events)
        with memory.labelled(OPTIMIZER):
            _update(optimizer)
        if shape.device_type == "cpu":
            # Lightning puts a checkpoint together in memory before it writes it.
            with memory.labelled(CHECKPOINT):
                torch.empty(memory.held_by(WEIGHTS, OPTIMIZER), dtype=torch.uint8)
        # A copy, which does not see the tensors go.
        return memory.history.with_before(range(start, stop), at=first)


def _loss(module: Trainable, sam: Sam, batch: SamBatch, memory: LiveMemory) -> Tensor:
    given = module.objective
    most = given.prompts.rounds + given.prompts.extra_passes
    prompts = replace(
        given.prompts,
        rounds=min(1, most),
        extra_passes=0,
        click="uniform",
        background_clicks=0,  # they are among the objects
    )
    objective = InteractiveObjective(
        sam,
        prompts=prompts,
        loss=_plain_loss(module.loss_settings),
        loss_stride=given.loss_stride,
        max_prompts_per_step=given.max_prompts_per_step,
    )
    objective.simulator = JoinedPrompts([SeveralPoints(most=max(1, most)), NoisyBox()])
    generator = torch.Generator().manual_seed(0)
    with memory.labelled(ENCODER):
        embeddings = _embeddings(module, sam, batch)
    with memory.labelled(DECODER), few_pieces(sam):
        return objective.of_objects(batch, embeddings, generator=generator).total


def _embeddings(module: Trainable, sam: Sam, batch: SamBatch) -> Tensor:
    """Encode as `SamModule` does, and as a cache does that does not know the images yet."""
    if module.cached_encoder is None:
        with torch.set_grad_enabled(module.adapted.embeddings_change):
            return sam.encode_image(batch.images, batch.input_sizes)
    cut = EncoderCut(sam=sam, stop=module.cached_encoder.cut.stop)
    pieces = zip(torch.split(batch.images, 1), torch.split(batch.input_sizes, 1), strict=True)
    return cut.upper(torch.cat([cut.lower(*piece) for piece in pieces]))


def _plain_loss(settings: SamLossSettings) -> SamLossSettings:
    """Leave out terms that compute distances with scipy, object by object."""
    return replace(settings, boundary=0.0, surface=0.0)


def _with_state(
    sam: Sam, settings: OptimizerSettings, shape: StepShape, memory: LiveMemory
) -> Optimizer | None:
    """Return the optimiser after a step, with gradients; `None` where it only runs for real."""
    trained = [parameter for parameter in sam.parameters() if parameter.requires_grad]
    with memory.labelled(GRADIENTS):
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
    with memory.labelled(OPTIMIZER):
        if settings.method == "adamw_8bit":
            # Held by the parameters, so that it stays as long as they do.
            for parameter in trained:
                parameter.state_8bit = _state_8bit(parameter)  # type: ignore[attr-defined]  # ours
            return None
        optimizer = build_optimizer(sam, settings)
        for group in optimizer.param_groups:
            if "foreach" in group and shape.device_type != "cpu":
                group["foreach"] = True  # torch's choice on a GPU
        optimizer.step()
    return optimizer


def _state_8bit(parameter: Tensor) -> list[Tensor]:
    size = parameter.numel()
    dtype = torch.uint8 if size >= _SMALLEST_8BIT else torch.float32
    return [torch.empty(size, dtype=dtype) for _ in range(2)]


def _update(optimizer: Optimizer | None) -> None:
    if optimizer is not None:
        optimizer.step()


def _gradients(sam: Sam) -> Iterable[Tensor]:
    return [parameter.grad for parameter in sam.parameters() if parameter.grad is not None]


def _batch(sam: Sam, shape: StepShape) -> SamBatch:
    side, count = sam.image_size, shape.objects
    size = shape.size or (side, side)
    fields: dict[str, Any] = {  # Any: the fields are of several types
        "images": torch.zeros(shape.images, sam.num_channels, *size, dtype=shape.pixels),
        "layers": torch.zeros(shape.images, shape.layers, *size, dtype=torch.int32),
        "image_index": torch.zeros(count, dtype=torch.int64),
        "object_layer": torch.zeros(count, dtype=torch.int64),
        "object_value": torch.ones(count, dtype=torch.int32),
        "object_class": torch.zeros(count, dtype=torch.int64),
    }
    return SamBatch(
        **fields,
        frames=(Frame(original_size=size, input_size=size, image_size=side),) * shape.images,
        sample_ids=("",) * shape.images,
    )
