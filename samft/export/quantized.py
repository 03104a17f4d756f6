"""An image encoder in 8 bits, and what that costs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from samft._deps import require
from samft.export.comparison import Reader
from samft.export.questions import Kind, Question
from samft.types import MaskOutput

_OPERATORS: Final = ("MatMul", "Gemm")  # few runtimes have convolutions of 8 bits, and they are few
LOSS_KEY: Final = "int8_mean_iou"
"""Under this name the small encoder carries what was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What 8 bits cost.

    Args:
        mean_iou: Mean IoU of the masks with those of the encoder in full precision.
        least_iou: The lowest.
        megabytes: Size of the file.
        before: Size of the file in full precision, megabytes.
    """

    mean_iou: float
    least_iou: float
    megabytes: float
    before: float

    def __str__(self) -> str:
        return (
            f"8-bit encoder: {self.megabytes:.1f} MB instead of {self.before:.1f}; IoU with the "
            f"masks in full precision {self.mean_iou:.3f} on average, {self.least_iou:.3f} at worst"
        )


def quantize(encoder: Path, small: Path) -> None:
    """Write an encoder whose matrix products work with weights of 8 bits.

    The activations are brought to 8 bits as they come (dynamic quantisation), so no images are
    needed; each row of a weight has a scale of its own.

    Args:
        encoder: The ONNX file in full precision, in one file.
        small: The file to write.

    Raises:
        DependencyError: if onnxruntime is not installed.
    """
    require("onnxruntime", extra="export", purpose="quantise an ONNX file")
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        # The quantiser wants the shapes of all tensors. Nothing is optimised for this machine.
        described = Path(folder) / encoder.name
        quant_pre_process(encoder, described, skip_optimization=True, skip_symbolic_shape=True)
        quantize_dynamic(
            described,
            small,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
        )


def measure(
    full: Reader, small: Reader, questions: Sequence[Question], *, files: tuple[Path, Path]
) -> Loss:
    """Compare the masks that both encoders lead to.

    Args:
        full: With the encoder in full precision.
        small: With that in 8 bits.
        questions: What they are asked.
        files: Both encoders' files.
    """
    overlaps: list[float] = []
    for question in questions:
        expected, found = full.answer(question), small.answer(question)
        overlaps += [
            _iou(
                _mask(expected[kind], kind, expected[kind]),
                _mask(found[kind], kind, expected[kind]),
            )
            for kind in question.prompts
        ]
    before, after = (file.stat().st_size / 1e6 for file in files)
    return Loss(
        mean_iou=sum(overlaps) / len(overlaps),
        least_iou=min(overlaps),
        megabytes=after,
        before=before,
    )


def note_loss(small: Path, loss: Loss) -> None:
    """Write what was measured into the file."""
    onnx = require("onnx", extra="export", purpose="quantise an ONNX file")
    model = onnx.load(small)
    model.metadata_props.add(key=LOSS_KEY, value=f"{loss.mean_iou:.4f}")
    onnx.save(model, small)


def _mask(output: MaskOutput, kind: Kind, leading: MaskOutput) -> Tensor:
    """Return the mask people would take: for a click the best of three, as `leading` judges."""
    index = 0
    if kind == "point" and output.iou.shape[1] > 1:
        index = 1 + int(leading.iou[0, 1:].argmax())
    return output.logits[0, index] > 0


def _iou(one: Tensor, other: Tensor) -> float:
    union = int((one | other).sum())
    return 1.0 if union == 0 else int((one & other).sum()) / union
