"""Samples of any size to one batch in the input frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samft.data.geometry import frame_for, resize_image, resize_layers
from samft.data.label_maps import count_values
from samft.data.tally import Tally
from samft.types import SamBatch, Sample


def collate(
    samples: Sequence[Sample],
    *,
    image_size: int,
    keep_samples: bool = False,
    tally: Tally | None = None,
) -> SamBatch:
    """Resize, pad and stack images; put the objects of all of them on one axis.

    Args:
        samples: B samples in the original frame, of any sizes and numbers of objects.
        image_size: S, side of the padded square.
        keep_samples: For evaluation: keep the samples and every object, in the samples' order, also
            those that have no pixel left at the input size. In training those are dropped.
        tally: Counts what is dropped, or `None`.

    Returns:
        The batch; images without objects are part of it, and P may be 0.
    """
    frames = tuple(frame_for(sample.size, image_size) for sample in samples)
    depth = max(sample.layers.shape[0] for sample in samples)
    whole = all(sample.image.dtype == torch.uint8 for sample in samples)
    side = (image_size, image_size)
    channels = samples[0].image.shape[0]  # a datamodule gives all its images as many
    dtype = torch.uint8 if whole else torch.float32
    images = torch.zeros((len(samples), channels, *side), dtype=dtype)
    layers = torch.zeros((len(samples), depth, *side), dtype=torch.int32)
    values: list[Tensor] = []
    for index, (sample, frame) in enumerate(zip(samples, frames, strict=True)):
        height, width = frame.input_size
        images[index, :, :height, :width] = resize_image(sample.image, frame)
        resized = resize_layers(sample.layers, frame.input_size)
        layers[index, : resized.shape[0], :height, :width] = resized
        values.append(_object_values(sample, resized, keep_all=keep_samples))
    if tally is not None:
        tally.add(vanished=sum(s.num_objects for s in samples) - sum(len(v) for v in values))
    return SamBatch(
        images=images,
        layers=layers,
        image_index=torch.repeat_interleave(torch.tensor([len(v) for v in values])),
        object_layer=torch.cat(
            [s.object_layer[v - 1] for s, v in zip(samples, values, strict=True)]
        ),
        object_value=torch.cat(values).int(),
        object_class=torch.cat(
            [s.object_class[v - 1] for s, v in zip(samples, values, strict=True)]
        ),
        frames=frames,
        samples=tuple(samples) if keep_samples else None,
        sample_ids=tuple(sample.sample_id for sample in samples),
    )


def _object_values(sample: Sample, resized: Tensor, *, keep_all: bool) -> Tensor:
    if keep_all:
        return torch.arange(1, sample.num_objects + 1)
    counts = torch.from_numpy(count_values(resized.numpy(), sample.num_objects))
    return counts[1:].nonzero()[:, 0] + 1
