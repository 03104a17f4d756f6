"""`samft predict`: masks for images and prompts, from a run, a checkpoint or plain weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from samft.cli.parser import CommandParser
from samft.errors import ConfigError
from samft.runs import Run, load_run

FORMATS = ("png", "tiff", "coco", "overlay")
_EPILOG = """\
examples:
  samft predict runs/quickstart/0 --source photos/ --prompts boxes.json
  samft predict runs/microscopy/3/checkpoints/best.ckpt --source "plates/*.tif" --prompts dots.csv
  samft predict runs/medical/0 --prompts gt          the test split, prompted from its truth
  samft predict --weights sam_vit_b_01ec64.pth --arch vit_b --source a.jpg --prompts boxes.json

prompts, in pixels of the original image:
  JSON  {"a.jpg": [{"box": [x1, y1, x2, y2]}, {"points": [[x, y]], "labels": [1]}]}
  CSV   image,x1,y1,x2,y2   or   image,x,y,label,object
Further options (--trainer.devices 1, --data.batch_size 2, ...) go to Lightning.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options that people use; the rest is Lightning's."""
    parser = CommandParser("samft predict", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("run", nargs="?", help="run folder or .ckpt file")
    add("--ckpt_path", help="the same as RUN")
    add("--weights", help="plain SAM weights instead of a run: a file, a folder or a name")
    add("--arch", help="architecture of --weights")
    add("--source", help="image, folder or glob; without it the run's own data is used")
    add("--prompts", default="gt", help="JSON or CSV file; gt prompts the run's own test split")
    add("--out", default="predictions", help="folder for the results (default: predictions)")
    add("--format", nargs="+", choices=FORMATS, default=["png", "coco", "overlay"])
    add("--overwrite", action="store_true", help="replace results in --out")
    return parser


def main(argv: list[str]) -> int:
    """Translate the options and run Lightning's `predict`.

    Raises:
        ConfigError: if the options do not go together.
    """
    options, further = build_parser().parse_known_args(argv)
    arguments = ["predict", *_model(options), *_data(options), *_writer(options), *further]
    from samft.cli.lightning import run
    from samft.inference.writers import refuse_to_overwrite

    out = Path(options.out)
    refuse_to_overwrite(out, overwrite=options.overwrite)
    command_line = run(arguments)
    if command_line.trainer.is_global_zero:
        command_line.save_config(out)
        print(f"predictions  {out}")
    return 0


def _model(options: argparse.Namespace) -> list[str]:
    if options.weights:
        if options.run or options.ckpt_path:
            raise ConfigError("give a run or --weights, not both", where="samft predict")
        if not options.arch:
            raise ConfigError(
                "--weights needs --arch", where="samft predict", fix="add --arch vit_b"
            )
        return _init("model", "samft.SamModule", arch=options.arch, weights=options.weights)
    given = options.run or options.ckpt_path
    if not given:
        raise ConfigError(
            "nothing to predict with",
            where="samft predict",
            fix="give a run folder or a checkpoint, such as samft predict runs/quickstart/0",
        )
    run = load_run(given)
    return [*_model_of(run, needs_data=not options.source), "--ckpt_path", str(run.checkpoint)]


def _model_of(run: Run, *, needs_data: bool) -> list[str]:
    if run.config is not None:
        return ["--config", str(run.config)]
    if needs_data:
        raise ConfigError(
            "this checkpoint lies outside a run folder, so its data is not known",
            where=run.checkpoint,
            fix="add --source DIR --prompts FILE",
        )
    from samft.checkpoints import read_checkpoint

    stored = read_checkpoint(run.checkpoint)["hyper_parameters"]
    return _init("model", "samft.SamModule", arch=stored["arch"], image_size=stored["image_size"])


def _data(options: argparse.Namespace) -> list[str]:
    if not options.source:
        if options.prompts != "gt":
            raise ConfigError(
                "--prompts FILE needs --source", where="samft predict", fix="add --source DIR"
            )
        return []
    if options.prompts == "gt":
        raise ConfigError(
            "images from --source have no truth to take prompts from",
            where="--prompts",
            found="gt",
            fix="give a JSON or CSV file with boxes or points (samft predict --help)",
        )
    return _init(
        "data",
        "samft.PromptedImagesDataModule",
        source=options.source,
        prompts=options.prompts,
    )


def _writer(options: argparse.Namespace) -> list[str]:
    formats = ",".join(dict.fromkeys(options.format))
    return [
        "--trainer.callbacks+=samft.callbacks.prediction_writer.PredictionWriter",
        f"--trainer.callbacks.out={options.out}",
        f"--trainer.callbacks.formats=[{formats}]",
        f"--trainer.callbacks.overwrite={options.overwrite}",
        "--return_predictions=false",
    ]


def _init(group: str, class_path: str, **values: object) -> list[str]:
    arguments = [f"--{group}", class_path]
    for name, value in values.items():
        arguments += [f"--{group}.{name}", str(value)]
    return arguments
