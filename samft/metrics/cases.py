"""Scores case by case, and the one rule for cases in which something is empty.

A metric here keeps one row of numbers per case, under the case's name, and forms means at the end:

- A case that several processes scored, because a sampler padded their shares, counts once.
- The rows are sorted by name before anything is summed: the result does not depend on the number of
  processes, on batch sizes or on the order of the cases.
- The rows are there for tables and for paired comparisons (`per_case`).

The rule, the same for every metric that compares a predicted with a true mask or set of objects:

- Both empty: the answer is right. Shares and overlaps are 1, distances 0; counted in
  `num_both_empty`. With `both_empty="skip"` such cases have no score, as in MONAI and nnU-Net.
- Only the truth is empty (`num_spurious`) or only the prediction (`num_missed`): shares and
  overlaps are 0. Distances do not exist; they are left out of the mean, and counted, unless the
  metric is told to set the image's diagonal instead.
- No prediction at all (`None`: it failed, or was never made): like an empty prediction that is
  wrong whatever the truth, counted in `num_missing`.

Means: over the cases of each class, then over the classes, each counting the same.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from samft.errors import ConfigError

_log = logging.getLogger(__name__)

Array = Tensor | NDArray[Any]  # Any: bool, integers or floats
"""Masks, label layers or scores, as torch or numpy has them."""

BothEmpty = Literal["perfect", "skip"]
"""What a case is worth in which neither truth nor prediction has anything."""

_SAME = 1e-6  # two processes' arithmetic on the same case, relative


class Kind(IntEnum):
    """What there is to compare in a case, see the module's rule."""

    BOTH = 0
    BOTH_EMPTY = 1
    MISSED = 2
    SPURIOUS = 3
    MISSING = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CaseRow:
    """What a metric keeps of one case.

    Args:
        case_id: The case's name.
        part: Index of the class, or of the object in the case; 0 where there is only one.
        values: (n,) float64, what the metric needs; n may differ between cases.
    """

    case_id: str
    part: int
    values: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseScores:
    """The scores of one case, for tables and paired comparisons.

    Args:
        case_id: The case's name.
        part: As in `CaseRow`.
        scores: By the names `compute` uses; NaN where the case has no such score.
    """

    case_id: str
    part: int
    scores: Mapping[str, float]


class CaseMetric(Metric):
    """Base of the metrics that keep their cases.

    The states are lists that are concatenated over processes (`dist_reduce_fx="cat"`): the names'
    bytes and their lengths, the parts, the values and their numbers.

    Args:
        class_names: Names of the classes, for the mean of each; empty where there is only one.
    """

    is_differentiable = False
    higher_is_better: bool | None = True
    full_state_update = False

    name_bytes: list[Tensor]
    name_lengths: list[Tensor]
    parts: list[Tensor]
    values: list[Tensor]
    value_lengths: list[Tensor]

    def __init__(self, class_names: Sequence[str] = ()) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        for state in _STATES:
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def sync(self, *args: Any, **kwargs: Any) -> None:  # Any: as torchmetrics calls it
        """Gather all processes' rows, also where one of them has none."""
        # torchmetrics stands in for an empty list with floats, whatever the other processes hold.
        for state, dtype in _STATES.items():
            if len(getattr(self, state)) == 0:
                setattr(self, state, [torch.zeros(0, dtype=dtype, device=self.device)])
        super().sync(*args, **kwargs)

    def rows(self) -> list[CaseRow]:
        """Return the rows at hand, each case's part once, sorted by name and part.

        Where a case was scored twice the first row counts; if they differ a warning says so.
        """
        names, lengths, parts, values, counts = (self._joined(state) for state in _STATES)
        text, name_ends, value_ends = names.tobytes(), np.cumsum(lengths), np.cumsum(counts)
        found: dict[tuple[str, int], CaseRow] = {}
        unequal = 0
        for index, part in enumerate(parts.tolist()):
            name = text[name_ends[index] - lengths[index] : name_ends[index]].decode()
            own = values[value_ends[index] - counts[index] : value_ends[index]].astype(np.float64)
            row = CaseRow(case_id=name, part=part, values=own)
            first = found.setdefault((name, part), row)
            unequal += not _alike(first.values, own)
        if unequal:
            _log.warning(
                "%d cases were scored twice with different results: the first counts. Case names "
                "must be unique.",
                unequal,
            )
        return [found[key] for key in sorted(found)]

    def per_case(self) -> list[CaseScores]:
        """Return the scores of every case of all processes, sorted by name and part."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            rows = self.rows()
        return [
            CaseScores(case_id=row.case_id, part=row.part, scores=self._scores(row)) for row in rows
        ]

    def compute(self) -> dict[str, Tensor]:
        """Return the means by the module's rule, and the number of cases."""
        rows = self.rows()
        return self._as_tensors(
            self._means(rows) | {"num_cases": len({row.case_id for row in rows})}
        )

    @abstractmethod
    def _scores(self, row: CaseRow) -> dict[str, float]:
        """Return the scores of one row; every metric says its own."""

    def _add(
        self, case_id: str, values: Sequence[float] | NDArray[np.float64], *, part: int = 0
    ) -> None:
        name = case_id.encode()
        floats = torch.float32 if self.device.type == "mps" else torch.float64
        fresh = (
            torch.frombuffer(bytearray(name), dtype=torch.uint8) if name else torch.zeros(0).byte(),
            torch.tensor([len(name)]),
            torch.tensor([part]),
            torch.as_tensor(np.asarray(values, dtype=np.float64)).to(floats),
            torch.tensor([len(values)]),
        )
        for state, tensor in zip(_STATES, fresh, strict=True):
            getattr(self, state).append(tensor.to(self.device))

    def _part(self, class_index: int) -> int:
        if not 0 <= class_index < max(len(self.class_names), 1):
            raise ConfigError(
                "a class the metric does not know",
                found=class_index,
                expected=f"0 to {max(len(self.class_names), 1) - 1}",
                fix="give the metric all class_names",
            )
        return class_index

    def _means(self, rows: Sequence[CaseRow]) -> dict[str, float]:
        """Return the mean of each score over the cases of a class and over classes, by name."""
        by_class: dict[int, list[dict[str, float]]] = {}
        for row in rows:
            by_class.setdefault(row.part, []).append(self._scores(row))
        means = {part: _column_means(scores) for part, scores in by_class.items()}
        result = _column_means(list(means.values()))
        for part, scores in means.items():
            if self.class_names:
                result |= {f"{key}/{self.class_names[part]}": v for key, v in scores.items()}
        return result

    def _as_tensors(self, scores: Mapping[str, float]) -> dict[str, Tensor]:
        # Nothing scored leaves no names either; a metric without any case is still a mapping.
        return {
            key: torch.tensor(value, dtype=torch.float32, device=self.device)
            for key, value in scores.items()
        }

    def _joined(self, state: str) -> NDArray[Any]:  # Any: the state's own type
        held = getattr(self, state)
        pieces = [held] if isinstance(held, Tensor) else held
        if not pieces:
            return torch.zeros(0, dtype=_STATES[state]).numpy()
        joined: NDArray[Any] = torch.cat([piece.reshape(-1) for piece in pieces]).cpu().numpy()
        return joined


_STATES: Final = {
    "name_bytes": torch.uint8,
    "name_lengths": torch.int64,
    "parts": torch.int64,
    "values": torch.float64,
    "value_lengths": torch.int64,
}


class MaskPairMetric(CaseMetric):
    """Base of the metrics that compare one predicted with one true mask per class.

    A row begins with the `Kind` of the case.

    Args:
        class_names: Names of the classes, in the order of the masks.
        both_empty: See the module's rule.
    """

    def __init__(
        self, class_names: Sequence[str] = (), *, both_empty: BothEmpty = "perfect"
    ) -> None:
        super().__init__(class_names)
        self.both_empty = both_empty

    def compute(self) -> dict[str, Tensor]:
        """Return the means by the module's rule, and how many pairs were of which kind."""
        rows = self.rows()
        kinds = [Kind(int(row.values[0])) for row in rows]
        counts = {f"num_{kind.name.lower()}": kinds.count(kind) for kind in list(Kind)[1:]}
        cases = {"num_cases": len({row.case_id for row in rows})}
        return self._as_tensors(self._means(rows) | cases | counts)

    def _masks(self, predicted: Array | None, target: Array) -> list[tuple[Array | None, Array]]:
        """Return the pairs of masks, one per class, after a look at the shapes."""
        count = max(len(self.class_names), 1)
        shapes = [tuple(masks.shape) for masks in (predicted, target) if masks is not None]
        if len(set(shapes)) > 1 or len(shapes[0]) < 3 or shapes[0][0] != count:
            raise ConfigError(
                "masks of these shapes cannot be compared",
                found=" and ".join(map(str, shapes)),
                expected=f"the same shape, ({count}, height, width) or ({count}, z, y, x)",
                fix="stack one mask per class along the first axis",
            )
        return [(None if predicted is None else predicted[k], target[k]) for k in range(count)]

    def _without_comparison(self, kind: Kind, *, alike: float, apart: float) -> float:
        """Return the score of a case that is not `Kind.BOTH`."""
        if kind == Kind.BOTH_EMPTY:
            return alike if self.both_empty == "perfect" else math.nan
        return apart


def kind_of(predicted: bool, target: bool) -> Kind:
    """Return what there is to compare; arguments say whether each side has anything."""
    if predicted:
        return Kind.BOTH if target else Kind.SPURIOUS
    return Kind.MISSED if target else Kind.BOTH_EMPTY


def as_numpy(array: Array) -> NDArray[Any]:  # Any: the array's own type
    """Return a tensor's or array's values on the CPU."""
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array


def share(part: float, whole: float) -> float:
    """Return `part / whole`, NaN for nothing of nothing."""
    return part / whole if whole else math.nan


def _column_means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each score over those that have it; NaN if none has."""
    result = {}
    for name in scores[0] if scores else ():
        known = [each[name] for each in scores if not math.isnan(each[name])]
        result[name] = math.fsum(known) / len(known) if known else math.nan
    return result


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return first.shape == second.shape and bool(
        np.allclose(first, second, rtol=_SAME, atol=_SAME, equal_nan=True)
    )
