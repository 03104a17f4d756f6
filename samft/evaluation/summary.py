"""All that an evaluation found, in one place: what `metrics.json` holds and tables show."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, Literal

import torch

import samft
from samft.evaluation.averages import (
    ByModel,
    ByPrompt,
    SizeScores,
    class_scores,
    image_scores,
    instance_scores,
    mean_scores,
    missed,
    size_scores,
)
from samft.evaluation.columns import DISTANCES, ScoreTable
from samft.evaluation.curves import calibrations, click_curves
from samft.evaluation.differences import Difference, paired_differences
from samft.evaluation.facts import CompetitorRecord, DataFacts
from samft.evaluation.plain_json import plain, without_folders
from samft.evaluation.rows import Rows
from samft.evaluation.settings import EvaluationSettings

FORMAT: Final = "samft-test"
VERSION: Final = 1
"""Version of `metrics.json`: fields may be added within it, none changes its meaning."""

SummaryUnit = Literal["mm", "px", "mixed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryPicture:
    """One picture of the gallery.

    Args:
        picture: Path below the folder of the results, with forward slashes.
        kind: `best` and `worst` of the first model, `improved` and `worsened` against the
            reference.
        sample_id: The image.
        object_id: The object in it, from 1.
        class_name: Its class, empty where it has none.
        prompt: What was asked with.
        iou: By model.
    """

    picture: str
    kind: str
    sample_id: str
    object_id: int
    class_name: str
    prompt: str
    iou: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What an evaluation found; every mean is over objects that all compared models answered.

    Args:
        created: When, ISO 8601 in UTC.
        data: What was answered about.
        competitors: Who answered, in the order of tables; the first is what the evaluation is for.
        settings: How it was evaluated.
        environment: Versions and device.
        reference: What others are compared with, or `None`.
        unit: Of distances; `mixed` where some images state their pixel size and others do not.
        num_objects: Objects of the split.
        num_cases: Cases that have objects.
        scores: Means by prompt and model.
        by_class: Means by prompt, class and model; empty where objects have no class.
        by_size: `coco` and `quartiles`: means of each bin of sizes.
        clicks: What each click is worth, by model.
        differences: All models minus the reference, and the first model minus each of the others.
        images: Means over images by prompt, model and class: the union of a class's objects.
        instances: Means over images of what was found without prompts, by model.
        calibration: How far predicted IoU is off, by prompt and model.
        empty: Objects that were answered with an empty mask, by prompt and model.
        gallery: The pictures, once they are drawn.
    """

    created: str
    data: DataFacts
    competitors: tuple[CompetitorRecord, ...]
    settings: EvaluationSettings
    environment: Mapping[str, str]
    reference: str | None
    unit: SummaryUnit
    num_objects: int
    num_cases: int
    scores: ByPrompt
    by_class: Mapping[str, Mapping[str, ByModel]]
    by_size: Mapping[str, Sequence[SizeScores]]
    clicks: Mapping[str, Mapping[str, Any]]  # Any: a number, or one per click
    differences: tuple[Difference, ...]
    images: Mapping[str, Mapping[str, ByModel]]
    instances: ByModel
    calibration: Mapping[str, Mapping[str, Mapping[str, Any]]]  # Any: numbers, and the bins
    empty: Mapping[str, Mapping[str, Mapping[str, int | None]]]
    gallery: tuple[GalleryPicture, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return everything as `metrics.json` holds it: plain data, `None` for NaN."""
        by_size = {
            name: [_size_dict(each) for each in sizes] for name, sizes in self.by_size.items()
        }
        data = asdict(self.data)
        found = {
            "format": FORMAT,
            "version": VERSION,
            "samft": samft.__version__,
            "created": self.created,
            "split": data.pop("split"),
            "data": without_folders(data) | {"objects": self.num_objects},
            "environment": dict(self.environment),
            "settings": without_folders(self.settings.to_dict()),
            "models": [_model_dict(record) for record in self.competitors],
            "reference": self.reference,
            "unit": self.unit,
            "scores": self.scores,
            "by_class": self.by_class,
            "by_size": by_size,
            "clicks": self.clicks,
            "differences": [asdict(each) | {"clear": each.clear} for each in self.differences],
            "images": self.images,
            "instances": self.instances,
            "calibration": self.calibration,
            "empty": self.empty,
            "gallery": [asdict(each) for each in self.gallery],
        }
        result: dict[str, Any] = plain(found)
        return result


def summarise(
    rows: Rows,
    *,
    competitors: Sequence[CompetitorRecord],
    settings: EvaluationSettings,
    data: DataFacts,
    reference: str | None,
    device: str | None = None,
) -> Summary:
    """Average rows, and compare models with the reference, and the first with all others.

    Args:
        rows: Of all models and prompts, in any order; what was scored twice counts once.
        competitors: Who answered, in the order of tables.
        settings: How it was evaluated.
        data: What was answered about.
        reference: Name of the model that all others are compared with, or `None`.
        device: What the models ran on; default: what torch would use.
    """
    order = [record.name for record in competitors]
    objects, images = ScoreTable.of_objects(rows.objects), ScoreTable.of_images(rows.images)
    empty = missed(objects, order)
    if len(objects.units) > 1:
        # A mean of millimetres and pixels is neither.
        objects, images = objects.without(DISTANCES), images.without(DISTANCES)
    compared = paired_differences(
        objects,
        reference=reference,
        first=next((name for name in order if name != reference), None),
        order=order,
        level=settings.level,
        samples=settings.samples,
    )
    return Summary(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data,
        competitors=tuple(competitors),
        settings=settings,
        environment=_environment(device),
        reference=reference,
        unit=_unit(objects.units or images.units),
        num_objects=len(objects.keys),
        num_cases=len(objects.case_names),
        scores=mean_scores(objects, order),
        by_class=class_scores(objects, order, data.classes),
        by_size=size_scores(objects, order),
        clicks=click_curves(objects, order),
        differences=tuple(compared),
        images=image_scores(images, order),
        instances=instance_scores(images, order),
        calibration=calibrations(objects, order),
        empty=empty,
    )


def _unit(units: Sequence[str]) -> SummaryUnit:
    if len(units) > 1:
        return "mixed"
    return "mm" if tuple(units) == ("mm",) else "px"


def _environment(device: str | None) -> dict[str, str]:
    if device is None:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lightning": version("lightning"),
        "samft": samft.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
    }


def _model_dict(record: CompetitorRecord) -> dict[str, Any]:  # Any: JSON
    own = {
        "name": record.name,
        "kind": record.kind,
        "prompts": list(record.prompts),
        "seconds": record.seconds,
    }
    return {**own, **without_folders(record.description), **own}


def _size_dict(each: SizeScores) -> dict[str, Any]:  # Any: JSON
    return {**asdict(each.bin), "num_objects": each.num_objects, "scores": each.scores}
