"""Whether thin, branching objects keep their course: clDice of vessels, roots, cracks."""

from __future__ import annotations

import math

import numpy as np

from samft.metrics.cases import Array, CaseRow, Kind, MaskPairMetric, as_numpy, kind_of
from samft.metrics.surfaces import Mask, bounding_box
from samft.metrics.thinning import thin, thin_volume


def skeleton(mask: Mask) -> Mask:
    """Return the centre line of a mask of an image or a volume, (H, W) or (Z, Y, X) bool."""
    box = bounding_box(mask)
    line = np.zeros_like(mask)
    line[box] = thin(mask[box]) if mask.ndim == 2 else thin_volume(mask[box])
    return line


class CentrelineDice(MaskPairMetric):
    """clDice per case and class, and its mean, for pictures and volumes.

    In [0, 1], higher is better, no unit. `topology_precision` is the share of the predicted centre
    line that lies in the true mask, `topology_sensitivity` the share of the true centre line that
    lies in the predicted mask, `cldice` their harmonic mean.

    The centre lines come from thinning the masks (`samft.metrics.thinning`), not from the soft
    skeleton of the loss, which is broken where a line is an even number of pixels wide. In volumes
    they are those of scikit-image's `skeletonize` but for the order in which voxels go; in pictures
    those of its `thin`, while published numbers mostly rest on its `skeletonize`: on thin lines two
    pixels apart the scores differ by some 0.01. Empty: by the rule of `samft.metrics.cases`.

    Args:
        class_names: Names of the classes, in the order of the masks.
        both_empty: What a case without object and prediction is worth.

    Source: Shit et al. 2021, arXiv:2003.07311, section 2.
    """

    def update(self, predicted: Array | None, target: Array, *, case_id: str) -> None:
        """Add one case.

        Args:
            predicted: (K, ...) bool, one mask per class over an image (H, W) or volume (Z, Y, X);
                `None` if there is no prediction.
            target: Like `predicted`.
            case_id: The case's name, unique in the data set.
        """
        for part, (answer, truth) in enumerate(self._masks(predicted, target)):
            wanted = as_numpy(truth).astype(bool, copy=False)
            given = None if answer is None else as_numpy(answer).astype(bool, copy=False)
            self._add(case_id, _compare(given, wanted), part=part)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        kind = Kind(int(row.values[0]))
        precision, recall = row.values[1:].tolist()
        if kind != Kind.BOTH:
            precision = recall = self._without_comparison(kind, alike=1.0, apart=0.0)
        total = precision + recall
        return {
            "cldice": 2 * precision * recall / total if total != 0 else 0.0,
            "topology_precision": precision,
            "topology_sensitivity": recall,
        }


def _compare(given: Mask | None, wanted: Mask) -> tuple[float, float, float]:
    kind = Kind.MISSING if given is None else kind_of(bool(given.any()), bool(wanted.any()))
    if given is None or kind != Kind.BOTH:
        return kind, math.nan, math.nan
    lines = skeleton(given), skeleton(wanted)
    precision = np.count_nonzero(lines[0] & wanted) / np.count_nonzero(lines[0])
    return kind, precision, np.count_nonzero(lines[1] & given) / np.count_nonzero(lines[1])
