"""What an evaluation keeps: one row per model, prompt and object, and one per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Unit = Literal["mm", "px"]

AUTOMATIC = "auto"
"""In place of a prompt: the model segmented the image without being asked for anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRow:
    """The answer of one model to one prompt about one object.

    Args:
        model: Name of the model or baseline.
        prompt: `box`, `loose_box`, or `point<n>` after the n-th click.
        sample_id: The image.
        case_id: The patient, file or scene it belongs to; what is resampled.
        object_id: From 1, the object's value in the sample's label layers.
        class_name: Class of the object, empty where it has none.
        area: True pixels, original frame.
        unit: Of distances.
        scores: By name: `iou`, `dice`, `boundary_iou`, `nsd` in [0, 1], `hd95`, `assd` in `unit`;
            NaN where the rule of `samft.metrics.cases` leaves a score out.
        predicted_iou: What the model thought of its answer, not limited to [0, 1]; NaN if it does
            not say.
    """

    model: str
    prompt: str
    sample_id: str
    case_id: str
    object_id: int
    class_name: str
    area: int
    unit: Unit
    scores: Mapping[str, float]
    predicted_iou: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRow:
    """One class of one image, all its objects together; or with `AUTOMATIC`, its instances.

    Args:
        model: Name of the model or baseline.
        prompt: As in `ObjectRow`, or `AUTOMATIC`.
        sample_id: The image.
        case_id: What is resampled.
        class_name: The class whose objects' union was scored; empty for objects without class and
            for instances, which are scored whatever their class.
        num_objects: True objects.
        unit: Of distances.
        scores: By name, as in `ObjectRow`; for instances `f1`, `precision`, `recall` (IoU 50 %),
            `ap` (mean over IoU 50 to 95 %, DSB's), `pq`, `sq`, `rq`, `aji`, `aji_plus`.
    """

    model: str
    prompt: str
    sample_id: str
    case_id: str
    class_name: str
    num_objects: int
    unit: Unit
    scores: Mapping[str, float]


@dataclass(kw_only=True, slots=True)
class Rows:
    """Everything that one or several models were scored with."""

    objects: list[ObjectRow] = field(default_factory=list)
    images: list[ImageRow] = field(default_factory=list)

    def extend(self, other: Rows) -> None:
        """Take over another's rows."""
        self.objects.extend(other.objects)
        self.images.extend(other.images)
