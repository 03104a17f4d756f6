"""Scores of the instances that a model finds in an image without being asked for any."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from samft.evaluation.rows import AUTOMATIC, ImageRow
from samft.evaluation.truth import TruthOfImage
from samft.metrics.instances import InstanceScores
from samft.metrics.panoptic import AggregatedJaccard, PanopticQuality

_NAMES: Final = {
    "f1_50": "f1",
    "precision_50": "precision",
    "recall_50": "recall",
    "map_dsb": "ap",
    "pq_case": "pq",
    "sq_case": "sq",
    "rq_case": "rq",
    "aji": "aji",
    "aji_plus": "aji_plus",
}
"""What the metrics call a score, and what `ImageRow` does."""


def disjoint_labels(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Give every pixel to the first mask that has it.

    Args:
        masks: (n, H, W) bool, best first.

    Returns:
        (1, H, W) int32: 0 background, k + 1 mask k.
    """
    labels = np.zeros((1, *masks.shape[1:]), dtype=np.int32)
    for index in range(len(masks) - 1, -1, -1):
        labels[0][masks[index]] = index + 1
    return labels


def instance_row(model: str, masks: NDArray[np.bool_], truth: TruthOfImage) -> ImageRow:
    """Score the instances of one image, whatever their class.

    Pixels of which nothing is known do not count, see `samft.metrics.matching`.

    Args:
        model: Name of the model.
        masks: (n, H, W) bool, best first; where they overlap the better one has the pixel.
        truth: The image.
    """
    sample = truth.sample
    given, wanted = disjoint_labels(masks), sample.layers.numpy()
    found: dict[str, float] = {}
    for metric in (InstanceScores(), PanopticQuality(), AggregatedJaccard()):
        metric.distributed_available_fn = _alone
        metric.update(given, wanted, case_id=sample.sample_id)
        found |= metric.per_case()[0].scores
    return ImageRow(
        model=model,
        prompt=AUTOMATIC,
        sample_id=sample.sample_id,
        case_id=sample.case_id,
        class_name="",
        num_objects=sample.num_objects,
        unit=truth.unit,
        scores={name: float(found[known]) for known, name in _NAMES.items()},
    )


def _alone() -> bool:
    """Say that there are no other processes: an image is scored by the one that has it."""
    return False
