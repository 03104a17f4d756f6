"""`samft predict`: masks for images and prompts, from a run, a checkpoint or plain weights."""

from __future__ import annotations

import argparse
from typing import get_args

from samft.cli.parser import CommandParser
from samft.errors import ConfigError
from samft.result_formats import Format

_EPILOG = """\
examples:
  samft predict --weights vit_nano --source photos/
  samft predict runs/quickstart/0 --source photos/ --prompts boxes.json
  samft predict runs/microscopy/3 --source "plates/*.tif" --prompts auto --format tiff geojson
  samft predict runs/medical/0 --source scan.nii.gz --prompts rough_labels/ --format nifti
  samft predict runs/medical/0 --source ct_series/ --format dicom_seg --dicom-codes codes.yaml
  samft predict runs/medical/0                the test split, prompted from its truth
  samft predict --weights sam_vit_b_01ec64.pth --arch vit_b --source a.jpg --prompts grid

prompts, in pixels of the original image, or of a slice of a volume, such as scan.nii.gz/z042:
  JSON  {"a.jpg": [{"box": [x1, y1, x2, y2]}, {"points": [[x, y]], "labels": [1]}]}
  CSV   image,x1,y1,x2,y2   or   image,x,y,label,object
Stopped, the same command goes on where it was. What cannot be predicted is listed at the end, and
the exit code is 1. Without --source, further options (--data.root DIR, ...) are those of fit.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft predict", description=__doc__, epilog=_EPILOG)
    _add_inputs(parser)
    _add_reading(parser)
    _add_outputs(parser)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", nargs="?", help="run folder or .ckpt file")
    add("--ckpt_path", help="the same as RUN")
    add(
        "--weights",
        help="plain SAM weights instead of a run: a file, a folder or a name such as vit_nano",
    )
    add("--arch", help="architecture of --weights; of a name it is known")
    add(
        "--source",
        nargs="+",
        metavar="PATH",
        help="file, folder, glob, or CSV with a column image: pictures, TIFF stacks, "
        "NIfTI, NRRD, DICOM series; without it the run's own data is used",
    )
    add(
        "--prompts",
        help="auto, grid (as the official generator), gt (the truth of the run's own data), a "
        "JSON or CSV file, or a folder of label images; default: auto, without --source gt",
    )
    add(
        "--mask-prompts",
        action="store_true",
        help="hand over the masks of a folder of label images too, not only their boxes",
    )
    add(
        "--automatic",
        nargs="+",
        metavar="NAME=VALUE",
        default=[],
        help="settings of automatic masks, such as points_per_side=16 pred_iou_thresh=0.7",
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--axis",
        choices=("auto", "axial", "coronal", "sagittal"),
        help="direction in which volumes are cut (default: as in training)",
    )
    add(
        "--window",
        help="values shown: auto, ct_soft, ct_lung, ct_bone or LEVEL,WIDTH (default: as "
        "in training)",
    )
    add(
        "--tile",
        type=int,
        metavar="PIXELS",
        nargs="?",
        const=0,
        help="cut large images into tiles of this side (default: the model's own)",
    )
    add("--link", action="store_true", help="make masks of neighbouring slices one object")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", default="predictions", help="folder for the results (default: predictions)")
    add(
        "--format",
        nargs="+",
        metavar="FORMAT",
        choices=get_args(Format),
        default=["png", "coco", "overlay"],
        help=f"what to write: {', '.join(get_args(Format))} (default: png coco overlay)",
    )
    add("--dicom-codes", metavar="FILE", help="YAML with the codes of DICOM segments")
    add(
        "--coco-ids",
        metavar="FILE",
        help="COCO annotation file whose numbers of images and categories coco_results takes",
    )
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--overwrite", action="store_true", help="delete earlier results in --out and begin anew")


def main(argv: list[str]) -> int:
    """Predict, and say what became of every image.

    Returns:
        0, or 1 if something could not be predicted.

    Raises:
        SamftError: if the options do not go together, or nothing can be predicted.
    """
    parser = build_parser()
    options, further = parser.parse_known_args(argv)
    _check(options)
    if options.source and further:
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    if options.source:
        from samft.cli.predicting.from_source import predict

        return predict(options)
    from samft.cli.predicting.from_truth import predict_truth

    return predict_truth(options, further)


def _check(options: argparse.Namespace) -> None:
    given = options.run or options.ckpt_path
    if options.weights and given:
        raise ConfigError("give a run or --weights, not both", where="samft predict")
    if options.weights and not options.arch:
        from samft.models.weights import arch_of

        options.arch = arch_of(options.weights)
    if not options.weights and not given:
        raise ConfigError(
            "nothing to predict with",
            where="samft predict",
            fix="give a run folder or a checkpoint before the options, such as "
            "samft predict runs/quickstart/0, or --weights",
        )
    options.run = given
    options.prompts = options.prompts or ("auto" if options.source else "gt")
    if options.source and options.prompts == "gt":
        raise ConfigError(
            "images from --source have no truth to take prompts from",
            where="--prompts",
            found="gt",
            fix="give a folder of label images, a JSON or CSV file (samft predict --help), or auto",
        )
    if not options.source and options.prompts != "gt":
        raise ConfigError(
            f"--prompts {options.prompts} needs --source",
            where="samft predict",
            fix="add --source DIR",
        )
    if not options.source and options.weights:
        raise ConfigError(
            "--weights has no data of its own", where="samft predict", fix="add --source DIR"
        )
