"""From a data set and models to the masks that people judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from samft.data.collate import collate
from samft.data.geometry import frame_for, resize_layers
from samft.data.label_maps import count_values
from samft.data.trimming import trim_padding
from samft.errors import DatasetError
from samft.evaluation.competitor import Competitor
from samft.evaluation.evaluator import input_size_of
from samft.evaluation.ratings.jobs import TRUTH, ObjectKey, RatedMask
from samft.evaluation.ratings.settings import RatingSettings
from samft.evaluation.settings import EvaluationSettings
from samft.inference.overlay import picture
from samft.seeding import derive_seed
from samft.types import NO_CLASS, SamBatch, Sample

_DRAW = 8  # a stream of seeds of its own


class Images(Protocol):
    """Images with their objects, in a fixed order."""

    def __getitem__(self, index: int) -> Sample:
        """Return an image."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenObject:
    """An object that takes part.

    Args:
        image: Index of its image.
        row: From 0, which object of the image.
        key: What it is called.
    """

    image: int
    row: int
    key: ObjectKey


def choose_objects(
    samples: Iterable[Sample],
    settings: RatingSettings,
    *,
    name: str,
    class_names: Sequence[str],
    image_sizes: Sequence[int],
) -> list[ChosenObject]:
    """Draw the objects to be rated, every one that is large enough with the same chance.

    Args:
        samples: All images, in their order.
        settings: How many, how large, the seed.
        name: Of the data set.
        class_names: Of its classes.
        image_sizes: Input sizes of the models; an object that has no pixel at one of them cannot
            be asked for.

    Returns:
        The objects, by image and row.

    Raises:
        DatasetError: if none is large enough.
    """
    found: list[ChosenObject] = []
    largest = 0
    for index, sample in enumerate(samples):
        areas = count_values(sample.layers.numpy(), sample.num_objects)[1:]
        largest = max(largest, int(areas.max(initial=0)))
        enough = areas >= settings.min_side**2
        for side in set(image_sizes) if enough.any() else ():
            small = resize_layers(sample.layers, frame_for(sample.size, side).input_size)
            enough &= count_values(small.numpy(), sample.num_objects)[1:] > 0
        found += [
            ChosenObject(image=index, row=row, key=_key(sample, row, name, class_names))
            for row in np.flatnonzero(enough).tolist()
        ]
    if not found:
        raise DatasetError(
            "no object is large enough to be rated",
            where=name,
            found=f"{largest} pixels at most",
            expected=f"at least {settings.min_side} x {settings.min_side}",
            fix="choose a smaller --min-side",
        )
    order = np.random.default_rng(derive_seed(_DRAW, settings.seed)).permutation(len(found))
    return [found[index] for index in sorted(order[: settings.masks].tolist())]


@torch.no_grad()
def rated_masks(
    images: Images,
    chosen: Sequence[ChosenObject],
    models: Sequence[Competitor],
    settings: RatingSettings,
    *,
    device: torch.device,
) -> Iterator[RatedMask]:
    """Ask every model for every object.

    Args:
        images: By `ChosenObject.image`.
        chosen: The objects.
        models: On `device`.
        settings: What they are asked with, and whether the truth takes part.
        device: Where they compute.

    Yields:
        One mask per model and object, and the true ones, image by image.
    """
    asked = EvaluationSettings(prompts=(settings.prompt,), clicks=1)
    by_image: dict[int, list[ChosenObject]] = {}
    for each in chosen:
        by_image.setdefault(each.image, []).append(each)
    for index, objects in by_image.items():
        sample = images[index]
        shown = picture(sample.image)
        rows = torch.tensor([each.row for each in objects])
        prompts: dict[int, dict[str, Any]] = {}  # Any: JSON
        for model in models:
            batch = _batch(sample, model).to(device).select(rows.to(device))
            for place, mask, mark in _answers(model, batch, asked):
                prompts.setdefault(place, mark)
                yield RatedMask(
                    model=model.name,
                    target=objects[place].key,
                    image=shown,
                    mask=mask.cpu().numpy(),
                    prompt=mark,
                )
        for place, mask in enumerate(sample.masks(rows) if settings.truth else ()):
            yield RatedMask(
                model=TRUTH,
                target=objects[place].key,
                image=shown,
                mask=mask.numpy(),
                prompt=prompts.get(place, {}),
            )


def _answers(
    model: Competitor, batch: SamBatch, asked: EvaluationSettings
) -> Iterator[tuple[int, Tensor, dict[str, Any]]]:
    for answer in model.answers(batch, asked):
        for row, mask, mark in zip(answer.rows.tolist(), answer.masks, answer.marks, strict=True):
            yield row, mask, dict(mark)


def _batch(sample: Sample, model: Competitor) -> SamBatch:
    side = input_size_of(model, max(sample.size))
    batch = collate([sample], image_size=side, keep_samples=True)
    cell: int | None = getattr(model, "trim_to", None)
    return batch if cell is None else trim_padding(batch, cell)


def _key(sample: Sample, row: int, name: str, class_names: Sequence[str]) -> ObjectKey:
    number = int(sample.object_class[row])
    known = number != NO_CLASS and number < len(class_names)
    return ObjectKey(
        data=name,
        sample_id=sample.sample_id,
        case_id=sample.case_id,
        object_id=row + 1,
        class_name=class_names[number] if known else "",
    )
