"""The shared vocabulary: what flows from a file on disk to a mask.

Shape letters, used in every docstring of the package:

    B images in a batch              P prompts over the whole batch (flat)
    N points per prompt              M masks per prompt
    C channels                       L label layers of one image
    K objects of one image           H W original image
    S side of the padded square the model sees (1024 for the official weights)
    h w embedding grid (S / 16)      D embedding width (256)

Frames. *original*: pixels of the file. *input*: pixels after the longest side was resized to S and
the image was padded right and bottom to S x S. Points are `(x, y)`, boxes `xyxy`, both in
continuous pixel coordinates in which the centre of the top-left pixel is (0, 0) (the prompt encoder
adds the half pixel); arrays are indexed `[y, x]`; sizes are `(height, width)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import torch
from torch import Tensor

POSITIVE: Final = 1
"""Point label: the object is here."""
NEGATIVE: Final = 0
"""Point label: the object is not here."""
PADDING: Final = -1
"""Point label of SAM's own padding token, `not_a_point_embed`: a real token, attended to."""
ABSENT: Final = -10
"""Point label of an unused slot in a ragged batch: no token, masked out of every attention."""
IGNORE: Final = -1
"""Label-layer value of neither object nor background: no part in loss, metric or prompt."""

NO_CLASS: Final = -1
"""Class of objects that belong to none of the classes, as in samples of another data set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """How one image was brought into the input frame, enough to go back exactly.

    Args:
        original_size: (height, width) of the file, pixels.
        input_size: (height, width) after resizing the longest side to `image_size`, before padding.
        image_size: S, the side of the padded square.
    """

    original_size: tuple[int, int]
    input_size: tuple[int, int]
    image_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image with its objects, as a reader hands it over and transforms pass it on.

    Objects are stored as label layers, not as one full-size mask each: object `k` (0-based) is
    where `layers[object_layer[k]] == k + 1`. Objects that overlap lie in different layers; most
    data has one layer.

    Args:
        image: RGB, (3, H, W), uint8 or float32, values 0 to 255, original frame.
        layers: (L, H, W) int32: 0 background, k + 1 object k, `IGNORE` where nothing is known.
        object_layer: (K,) int64, the layer in which each object lies.
        object_class: (K,) int64, index into the datamodule's `class_names`, or `NO_CLASS`.
        sample_id: Unique and stable within the data set, such as `case_017/z042`; never an absolute
            path.
        case_id: What must not be torn apart between splits: the file, the patient.
        spacing_mm: Pixel size (y, x) in millimetres, where the file states it.
    """

    image: Tensor
    layers: Tensor
    object_layer: Tensor
    object_class: Tensor
    sample_id: str
    case_id: str
    spacing_mm: tuple[float, float] | None = None

    @property
    def num_objects(self) -> int:
        """K, the number of objects."""
        return self.object_layer.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[-2], self.image.shape[-1]

    def masks(self, rows: Tensor | None = None) -> Tensor:
        """Return objects as (k, H, W) bool; all K, or those at `rows` ((k,) int64)."""
        chosen = torch.arange(self.num_objects) if rows is None else rows
        values = (chosen + 1).to(self.layers.dtype)
        return self.layers[self.object_layer[chosen]] == values[:, None, None]

    def ignored(self, rows: Tensor | None = None) -> Tensor:
        """Return (k, H, W) bool, True where the object's layer says `IGNORE`."""
        chosen = torch.arange(self.num_objects) if rows is None else rows
        return self.layers[self.object_layer[chosen]] == IGNORE

    def replace(
        self, **changes: Any
    ) -> Self:  # Any: forwarded to dataclasses.replace, which checks the names
        """Return a copy with some fields changed."""
        return replace(self, **changes)


class _Movable:
    """Gives a dataclass a `.to(device)` that moves every tensor field."""

    __slots__ = ()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return a copy with every tensor on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return a copy with every tensor in page-locked memory; a `DataLoader` calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Any] = {}  # Any: the fields are of several types
        for item in fields(self):  # type: ignore[arg-type]  # only ever mixed into dataclasses
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                changes[item.name] = change(value)
        return replace(self, **changes)  # type: ignore[type-var]  # as above


@dataclass(frozen=True, kw_only=True, slots=True)
class SamBatch(_Movable):
    """B images in the input frame with all their objects on one flat axis.

    Args:
        images: (B, 3, S, S) uint8 or float32, 0 to 255, RGB, padded with zeros right and bottom,
            not normalised.
        layers: (B, L, S, S) int32 label layers in the input frame, see `Sample`; the padding is
            background.
        image_index: (P,) int64, the image each object belongs to, ascending.
        object_layer: (P,) int64, the layer of that image in which the object lies.
        object_value: (P,) int32, the object's value in that layer (k + 1).
        object_class: (P,) int64, class index of each object.
        frames: One `Frame` per image.
        samples: The samples in the original frame (kept on the CPU) for evaluation and pictures;
            `None` in training.
        sample_ids: One identifier per image.
    """

    images: Tensor
    layers: Tensor
    image_index: Tensor
    object_layer: Tensor
    object_value: Tensor
    object_class: Tensor
    frames: tuple[Frame, ...]
    sample_ids: tuple[str, ...]
    samples: tuple[Sample, ...] | None = None

    @property
    def num_objects(self) -> int:
        """P, the number of objects in all images together."""
        return self.image_index.shape[0]

    @property
    def input_sizes(self) -> Tensor:
        """(B, 2) int64 (height, width) of each image before padding, on the images' device."""
        sizes = [frame.input_size for frame in self.frames]
        return torch.tensor(sizes, dtype=torch.int64, device=self.images.device).reshape(-1, 2)

    def masks(self) -> Tensor:
        """Return the objects as (P, S, S) bool in the input frame."""
        return self.layers[self.image_index, self.object_layer] == self.object_value[:, None, None]

    def ignored(self) -> Tensor:
        """Return (P, S, S) bool, True where the object's layer says `IGNORE`."""
        return self.layers[self.image_index, self.object_layer] == IGNORE

    def select(self, rows: Tensor) -> Self:
        """Keep only the objects at `rows` ((P',) int64, or (P,) bool); the images stay."""
        return replace(
            self,
            image_index=self.image_index[rows],
            object_layer=self.object_layer[rows],
            object_value=self.object_value[rows],
            object_class=self.object_class[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptBatch(_Movable):
    """P prompts over the whole batch, in the input frame, each for one object of one image.

    Args:
        image_index: (P,) int64, the image each prompt is about.
        points: (P, N, 2) float32 `(x, y)`, or `None`.
        labels: (P, N) int64: `POSITIVE`, `NEGATIVE`, `PADDING`, or `ABSENT` for unused slots; with
            `points`.
        boxes: (P, 4) float32 xyxy, or `None`.
        has_box: (P,) bool, which rows of `boxes` count; `None` with boxes means all.
        mask_logits: (P, 1, S / 4, S / 4) float32 logits of an earlier prediction, or `None`.
        has_mask: (P,) bool, which rows of `mask_logits` count; `None` with mask logits means all.
    """

    image_index: Tensor
    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    has_box: Tensor | None = None
    mask_logits: Tensor | None = None
    has_mask: Tensor | None = None

    @property
    def num_prompts(self) -> int:
        """P, the number of prompts."""
        return self.image_index.shape[0]

    def select(self, rows: Tensor) -> Self:
        """Keep the prompts at `rows` ((P',) int64, or (P,) bool)."""
        changes = {
            item.name: value[rows]
            for item in fields(self)
            if (value := getattr(self, item.name)) is not None
        }
        return replace(self, **changes)

    def with_points(self, points: Tensor, labels: Tensor) -> Self:
        """Append points ((P, N', 2) float32) with labels ((P, N') int64) to those already there."""
        if self.points is None or self.labels is None:
            return replace(self, points=points, labels=labels)
        return replace(
            self,
            points=torch.cat([self.points, points], dim=1),
            labels=torch.cat([self.labels, labels], dim=1),
        )

    def with_mask_logits(self, mask_logits: Tensor) -> Self:
        """Feed back logits ((P, 1, S / 4, S / 4)) of an earlier prediction for every prompt."""
        return replace(self, mask_logits=mask_logits, has_mask=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskOutput(_Movable):
    """What the mask decoder answers to P prompts.

    Args:
        logits: (P, M, S / 4, S / 4) mask logits over the padded input frame; above 0 means object.
        iou: (P, M) predicted IoU of each mask; raw head output, not limited to 0..1.
    """

    logits: Tensor
    iou: Tensor

    @classmethod
    def cat(cls, parts: Sequence[MaskOutput]) -> MaskOutput:
        """Join answers along the prompt axis; all have the same number of masks."""
        return cls(
            logits=torch.cat([part.logits for part in parts]),
            iou=torch.cat([part.iou for part in parts]),
        )

    def detach(self) -> MaskOutput:
        """Return the same values without their graph."""
        return self._each(Tensor.detach)

    def best(self) -> MaskOutput:
        """Return the mask with the highest predicted IoU of each prompt, M = 1."""
        return self.take(self.iou.argmax(dim=1))

    def take(self, index: Tensor) -> MaskOutput:
        """Return mask `index[p]` of each prompt p; `index` is (P,) int64. M = 1."""
        rows = torch.arange(index.shape[0], device=index.device)
        return MaskOutput(logits=self.logits[rows, index, None], iou=self.iou[rows, index, None])
