"""Label Studio: a backend folder that runs without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.export.comparison import compare
from samft.export.onnx import DECODER, ENCODER, OnnxReader, write_decoder, write_encoder
from samft.export.onnx_graphs import DecoderGraph
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

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:  # noqa: ARG002  (see Target)
        """Write the backend and both ONNX files."""
        copy_template(self.name, out)
        write_encoder(model, out / ENCODER)
        write_decoder(DecoderGraph(model.sam), model, out / DECODER)

    def read(
        self,
        model: TunedModel,  # noqa: ARG002  (see Target)
        out: Path,
        options: ExportOptions,  # noqa: ARG002  (see Target)
        questions: Sequence[Question],
    ) -> ReadBack:
        """Open both files in onnxruntime, which is what the backend runs."""
        reader = OnnxReader.open(out / ENCODER, out / DECODER)
        return ReadBack(comparisons=[compare(reader, questions)])
