"""CVAT: the decoder for the browser, and the function that encodes images on the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from samft.data.geometry import logits_to_original
from samft.errors import OutputError
from samft.export.comparison import Comparison
from samft.export.onnx import (
    DECODER,
    ENCODER,
    MASK_OUTPUTS,
    OnnxReader,
    as_points,
    write_decoder,
    write_encoder,
)
from samft.export.onnx_graphs import Client, CroppedDecoderGraph, DecoderGraph
from samft.export.questions import Kind, Question
from samft.export.target import ExportOptions, ReadBack
from samft.export.template import copy_template
from samft.export.tuned import TunedModel

FUNCTION: Final = "function"
BROWSER: Final = Client(side=1024, mask_side=256, embedding=(256, 64, 64))
"""What the plugin has built in, the sizes of the official models."""
OUTPUTS: Final = (*MASK_OUTPUTS, "xtl", "ytl", "xbr", "ybr")

_KINDS: Final[tuple[Kind, ...]] = ("point", "box")  # the plugin never passes a mask


@dataclass(frozen=True, slots=True)
class CvatTarget:
    """A folder with the decoder, the function and how to install them; see `Target`."""

    name: str = "cvat"
    about: str = "the seven-output decoder and the serverless function for CVAT"
    suffix: str = ""
    knows: frozenset[str] = frozenset()

    def check(self, model: TunedModel) -> None:
        """Refuse models whose embedding does not fit into that of the official ones."""
        model.check_rgb("CVAT")
        config = model.sam.config
        values = config.embed_dim * config.grid_size**2
        room = int(np.prod(BROWSER.embedding or ()))
        if values > room:
            raise OutputError(
                "the embedding is larger than CVAT's browser plugin can pass on",
                found=f"{values} values at an input size of {config.image_size}",
                expected=f"at most {room}",
                fix="train with a smaller model.image_size",
            )

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:  # noqa: ARG002  (see Target)
        """Write decoder, function and README."""
        function = out / FUNCTION
        function.mkdir()
        copy_template(self.name, function)
        (function / "README.md").rename(out / "README.md")
        write_encoder(model, function / ENCODER)
        graph = CroppedDecoderGraph(DecoderGraph(model.sam, single_mask=True, client=BROWSER))
        write_decoder(graph, model, out / DECODER, client=BROWSER, outputs=OUTPUTS)

    def read(
        self,
        model: TunedModel,
        out: Path,
        options: ExportOptions,  # noqa: ARG002  (see Target)
        questions: Sequence[Question],
    ) -> ReadBack:
        """Do what server and browser do, and compare the masks pixel by pixel."""
        reader = OnnxReader.open(out / FUNCTION / ENCODER, out / DECODER)
        factor = (BROWSER.side or 0) / model.sam.image_size
        largest: dict[Kind, float] = dict.fromkeys(_KINDS, 0.0)
        iou = 0.0
        for question in questions:
            embedding = _packed(reader.embed(question))
            for kind in _KINDS:
                feed = reader.feed(embedding, question.prompts[kind], question)
                points, _ = as_points(question.prompts[kind])
                feed["point_coords"] = (points * factor).numpy()
                mask, found = _uncropped(reader.decoder.run(None, feed), question)
                expected = question.answers[kind]
                expected = expected.take((expected.iou - found).abs().argmin(dim=1))
                truth = logits_to_original(expected.logits, question.frame)[0, 0] > 0
                largest[kind] = max(largest[kind], float((mask != truth).float().mean()))
                iou = max(iou, float((expected.iou - found).abs().max()))
        comparison = Comparison(
            program=reader.program, largest=largest, scale=1.0, iou=iou, what="mask pixels"
        )
        return ReadBack(comparisons=[comparison])


def _packed(embedding: Any) -> Any:  # Any: what onnxruntime passes on
    """Return an embedding as the function hands it over."""
    values = np.zeros(BROWSER.embedding or (), np.float32)
    values.reshape(-1)[: embedding.size] = embedding.ravel()
    return values[None]


def _uncropped(outputs: Sequence[Any], question: Question) -> tuple[Tensor, float]:
    """Return the whole mask (H, W) bool and the predicted IoU of the seven outputs."""
    masks, iou, _, left, top, right, bottom = outputs
    whole = torch.zeros(question.frame.original_size, dtype=torch.bool)
    whole[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = (
        torch.from_numpy(masks[0, 0]) > 0
    )
    return whole, float(iou[0, 0])
