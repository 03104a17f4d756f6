"""Label Studio: a backend folder that runs without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.export.onnx import OnnxTarget
from samft.export.questions import Question
from samft.export.target import ExportOptions, ReadBack
from samft.export.template import copy_template
from samft.export.tuned import TunedModel


@dataclass(frozen=True, slots=True)
class LabelStudioTarget:
    """A folder for `label-studio-ml start`; see `samft.export.target.Target`."""

    name: str = "labelstudio"
    about: str = "a backend folder for label-studio-ml start"
    suffix: str = ""
    knows: frozenset[str] = frozenset()

    def check(self, model: TunedModel) -> None:
        """Refuse models that do not read RGB images."""
        model.check_rgb("Label Studio")

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:
        """Write the backend and both ONNX files."""
        copy_template(self.name, out)
        OnnxTarget().write(model, out, options)

    def read(
        self,
        model: TunedModel,
        out: Path,
        options: ExportOptions,
        questions: Sequence[Question],
    ) -> ReadBack:
        """Open both files in onnxruntime, which is what the backend runs."""
        return OnnxTarget().read(model, out, options, questions)
