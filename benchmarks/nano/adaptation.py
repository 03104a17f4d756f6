"""What is best trained of nano weights: every preset for the same time, on nuclei and on a CT.

    python -m benchmarks.nano.adaptation --weights vit_nano --seconds 300 --markdown
    python -m benchmarks.nano.adaptation --sets ct_chest --presets frozen lora --seconds 20

Each preset is trained in a process of its own with the settings of the recipe, of the nano size and
of `configs/adapt/`, with AdamW; the schedule ends with the time. Nuclei: a few images, tested on
others. CT: there is one, so it is cut into slabs of slices with gaps between them. Memory is the
highest of the training above what the process held before it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import torch

from benchmarks.measuring import peak_mb
from benchmarks.nano import fine_tune
from benchmarks.nano.scores import evaluate, evaluate_baselines
from benchmarks.nano.sets import DATA, MIN_AREA, EvaluationImage, chosen
from benchmarks.nano.tuning import NANO, ROOT, arguments, on_top, read_settings, tune
from benchmarks.nano.zero_shot import load_sam
from benchmarks.results import Result, Results, aligned, read_results, run_worker, write_results
from samft.allocator import keep_freed_memory
from samft.data.datamodule import SamDataModule
from samft.data.medical import MedicalDataModule
from samft.errors import SamftError
from samft.metrics.baselines import BOX_BASELINES
from samft.models.adaptation.presets import trainable_table
from samft.models.adaptation.settings import AdaptationPreset

PRESETS: Final = get_args(AdaptationPreset)
BEFORE: Final = "before"
"""The name of the row before any training, beside `PRESETS`."""
PROMPTS: Final = ("box", "point")
_CT_TEST_FRACTION = 0.3
# Nano weights are not random any more: no term against empty masks, AdamW at rates for tuning; and
# so small a model has no need to recompute, and no blocks to drop.
_TUNING: Final = {
    "loss": {"balanced_bce": 0.0},
    "optimizer": {"method": "adamw", "schedule": "cosine", "warmup_steps": 20},
    "checkpoint_blocks": False,
    "drop_path": 0.0,
}

MakeData = Callable[..., SamDataModule]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptationSet:
    """Where it is tuned and tested.

    Args:
        title: What the table calls it.
        recipe: The recipe whose settings it takes.
        data: Makes the datamodule, with a test split, from the options and the recipe's settings.
    """

    title: str
    recipe: str
    data: Callable[[argparse.Namespace, Mapping[str, Any]], MakeData]


def _nuclei(options: argparse.Namespace, settings: Mapping[str, Any]) -> MakeData:
    root = options.data / "microscopy/DSB2018"
    return partial(fine_tune.datamodule, root, options.images, dict(settings))


def _chest(options: argparse.Namespace, settings: Mapping[str, Any]) -> MakeData:
    del options  # the CT is part of a package
    given = {
        **arguments(settings, "data"), "root": "example:ct_chest", "split_by": "block",
        "val_fraction": 0.0, "test_fraction": _CT_TEST_FRACTION,
    }  # fmt: skip
    return lambda **changes: MedicalDataModule(**{**given, **changes})


SETS: Final[Mapping[str, AdaptationSet]] = {
    "dsb2018": AdaptationSet(title="DSB2018", recipe="microscopy", data=_nuclei),
    "ct_chest": AdaptationSet(title="CT (slicerio)", recipe="medical", data=_chest),
}
"""Every set by its name."""


def settings_for(name: str, preset: str, lr: float) -> dict[str, Any]:  # Any: YAML
    """Return the settings of a training: recipe, nano size and preset, then what tuning wants."""
    files = [
        ROOT / f"recipes/{SETS[name].recipe}.yaml",
        NANO,
        ROOT / f"configs/adapt/{preset}.yaml",
    ]
    tuning = on_top(_TUNING, {"optimizer": {"lr": lr}})
    return on_top(read_settings(files), {"model": {"init_args": tuning}})


def test_images(make_data: MakeData, limit: int) -> list[EvaluationImage]:
    """Return images of the test split that have objects, spread evenly over it."""
    dataset = make_data(min_area=MIN_AREA).dataset("test")
    images = [chosen(dataset[index]) for index in range(len(dataset))]
    images = [image for image in images if len(image.rows)]
    count = min(limit, len(images))
    return [images[row * len(images) // count] for row in range(count)]


def measure(name: str, preset: str, options: argparse.Namespace) -> Result:
    """Train one preset on one set in this process, or score the weights as they are."""
    keep_freed_memory()  # as `samft fit` does
    kind, first = SETS[name], PRESETS[0]
    settings = settings_for(name, first if preset == BEFORE else preset, options.lr)
    make_data = kind.data(options, settings)
    images = test_images(make_data, options.test_images)
    found: Result = {"images": len(images), "objects": sum(len(image.rows) for image in images)}
    if preset == BEFORE:
        sam = load_sam(options.weights, options.arch)
        baselines = evaluate_baselines(images)[0]
        found["baselines"] = {box: baselines[box] for box in BOX_BASELINES}
    else:
        changes = {} if options.workers is None else {"num_workers": options.workers}
        here = torch.device("cpu")
        base = peak_mb(here)
        module, found["steps"] = tune(
            partial(make_data, **changes),
            settings,
            weights=options.weights,
            arch=options.arch,
            seconds=options.seconds,
        )
        sam = module.sam
        found["peak_mb"] = peak_mb(here) - base
        found["trained"] = sum(row.trained for row in trainable_table(sam))
    return found | {"iou": dict(evaluate(sam, images).iou)}


def run_all(options: argparse.Namespace) -> Results:
    """Measure what is not among the results yet, each in its own process."""
    setup = {name: getattr(options, name) for name in ("weights", *_PASSED)}
    results = read_results(options.results, setup)
    given = ["--weights", options.weights, "--data", str(options.data)]
    for name in _PASSED:
        given += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    given += [] if options.workers is None else ["--workers", str(options.workers)]
    for name in options.sets:
        for preset in (BEFORE, *options.presets):
            key = f"{name}:{preset}"
            if key in results:
                continue
            found = run_worker(
                "benchmarks.nano.adaptation", ["--worker", key, *given], threads=options.threads
            )
            print(f"{key}: {found}", file=sys.stderr, flush=True)
            if "failed" in found:
                raise SystemExit(f"{key}: {found['failed']}")
            results[key] = found
            write_results(options.results, setup, results)
    return results


_PASSED: Final = ("arch", "seconds", "images", "test_images", "lr", "threads")


def table(results: Results, *, markdown: bool = False) -> Iterable[str]:
    """Yield the lines of the table: mean IoU by prompt, and what was gained."""
    rows = [["set", "trained", "numbers", "steps", "box", "", "point", "", "peak MB"]]
    for name, kind in SETS.items():
        before = results.get(f"{name}:{BEFORE}")
        if before is None:
            continue
        scores = [cell for prompt in PROMPTS for cell in (f"{before['iou'][prompt]:.3f}", "")]
        rows.append([kind.title, "nothing", "0", "0", *scores, "-"])
        for preset in PRESETS:
            found = results.get(f"{name}:{preset}")
            if found is not None:
                rows.append([kind.title, preset, *_cells(found, before)])
    yield from aligned(rows, markdown=markdown)


def _cells(found: Result, before: Result) -> list[str]:
    cells = [f"{found['trained']:,}", str(found["steps"])]
    for prompt in PROMPTS:
        score = found["iou"][prompt]
        cells += [f"{score:.3f}", f"{score - before['iou'][prompt]:+.3f}"]
    return [*cells, f"{found['peak_mb']:.0f}"]


def notes(results: Results, options: argparse.Namespace) -> Iterable[str]:
    """Yield what the table was measured on, and what needs no training."""
    yield (
        f"Mean IoU at the file's resolution; {options.seconds:g} s of training each, AdamW "
        f"{options.lr:g}, {options.threads} threads, torch {torch.__version__}."
    )
    for name, kind in SETS.items():
        before = results.get(f"{name}:{BEFORE}")
        if before is not None:
            trivial = ", ".join(f"{key} {value:.3f}" for key, value in before["baselines"].items())
            yield (
                f"{kind.title}: {before['images']} other images, {before['objects']} objects; "
                f"with a box and no model: {trivial}."
            )


def main(given: Sequence[str] | None = None) -> int:
    """Run all trainings, or one of them, and print the result; return the exit status."""
    options = parse(given)
    torch.set_num_threads(options.threads)
    try:
        if options.worker is not None:
            name, preset = options.worker.split(":")
            print(json.dumps(measure(name, preset, options)))
            return 0
        results = run_all(options)
    except SamftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n".join([*table(results, markdown=options.markdown), "", *notes(results, options)]))
    return 0


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--weights", default="vit_nano", help="name or weights file")
    parser.add_argument("--arch", default="vit_nano")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seconds", type=float, default=300.0, help="of each training")
    parser.add_argument("--lr", type=float, default=3e-4, help="peak rate of the mask decoder")
    parser.add_argument("--images", type=int, default=60, help="nuclei images to train on")
    parser.add_argument("--test-images", type=int, default=40, help="to score, of each set")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--workers", type=int, help="processes that load data; default: recipe's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--results", type=Path, help="JSON file of results, read and written")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
