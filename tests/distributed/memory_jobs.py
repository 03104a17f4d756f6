"""What two processes do about memory: cached embeddings, batches that fit, fewer images at once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jobs
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torch import distributed as dist

from samft import OptimizerSettings, PromptSettings, SamModule, SyntheticDataModule
from samft.errors import SamftError
from samft.planning import batch_size as chooser
from samft.sharding import ShardedStrategy

FEW = PromptSettings(rounds=0, max_objects_per_image=3)
SMALL: dict[str, Any] = {"image_size": 64, "seed": 3, "prompts": FEW}


def images(**settings: Any) -> SyntheticDataModule:
    """Return four training images that come again in every epoch, and two more."""
    return SyntheticDataModule(
        **{"num_train": 4, "num_val": 2, "size": 64, "batch_size": 1, "variants": 1, **settings}
    )


def embeddings_are_cached(root: Path) -> dict[str, Any]:
    """Train twice with cached embeddings, and once without.

    Returns:
        Images computed and read, first and second, and how far the weights are apart in the end.
    """
    found: dict[str, Any] = {"computed": [], "read": []}
    weights = []
    for kind in ("float32", "float32", "off"):
        torch.manual_seed(0)
        module = SamModule("vit_nano", adapt="frozen", cache_embeddings=kind, **SMALL)
        if module.cached_encoder is not None:
            module.cached_encoder.root = root
        jobs.trainer("ddp", max_epochs=2).fit(module, images())
        weights.append(weights_of(module))
        if module.cached_encoder is not None:
            found["computed"].append(module.cached_encoder.computed)
            found["read"].append(module.cached_encoder.read)
    first, second, without = weights
    return found | {
        "again": bool(torch.equal(first, second)),
        "off_by": float((first - without).abs().max()),
    }


def batches_that_fit() -> dict[str, Any]:
    """Let the second process have less memory than the first, then none.

    Returns:
        The size that was chosen, and what was said when nothing fits.
    """
    rank = dist.get_rank()
    before = {name: getattr(chooser, name) for name in ("estimate_memory", "budget", "advice")}
    room = {0: 1000, 1: 350}
    chooser.estimate_memory = lambda _, shape: chooser.MemoryEstimate(
        {"weights": 100 + 50 * shape.images}
    )
    chooser.budget = lambda device, sharing: room[rank]
    chooser.advice = lambda *_: "set something"
    found: dict[str, Any] = {}
    try:
        data = images(num_train=64, batch_size="auto")
        module = SamModule("vit_nano", **SMALL)
        jobs.trainer("ddp", max_steps=0).fit(module, data)
        found["size"] = data.batch_size
        room[1] = 100
        nothing = images(num_train=64, batch_size="auto")
        found["nothing"] = refusal("ddp", SamModule("vit_nano", **SMALL), data=nothing)
    finally:
        vars(chooser).update(before)
    return found


def pieces_on_one_process() -> float:
    """Let the second process alone run out of memory once.

    Returns:
        How far the weights are off in the end, as a share of the way they have come.
    """
    ends, start = [], torch.empty(0)
    for fails in (False, True):
        torch.manual_seed(0)
        module = SamModule("vit_nano", adapt="late_lora", **SMALL)
        start = weights_of(module)
        if fails and dist.get_rank() == 1:
            fail_once(module)
        data = images(batch_size=2)
        jobs.trainer("ddp", max_steps=1, limit_val_batches=0).fit(module, data)
        assert module.encoder.images_at_once == (1 if fails and dist.get_rank() == 1 else None)
        ends.append(weights_of(module))
    return float((ends[0] - ends[1]).norm() / (ends[0] - start).norm())


def weights_of(module: SamModule) -> Tensor:
    """Return all weights in a row."""
    return torch.cat([each.detach().flatten() for each in module.parameters()])


def fail_once(module: SamModule, *, always: bool = False) -> None:
    """Let the image encoder run out of memory in its first step."""
    encode, left = module.sam.encode_image, [1]

    def failing(*arguments: Any) -> Any:
        if left or always:
            left.clear()
            raise torch.OutOfMemoryError("no memory")
        return encode(*arguments)

    module.sam.encode_image = failing


def refused_in_shards() -> dict[str, str]:
    """Return what a sharded training says to each of what it cannot do."""
    muon = OptimizerSettings(method="muon")
    found = {
        "cached": refusal(ShardedStrategy(), module(cache_embeddings="float16")),
        "muon": refusal(ShardedStrategy(), module(adapt="full", optimizer=muon)),
        "averaged": refusal(ShardedStrategy(), module(), callbacks=[EMAWeightAveraging()]),
        "clipped": refusal(
            ShardedStrategy(),
            module(),
            gradient_clip_val=1.0,
            gradient_clip_algorithm="value",
        ),
        "synced": refusal(ShardedStrategy(), module(), sync_batchnorm=True),
    }
    short = module(adapt="late_lora")
    fail_once(short, always=True)
    return found | {"memory": refusal(ShardedStrategy(), short)}


def too_few_images() -> str:
    """Return what is said about one image for two processes."""
    return refusal("ddp", module(), data=images(num_val=1), limit_val_batches=1)


def module(**settings: Any) -> SamModule:
    """Return a small model."""
    return SamModule("vit_nano", **SMALL, **settings)


def refusal(
    strategy: Any,
    model: SamModule,
    *,
    data: SyntheticDataModule | None = None,
    callbacks: list[Callback] | None = None,
    **settings: Any,
) -> str:
    """Return the kind of error that training ends with, and what it says."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    given = {"max_steps": 1, "limit_val_batches": 0, "callbacks": callbacks} | settings
    run = jobs.trainer(strategy, **given)
    try:
        run.fit(model, data or images())
    except SamftError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"
