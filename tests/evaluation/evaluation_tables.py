"""Rows and records for tests, written down by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from samft.evaluation.facts import CompetitorRecord, DataFacts
from samft.evaluation.rows import ImageRow, ObjectRow, Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.summary import Summary, summarise

NAN = math.nan


def object_row(
    model: str,
    prompt: str,
    sample_id: str,
    object_id: int = 1,
    *,
    iou: float,
    case_id: str | None = None,
    class_name: str = "",
    area: int = 100,
    unit: str = "px",
    predicted_iou: float = NAN,
    **scores: float,
) -> ObjectRow:
    return ObjectRow(
        model=model,
        prompt=prompt,
        sample_id=sample_id,
        case_id=sample_id if case_id is None else case_id,
        object_id=object_id,
        class_name=class_name,
        area=area,
        unit=unit,
        scores={"iou": iou, **scores},
        predicted_iou=predicted_iou,
    )


def image_row(
    model: str,
    prompt: str,
    sample_id: str,
    *,
    class_name: str = "",
    unit: str = "px",
    num_objects: int = 1,
    **scores: float,
) -> ImageRow:
    return ImageRow(
        model=model,
        prompt=prompt,
        sample_id=sample_id,
        case_id=sample_id,
        class_name=class_name,
        num_objects=num_objects,
        unit=unit,
        scores=scores,
    )


def box_rows(ious: Mapping[str, Sequence[float]], prompt: str = "box") -> list[ObjectRow]:
    """Return a row per model and image, an object in each: images a, b, c, ..."""
    return [
        object_row(model, prompt, chr(ord("a") + number), iou=iou)
        for model, values in ious.items()
        for number, iou in enumerate(values)
    ]


def records(*names: str, kind: str = "sam", prompts: Sequence[str] = ("box",)) -> list:
    return [
        CompetitorRecord(name=name, kind=kind, prompts=tuple(prompts), seconds=1.5)
        for name in names
    ]


def facts(classes: Sequence[str] = (), root: str = "data") -> DataFacts:
    return DataFacts(
        root=root, split="test", images=2, cases=2, classes=tuple(classes), sha256="abc"
    )


def summary_of(
    rows: Rows,
    *names: str,
    reference: str | None = "zero-shot",
    classes: Sequence[str] = (),
    settings: EvaluationSettings | None = None,
) -> Summary:
    return summarise(
        rows,
        competitors=records(*(names or ("tuned", "zero-shot"))),
        settings=settings or EvaluationSettings(),
        data=facts(classes),
        reference=reference,
        device="cpu",
    )
