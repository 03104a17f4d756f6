"""Instances from boxes: each box is answered with a mask, and the masks are scored by COCO's AP."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from samft.data.geometry import boxes_to_input
from samft.evaluation.zero_shot.boxes import DetectedBoxes, GivenBox
from samft.evaluation.zero_shot.outcome import Outcome
from samft.evaluation.zero_shot.settings import InstanceSettings
from samft.inference.embedding import embed_images, evaluating
from samft.inference.masks import original_masks, prompts_at_once
from samft.metrics.average_precision import AveragePrecision
from samft.metrics.baselines import BOX_BASELINES, BoxBaseline
from samft.metrics.matching import Rle
from samft.models.sam import Sam
from samft.prompts.sampling import tight_boxes
from samft.types import IGNORE, MaskOutput, PromptBatch, Sample

Segmented = tuple[NDArray[np.bool_], float]
"""One mask (H, W), original frame, and its predicted IoU; NaN if nothing is predicted."""
BoxAnswerer = Callable[[Sample, Tensor], Iterator[Segmented]]
"""Answers boxes (k, 4) xyxy, original frame, about a sample's image with a mask each, in order."""

_PROMPTS_AT_ONCE = 32
_RGB: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One answered box.

    Args:
        sample_id: The image.
        case_id: The patient, file or scene.
        number: Of the box in its image, from 1.
        class_index: Index into the data's classes.
        box: xyxy, original frame, see `GivenBox`.
        score: What ranks it.
        predicted_iou: The model's own estimate; NaN without one.
        iou: With the true object that the box belongs to, or, of a detector's box, the largest IoU
            with a true object of its class; NaN if there is none.
    """

    sample_id: str
    case_id: str
    number: int
    class_index: int
    box: tuple[float, float, float, float]
    score: float
    predicted_iou: float
    iou: float

    @property
    def name(self) -> str:
        """Unique in the data set."""
        return f"{self.sample_id}#{self.number}"


@dataclass(kw_only=True, slots=True)
class InstanceReport:
    """All answered boxes of a data set.

    Args:
        precision: COCO's scores of them.
        class_names: The data's classes; empty without any.
        instances: The boxes, image by image.
        notes: What a reader must know.
    """

    precision: AveragePrecision
    class_names: tuple[str, ...]
    instances: list[Instance] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def outcome(self) -> Outcome:
        """Return the report as every experiment gives it."""
        found = {name: float(value) for name, value in self.precision.compute().items()}
        known = [item.iou for item in self.instances if not math.isnan(item.iou)]
        wanted = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large")
        scores = {name: found[name] for name in wanted}
        scores["iou"] = float(np.mean(known)) if known else math.nan
        scores |= {n: v for n, v in found.items() if n.startswith(("ar_", "ap/"))}
        scores["num_boxes"] = len(self.instances)
        compared = {"iou": {item.name: item.iou for item in self.instances}}
        return Outcome(
            scores=scores,
            rows=tuple(map(self._row, self.instances)),
            compared=compared,
            groups={item.name: item.case_id for item in self.instances},
            notes=tuple(self.notes),
        )

    def _row(self, item: Instance) -> dict[str, str | int | float]:
        names = self.class_names
        return {
            "sample_id": item.sample_id,
            "case_id": item.case_id,
            "box": item.number,
            "class_name": names[item.class_index] if names else "",
            **dict(zip(("x0", "y0", "x1", "y1"), item.box, strict=True)),
            "score": item.score,
            "predicted_iou": item.predicted_iou,
            "iou": item.iou,
        }


def run_instances(
    answer: BoxAnswerer,
    samples: Iterable[Sample],
    settings: InstanceSettings,
    *,
    class_names: Sequence[str] = (),
    boxes: DetectedBoxes | None = None,
) -> InstanceReport:
    """Answer boxes about every sample, and score the masks as COCO does.

    Where the truth of an image is unknown, a mask counts neither as right nor as wrong, as in the
    crowds of COCO. Objects that belong to none of the classes are left out.

    Args:
        answer: Of a model, `sam_answers`, or of a baseline, `baseline_answers`.
        samples: Images with their objects, original frame.
        settings: How instances are ranked, and how many count.
        class_names: The data's classes; without any, all objects are of one.
        boxes: A detector's; `None` for the tight boxes of the truth, which tell how good the masks
            are where the detector makes no mistake.
    """
    report = InstanceReport(
        precision=AveragePrecision(class_names, most=_ladder(settings.most)),
        class_names=tuple(class_names),
    )
    left_out = 0
    for sample in samples:
        truth = _Truth.of(sample, bool(class_names))
        left_out += sample.num_objects - len(truth.rles)
        given = truth.boxes() if boxes is None else boxes.inside(sample.sample_id, sample.size)
        report.instances += _score(report, sample, truth, given, answer, settings,
                                   own=boxes is None)  # fmt: skip
    if left_out:
        report.notes.append(f"objects without class or without a pixel were left out: {left_out}")
    if boxes is not None:
        report.notes += boxes.notes()
    return report


def sam_answers(sam: Sam, settings: InstanceSettings) -> BoxAnswerer:
    """Return how a model answers boxes: one pass, then refinements.

    Args:
        sam: The model.
        settings: What is asked in the first pass, and how many follow.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix D.4.
    """
    return partial(_sam_answers, sam, settings)


def baseline_answers(baseline: str) -> BoxAnswerer:
    """Return how a baseline of boxes answers.

    Args:
        baseline: Its name in `BOX_BASELINES`.
    """
    return partial(_baseline_answers, BOX_BASELINES[baseline])


def _baseline_answers(baseline: BoxBaseline, sample: Sample, boxes: Tensor) -> Iterator[Segmented]:
    # Of images with other channels the first ones; one channel is as good as grey.
    image = sample.image[:_RGB]
    if len(image) < _RGB:
        image = image[:1].expand(_RGB, -1, -1)
    for box in boxes:
        yield baseline(image, box).numpy(), math.nan


@torch.no_grad()
def _sam_answers(
    sam: Sam, settings: InstanceSettings, sample: Sample, boxes: Tensor
) -> Iterator[Segmented]:
    if not len(boxes):
        return
    with evaluating(sam):
        embeddings, frames = embed_images(sam, [sample.image])
        inputs = boxes_to_input(boxes.to(embeddings.device), frames[0])
        at_once = prompts_at_once(embeddings, most=_PROMPTS_AT_ONCE)
        for part in torch.split(inputs, at_once):
            index = torch.zeros(len(part), dtype=torch.int64, device=part.device)
            output = _refined(sam, embeddings, PromptBatch(image_index=index, boxes=part), settings)
            for chunk in original_masks(output, index, frames):
                masks = chunk.masks.cpu().numpy()
                yield from zip(masks, output.iou[chunk.rows, 0].tolist(), strict=True)


def _refined(
    sam: Sam, embeddings: Tensor, prompts: PromptBatch, settings: InstanceSettings
) -> MaskOutput:
    """Return one mask per box, M = 1."""
    output = sam.decode(embeddings, prompts, multimask=settings.multimask).best()
    for _ in range(settings.refine):
        again = prompts.with_mask_logits(output.logits.float())
        output = sam.decode(embeddings, again, multimask=False)
    return output


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Truth:
    """The objects of a sample that can be found.

    Args:
        rles: Their masks.
        classes: (k,) index of each.
        tight: (k, 4) float xyxy.
        unknown: (H, W) bool, where nothing is known in any layer; `None` for nowhere.
    """

    rles: list[Rle]
    classes: list[int]
    tight: Tensor
    unknown: NDArray[np.bool_] | None

    @classmethod
    def of(cls, sample: Sample, has_classes: bool) -> _Truth:
        """Take a sample's objects, one full-size mask at a time."""
        rles, classes, tight = [], [], [torch.zeros(0, 4)]
        for row, class_index in enumerate(sample.object_class.tolist()):
            mask = sample.masks(torch.tensor([row]))
            box, found = tight_boxes(mask)
            if not bool(found) or (has_classes and class_index < 0):
                continue
            rles.append(_encoded(mask[0].numpy()))
            classes.append(class_index if has_classes else 0)
            tight.append(box)
        unknown = (sample.layers == IGNORE).any(dim=0).numpy()
        return cls(
            rles=rles,
            classes=classes,
            tight=torch.cat(tight),
            unknown=unknown if unknown.any() else None,
        )

    def boxes(self) -> list[GivenBox]:
        """Return the tight boxes, with a score of 1."""
        return [
            GivenBox(box=(x0, y0, x1, y1), score=1.0, class_index=index)
            for (x0, y0, x1, y1), index in zip(self.tight.tolist(), self.classes, strict=True)
        ]


def _score(
    report: InstanceReport,
    sample: Sample,
    truth: _Truth,
    given: Sequence[GivenBox],
    answer: BoxAnswerer,
    settings: InstanceSettings,
    *,
    own: bool,
) -> list[Instance]:
    corners = torch.tensor([item.box for item in given], dtype=torch.float32).reshape(-1, 4)
    found: list[Instance] = []
    rles: list[Rle] = []
    for item, (mask, predicted) in zip(given, answer(sample, corners), strict=True):
        rles.append(_encoded(mask))
        only = len(found) if own else None
        found.append(
            Instance(
                sample_id=sample.sample_id,
                case_id=sample.case_id,
                number=len(found) + 1,
                class_index=item.class_index,
                box=item.box,
                score=_ranked(item.score, predicted, settings),
                predicted_iou=predicted,
                iou=_overlap(mask, truth, item.class_index, only),
            )
        )
    crowds = _crowds(truth, [item.class_index for item in given])
    report.precision.update(
        rles,
        [*truth.rles, *(_encoded(truth.unknown) for _ in crowds if truth.unknown is not None)],
        case_id=sample.sample_id,
        scores=[item.score for item in found],
        predicted_class=[item.class_index for item in found],
        target_class=[*truth.classes, *crowds],
        crowd=[False] * len(truth.rles) + [True] * len(crowds),
    )
    return found


def _crowds(truth: _Truth, classes: Sequence[int]) -> list[int]:
    """Return the classes for which the unknown region is to be a crowd."""
    return [] if truth.unknown is None else sorted({*truth.classes, *classes})


def _ranked(score: float, predicted: float, settings: InstanceSettings) -> float:
    if settings.score == "box" or math.isnan(predicted):
        return score
    return predicted if settings.score == "predicted_iou" else score * predicted


def _overlap(mask: NDArray[np.bool_], truth: _Truth, class_index: int, only: int | None) -> float:
    rows = [row for row, own in enumerate(truth.classes) if own == class_index]
    rows = rows if only is None else [only]
    if not rows:
        return math.nan
    rle = _encoded(mask if truth.unknown is None else mask & ~truth.unknown)
    return float(coco_mask.iou([rle], [truth.rles[row] for row in rows], [0] * len(rows)).max())


def _encoded(mask: NDArray[np.bool_]) -> Rle:
    encoded: Mapping[str, Any] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return encoded  # Any: as pycocotools has it


def _ladder(most: int) -> tuple[int, ...]:
    """Return COCO's 1, 10, 100 as far as `most`, which is the last."""
    return (*(number for number in (1, 10) if number < most), most)
