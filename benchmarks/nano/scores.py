"""Mean IoU of a SAM and of the trivial baselines over the objects of a set.

Both get the same prompt, made from the truth at the resolution of the file: the tight box and the
innermost pixel. IoU is taken at that resolution too, and every object counts the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from benchmarks.nano.sets import EvaluationImage
from samft.data.collate import collate
from samft.data.geometry import boxes_to_input, logits_to_original, points_to_input
from samft.data.trimming import trim_padding
from samft.inference.masks import answer
from samft.metrics.baselines import BOX_BASELINES, disc_at_point, median_radius
from samft.metrics.objects import mask_scores
from samft.models.initialise import initialise_from_scratch
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.prompts.sampling import center_points, tight_boxes
from samft.types import POSITIVE, Frame, PromptBatch

DISC: Final = "disc"
"""The baseline for one point: the disc of the median radius of the set's objects."""
CHUNK_PIXELS: Final = 8 * 1024 * 1024
"""Most float pixels of masks at their original size held at once (32 MiB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelScores:
    """What one model reaches on one set.

    Args:
        iou: Mean IoU by prompt: `box`, `point` (of the three masks the one with the best score),
            `oracle` (the one with the best IoU) and `box_point` (both prompts, the single mask).
        empty: Share of answers without a single pixel, by prompt.
    """

    iou: Mapping[str, float]
    empty: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetScores:
    """One line of the table.

    Args:
        name: The set's name.
        title: What the table calls it.
        images: Images with an object.
        objects: Objects scored.
        radius: Median radius of the objects, pixels of the file.
        model: The model.
        untrained: The same architecture with random weights, or `None` if it was not measured.
        baselines: Mean IoU of each of `BOX_BASELINES`, and of `DISC`.
    """

    name: str
    title: str
    images: int
    objects: int
    radius: float
    model: ModelScores
    untrained: ModelScores | None
    baselines: Mapping[str, float]


def evaluate(sam: Sam, images: Sequence[EvaluationImage], *, chunk: int = 16) -> ModelScores:
    """Score a model; the encoder runs once per image.

    Args:
        sam: The model, on any device.
        images: What to score it on.
        chunk: Prompts decoded at once, fewer on large images; does not change the result.
    """
    was_training = sam.training
    sam.eval()
    iou, empty = defaultdict(list), defaultdict(list)
    with torch.inference_mode():
        for image in images:
            for prompt, scores, is_empty in _answers(sam, image, chunk):
                iou[prompt].append(scores)
                empty[prompt].append(is_empty)
    sam.train(was_training)
    return ModelScores(iou=_means(iou), empty=_means(empty))


def evaluate_baselines(images: Sequence[EvaluationImage]) -> tuple[dict[str, float], float]:
    """Score `BOX_BASELINES` and `DISC`; return their mean IoUs and the median radius in pixels."""
    areas = [image.sample.masks(image.rows).sum(dim=(1, 2)) for image in images]
    radius = median_radius(torch.cat(areas))
    iou = defaultdict(list)
    for image in images:
        for row in torch.split(image.rows, 1):
            for name, mask in _trivial_answers(image, row, radius):
                truth, valid = image.sample.masks(row), ~image.sample.ignored(row)
                iou[name].append(mask_scores(mask[None], truth, valid)[0])
    return _means(iou), radius


def untrained_like(sam: Sam, seed: int = 0) -> Sam:
    """Return a model of the same architecture with the random weights training starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        other = build_from_config(sam.config)
        initialise_from_scratch(other)
    return other.to(sam.pixel_mean.device)


def _answers(sam: Sam, image: EvaluationImage, chunk: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield a prompt's name with the IoU and emptiness of the answers to some objects."""
    device = sam.pixel_mean.device
    batch = collate([image.sample], image_size=sam.image_size, keep_samples=True)
    if sam.trim_padding:
        batch = trim_padding(batch, sam.config.patch_size)
    frame = batch.frames[0]
    embedding = sam.encode_image(batch.images.to(device), batch.input_sizes.to(device))
    height, width = image.sample.size
    at_once = min(chunk, max(1, CHUNK_PIXELS // (3 * max(height * width, sam.image_size**2))))
    for rows in torch.split(image.rows, at_once):
        truth, valid = image.sample.masks(rows), ~image.sample.ignored(rows)
        box, point, both = (item.to(device) for item in _prompts(truth, frame))
        truth, valid = truth.to(device), valid.to(device)
        for name, prompts in (("box", box), ("box_point", both)):
            logits = answer(sam, embedding, prompts).logits
            ious, empty = _compare(logits, frame, truth, valid=valid)
            yield name, ious[:, 0], empty[:, 0].float()
        output = sam.decode(embedding, point, multimask=True)
        ious, empty = _compare(output.logits, frame, truth, valid=valid)
        best = output.iou.argmax(dim=1, keepdim=True)
        yield "point", ious.gather(1, best)[:, 0], empty.gather(1, best)[:, 0].float()
        yield "oracle", ious.amax(dim=1), empty.all(dim=1).float()


def _prompts(truth: Tensor, frame: Frame) -> tuple[PromptBatch, PromptBatch, PromptBatch]:
    """Return the tight box, the innermost pixel and both, moved as a person's prompts would be."""
    boxes = boxes_to_input(tight_boxes(truth)[0], frame)
    points = points_to_input(center_points(truth)[0], frame)[:, None]
    labels = torch.full(points.shape[:2], POSITIVE)
    image_index = torch.zeros(len(truth), dtype=torch.int64)
    box = PromptBatch(image_index=image_index, boxes=boxes)
    point = PromptBatch(image_index=image_index, points=points, labels=labels)
    return box, point, box.with_points(points, labels)


def _compare(
    logits: Tensor, frame: Frame, truth: Tensor, *, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Return IoU and emptiness, both (k, M), of masks (k, M, S / 4, S / 4)."""
    masks = logits_to_original(logits, frame) > 0
    ious = [mask_scores(mask, truth, valid)[0] for mask in masks.unbind(dim=1)]
    return torch.stack(ious, dim=1), ~masks.flatten(2).any(dim=2)


def _trivial_answers(
    image: EvaluationImage, row: Tensor, radius: float
) -> Iterator[tuple[str, Tensor]]:
    truth = image.sample.masks(row)
    (box,), (point,) = tight_boxes(truth)[0], center_points(truth)[0]
    for name, baseline in BOX_BASELINES.items():
        yield name, baseline(image.sample.image, box)
    yield DISC, disc_at_point(image.sample.image, point, radius)


def _means(values: Mapping[str, list[Tensor]]) -> dict[str, float]:
    return {name: float(torch.cat(parts).double().mean()) for name, parts in values.items()}
