"""Fine-tunes nano weights on a few DSB2018 images and tests on the others, against random weights.

    python -m benchmarks.nano.fine_tune --weights vit_nano --seconds 120

Two runs of the same length, one from the weights and one from random ones, each with the settings
of `recipes/microscopy.yaml` for the nano size. Nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.nano.scores import DISC, ModelScores, evaluate, evaluate_baselines
from benchmarks.nano.sets import DATA, MIN_AREA, EvaluationImage, chosen
from benchmarks.nano.tuning import NANO, NANO_RANDOM, ROOT, arguments, read_settings, tune
from benchmarks.nano.zero_shot import load_sam
from samft.data.microscopy import MicroscopyDataModule
from samft.errors import ConfigError, SamftError
from samft.metrics.baselines import BOX_BASELINES

CONFIGS: Final = (ROOT / "recipes/microscopy.yaml", NANO)
RANDOM_CONFIGS: Final = (ROOT / "recipes/microscopy.yaml", NANO_RANDOM)
COLUMNS: Final = ("box", "point", "oracle", "box_point")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One line of the result.

    Args:
        start: Where it started.
        steps: Optimiser steps of the fine-tuning.
        scores: On the test images.
    """

    start: str
    steps: int
    scores: ModelScores


def datamodule(
    root: Path, images: int, settings: dict[str, Any], **changes: Any
) -> MicroscopyDataModule:  # Any: YAML, and settings of the datamodule
    """Return the data of a recipe with `images` images for training and all others for testing.

    Raises:
        ConfigError: if there are no more images than that.
    """
    given = {
        **arguments(settings, "data"), "root": str(root), "val_fraction": 0.0,
        "split_folders": False, **changes,
    }  # fmt: skip
    total = sum(1 for _ in MicroscopyDataModule(**given).index())
    if not 0 < images < total:
        raise ConfigError(
            "there must be images left for testing",
            where="--images",
            found=images,
            expected=f"1 to {total - 1}",
        )
    return MicroscopyDataModule(**given, test_fraction=(total - images) / total)


def test_images(data: MicroscopyDataModule) -> list[EvaluationImage]:
    """Return the images of the test split, with the objects that are scored."""
    dataset = data.dataset("test")
    return [chosen(dataset[index]) for index in range(len(dataset))]


def report(
    results: Sequence[Result], baselines: dict[str, float], images: Sequence[EvaluationImage]
) -> list[str]:
    """Return the lines that are printed."""
    objects = sum(len(image.rows) for image in images)
    lines = [
        f"Mean IoU on {len(images)} other images, {objects} objects",
        f"{'start':24} {'steps':>6} " + " ".join(f"{name:>10}" for name in COLUMNS),
    ]
    for item in results:
        numbers = " ".join(f"{item.scores.iou[name]:10.3f}" for name in COLUMNS)
        lines.append(f"{item.start:24} {item.steps:6d} {numbers}")
    trivial = ", ".join(f"{name} {baselines[name]:.3f}" for name in (*BOX_BASELINES, DISC))
    return [*lines, f"without training: {trivial}"]


def main(given: list[str] | None = None) -> int:
    """Run both trainings and print the result; return the exit status."""
    options = parse(given)
    torch.set_num_threads(options.threads)
    try:
        print("\n".join(_compare(options)))
    except SamftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _compare(options: argparse.Namespace) -> list[str]:
    root = options.data / "microscopy/DSB2018"
    changes = {} if options.workers is None else {"num_workers": options.workers}
    plain = datamodule(root, options.images, read_settings(options.config), min_area=MIN_AREA)
    images = test_images(plain)
    sam = load_sam(options.weights, options.arch)
    results = [Result(start="zero-shot", steps=0, scores=evaluate(sam, images))]
    runs = (
        (f"weights, {options.seconds:.0f} s", options.weights, options.config),
        (f"random, {options.seconds:.0f} s", None, options.random_config),
    )
    for start, weights, files in runs:
        settings = read_settings(files)
        module, steps = tune(
            partial(datamodule, root, options.images, settings, **changes),
            settings,
            weights=weights,
            arch=options.arch,
            seconds=options.seconds,
        )
        print(f"{start}: {steps} steps", file=sys.stderr, flush=True)
        results.append(Result(start=start, steps=steps, scores=evaluate(module.sam, images)))
    return report(results, evaluate_baselines(images)[0], images)


def parse(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--weights", default="vit_nano", help="name, weights file or .ckpt")
    parser.add_argument("--arch", default="vit_nano")
    parser.add_argument("--seconds", type=float, default=120, help="of each training")
    parser.add_argument("--images", type=int, default=60, help="to train on")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--config", type=Path, nargs="+", default=list(CONFIGS))
    parser.add_argument(
        "--random-config",
        type=Path,
        nargs="+",
        default=list(RANDOM_CONFIGS),
        help="for random weights",
    )
    parser.add_argument("--workers", type=int, help="processes that load data; default: recipe's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
