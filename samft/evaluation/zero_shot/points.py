"""One point after another: the mask of an object from clicks, as SAM's paper measures it.

Everything happens in the original frame: points fall on pixels of the image, and the error region
is that of the mask at the image's own resolution. Only what the model is told is in its input
frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

import torch
from torch import Tensor

from samft.data.geometry import points_to_input
from samft.evaluation.zero_shot.outcome import Outcome
from samft.evaluation.zero_shot.settings import REPORTED_CLICKS, PointSettings
from samft.inference.embedding import embed_images, evaluating
from samft.inference.masks import answer, original_masks, prompts_at_once
from samft.metrics.clicks import ClickCurve
from samft.metrics.objects import mask_scores
from samft.models.sam import Sam
from samft.prompts.ambiguity import answers_for, is_ambiguous
from samft.prompts.corrections import corrective_points
from samft.prompts.sampling import center_points, sample_points
from samft.seeding import generator_for
from samft.types import POSITIVE, Frame, MaskOutput, PromptBatch, Sample

_PIXELS_AT_ONCE = 32 * 1024 * 1024
_OBJECTS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ClickedObject:
    """One object and what became of it click by click.

    Args:
        sample_id: The image.
        case_id: The patient, file or scene.
        object_id: From 1, the object's value in the sample's label layers.
        class_index: Index into the data's classes, or `NO_CLASS`.
        area: True pixels, original frame.
        iou: After each click, of the mask that the model ranks first.
        oracle: After each click, where the truth chose among the masks of the first; empty if not
            played.
    """

    sample_id: str
    case_id: str
    object_id: int
    class_index: int
    area: int
    iou: tuple[float, ...]
    oracle: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Unique in the data set."""
        return f"{self.sample_id}#{self.object_id}"


@dataclass(kw_only=True, slots=True)
class PointReport:
    """All objects of a data set.

    Args:
        clicks: Clicks given.
        objects: What became of each.
        num_hidden: Objects without a pixel, which cannot be asked for.
    """

    clicks: int
    objects: list[ClickedObject] = field(default_factory=list)
    num_hidden: int = 0

    def scores(self, *, oracle: bool = False) -> dict[str, float]:
        """Return what `ClickCurve` says of all objects.

        Args:
            oracle: Of the game in which the truth chose the first mask.
        """
        curve = ClickCurve(most=self.clicks, report=REPORTED_CLICKS)
        curve.update(torch.zeros(0, self.clicks), case_id="")  # there may be nothing else
        for number, item in enumerate(self.objects):
            ious = torch.tensor([item.oracle if oracle else item.iou], dtype=torch.float64)
            curve.update(ious, case_id=item.case_id, first=number)
        found = {name: float(value) for name, value in curve.compute().items()}
        del found["num_cases"], found["num_objects"]
        return found

    def outcome(self, class_names: tuple[str, ...] = ()) -> Outcome:
        """Return the report as every experiment gives it.

        Args:
            class_names: The data's classes.
        """
        reported = [number for number in REPORTED_CLICKS if number <= self.clicks]
        scores = self.scores() | {"num_objects": len(self.objects)}
        oracle = bool(self.objects) and bool(self.objects[0].oracle)
        if oracle:
            scores |= {f"oracle_{name}": value for name, value in self.scores(oracle=True).items()}
        compared = {
            f"iou_click{number}": {item.name: item.iou[number - 1] for item in self.objects}
            for number in reported
        }
        left_out = f"objects without a pixel were left out: {self.num_hidden}"
        notes = () if self.num_hidden == 0 else (left_out,)
        return Outcome(
            scores=scores,
            rows=tuple(self._row(item, class_names) for item in self.objects),
            compared=compared,
            groups={item.name: item.case_id for item in self.objects},
            notes=notes,
        )

    @staticmethod
    def _row(item: ClickedObject, class_names: tuple[str, ...]) -> dict[str, str | int | float]:
        known = 0 <= item.class_index < len(class_names)
        row: dict[str, str | int | float] = {
            "sample_id": item.sample_id,
            "case_id": item.case_id,
            "object_id": item.object_id,
            "class_name": class_names[item.class_index] if known else "",
            "area": item.area,
        }
        row |= {f"iou_click{number}": iou for number, iou in enumerate(item.iou, start=1)}
        return row | {
            f"oracle_iou_click{number}": iou for number, iou in enumerate(item.oracle, start=1)
        }


@torch.no_grad()
def run_points(sam: Sam, samples: Iterable[Sample], settings: PointSettings) -> PointReport:
    """Click on every object of every sample.

    Args:
        sam: The model.
        samples: Images with their objects, original frame.
        settings: Where clicks fall, and how many.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1.
    """
    report = PointReport(clicks=settings.clicks)
    with evaluating(sam):
        for sample in samples:
            embeddings, (frame,) = embed_images(sam, [sample.image])
            for rows in _at_once(sample, embeddings):
                target = _Target.of(sample, rows, frame, embeddings.device)
                report.num_hidden += len(rows) - len(target.rows)
                report.objects += _clicked(sam, embeddings, sample, target, settings)
    return report


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Target:
    """Some objects of an image: `rows` (k,) of the sample, `truth` and `ignored` (k, H, W)."""

    frame: Frame
    rows: Tensor
    truth: Tensor
    ignored: Tensor

    @classmethod
    def of(cls, sample: Sample, rows: Tensor, frame: Frame, device: torch.device) -> _Target:
        truth = sample.masks(rows)
        seen = truth.flatten(1).any(dim=1)
        return cls(
            frame=frame,
            rows=rows[seen],
            truth=truth[seen].to(device),
            ignored=sample.ignored(rows[seen]).to(device),
        )

    def iou(self, masks: Tensor) -> Tensor:
        return mask_scores(masks, self.truth, valid=~self.ignored)[0]


def _clicked(
    sam: Sam, embeddings: Tensor, sample: Sample, target: _Target, settings: PointSettings
) -> list[ClickedObject]:
    first = _first_points(sample, target, settings)
    plays = [_play(sam, embeddings, target, first, settings, oracle=False)]
    if settings.oracle:
        plays.append(_play(sam, embeddings, target, first, settings, oracle=True))
    areas = [int(mask.count_nonzero()) for mask in target.truth]
    return [
        ClickedObject(
            sample_id=sample.sample_id,
            case_id=sample.case_id,
            object_id=row + 1,
            class_index=int(sample.object_class[row]),
            area=area,
            iou=tuple(plays[0][index].tolist()),
            oracle=tuple(plays[1][index].tolist()) if settings.oracle else (),
        )
        for index, (row, area) in enumerate(zip(target.rows.tolist(), areas, strict=True))
    ]


def _first_points(sample: Sample, target: _Target, settings: PointSettings) -> Tensor:
    """Return (k, 2) points, original frame; random ones depend on nothing but object and seed."""
    if settings.first == "center":
        return center_points(target.truth)[0]
    digest = int.from_bytes(sha256(sample.sample_id.encode()).digest()[:8], "big")
    points = [
        sample_points(mask[None].cpu(), generator=generator_for(settings.seed, digest, row))[0]
        for row, mask in zip(target.rows.tolist(), target.truth, strict=True)
    ]
    return torch.cat([torch.zeros(0, 2), *points]).to(target.truth.device)


def _play(
    sam: Sam,
    embeddings: Tensor,
    target: _Target,
    first: Tensor,
    settings: PointSettings,
    *,
    oracle: bool,
) -> Tensor:
    """Return (k, clicks) IoU on the CPU."""
    device = embeddings.device
    prompts = PromptBatch(
        image_index=torch.zeros(len(first), dtype=torch.int64, device=device),
        points=points_to_input(first, target.frame)[:, None],
        labels=torch.full((len(first), 1), POSITIVE, device=device),
    )
    ious: list[Tensor] = []
    for number in range(1, settings.clicks + 1):
        output = (
            _best_by_truth(sam, embeddings, prompts, target)
            if oracle
            else answer(sam, embeddings, prompts)
        )
        masks = _at_original(output.logits, target.frame)
        ious.append(target.iou(masks))
        if number < settings.clicks:
            prompts = _corrected(prompts, masks, target)
            if settings.feed_mask:
                prompts = prompts.with_mask_logits(output.logits.float())
    return torch.stack(ious, dim=1).cpu()


def _corrected(prompts: PromptBatch, masks: Tensor, target: _Target) -> PromptBatch:
    """Add a click in the middle of what is wrong with (k, H, W) masks."""
    points, labels = corrective_points(
        masks,
        target.truth,
        target.ignored,
        generator=torch.Generator(masks.device),  # `center` draws nothing from it
        mode="center",
    )
    return prompts.with_points(points_to_input(points, target.frame), labels)


def _best_by_truth(
    sam: Sam, embeddings: Tensor, prompts: PromptBatch, target: _Target
) -> MaskOutput:
    """Return the one of three masks with the largest IoU for each prompt, M = 1.

    A prompt that is clear has one answer, and there is nothing to choose: the three masks are only
    ever trained to answer ambiguous ones.
    """
    ambiguous = is_ambiguous(prompts)
    if not bool(ambiguous.any()):
        return answer(sam, embeddings, prompts)
    rows = torch.arange(prompts.num_prompts, device=embeddings.device)
    output = MaskOutput.cat(
        [
            answers_for(
                sam.decode(embeddings, prompts.select(part), multimask=None), ambiguous[part]
            )
            for part in torch.split(rows, prompts_at_once(embeddings, most=_OBJECTS_AT_ONCE))
        ]
    )
    ious = [
        target.iou(_at_original(output.logits[:, index, None], target.frame))
        for index in range(output.logits.shape[1])
    ]
    return output.take(torch.stack(ious, dim=1).argmax(dim=1))


def _at_original(logits: Tensor, frame: Frame) -> Tensor:
    """Return (k, H, W) bool for logits (k, 1, ., .) of one image."""
    single = MaskOutput(logits=logits, iou=logits.new_zeros(len(logits), 1))
    index = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    chunks = [chunk.masks for chunk in original_masks(single, index, [frame])]
    empty = torch.zeros(0, *frame.original_size, dtype=torch.bool, device=logits.device)
    return torch.cat([empty, *chunks])


def _at_once(sample: Sample, embeddings: Tensor) -> Iterator[Tensor]:
    """Yield rows of the sample, so many at once that their masks stay small in memory."""
    most = max(1, _PIXELS_AT_ONCE // math.prod(sample.size))
    yield from torch.split(
        torch.arange(sample.num_objects),
        min(most, prompts_at_once(embeddings, most=_OBJECTS_AT_ONCE)),
    )
