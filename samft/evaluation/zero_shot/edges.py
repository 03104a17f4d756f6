"""Edge detection as an experiment: models and baselines against what people drew."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samft.errors import ConfigError, DatasetError, did_you_mean
from samft.evaluation.zero_shot.edge_maps import Floats, Mask, edge_map
from samft.evaluation.zero_shot.edge_settings import EdgeSettings
from samft.inference.output_folder import OutputFolder
from samft.inference.overlay import picture
from samft.metrics.edge_baselines import canny_edges, sobel_edges
from samft.metrics.edge_matching import DISTANCE_RATIO, agreement_counts, f_measure
from samft.metrics.edges import EdgeScores
from samft.models.sam import Sam

Baseline = Literal["sobel", "canny"]
BASELINES: Final[dict[Baseline, Callable[[NDArray[np.uint8]], Floats]]] = {
    "sobel": sobel_edges,
    "canny": canny_edges,
}
"""Edges without learning, by name."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EdgeImage:
    """One image and what people take for its edges.

    Args:
        sample_id: The image's name, unique, a relative path.
        image: (H, W, 3) uint8 RGB, or a (C, H, W) tensor, 0 to 255.
        annotations: The edges that each person drew, (H, W) bool; at least one.
        ignored: (H, W) bool, where nothing is known and no found edge counts; `None` for nowhere.
    """

    sample_id: str
    image: NDArray[np.uint8] | Tensor
    annotations: Sequence[Mask]
    ignored: Mask | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeRow:
    """One method's edges of one image.

    Args:
        method: Name of the model or baseline.
        sample_id: The image.
        scores: As `EdgeScores` names them, of this image alone.
        seconds: Wall time of finding the edges.
    """

    method: str
    sample_id: str
    scores: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanAgreement:
    """Every person's edges against those of all others; NaN where nobody has a second opinion.

    Args:
        f: Harmonic mean of precision and recall, 0 to 1.
        precision: Share of drawn pixels that somebody else drew as well.
        recall: Share of the others' pixels that were drawn.
        num_images: Images that at least two people drew.
    """

    f: float
    precision: float
    recall: float
    num_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeReport:
    """What `run_edges` found.

    Args:
        scores: By method: `ods` with `ods_precision`, `ods_recall` and `ods_threshold`, `ois`,
            `ap`, `r50`, `num_cases`; see `samft.metrics.edges.EdgeScores`.
        rows: One for each method and image, sorted by method in the order of `scores`, then image.
        human: How far people agree.
        num_images: Images scored.
        num_annotations: What people drew, over all images.
        settings: How edges were found and scored.
    """

    scores: Mapping[str, Mapping[str, float]]
    rows: tuple[EdgeRow, ...]
    human: HumanAgreement
    num_images: int
    num_annotations: int
    settings: EdgeSettings

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return the report as plain data; NaN stays NaN."""
        return {
            "scores": {method: dict(scores) for method, scores in self.scores.items()},
            "human": asdict(self.human),
            "num_images": self.num_images,
            "num_annotations": self.num_annotations,
            "settings": self.settings.to_dict(),
            "images": [asdict(row) for row in self.rows],
        }


def run_edges(
    sams: Sam | Mapping[str, Sam],
    images: Iterable[EdgeImage],
    settings: EdgeSettings | None = None,
    *,
    baselines: Sequence[Baseline] = ("sobel", "canny"),
    human: bool = True,
    maps: Path | None = None,
) -> EdgeReport:
    """Detect edges with models and baselines, and score them against what people drew.

    Images are taken one after another, and all methods see an image before the next is asked for.

    Args:
        sams: A model, called "sam" in the report, or models by name; may be none.
        images: Images with edges.
        settings: `None` for the paper's.
        baselines: Which baselines, by their names in `BASELINES`.
        human: Whether to measure how far people agree, where several drew.
        maps: Folder for the edge maps as grey PNG files, `METHOD/SAMPLE.png`; `None` for none.

    Raises:
        ConfigError: if a baseline is unknown, or a model has the name of a baseline.
        DatasetError: if there is no image, or one without annotation.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.2.
    """
    chosen = EdgeSettings.resolve(settings)
    methods = _methods(sams, chosen, baselines)
    metrics = {name: _metric(chosen) for name in methods}
    seconds: dict[tuple[str, str], float] = {}
    people = _People(chosen.distance_ratio)
    folder = None if maps is None else OutputFolder(maps)
    for item in images:
        if not len(item.annotations):
            raise DatasetError("nobody drew the edges of an image", where=item.sample_id)
        for name, method in methods.items():
            began = time.perf_counter()
            strength = method(item)
            seconds[name, item.sample_id] = time.perf_counter() - began
            if item.ignored is not None:
                strength = np.where(item.ignored, np.float32(0), strength)
            metrics[name].update(strength, item.annotations, case_id=item.sample_id)
            if folder is not None:
                save_edge_map(strength, folder.place(name, item.sample_id, ".png"), folder=folder)
        people.add(item, match=human)
    if not people.num_images:
        raise DatasetError("there is no image to find edges in")
    return EdgeReport(
        scores={name: _plain(metric) for name, metric in metrics.items()},
        rows=tuple(_rows(metrics, seconds)),
        human=people.agreement(),
        num_images=people.num_images,
        num_annotations=people.num_annotations,
        settings=chosen,
    )


def human_agreement(
    images: Iterable[EdgeImage], *, distance_ratio: float = DISTANCE_RATIO
) -> HumanAgreement:
    """Measure how far people agree about edges: each one's against those of all others.

    Args:
        images: Images with edges; those that fewer than two people drew are left out.
        distance_ratio: See `samft.metrics.edge_matching.DISTANCE_RATIO`.

    Source: the human line of the plots of Martin et al. 2004, IEEE PAMI 26(5).
    """
    people = _People(distance_ratio)
    for item in images:
        people.add(item)
    return people.agreement()


def save_edge_map(strength: Floats, place: Path, *, folder: OutputFolder) -> Path:
    """Write an edge map (H, W) of values in [0, 1] as a PNG file of 8 bits, white on black."""
    grey = Image.fromarray((strength * 255).round().astype(np.uint8))
    return folder.write(place, lambda path: grey.save(path, format="PNG"))


class _People:
    """Adds up how far people agree.

    Args:
        distance_ratio: See `DISTANCE_RATIO`.
    """

    def __init__(self, distance_ratio: float) -> None:
        self.distance_ratio = distance_ratio
        self.counts = np.zeros(4, np.int64)
        self.num_images = self.num_annotations = self.num_shared = 0

    def add(self, item: EdgeImage, *, match: bool = True) -> None:
        """Count one image; without `match` only how much was drawn."""
        self.num_images += 1
        self.num_annotations += len(item.annotations)
        if match and len(item.annotations) > 1:
            found = agreement_counts(item.annotations, distance_ratio=self.distance_ratio)
            self.counts += found[:, 0]
            self.num_shared += 1

    def agreement(self) -> HumanAgreement:
        """Return what was found."""
        found, true, right, drawn = self.counts.tolist()
        return HumanAgreement(
            f=f_measure(self.counts) if true and drawn else math.nan,
            precision=right / drawn if drawn else math.nan,
            recall=found / true if true else math.nan,
            num_images=self.num_shared,
        )


def _methods(
    sams: Sam | Mapping[str, Sam], settings: EdgeSettings, baselines: Sequence[Baseline]
) -> dict[str, Callable[[EdgeImage], Floats]]:
    models = {"sam": sams} if isinstance(sams, Sam) else dict(sams)
    methods: dict[str, Callable[[EdgeImage], Floats]] = {}
    for name in baselines:
        if name not in BASELINES:
            raise ConfigError(
                "the baseline is unknown",
                where="edges.baselines",
                found=repr(name),
                fix=did_you_mean(str(name), BASELINES),
            )
        methods[name] = partial(_baseline_map, BASELINES[name])
    for model, sam in models.items():
        if model in BASELINES:
            raise ConfigError("a model has the name of a baseline", found=model, fix="rename it")
        methods[model] = partial(_model_map, sam, settings)
    return methods


def _baseline_map(detect: Callable[[NDArray[np.uint8]], Floats], item: EdgeImage) -> Floats:
    image = item.image
    return detect(picture(image) if isinstance(image, Tensor) else image)


def _model_map(sam: Sam, settings: EdgeSettings, item: EdgeImage) -> Floats:
    return edge_map(sam, item.image, settings)


def _metric(settings: EdgeSettings) -> EdgeScores:
    return EdgeScores(thresholds=settings.thresholds, distance_ratio=settings.distance_ratio)


def _plain(metric: EdgeScores) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def _rows(
    metrics: Mapping[str, EdgeScores], seconds: Mapping[tuple[str, str], float]
) -> Iterator[EdgeRow]:
    for name, metric in metrics.items():
        for case in metric.per_case():
            yield EdgeRow(
                method=name,
                sample_id=case.case_id,
                scores=case.scores,
                seconds=seconds[name, case.case_id],
            )
