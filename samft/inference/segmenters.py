"""What is asked about a plane: recorded prompts, other people's masks, the truth, or everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samft.data.collate import collate
from samft.data.geometry import pad, resize_layers
from samft.data.label_prompts import LabelFiles
from samft.data.prompted import recorded_batch
from samft.data.recorded_prompt import RecordedPrompt
from samft.data.sources import Source
from samft.data.truth_sources import TruthSource
from samft.inference.automatic import AutomaticMasks
from samft.inference.embedding import embed_images, evaluating
from samft.inference.overlay import picture
from samft.inference.prediction import predict_images
from samft.inference.predictions import ImagePrediction, ObjectPrediction
from samft.inference.records import MaskRecord
from samft.models.sam import Sam
from samft.prompts.mask_prompts import masks_to_logits, shrink_masks
from samft.types import Frame, PromptBatch, SamBatch


class Segmenter(Protocol):
    """Segments the planes of sources."""

    def wants(self, source: Source, plane: str) -> bool:
        """Tell whether there is anything to ask about a plane."""
        ...

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """Segment one plane of a source.

        Raises:
            SamftError: if the source, or what is to be asked about it, cannot be read.
        """
        ...


class RecordedSegmenter:
    """Answers prompts from a file.

    Args:
        sam: The model.
        prompts: The prompts of each plane, in its pixels.
    """

    def __init__(self, sam: Sam, prompts: Mapping[str, Sequence[RecordedPrompt]]) -> None:
        self.sam = sam
        self.prompts = prompts

    def wants(self, source: Source, plane: str) -> bool:  # noqa: ARG002  # the protocol's
        """See `Segmenter`."""
        return bool(self.prompts.get(plane))

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """See `Segmenter`."""
        return answer_recorded(self.sam, source, index, self.prompts[source.planes[index]])


class LabelSegmenter:
    """Asks for the objects of label images: their boxes, or boxes and masks.

    Args:
        sam: The model.
        labels: The label images.
        as_masks: Hand over the masks as well.
    """

    def __init__(self, sam: Sam, labels: LabelFiles, *, as_masks: bool = False) -> None:
        self.sam = sam
        self.labels = labels
        self.as_masks = as_masks

    def wants(self, source: Source, plane: str) -> bool:  # noqa: ARG002  # the protocol's
        """See `Segmenter`."""
        return self.labels.has(source)

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """See `Segmenter`."""
        labels = self.labels.plane(source, index)
        prompts = self.labels.prompts(labels)
        if not (self.as_masks and prompts):
            return answer_recorded(self.sam, source, index, prompts)
        values = torch.tensor([int(prompt.prompt_id) for prompt in prompts])

        def with_masks(batch: PromptBatch, frame: Frame) -> PromptBatch:
            return replace(batch, mask_logits=_mask_logits(self.sam, labels, values, frame))

        return answer_recorded(self.sam, source, index, prompts, change=with_masks)


class TruthSegmenter:
    """Asks for the true objects of a data set, as its validation does.

    Args:
        sam: The model.
        prompts: Makes a prompt for every object of a batch.
        class_names: The classes of the objects.
    """

    def __init__(
        self, sam: Sam, prompts: Callable[[SamBatch], PromptBatch], class_names: Sequence[str]
    ) -> None:
        self.sam = sam
        self.prompts = prompts
        self.class_names = class_names

    def wants(self, source: Source, plane: str) -> bool:
        """See `Segmenter`."""
        return isinstance(source, TruthSource) and plane in source.rows

    @torch.no_grad()
    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """See `Segmenter`."""
        sample = source.truth(index)
        assert sample is not None  # the sources of a data set have truth
        batch = collate([sample], image_size=self.sam.image_size, keep_samples=True)
        classes = [
            self.class_names[number] if number >= 0 else None
            for number in batch.object_class.tolist()
        ]
        with evaluating(self.sam):
            embeddings, frames = embed_images(self.sam, [sample.image])
            (found,) = predict_images(
                self.sam,
                embeddings,
                self.prompts(batch).to(embeddings.device),
                frames=frames,
                sample_ids=[source.planes[index]],
                classes=classes,
                images=[picture(sample.image)],
            )
        return replace(found, in_volume=source.space is not None)


class AutomaticSegmenter:
    """Finds all objects.

    Args:
        generator: What finds them.
    """

    def __init__(self, generator: AutomaticMasks) -> None:
        self.generator = generator

    def wants(self, source: Source, plane: str) -> bool:  # noqa: ARG002  # the protocol's
        """See `Segmenter`."""
        return True

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """See `Segmenter`."""
        image = torch.from_numpy(source.picture(index))
        records = self.generator.records(image)
        return ImagePrediction(
            sample_id=source.planes[index],
            size=(image.shape[1], image.shape[2]),
            objects=[_from_record(record, n) for n, record in enumerate(records, start=1)],
            image=picture(image),
            in_volume=source.space is not None,
        )


@torch.no_grad()
def answer_recorded(
    sam: Sam,
    source: Source,
    index: int,
    prompts: Sequence[RecordedPrompt],
    *,
    change: Callable[[PromptBatch, Frame], PromptBatch] | None = None,
) -> ImagePrediction:
    """Answer recorded prompts about one plane.

    Args:
        sam: The model.
        source: The source.
        index: Which of its planes.
        prompts: In pixels of the plane; may be none.
        change: Adds to the prompts in the input frame.
    """
    image = torch.from_numpy(source.picture(index))
    if not prompts:
        return ImagePrediction(
            sample_id=source.planes[index],
            size=(image.shape[1], image.shape[2]),
            image=picture(image),
            in_volume=source.space is not None,
        )
    with evaluating(sam):
        embeddings, frames = embed_images(sam, [image])
        batch = recorded_batch([prompts], frames)
        if change is not None:
            batch = change(batch, frames[0])
        (found,) = predict_images(
            sam,
            embeddings,
            batch.to(embeddings.device),
            frames=frames,
            sample_ids=[source.planes[index]],
            prompt_ids=[prompt.prompt_id for prompt in prompts],
            classes=[prompt.class_name for prompt in prompts],
            images=[picture(image)],
        )
    objects = [
        replace(item, object_id=prompt.object_id)
        for item, prompt in zip(found.objects, prompts, strict=True)
    ]
    return replace(found, objects=objects, in_volume=source.space is not None)


def _mask_logits(sam: Sam, labels: NDArray[np.int32], values: Tensor, frame: Frame) -> Tensor:
    """Return the mask prompts (P, 1, s, s) of the objects with these values."""
    layer = torch.from_numpy(np.ascontiguousarray(labels))[None]
    resized = pad(resize_layers(layer, frame.input_size), sam.image_size)
    stride = sam.image_size // (4 * sam.config.grid_size)
    return masks_to_logits(shrink_masks(resized == values[:, None, None], stride))


def _from_record(record: MaskRecord, number: int) -> ObjectPrediction:
    measures: dict[str, Any] = record.to_dict("coco_rle")
    rle = measures.pop("segmentation")
    return ObjectPrediction(
        rle=rle,
        score=record.predicted_iou,
        prompt={"points": measures["point_coords"], "labels": [1]},
        prompt_id=number,
        measures=measures,
    )
