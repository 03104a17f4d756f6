"""The U-Net as something that answers the prompts of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samft.data.geometry import frame_for, logits_to_original, resize_image
from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.prompting import prompts_of, questions
from samft.evaluation.settings import EvaluationSettings, PromptName
from samft.evaluation.unet.files import load_module
from samft.evaluation.unet.module import UNetModule
from samft.evaluation.unet.separation import separate
from samft.inference.prediction import describe_prompt
from samft.inference.work_folder import model_key
from samft.types import NO_CLASS, POSITIVE, Frame, PromptBatch, SamBatch, Sample

NAME: Final = "unet"


class UNetCompetitor(Competitor):
    """Answers prompts with what a U-Net found without them.

    It segments the image once. Of that segmentation a prompt picks a part, of the class that the
    object is known to have:

    - a box: the objects that lie mostly in it, or else all of the class, cut to the box;
    - a point: the object under it, or nothing.

    That is the most that its user would get out of it, and it has no further clicks to make.

    Args:
        module: The trained U-Net.
        name: For tables and files.
        facts: What is known of its training, as plain data.
    """

    kind = "unet"
    prompts = ("box", "loose_box", "point")
    clicks = False

    trim_to = 1
    """What sides of trimmed batches are multiples of."""

    def __init__(
        self,
        module: UNetModule,
        name: str = NAME,
        *,
        facts: dict[str, Any] | None = None,  # Any: JSON
    ) -> None:
        super().__init__(name)
        self.net = module.net
        self.split = module.split
        self.facts = dict(facts or {})
        self._of: Tensor | None = None
        self._found: dict[int, _Segmentation] = {}

    @property
    def image_size(self) -> int:
        """S, the longer side of the images it sees."""
        return self.net.shape.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it was trained on, in the order of its answers."""
        return self.net.shape.class_names

    def answers(self, batch: SamBatch, settings: EvaluationSettings) -> Iterator[Answer]:
        """See `Competitor`; image by image, and of an image some objects at a time."""
        for name, rows, image in questions(batch, settings, self.prompts):
            yield self._answer(name, batch, rows, image)

    def instances(self, batch: SamBatch, image: int) -> Tensor:
        """See `Competitor`; class by class, the objects it is surest of first."""
        found = self._segmentation(batch, image)
        masks: list[NDArray[np.bool_]] = []
        scores: list[float] = []
        for number in range(self.net.shape.num_classes):
            labels, count = found.objects(number)
            scores += found.certainty(number, labels, count)
            masks += [labels == value for value in range(1, count + 1)]
        order = np.argsort(-np.array(scores), kind="stable")
        if not masks:
            return torch.zeros((0, *found.frame.original_size), dtype=torch.bool)
        return torch.from_numpy(np.stack([masks[index] for index in order]))

    def class_masks(self, batch: SamBatch, image: int) -> Tensor:
        """See `Competitor`."""
        found = self._segmentation(batch, image)
        return torch.stack([found.mask(number) for number in range(self.net.shape.num_classes)])

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return architecture, size, hash of the weights, and how long it was trained."""
        return {
            "source": "U-Net trained on the same data",
            "arch": "DynUNet",
            "image_size": self.image_size,
            "filters": self.net.shape.filters,
            "num_parameters": sum(each.numel() for each in self.net.parameters()),
            "weights_sha256": model_key(self.net),
            **{
                name: self.facts[name]
                for name in ("seconds", "steps", "epochs", "device", "finished")
                if name in self.facts
            },
        }

    def _answer(self, name: PromptName, batch: SamBatch, rows: Tensor, image: int) -> Answer:
        found = self._segmentation(batch, image)
        part = batch.select(rows)
        prompts = prompts_of(name, part).to("cpu")
        masks = torch.zeros((len(rows), *found.frame.original_size), dtype=torch.bool)
        classes = part.object_class.tolist()
        frame = batch.frames[image]
        for row, (mask, number) in enumerate(zip(masks, classes, strict=True)):
            known = number if number < self.net.shape.num_classes else NO_CLASS
            if name == "point":
                place = _pixel_of(prompts, row, frame)
                mask[:] = mask if place is None else found.at(known, place)
            else:
                window = _window_of(prompts, row, frame)
                mask[:] = mask if window is None else found.within(known, window)
        return Answer(
            prompt="point1" if name == "point" else name,
            image=image,
            rows=rows,
            masks=masks,
            predicted_iou=None,
            marks=tuple(describe_prompt(prompts, row, frame) for row in range(len(rows))),
        )

    def _segmentation(self, batch: SamBatch, image: int) -> _Segmentation:
        """Return what the network finds in an image; computed once for a batch."""
        assert batch.samples is not None  # evaluation loaders keep the samples
        if self._of is not batch.images:
            self._of, self._found = batch.images, {}
        if image not in self._found:
            self._found[image] = self._segment(batch.samples[image])
        return self._found[image]

    @torch.no_grad()
    def _segment(self, sample: Sample) -> _Segmentation:
        # From the sample, not the batch: other models may want the batch at another size, and what
        # an image's neighbours in a batch are must not matter.
        frame = frame_for(sample.size, self.image_size)
        device = next(self.net.parameters()).device
        pixels = resize_image(sample.image, frame)[None].to(device)
        logits = self.net(pixels, torch.tensor([frame.input_size], device=device))
        return _Segmentation(logits, frame, split=self.split)


class _Segmentation:
    """What the U-Net found in one image, brought to its original frame piece by piece.

    Args:
        logits: (1, classes + 1, h, w), without padding.
        frame: Of the image.
        split: Cut objects apart at the borders.
    """

    def __init__(self, logits: Tensor, frame: Frame, *, split: bool) -> None:
        self.frame = frame
        self._split = split
        self._logits = logits
        self._masks: dict[int, Tensor] = {}
        self._objects: dict[int, tuple[NDArray[np.int32], int]] = {}

    def mask(self, number: int) -> Tensor:
        """Return the pixels (H, W) bool of a class, or of all classes for `NO_CLASS`."""
        if number not in self._masks:
            self._masks[number] = self._original(number) > 0
        return self._masks[number]

    def objects(self, number: int) -> tuple[NDArray[np.int32], int]:
        """Return the objects of a class as an (H, W) label map, and how many there are."""
        if number not in self._objects:
            border = np.zeros(self.frame.original_size, np.bool_)
            if self._split:
                border = self.mask(self._logits.shape[1] - 1).numpy()
            self._objects[number] = separate(self.mask(number).numpy(), border)
        return self._objects[number]

    def at(self, number: int, place: tuple[int, int]) -> Tensor:
        """Return the object (H, W) bool of a class at a pixel (row, column); maybe nothing."""
        labels, _ = self.objects(number)
        value = int(labels[place])
        return torch.from_numpy((labels == value) & (value > 0))

    def within(self, number: int, window: tuple[slice, slice]) -> Tensor:
        """Return what of a class a box asks for, cut to the box."""
        labels, count = self.objects(number)
        inside = np.bincount(labels[window].ravel(), minlength=count + 1)
        whole = np.bincount(labels.ravel(), minlength=count + 1)
        chosen = 2 * inside > whole
        chosen[0] = False
        if not chosen.any():
            chosen[1:] = True
        mask = torch.zeros(self.frame.original_size, dtype=torch.bool)
        mask[window] = torch.from_numpy(chosen[labels[window]])
        return mask

    def certainty(self, number: int, labels: NDArray[np.int32], count: int) -> list[float]:
        """Return the mean probability of a class in each of its objects."""
        probs = self._original(number).sigmoid().numpy().ravel()
        sums = np.bincount(labels.ravel(), weights=probs, minlength=count + 1)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        means: list[float] = (sums[1:] / areas[1:]).tolist()
        return means

    def _original(self, number: int) -> Tensor:
        if number == NO_CLASS:
            logits = self._logits[:, :-1].amax(dim=1, keepdim=True)
        else:
            logits = self._logits[:, number : number + 1]
        return logits_to_original(logits, self.frame)[0, 0].cpu()


def load_unet(path: Path, name: str = NAME) -> UNetCompetitor:
    """Return the U-Net that `samft baseline` trained, ready to answer, on the CPU.

    Args:
        path: The `.ckpt` file.
        name: For tables and files.

    Raises:
        CheckpointError: if the file is missing, unreadable, unsafe, or holds something else.
        DependencyError: if MONAI is not installed.
    """
    module, facts = load_module(path)
    return UNetCompetitor(module, name, facts=facts)


def _window_of(prompts: PromptBatch, row: int, frame: Frame) -> tuple[slice, slice] | None:
    """Return rows and columns of the original image that a box covers, pixels counted whole.

    Its corners are centres of input pixels, each of which may cover several of the original.
    """
    if prompts.boxes is None or prompts.has_box is None or not bool(prompts.has_box[row]):
        return None
    x0, y0, x1, y1 = prompts.boxes[row].tolist()
    across, down = _scales(frame)
    height, width = frame.original_size
    return (
        slice(max(0, math.floor(y0 * down)), min(height, math.ceil((y1 + 1) * down))),
        slice(max(0, math.floor(x0 * across)), min(width, math.ceil((x1 + 1) * across))),
    )


def _pixel_of(prompts: PromptBatch, row: int, frame: Frame) -> tuple[int, int] | None:
    """Return (row, column) of the original pixel at the centre of the input pixel clicked on."""
    if prompts.points is None or prompts.labels is None:
        return None
    if int(prompts.labels[row, 0]) != POSITIVE:
        return None
    x, y = prompts.points[row, 0].tolist()
    across, down = _scales(frame)
    height, width = frame.original_size
    return min(height - 1, int((y + 0.5) * down)), min(width - 1, int((x + 0.5) * across))


def _scales(frame: Frame) -> tuple[float, float]:
    """Return original pixels per input pixel across and down."""
    (height, width), (new_height, new_width) = frame.original_size, frame.input_size
    return width / new_width, height / new_height
