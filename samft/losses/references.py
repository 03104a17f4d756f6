"""What the loss reads of the targets that is worth computing only once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LossReferences:
    """Maps made from the targets, the same for every decoder pass of a batch.

    Args:
        distances: (P, 1, h, w) float32, see `signed_distances`; `None` when no term needs them.
        skeleton: (P, 1, h, w) float32, the targets' centre lines; `None` when no term needs them.
    """

    distances: Tensor | None = None
    skeleton: Tensor | None = None

    def select(self, rows: Tensor | slice) -> LossReferences:
        """Keep the objects at `rows` ((P',) int64, (P,) bool, or a slice)."""
        return LossReferences(
            distances=None if self.distances is None else self.distances[rows],
            skeleton=None if self.skeleton is None else self.skeleton[rows],
        )
