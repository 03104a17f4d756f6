"""X-AnyLabeling: two ONNX files and a `model.yaml` for *Load Custom Model*."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from samft.export.comparison import compare
from samft.export.onnx import DECODER, ENCODER, OnnxReader, write_decoder, write_encoder
from samft.export.onnx_graphs import Client, DecoderGraph
from samft.export.questions import KINDS, Question
from samft.export.target import ExportOptions, ReadBack
from samft.export.tuned import TunedModel

CONFIG: Final = "model.yaml"
_MASK_SIDE: Final = 256  # of the empty mask that it always passes


@dataclass(frozen=True, slots=True)
class XAnyLabelingTarget:
    """A folder with relative paths; see `samft.export.target.Target`."""

    name: str = "xanylabeling"
    about: str = "encoder, decoder and model.yaml for X-AnyLabeling's Load Custom Model"
    suffix: str = ""
    knows: frozenset[str] = frozenset()

    def check(self, model: TunedModel) -> None:
        """Refuse models that do not read RGB images."""
        model.check_rgb("X-AnyLabeling")

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:
        """Write both files and the configuration."""
        client = Client(mask_side=_MASK_SIDE)
        write_encoder(model, out / ENCODER)
        decoder = DecoderGraph(model.sam, single_mask=True, client=client)
        write_decoder(decoder, model, out / DECODER, client=client)
        (out / CONFIG).write_text(yaml.safe_dump(_config(model, options), sort_keys=False))

    def read(
        self,
        model: TunedModel,
        out: Path,
        options: ExportOptions,  # noqa: ARG002  (see Target)
        questions: Sequence[Question],
    ) -> ReadBack:
        """Open both files in onnxruntime, which is what X-AnyLabeling runs."""
        reader = OnnxReader.open(out / ENCODER, out / DECODER)
        if 4 * model.sam.config.grid_size != _MASK_SIDE:
            reader = replace(reader, kinds=KINDS[:2])
        return ReadBack(comparisons=[compare(reader, questions)])


def _config(model: TunedModel, options: ExportOptions) -> dict[str, str | int]:
    """Return what X-AnyLabeling reads.

    It brings every image into a frame of `max_width` x `max_height` and fills the rest with black,
    where SAM was trained with the mean colour; so the frame should be no larger than the images.
    """
    side = model.sam.image_size
    height, width = options.extent or (side, side)
    return {
        "type": "segment_anything",
        "name": f"samft_{model.sam.config.name}",
        "provider": "samft",
        "display_name": f"SAM {model.sam.config.name} (samft)",
        "encoder_model_path": ENCODER,
        "decoder_model_path": DECODER,
        "input_size": side,
        "max_width": width,
        "max_height": height,
    }
