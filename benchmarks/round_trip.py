"""One set of weights in four programs: the largest difference of their answers, pair by pair.

    python -m benchmarks.round_trip                     # vit_nano and vit_b at 1024, random weights
    python -m benchmarks.round_trip --arch vit_nano --weights FILE --quantize

Each model is exported as `samft export` does and asked about three images, with a point, a box and
a mask each. Printed are the largest difference of mask logits between any two programs, as a share
of the largest logit, and how long the image encoder takes in each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measuring import peak_mb
from samft.data.geometry import logits_to_original
from samft.errors import OutputError
from samft.export.comparison import Reader
from samft.export.huggingface import HuggingfaceReader, HuggingfaceTarget
from samft.export.official import OfficialReader
from samft.export.onnx import DECODER, ENCODER, ENCODER_INT8, OnnxReader, OnnxTarget
from samft.export.quantized import measure, quantize
from samft.export.questions import KINDS, Kind, Question, drawn_samples, questions_about
from samft.export.target import ExportOptions, SamReader
from samft.export.tuned import TunedModel
from samft.models.checkpoint import save_state_dict
from samft.models.official import load_official, package_name, why_not
from samft.models.registry import build_sam
from samft.types import MaskOutput

Answers = dict[Kind, list[MaskOutput]]


def main(arguments: list[str] | None = None) -> None:
    """Compare the models that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", nargs="+", default=["vit_nano", "vit_b"])
    parser.add_argument("--weights", help="of the only --arch; default: random")
    parser.add_argument("--image_size", type=int)
    parser.add_argument("--quantize", action="store_true")
    options = parser.parse_args(arguments)
    for arch in options.arch:
        torch.manual_seed(0)
        sam = build_sam(arch, weights=options.weights, image_size=options.image_size)
        if options.weights is None:
            _spread(sam)
        round_trip(TunedModel.of(sam), quantized=options.quantize)


def round_trip(model: TunedModel, *, quantized: bool = False) -> dict[tuple[str, str], float]:
    """Export a model, ask every program, and print how far any two are apart."""
    questions = questions_about(model.sam, drawn_samples())
    print(f"\n{model.sam.config.name}, input size {model.sam.image_size}")
    answers: dict[str, Answers] = {}
    with TemporaryDirectory() as folder:
        for name, opened in _programs(model, Path(folder)).items():
            try:
                reader = opened()
            except OutputError as error:
                print(f"  {name:<18} left out: {error.what}")
                continue
            start = time.perf_counter()
            answers[name] = _asked(reader, questions)
            seconds = (time.perf_counter() - start) / len(questions)
            print(f"  {name:<18} {seconds:6.2f} s an image; process peak {_peak():.0f} MB")
            if quantized and isinstance(reader, OnnxReader):
                _print_loss(reader, Path(folder), questions)
            del reader
    differences = {
        pair: _difference(answers[pair[0]], answers[pair[1]]) for pair in combinations(answers, 2)
    }
    for (one, other), difference in differences.items():
        print(f"  {one:<18} {other:<18} {difference:.1e} of the largest logit")
    return differences


def _programs(model: TunedModel, folder: Path) -> dict[str, Callable[[], Reader]]:
    return {
        "samft": lambda: SamReader(model.sam),
        "segment_anything": lambda: _official(model, folder / "official.pth"),
        "transformers": lambda: _transformers(model, folder / "hf"),
        "onnxruntime": lambda: _onnx(model, folder / "onnx"),
    }


def _official(model: TunedModel, path: Path) -> OfficialReader:
    reason = why_not(model.sam.config, path)
    if reason is not None:
        raise OutputError(reason)
    save_state_dict(model.sam, path)
    return OfficialReader(load_official(model.sam.config, path), package_name())


def _transformers(model: TunedModel, folder: Path) -> HuggingfaceReader:
    import transformers

    target = HuggingfaceTarget()
    target.check(model)
    target.write(model, folder, ExportOptions())
    theirs = transformers.SamModel.from_pretrained(folder, local_files_only=True).eval()
    prepare = transformers.SamProcessor.from_pretrained(folder, local_files_only=True)
    return HuggingfaceReader(theirs, prepare, "transformers")


def _onnx(model: TunedModel, folder: Path) -> OnnxReader:
    folder.mkdir()
    OnnxTarget().write(model, folder, ExportOptions())
    return OnnxReader.open(folder / ENCODER, folder / DECODER)


def _asked(reader: Reader, questions: list[Question]) -> Answers:
    """Return the answers at the original size, image after image."""
    answers: Answers = {kind: [] for kind in KINDS}
    for question in questions:
        for kind, output in reader.answer(question).items():
            logits = output.logits
            if tuple(logits.shape[-2:]) != question.frame.original_size:
                logits = logits_to_original(logits, question.frame)
            answers[kind].append(MaskOutput(logits=logits, iou=output.iou))
    return answers


def _difference(one: Answers, other: Answers) -> float:
    pairs = [
        (mine, theirs)
        for kind in KINDS
        for mine, theirs in zip(one[kind], other[kind], strict=True)
    ]
    scale = max(float(mine.logits.abs().max()) for mine, _ in pairs)
    return max(float((mine.logits - theirs.logits).abs().max()) for mine, theirs in pairs) / scale


def _print_loss(reader: OnnxReader, folder: Path, questions: list[Question]) -> None:
    from dataclasses import replace

    from samft.export.onnx_file import open_session

    files = folder / "onnx" / ENCODER, folder / "onnx" / ENCODER_INT8
    quantize(*files)
    small = replace(reader, encoder=open_session(files[1]))
    start = time.perf_counter()
    small.embed(questions[0])
    seconds = time.perf_counter() - start
    print(f"  {measure(reader, small, questions, files=files)}; {seconds:.2f} s an image")


def _spread(sam: torch.nn.Module) -> None:
    """Give tables that start at zero values that matter, so that every path is compared."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def _peak() -> float:
    return peak_mb(torch.device("cpu"))


if __name__ == "__main__":
    main()
