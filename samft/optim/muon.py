"""Muon for the matrices inside a network, AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

_MOMENTUM = 0.95


class MuonAdamW(Optimizer):
    """Updates matrices with orthogonalised momentum and the rest with AdamW.

    Schedulers and checkpoints see one optimiser: first the groups of the matrices, then the
    others.

    Args:
        matrices: Groups of two-dimensional parameters, each with `lr` and `weight_decay`.
        others: Groups for AdamW, likewise.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; updates
        are scaled to AdamW's size as in Liu et al. 2025, arXiv:2502.16982, so that learning rates
        of the two can be compared.
    """

    def __init__(
        self,
        matrices: Iterable[dict[str, Any]],  # Any: parameters, numbers and names
        others: Iterable[dict[str, Any]],
    ) -> None:
        self._muon = Muon(matrices, momentum=_MOMENTUM, adjust_lr_fn="match_rms_adamw")
        self._adamw = AdamW(others, betas=(0.9, 0.999))
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share()

    def step(  # type: ignore[override]  # torch gives it two overloads for the closure
        self, closure: Callable[[], Tensor] | None = None
    ) -> Tensor | None:
        """Update all parameters once."""
        loss = None if closure is None else closure()
        self._muon.step()  # type: ignore[no-untyped-call]  # torch left it untyped
        self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # Any: as torch saves it
        """Take over a saved state."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let both parts work on the groups and the state of the whole."""
        count = len(self._muon.param_groups)
        self._muon.param_groups = self.param_groups[:count]
        self._adamw.param_groups = self.param_groups[count:]
        self._muon.state = self._adamw.state = self.state
