"""The size of a step, from a batch or from a few images of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import cycle, islice

import torch

from samft.data.geometry import frame_for
from samft.data.split_datamodule import SplitDataModule
from samft.data.trimming import trimmed_size
from samft.models.sam import Sam
from samft.planning.step import StepShape, Trainable
from samft.types import SamBatch, Sample

_LOOKED_AT = 8  # images whose objects are counted


def shape_of(module: Trainable, batch: SamBatch, *, precision: str | None = None) -> StepShape:
    """Return the size of a step on `batch`.

    Args:
        module: What is trained.
        batch: On the device it is trained on.
        precision: The trainer's; default: what the running autocast says.
    """
    counts = Counter(batch.image_index.tolist())
    device_type = batch.images.device.type
    return StepShape(
        images=len(batch.sample_ids),
        objects=_chosen(module, (counts[index] for index in range(len(batch.sample_ids)))),
        layers=batch.layers.shape[1],
        size=(batch.images.shape[-2], batch.images.shape[-1]),
        pixels=batch.images.dtype,
        precision=precision or _running_precision(device_type),
        device_type=device_type,
    )


def fullest_shape(
    module: Trainable,
    data: SplitDataModule,
    *,
    images: int = 1,
    precision: str,
    device_type: str,
) -> StepShape:
    """Return the largest step to expect, from a few training images.

    Args:
        module: What is trained.
        data: With its splits found.
        images: Of the step; they are taken to be those of the few with most objects.
        precision: The trainer's.
        device_type: `cpu` or `cuda`.
    """
    dataset = data.dataset("train", augment=True)
    step = max(1, len(dataset) // _LOOKED_AT)
    samples = [dataset[index] for index in range(0, len(dataset), step)][:_LOOKED_AT]
    whole = all(sample.image.dtype == torch.uint8 for sample in samples)
    counts = sorted((sample.num_objects for sample in samples), reverse=True)
    return StepShape(
        images=images,
        objects=_chosen(module, islice(cycle(counts), images)),
        layers=max(sample.layers.shape[0] for sample in samples),
        size=_size(module.sam, samples),
        pixels=torch.uint8 if whole else torch.float32,
        precision=precision,
        device_type=device_type,
    )


def _size(sam: Sam, samples: Iterable[Sample]) -> tuple[int, int] | None:
    """Return the size of a batch of all of these images; `None` where all are padded alike."""
    if not sam.trim_padding:
        return None
    frames = (frame_for(sample.size, sam.image_size) for sample in samples)
    return trimmed_size(frames, sam.config.patch_size)


def _chosen(module: Trainable, counts: Iterable[int]) -> int:
    """Return how many objects a step takes of images with so many."""
    prompts = module.objective.prompts
    most = prompts.max_objects_per_image
    return sum(min(count, most) + prompts.background_clicks for count in counts)


def _running_precision(device_type: str) -> str:
    if not torch.is_autocast_enabled(device_type):
        return "32-true"
    half = torch.get_autocast_dtype(device_type) == torch.float16
    return "16-mixed" if half else "bf16-mixed"
