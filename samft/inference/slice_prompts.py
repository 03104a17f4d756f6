"""Prompts about one slice of a volume, and what the next slice is asked with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from samft.data.geometry import frame_for, pad, resize_image
from samft.errors import PromptError
from samft.inference.images import ImageLike
from samft.inference.prompt_arrays import Numbers, as_tensor
from samft.inference.volume_settings import PropagationSettings
from samft.models.sam import Sam
from samft.prompts.sampling import center_points, tight_boxes

_SURE: Final = 6.0
"""Logit of a pixel that a user's mask says is object. SAM's own answers rarely go beyond."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VolumePrompt:
    """One object of a volume, shown in one slice by points, a box, a mask, or several of them.

    A mask is taken as the truth of its slice; points and boxes are answered by the model.

    Args:
        slice: Index of the slice along the axis that is cut.
        points: (N, 2), `(x, y)` in pixels of the slice.
        labels: (N,), 1 on the object, 0 on the background; with points.
        box: (4,), xyxy in pixels of the slice.
        mask: (height, width) bool.
    """

    slice: int
    points: Numbers | None = None
    labels: Numbers | None = None
    box: Numbers | None = None
    mask: NDArray[np.bool_] | None = None

    def check(self, count: int, size: tuple[int, int], number: int) -> None:
        """Check what can be checked without the model.

        Args:
            count: Number of slices.
            size: (height, width) of a slice.
            number: Position among the prompts, for the message.

        Raises:
            PromptError: if it is no prompt about this volume.
        """
        where = f"prompt {number}"
        if not 0 <= self.slice < count:
            raise PromptError(
                "there is no such slice",
                where=where,
                found=self.slice,
                expected=f"0 to {count - 1}",
            )
        if self.points is None and self.box is None and self.mask is None:
            raise PromptError("there is no prompt", where=where, expected="points, a box or a mask")
        if self.mask is not None and (self.mask.shape != size or self.mask.dtype != np.bool_):
            raise PromptError(
                "the mask does not fit the slice",
                where=where,
                found=f"shape {self.mask.shape}, {self.mask.dtype}",
                expected=f"shape {size}, bool",
            )

    def parts(self) -> dict[str, Any]:  # Any: plain data
        """Return all of it as plain data."""
        given = {"points": self.points, "labels": self.labels, "box": self.box, "mask": self.mask}
        return {
            "slice": self.slice,
            **{name: as_tensor(name, v).tolist() for name, v in given.items() if v is not None},
        }


class Answer(Protocol):
    """What a predictor answers to P prompts, M = 1."""

    @property
    def masks(self) -> Tensor:
        """(P, 1, H, W) bool."""

    @property
    def scores(self) -> Tensor:
        """(P, 1) predicted IoU."""

    @property
    def logits(self) -> Tensor:
        """(P, 1, m, m) mask logits over the padded input frame."""

    def best(self) -> Answer:
        """Return the best mask of each prompt."""


class SlicePredictor(Protocol):
    """What answers prompts about a slice: `Predictor`, or what behaves like it."""

    @property
    def sam(self) -> Sam:
        """The model."""

    def set_image(self, image: ImageLike) -> None:
        """Set the slice."""

    def predict(
        self,
        points: Numbers | None = None,
        labels: Numbers | None = None,
        *,
        box: Numbers | None = None,
        mask: Numbers | None = None,
        multimask: bool = True,
    ) -> Answer:
        """Answer prompts about it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SliceAnswers:
    """Masks of k objects in one slice.

    Args:
        objects: (k,) int64, which objects.
        masks: (k, H, W) bool.
        scores: (k,) float32, predicted IoU.
        logits: (k, 1, m, m) float16, mask logits over the padded input frame. Half precision is
            enough for a prompt, and what goes to disk and back must not change.
    """

    objects: NDArray[np.int64]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    logits: NDArray[np.float16]

    def take(self, rows: NDArray[np.bool_]) -> Self:
        """Return some of the objects.

        Args:
            rows: (k,) bool, which.
        """
        return type(self)(
            objects=self.objects[rows],
            masks=self.masks[rows],
            scores=self.scores[rows],
            logits=self.logits[rows],
        )

    def not_empty(self) -> Self:
        """Return the objects that have a pixel."""
        return self.take(np.asarray(self.masks.any(axis=(1, 2)), dtype=np.bool_))

    def joined(self, other: Self) -> Self:
        """Return the objects of both."""
        return type(self)(
            objects=np.concatenate([self.objects, other.objects]),
            masks=np.concatenate([self.masks, other.masks]),
            scores=np.concatenate([self.scores, other.scores]),
            logits=np.concatenate([self.logits, other.logits]),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:  # Any: several types
        """Return the arrays to be stored."""
        return {
            "objects": self.objects,
            "masks": np.packbits(self.masks, axis=-1),
            "width": np.array(self.masks.shape[-1]),
            "scores": self.scores,
            "logits": self.logits,
        }

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """Return what `arrays` gave."""
        masks = np.unpackbits(arrays["masks"], axis=-1, count=int(arrays["width"]))
        return cls(
            objects=arrays["objects"],
            masks=masks.astype(np.bool_),
            scores=arrays["scores"],
            logits=arrays["logits"],
        )


def answers_of(objects: NDArray[np.int64], answer: Answer) -> SliceAnswers:
    """Return the answers of a predictor to k prompts with one mask each."""
    return SliceAnswers(
        objects=objects,
        masks=answer.masks[:, 0].cpu().numpy(),
        scores=answer.scores[:, 0].float().cpu().numpy(),
        logits=answer.logits.cpu().half().numpy(),
    )


def first_answer(predictor: SlicePredictor, prompt: VolumePrompt, number: int) -> SliceAnswers:
    """Return the mask of an object in the slice in which it was shown; the slice is set.

    Args:
        predictor: Has the slice set.
        prompt: The prompt.
        number: Number of the object.

    Raises:
        PromptError: if the prompt is malformed or lies outside the slice.
    """
    objects = np.array([number])
    if prompt.mask is not None:
        return SliceAnswers(
            objects=objects,
            masks=prompt.mask[None],
            scores=np.ones(1, np.float32),
            logits=mask_logits(prompt.mask, predictor.sam).half().numpy(),
        )
    points, labels, box = (
        None if value is None else as_tensor(name, value)[None]
        for name, value in (
            ("points", prompt.points),
            ("labels", prompt.labels),
            ("box", prompt.box),
        )
    )
    # A lone click may mean a part or the whole; everything else says what is meant.
    alone = box is None and points is not None and points.shape[1:2] == (1,)
    answer = predictor.predict(points, labels, box=box, multimask=alone).best()
    return answers_of(objects, answer)


def next_prompt(previous: SliceAnswers, settings: PropagationSettings) -> dict[str, Tensor]:
    """Return what the next slice is asked with, as keyword arguments of `Predictor.predict`.

    Args:
        previous: Masks in the slice before.
        settings: Which parts, and how much wider the box is.
    """
    masks = torch.from_numpy(previous.masks)
    height, width = masks.shape[-2:]
    asked: dict[str, Tensor] = {}
    if settings.use_box:
        boxes, _ = tight_boxes(masks)
        margin = settings.box_margin * (boxes[:, 2:] - boxes[:, :2] + 1)
        low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
        limit = torch.tensor([width - 1, height - 1])
        asked["box"] = torch.cat([low.clamp(min=0), torch.minimum(high, limit)], dim=1)
    if settings.use_mask:
        asked["mask"] = torch.from_numpy(previous.logits).float()
    if settings.use_point:
        asked["points"] = center_points(masks)[0][:, None]
        asked["labels"] = torch.ones(len(masks), 1, dtype=torch.int64)
    return asked


def mask_logits(mask: NDArray[np.bool_], sam: Sam) -> Tensor:
    """Return a mask as (1, 1, m, m) logits over the padded input frame, -6 to 6.

    Args:
        mask: (H, W) bool, original frame.
        sam: The model it is a prompt for.
    """
    side = sam.image_size
    frame = frame_for((mask.shape[0], mask.shape[1]), side)
    inside = pad(resize_image(torch.from_numpy(mask)[None].float(), frame), side)
    small = 4 * sam.config.grid_size
    share = F.interpolate(inside[None], size=(small, small), mode="area")
    return (2 * share - 1) * _SURE
