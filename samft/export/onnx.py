"""ONNX: an image encoder and a mask decoder with the official tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from samft.export.comparison import compare
from samft.export.onnx_file import open_session, runtime_name, save_onnx
from samft.export.onnx_graphs import Client, DecoderGraph, EncoderGraph, exportable
from samft.export.quantized import measure, note_loss, quantize
from samft.export.questions import KINDS, Kind, Question
from samft.export.target import ExportOptions, ReadBack
from samft.export.tuned import TunedModel
from samft.types import PADDING, MaskOutput, PromptBatch

ENCODER: Final = "encoder.onnx"
DECODER: Final = "decoder.onnx"
ENCODER_INT8: Final = "encoder.int8.onnx"
MASK_OUTPUTS: Final = ("masks", "iou_predictions", "low_res_masks")

_FIRST_CORNER, _SECOND_CORNER = 2, 3
_MOST_POINTS: Final = 4096
_EXAMPLE_POINTS: Final = 7  # none of the sizes inside the decoder


@dataclass(frozen=True, slots=True)
class OnnxTarget:
    """A folder with the two halves; see `samft.export.target.Target`."""

    name: str = "onnx"
    about: str = "encoder.onnx and decoder.onnx with the official tensor names"
    suffix: str = ""
    knows: frozenset[str] = frozenset({"quantize", "single_mask"})

    def check(self, model: TunedModel) -> None:
        """Take any model."""

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:
        """Write both files."""
        write_encoder(model, out / ENCODER)
        decoder = DecoderGraph(model.sam, single_mask=options.single_mask)
        write_decoder(decoder, model, out / DECODER)

    def read(
        self,
        model: TunedModel,  # noqa: ARG002  (see Target)
        out: Path,
        options: ExportOptions,
        questions: Sequence[Question],
    ) -> ReadBack:
        """Open them in onnxruntime; with `quantize`, write the small encoder and measure it."""
        reader = OnnxReader.open(out / ENCODER, out / DECODER)
        if not options.quantize:
            return ReadBack(comparisons=[compare(reader, questions)])
        files = out / ENCODER, out / ENCODER_INT8
        quantize(*files)
        small = replace(reader, encoder=open_session(out / ENCODER_INT8))
        loss = measure(reader, small, questions, files=files)
        note_loss(out / ENCODER_INT8, loss)
        return ReadBack(comparisons=[compare(reader, questions)], notes=[str(loss)])


def write_encoder(model: TunedModel, path: Path) -> None:
    """Write an image encoder with its preprocessing inside; see `EncoderGraph`."""
    side, channels = model.sam.image_size, model.sam.num_channels
    # An example that is no square, and not all of the frame: its sizes mean nothing.
    example = torch.rand(side - 3, side // 2 + 1, channels) * 255
    height = torch.export.Dim("image_height", min=1, max=side)
    width = torch.export.Dim("image_width", min=1, max=side)
    with exportable(model.sam):
        save_onnx(
            EncoderGraph(model.sam),
            {"input_image": example},
            ["image_embeddings"],
            path,
            sizes={"input_image": {0: height, 1: width}},
            named={},
            metadata=model.metadata,
        )


def write_decoder(
    graph: nn.Module,
    model: TunedModel,
    path: Path,
    *,
    client: Client | None = None,
    outputs: Sequence[str] = MASK_OUTPUTS,
) -> None:
    """Write a mask decoder.

    Args:
        graph: Takes what `DecoderGraph` does.
        model: The model.
        path: The file.
        client: Sizes of the program that will call it, as the graph was given them.
        outputs: Names of what the graph returns.
    """
    points = torch.export.Dim("num_points", min=1, max=_MOST_POINTS)
    save_onnx(
        graph,
        _example(model, client or Client()),
        outputs,
        path,
        sizes={"point_coords": {1: points}, "point_labels": {1: points}},
        named={"masks": {2: "height", 3: "width"}},
        metadata=model.metadata,
    )


def _example(model: TunedModel, client: Client) -> dict[str, Tensor]:
    config = model.sam.config
    grid = config.grid_size
    mask_side = client.mask_side or 4 * grid
    return {
        "image_embeddings": torch.zeros(1, *(client.embedding or (config.embed_dim, grid, grid))),
        "point_coords": torch.rand(1, _EXAMPLE_POINTS, 2) * config.image_size,
        "point_labels": torch.ones(1, _EXAMPLE_POINTS),
        "mask_input": torch.zeros(1, 1, mask_side, mask_side),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([config.image_size + 77.0, config.image_size / 2 + 11]),
    }


@dataclass(frozen=True, slots=True)
class OnnxReader:
    """onnxruntime with both files.

    Args:
        encoder: Session of the encoder.
        decoder: Session of the decoder.
        program: What to call it.
        kinds: What it is asked; not masks, where the decoder takes them in another size.
    """

    encoder: Any  # Any: onnxruntime has no types
    decoder: Any
    program: str
    kinds: tuple[Kind, ...] = KINDS

    @classmethod
    def open(cls, encoder: Path, decoder: Path) -> OnnxReader:
        """Open both files.

        Raises:
            CheckpointError: if onnxruntime refuses one.
        """
        return cls(open_session(encoder), open_session(decoder), runtime_name())

    def answer(self, question: Question) -> dict[Kind, MaskOutput]:
        """See `samft.export.comparison.Reader`."""
        embedding = self.embed(question)
        answers: dict[Kind, MaskOutput] = {}
        for kind in self.kinds:
            prompts = question.prompts[kind]
            masks, iou, _ = self.decoder.run(None, self.feed(embedding, prompts, question))
            answers[kind] = MaskOutput(logits=torch.from_numpy(masks), iou=torch.from_numpy(iou))
        return answers

    def embed(self, question: Question) -> Any:  # Any: what onnxruntime passes on
        """Return the embedding of an image."""
        image = question.pixels.permute(1, 2, 0).contiguous().numpy()
        return self.encoder.run(None, {"input_image": image})[0]

    def feed(self, embedding: Any, prompts: PromptBatch, question: Question) -> dict[str, Any]:
        """Return the decoder's inputs for one prompt."""
        side = next(item for item in self.decoder.get_inputs() if item.name == "mask_input").shape[
            2
        ]
        points, labels = as_points(prompts)
        logits = prompts.mask_logits
        return {
            "image_embeddings": embedding,
            "point_coords": points.numpy(),
            "point_labels": labels.numpy(),
            "mask_input": (torch.zeros(1, 1, side, side) if logits is None else logits).numpy(),
            "has_mask_input": torch.tensor([float(logits is not None)]).numpy(),
            "orig_im_size": torch.tensor(question.frame.original_size).float().numpy(),
        }


def as_points(prompts: PromptBatch) -> tuple[Tensor, Tensor]:
    """Return one prompt as the decoder takes it: points (1, N, 2) and labels (1, N), float32.

    A box is two points; where there is none, SAM's padding point comes last.
    """
    points = [] if prompts.points is None else [prompts.points]
    labels = [] if prompts.labels is None else [prompts.labels.float()]
    if prompts.boxes is not None:
        points.append(prompts.boxes.view(1, 2, 2))
        labels.append(torch.tensor([[float(_FIRST_CORNER), float(_SECOND_CORNER)]]))
    else:
        points.append(torch.zeros(1, 1, 2))
        labels.append(torch.tensor([[float(PADDING)]]))
    return torch.cat(points, dim=1), torch.cat(labels, dim=1)
