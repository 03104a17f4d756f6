"""`samft export`: a run, or plain weights, for other people's tools; read back and compared."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samft.cli.parser import CommandParser
from samft.errors import ConfigError, did_you_mean
from samft.runs import Run, load_run

if TYPE_CHECKING:
    from samft.export.registry import Exported
    from samft.export.tuned import TunedModel
    from samft.types import Sample

TARGETS = ("official", "safetensors", "hf", "onnx", "xanylabeling", "cvat", "labelstudio")
_EPILOG = """\
targets:
  official      a .pth that segment_anything and most tools for SAM read
  safetensors   official names, with a record of the model; for samft and for sharing
  hf            a folder for transformers.SamModel.from_pretrained, with its processor
  onnx          encoder.onnx and decoder.onnx with the official tensor names
  xanylabeling  encoder, decoder and model.yaml for X-AnyLabeling's Load Custom Model
  cvat          the seven-output decoder and the serverless function for CVAT
  labelstudio   a backend folder for label-studio-ml start

examples:
  samft export runs/medical/0 --to onnx                writes runs/medical/0/export/onnx
  samft export runs/medical/0 tuned.pth --to official
  samft export runs/medical/0 --to onnx --quantize
  samft export --weights sam_vit_b_01ec64.pth --arch vit_b --to hf folder
  samft export --weights vit_nano --to onnx folder
Adapters are merged. Every export is opened in the program it is for and asked about three images;
it gets its name only if the answers are the model's.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft export", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("places", nargs="*", metavar="RUN OUT", help="run folder or .ckpt file; what to write")
    add("--to", required=True, metavar="TARGET", help="see below")
    add("--weights", help="plain SAM weights instead of a run: a file, a folder or a name")
    add("--arch", help="architecture of --weights that are no known name")
    add("--image_size", type=int, help="input size of --weights (default: the architecture's own)")
    add("--which", choices=["best", "last"], default="best", help="of a run folder")
    add("--quantize", action="store_true", help="onnx: also an 8-bit encoder, with its loss")
    add("--single_mask", action="store_true", help="onnx: the decoder picks one mask of four")
    add("--overwrite", action="store_true", help="replace OUT")
    return parser


def main(argv: list[str]) -> int:
    """Write the export, read it back, and say how far its answers are from the model's.

    Raises:
        SamftError: if the model cannot be read, or not be exported there.
    """
    options = build_parser().parse_args(argv)
    _check(options)
    from samft.cli.lightning import quiet
    from samft.export.registry import export
    from samft.export.target import ExportOptions

    quiet()
    model, samples, out = _from_weights(options) if options.weights else _from_run(options)
    extent = _extent(model, samples) if samples else None
    done = export(
        model,
        out,
        to=options.to,
        options=ExportOptions(
            quantize=options.quantize, single_mask=options.single_mask, extent=extent
        ),
        samples=samples,
        overwrite=options.overwrite,
    )
    _report(done, model, samples)
    return 0


def _check(options: argparse.Namespace) -> None:
    where = "samft export"
    if options.to not in TARGETS:
        raise ConfigError(
            f"there is no export called {options.to!r}",
            where="--to",
            fix=did_you_mean(options.to, TARGETS),
        )
    if not options.weights and (options.arch or options.image_size):
        raise ConfigError(
            "--arch and --image_size belong to --weights; a run knows its own", where=where
        )
    least, most, what = (1, 1, "OUT") if options.weights else (1, 2, "a run, and OUT")
    if not least <= len(options.places) <= most:
        raise ConfigError(
            "RUN and OUT are not clear",
            where=where,
            found=" ".join(options.places) or "neither",
            expected=f"{what}{' with --weights' if options.weights else ''}",
            fix="samft export runs/medical/0 --to onnx",
        )
    if options.weights and not options.arch:
        from samft.models.weights import arch_of

        options.arch = arch_of(options.weights)


def _from_run(options: argparse.Namespace) -> tuple[TunedModel, list[Sample], Path]:
    from samft.cli.run_images import validation_samples
    from samft.export.questions import NUM_IMAGES
    from samft.export.tuned import TunedModel
    from samft.prompts.protocol import PromptProtocol

    run = load_run(options.places[0], which=options.which)
    out = Path(options.places[1]) if len(options.places) > 1 else _default_out(run, options.to)
    module = run.load()
    base = module.base_weights.get("sha256", "")
    model = TunedModel.of(
        module.sam,
        protocol=PromptProtocol.of(module.prompt_settings),
        licence=_licence(base),
        origin=_origin(run, base),
    )
    return model, validation_samples(run, NUM_IMAGES), out


def _from_weights(options: argparse.Namespace) -> tuple[TunedModel, list[Sample], Path]:
    from samft.export.record import stored_protocol
    from samft.export.tuned import TunedModel
    from samft.models.cache import sha256_of
    from samft.models.checkpoint import weights_files
    from samft.models.registry import build_sam
    from samft.models.weights import resolve_weights

    path = resolve_weights(options.weights)
    sam = build_sam(options.arch, weights=path, image_size=options.image_size)
    base = sha256_of(weights_files(path))
    model = TunedModel.of(
        sam,
        protocol=stored_protocol(path),
        licence=_licence(base),
        origin={"base_sha256": base},
    )
    return model, [], Path(options.places[0])


def _default_out(run: Run, to: str) -> Path:
    from samft.export.registry import find_target

    folder = run.folder or run.checkpoint.parent
    return folder / "export" / f"{to}{find_target(to).suffix}"


def _licence(sha256: str) -> str | None:
    from samft.models.weights import WEIGHTS

    known = [entry.licence for entry in WEIGHTS.values() if entry.sha256 == sha256]
    return known[0] if known else None


def _origin(run: Run, base: str) -> dict[str, str]:
    facts = {"base_sha256": base} if base else {}
    if run.config is not None:
        facts["train_config_sha256"] = hashlib.sha256(run.config.read_bytes()).hexdigest()
    return facts


def _extent(model: TunedModel, samples: Sequence[Sample]) -> tuple[int, int]:
    """Return the (height, width) that hold the run's own images once they are resized."""
    from samft.data.geometry import frame_for

    sizes = [frame_for(sample.size, model.sam.image_size).input_size for sample in samples]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _report(done: Exported, model: TunedModel, samples: Sequence[Sample]) -> None:
    from samft.export.comparison import TOLERANCE

    size = sum(file.stat().st_size for file in _files(done.out))
    images = f"{len(samples)} validation images" if samples else "3 drawn images"
    print(f"exported    {done.out} ({size / 1e6:.1f} MB)")
    for comparison in done.comparisons:
        print(f"read back   in {comparison}")
    print(f"            on {images}; at most {TOLERANCE:g} is allowed")
    for note in done.notes:
        print(f"note        {note}")
    if model.was_trimmed:
        print(
            "note        trained with model.trim_padding: other programs pad to the square, so "
            "their masks differ a little from samft's"
        )
    if model.protocol is not None:
        print(f"prompts     {model.protocol.describe()}")
        for use in ("point", "box", "automatic"):
            for warning in model.protocol.warnings_for(use):
                print(f"warning     {warning}")


def _files(out: Path) -> list[Path]:
    return [out] if out.is_file() else [file for file in out.rglob("*") if file.is_file()]
