"""safetensors with the official names: for samft, and for sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.export.comparison import compare
from samft.export.questions import Question
from samft.export.target import ExportOptions, ReadBack, SamReader
from samft.export.tuned import TunedModel
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.models.weights import load_weights


@dataclass(frozen=True, slots=True)
class SafetensorsTarget:
    """Weights under official names, with text about them; see `samft.export.target.Target`."""

    name: str = "safetensors"
    about: str = "official names, with a record of the model; for samft and for sharing"
    suffix: str = ".safetensors"
    knows: frozenset[str] = frozenset()

    def check(self, model: TunedModel) -> None:
        """Take any model."""

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:  # noqa: ARG002  (see Target)
        """Write the file."""
        save_state_dict(model.sam, out, metadata=model.metadata)

    def read(
        self,
        model: TunedModel,
        out: Path,
        options: ExportOptions,  # noqa: ARG002  (see Target)
        questions: Sequence[Question],
    ) -> ReadBack:
        """Load it into a new model."""
        return ReadBack(comparisons=[compare(SamReader(reloaded(model, out)), questions)])


def reloaded(model: TunedModel, out: Path) -> Sam:
    """Return a new model with the weights of a file, in evaluation mode."""
    again = build_from_config(model.sam.config)
    load_weights(again, out)
    return again.eval()
