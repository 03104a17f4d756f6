"""Text to mask: a word or a sentence in place of the first prompt.

SAM's weights that take text were never published: the protocol works with any encoder that gives
prompt tokens, see `TextEncoder`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import torch
from torch import Tensor

from samft.data.geometry import points_to_input
from samft.evaluation.zero_shot.outcome import Outcome
from samft.evaluation.zero_shot.settings import TextSettings
from samft.evaluation.zero_shot.text_crops import object_crop
from samft.evaluation.zero_shot.text_encoder import (
    TextEncoder,
    crop_tokens,
    decode_with_tokens,
    text_tokens,
)
from samft.inference.embedding import embed_images, evaluating
from samft.inference.masks import original_masks
from samft.metrics.objects import mask_scores
from samft.models.sam import Sam
from samft.prompts.corrections import corrective_points
from samft.seeding import generator_for
from samft.types import Frame, MaskOutput, PromptBatch, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class TextQuery:
    """A text about an image.

    Args:
        text: What is asked for; in tables also where a crop takes its place.
        objects: Rows of the sample's objects that are meant, at least one.
        class_name: The class that the answer counts for, empty for none.
    """

    text: str
    objects: tuple[int, ...]
    class_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextAnswer:
    """What a text was answered with.

    Args:
        sample_id: The image.
        case_id: The patient, file or scene.
        number: Of the text among those about the image, from 1.
        query: The text.
        iou: Of the mask that the model ranks first, with what `TextSettings.truth` says.
        iou_corrected: After one corrective point; NaN without.
        predicted_iou: The model's own estimate of the first mask.
    """

    sample_id: str
    case_id: str
    number: int
    query: TextQuery
    iou: float
    iou_corrected: float
    predicted_iou: float

    @property
    def name(self) -> str:
        """Unique in the data set."""
        return f"{self.sample_id}#{self.number}"


@dataclass(kw_only=True, slots=True)
class TextReport:
    """All answers about a data set."""

    answers: list[TextAnswer] = field(default_factory=list)

    def outcome(self) -> Outcome:
        """Return the report as every experiment gives it: means of each class, then of classes."""
        scores: dict[str, float] = {}
        for name in ("iou", "iou_corrected"):
            by_class: dict[str, list[float]] = defaultdict(list)
            for answer in self.answers:
                by_class[answer.query.class_name].append(getattr(answer, name))
            means = {key: math.fsum(values) / len(values) for key, values in by_class.items()}
            scores[name] = math.fsum(means.values()) / len(means) if means else math.nan
            scores |= {f"{name}/{key}": value for key, value in sorted(means.items()) if key}
        compared = {
            name: {answer.name: getattr(answer, name) for answer in self.answers}
            for name in ("iou", "iou_corrected")
        }
        return Outcome(
            scores=scores | {"num_texts": len(self.answers)},
            rows=tuple(map(self._row, self.answers)),
            compared=compared,
            groups={answer.name: answer.case_id for answer in self.answers},
        )

    @staticmethod
    def _row(answer: TextAnswer) -> dict[str, str | int | float]:
        return {
            "sample_id": answer.sample_id,
            "case_id": answer.case_id,
            "text": answer.query.text,
            "class_name": answer.query.class_name,
            "num_objects": len(answer.query.objects),
            "iou": answer.iou,
            "iou_corrected": answer.iou_corrected,
            "predicted_iou": answer.predicted_iou,
        }


Queries = Callable[[Sample], Sequence[TextQuery]]
"""The texts about an image."""


def class_queries(class_names: Sequence[str], template: str = "{}") -> Queries:
    """Ask about each class that is in an image by its name.

    Args:
        class_names: The data's classes.
        template: The text; {} stands for the name, of which underscores become spaces.
    """

    def queries(sample: Sample) -> list[TextQuery]:
        by_class: dict[int, list[int]] = defaultdict(list)
        for row, index in enumerate(sample.object_class.tolist()):
            if index >= 0:
                by_class[index].append(row)
        return [
            TextQuery(
                text=template.replace("{}", class_names[index].replace("_", " ")),
                objects=tuple(rows),
                class_name=class_names[index],
            )
            for index, rows in sorted(by_class.items())
        ]

    return queries


def object_queries(class_names: Sequence[str]) -> Queries:
    """Ask about each object by itself, as crops do.

    Args:
        class_names: The data's classes; empty where objects have none.
    """

    def queries(sample: Sample) -> list[TextQuery]:
        names = [
            class_names[index] if 0 <= index < len(class_names) else ""
            for index in sample.object_class.tolist()
        ]
        return [TextQuery(text=n, objects=(row,), class_name=n) for row, n in enumerate(names)]

    return queries


@torch.no_grad()
def run_text(
    sam: Sam,
    encoder: TextEncoder,
    samples: Iterable[Sample],
    queries: Queries,
    settings: TextSettings,
) -> TextReport:
    """Ask for objects by texts, or by crops that stand for them.

    Args:
        sam: The model.
        encoder: Gives prompt tokens.
        samples: Images with their objects, original frame.
        queries: What is asked about each.
        settings: How answers are scored.

    Raises:
        ConfigError: if the encoder does not give what it must.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.5.
    """
    report = TextReport()
    with evaluating(sam):
        for sample in samples:
            asked = [query for query in queries(sample) if _seen(sample, query)]
            if not asked:
                continue
            tokens = _tokens(sam, encoder, sample, asked, settings)
            embeddings, (frame,) = embed_images(sam, [sample.image])
            image = _Encoded(sample=sample, frame=frame, embeddings=embeddings)
            for number, (query, token) in enumerate(zip(asked, tokens, strict=True), start=1):
                report.answers.append(
                    _answer(sam, image, token[None], query, number=number, settings=settings)
                )
    return report


def _seen(sample: Sample, query: TextQuery) -> bool:
    """Whether any object that is meant has a pixel."""
    return bool(sample.masks(torch.tensor(query.objects)).any())


def _tokens(
    sam: Sam,
    encoder: TextEncoder,
    sample: Sample,
    asked: Sequence[TextQuery],
    settings: TextSettings,
) -> Tensor:
    """Return a token (T, D) for each query."""
    if settings.prompt == "text":
        return text_tokens(encoder, [query.text for query in asked], sam)
    digest = int.from_bytes(sha256(sample.sample_id.encode()).digest()[:8], "big")
    crops = [
        object_crop(
            sample.image,
            sample.masks(torch.tensor(query.objects)).any(dim=0),
            generator=generator_for(settings.seed, digest, number),
            side=encoder.side,
            patch=encoder.patch,
            widen=settings.widen,
            zero_outside=settings.zero_outside,
        )
        for number, query in enumerate(asked)
    ]
    return crop_tokens(
        encoder,
        torch.stack([crop.image for crop in crops]),
        torch.stack([crop.inside for crop in crops]),
        sam,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Encoded:
    """An image that is encoded."""

    sample: Sample
    frame: Frame
    embeddings: Tensor


def _answer(
    sam: Sam,
    image: _Encoded,
    token: Tensor,
    query: TextQuery,
    *,
    number: int,
    settings: TextSettings,
) -> TextAnswer:
    sample, frame, embeddings = image.sample, image.frame, image.embeddings
    device = embeddings.device
    rows = torch.tensor(query.objects)
    objects, ignored = sample.masks(rows).to(device), sample.ignored(rows).to(device)
    prompts = PromptBatch(image_index=torch.zeros(1, dtype=torch.int64, device=device))
    output = decode_with_tokens(sam, embeddings, token, prompts, multimask=True).best()
    mask = _at_original(output, frame)
    truth, unknown = _compared_with(mask, objects, ignored, settings)
    corrected = math.nan
    if settings.correct:
        points, labels = corrective_points(
            mask, truth, unknown, generator=torch.Generator(device), mode="center"
        )
        prompts = prompts.with_points(points_to_input(points, frame), labels)
        prompts = prompts.with_mask_logits(output.logits.float())
        second = decode_with_tokens(sam, embeddings, token, prompts, multimask=False)
        corrected = _iou(_at_original(second, frame), truth, unknown)
    return TextAnswer(
        sample_id=sample.sample_id,
        case_id=sample.case_id,
        number=number,
        query=query,
        iou=_iou(mask, truth, unknown),
        iou_corrected=corrected,
        predicted_iou=float(output.iou[0, 0]),
    )


def _compared_with(
    mask: Tensor, objects: Tensor, ignored: Tensor, settings: TextSettings
) -> tuple[Tensor, Tensor]:
    """Return the truth (1, H, W) that a mask (1, H, W) is compared with, and where it is unknown.

    Args:
        mask: The answer.
        objects: (k, H, W) bool, what the text is about.
        ignored: (k, H, W) bool.
        settings: Whether all of them are meant, or any.
    """
    if settings.truth == "union":
        truth = objects.any(dim=0, keepdim=True)
        return truth, ignored.all(dim=0, keepdim=True) & ~truth
    iou, _ = mask_scores(mask.expand_as(objects), objects, valid=~ignored)
    if float(iou.max()) == 0:  # it hits none: the largest is what should have been found
        iou = objects.flatten(1).sum(dim=1).to(iou)
    best = int(iou.argmax())
    return objects[best : best + 1], ignored[best : best + 1]


def _iou(mask: Tensor, truth: Tensor, unknown: Tensor) -> float:
    return float(mask_scores(mask, truth, valid=~unknown)[0])


def _at_original(output: MaskOutput, frame: Frame) -> Tensor:
    """Return (1, H, W) bool for one answer."""
    index = torch.zeros(1, dtype=torch.int64, device=output.logits.device)
    return next(original_masks(output, index, [frame])).masks
