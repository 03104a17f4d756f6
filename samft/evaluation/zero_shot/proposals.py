"""Object proposals as an experiment: how many of an image's objects are among 1000 masks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from samft.errors import DatasetError
from samft.evaluation.zero_shot.edge_maps import NO_FILTER
from samft.evaluation.zero_shot.proposal_settings import ProposalSettings
from samft.inference.automatic import AutomaticMasks
from samft.inference.automatic_settings import AutomaticMaskSettings
from samft.inference.images import ImageLike
from samft.inference.predictions import Rle, encode_rle
from samft.inference.records import MaskRecord
from samft.metrics.proposals import ProposalRecall
from samft.models.sam import Sam
from samft.seeding import generator_for
from samft.types import IGNORE, MaskOutput, PromptBatch, Sample

FREQUENCIES: Final = ("rare", "common", "frequent")
_FREQUENCY_BOUNDS = (10, 100)  # images of the training set that the class is in

_GROUP = "group:"  # keeps a class called "small" apart from small objects


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassGroups:
    """Groups of classes whose objects are scored by themselves.

    Args:
        names: The groups.
        of_class: For every class, the index of its group.

    Source: "rare", "common" and "frequent" are in at most 10, at most 100, and more training
    images, Gupta et al. 2019, arXiv:1908.03195.
    """

    names: tuple[str, ...]
    of_class: tuple[int, ...]

    @classmethod
    def each(cls, class_names: Sequence[str]) -> Self:
        """Make every class a group."""
        return cls(names=tuple(class_names), of_class=tuple(range(len(class_names))))

    @classmethod
    def by_frequency(cls, num_images: Sequence[int]) -> Self:
        """Make LVIS' three groups.

        Args:
            num_images: For every class, in how many training images it is.
        """
        groups = np.searchsorted(_FREQUENCY_BOUNDS, list(num_images), side="left")
        return cls(names=FREQUENCIES, of_class=tuple(groups.tolist()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalRow:
    """The proposals of one image.

    Args:
        sample_id: The image.
        num_objects: True objects.
        num_proposals: Proposals that counted.
        scores: As `ProposalReport.scores`, of this image alone.
        seconds: Wall time of proposing.
    """

    sample_id: str
    num_objects: int
    num_proposals: int
    scores: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalReport:
    """What `run_proposals` found.

    Args:
        scores: `ar_<most>`, and `ar_<most>_small`, `_medium`, `_large` by the area of the object
            (COCO's 32 and 96 pixels squared); NaN where there is no such object.
        groups: `ar_<most>` of the objects of each group.
        rows: One for each image, sorted by name.
        num_images: Images.
        num_objects: True objects in them.
        mean_proposals: Proposals of an image that counted, on average.
        settings: How they were made.
    """

    scores: Mapping[str, float]
    groups: Mapping[str, float]
    rows: tuple[ProposalRow, ...]
    num_images: int
    num_objects: int
    mean_proposals: float
    settings: ProposalSettings

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return the report as plain data; NaN stays NaN."""
        return {
            "scores": dict(self.scores),
            "groups": dict(self.groups),
            "num_images": self.num_images,
            "num_objects": self.num_objects,
            "mean_proposals": self.mean_proposals,
            "settings": self.settings.to_dict(),
            "images": [asdict(row) for row in self.rows],
        }


class ProposalMasks(AutomaticMasks):
    """Keeps every mask of a grid of points but near duplicates.

    Args:
        sam: The model.
        settings: Where to ask, how many masks each, what is a duplicate.
    """

    def __init__(self, sam: Sam, settings: ProposalSettings) -> None:
        super().__init__(
            sam,
            settings=AutomaticMaskSettings(
                points_per_side=settings.points_per_side,
                points_per_batch=settings.points_per_batch,
                pred_iou_thresh=NO_FILTER,
                stability_score_thresh=0.0,
                stability_score_offset=settings.stability_score_offset,
                box_nms_thresh=settings.nms_thresh,
            ),
        )
        self.multimask = settings.masks_per_point == "three"

    def _decode(self, embedding: Tensor, prompts: PromptBatch) -> MaskOutput:
        return self.sam.decode(embedding, prompts, multimask=self.multimask)


def propose(
    sam: Sam, image: ImageLike, settings: ProposalSettings | None = None, *, number: int = 0
) -> list[MaskRecord]:
    """Return the proposals of an image that count, the best first.

    Args:
        sam: The model, on any device.
        image: (H, W, 3) uint8 array, PIL image or (C, H, W) tensor, 0 to 255.
        settings: `None` for the paper's.
        number: Of the image in the data set, so that each has a random order of its own.
    """
    chosen = ProposalSettings.resolve(settings)
    found = ProposalMasks(sam, chosen).records(image)
    if chosen.rank == "random":
        order = torch.randperm(len(found), generator=generator_for(chosen.seed, number)).tolist()
    else:
        quality = [-(each.predicted_iou + each.stability_score) for each in found]
        order = np.argsort(quality, kind="stable").tolist()
    return [found[index] for index in order[: chosen.most]]


def run_proposals(
    sam: Sam,
    samples: Iterable[Sample],
    settings: ProposalSettings | None = None,
    *,
    groups: ClassGroups | None = None,
) -> ProposalReport:
    """Measure how many objects a model's proposals find (AR@1000), whatever their class.

    Images are taken one after another, and masks are kept as run lengths.

    Args:
        sam: The model, on any device.
        samples: Images with objects, in the original frame.
        settings: `None` for the paper's.
        groups: Classes whose objects are scored by themselves as well; objects without class
            belong to none.

    Raises:
        DatasetError: if there is no image.
    """
    chosen = ProposalSettings.resolve(settings)
    names = [f"{_GROUP}{name}" for name in groups.names] if groups else []
    recall = ProposalRecall([*names, _GROUP] if groups else (), most=(chosen.most,))
    facts: dict[str, tuple[int, int, float]] = {}
    for number, sample in enumerate(samples):
        began = time.perf_counter()
        found = propose(sam, sample.image, chosen, number=number)
        seconds = time.perf_counter() - began
        recall.update(
            _known_parts([record.runs.coco() for record in found], sample),
            _objects(sample),
            case_id=sample.sample_id,
            scores=-np.arange(len(found), dtype=np.float64),  # sorted already
            group=_groups_of(sample, groups),
        )
        facts[sample.sample_id] = (sample.num_objects, len(found), seconds)
    if not facts:
        raise DatasetError("there is no image to propose objects in")
    scores, by_group = _separated({k: v.item() for k, v in recall.compute().items()})
    return ProposalReport(
        scores=scores,
        groups=by_group,
        rows=_rows(recall, facts),
        num_images=len(facts),
        num_objects=sum(objects for objects, _, _ in facts.values()),
        mean_proposals=float(np.mean([proposals for _, proposals, _ in facts.values()])),
        settings=chosen,
    )


def _objects(sample: Sample) -> list[Rle]:
    """Return a sample's objects, one full-size mask at a time."""
    rows = range(sample.num_objects)
    return [encode_rle(sample.masks(torch.tensor([row]))[0].numpy()) for row in rows]


def _known_parts(proposals: list[Rle], sample: Sample) -> list[Rle]:
    """Return proposals without the pixels of which nothing is known."""
    known = (sample.layers != IGNORE).any(dim=0).numpy()
    if known.all():
        return proposals
    mask = _packed(encode_rle(known))
    cut = [coco_mask.merge([_packed(each), mask], intersect=True) for each in proposals]
    return [Rle(size=list(each["size"]), counts=each["counts"].decode()) for each in cut]


def _packed(rle: Rle) -> dict[str, Any]:  # Any: as pycocotools has it
    return {"size": rle["size"], "counts": rle["counts"].encode()}


def _groups_of(sample: Sample, groups: ClassGroups | None) -> list[int] | None:
    if groups is None:
        return None
    of_class = (*groups.of_class, len(groups.names))  # the last, also by -1, is no class
    return [of_class[index] for index in sample.object_class.tolist()]


def _separated(scores: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the recalls of all objects and those of groups, by the groups' names."""
    recalls = {name: value for name, value in scores.items() if name.startswith("ar_")}
    groups = {
        group: value
        for name, value in recalls.items()
        if (group := name.partition(f"_{_GROUP}")[2])
    }
    return {n: v for n, v in recalls.items() if f"_{_GROUP}" not in n}, groups


def _rows(
    recall: ProposalRecall, facts: Mapping[str, tuple[int, int, float]]
) -> tuple[ProposalRow, ...]:
    scores: dict[str, Mapping[str, float]] = {}
    for case in recall.per_case():
        separated, _ = _separated(case.scores)
        if separated:  # a group's row has none, the case's own neither
            scores[case.case_id] = separated
    return tuple(
        ProposalRow(
            sample_id=name,
            num_objects=objects,
            num_proposals=proposals,
            scores=scores[name],
            seconds=seconds,
        )
        for name, (objects, proposals, seconds) in sorted(facts.items())
    )
