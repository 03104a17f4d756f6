"""Prints what nano weights reach without training on a set, against baselines and random weights.

python -m benchmarks.nano.zero_shot --weights vit_nano
python -m benchmarks.nano.zero_shot --weights runs/pretrain_nano/0 --sets dsb2018 ct_chest
python -m benchmarks.nano.zero_shot --weights vit_nano --markdown --json scores.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.nano.gate import check
from benchmarks.nano.scores import (
    DISC,
    ModelScores,
    SetScores,
    evaluate,
    evaluate_baselines,
    untrained_like,
)
from benchmarks.nano.sets import (
    DATA,
    MAX_OBJECTS,
    MIN_AREA,
    EvaluationImage,
    EvaluationSet,
    load,
    sets_named,
)
from samft.errors import DatasetError, SamftError
from samft.inference.output_folder import write_atomically
from samft.metrics.baselines import BOX_BASELINES
from samft.models.registry import build_sam
from samft.models.sam import Sam
from samft.runs import load_run

HEADER = (
    "set", "images", "objects", "box", "point", "oracle", "box + point",
    "empty box", "empty point", "random box", "random point",
    *BOX_BASELINES, DISC, "radius",
)  # fmt: skip
NOTE = (
    f"Mean IoU over objects of at least {MIN_AREA} px in the file, at most {MAX_OBJECTS} of an "
    "image (all of stardist's), at the file's resolution. Box: tight. Point: the innermost pixel, "
    "the mask the model scores best; oracle: the best of its three. Empty: share of answers "
    "without a pixel. Random: the same architecture before training. Disc: at the point, of the "
    "median radius (px, last column) of the set's objects."
)


def load_sam(source: str, arch: str) -> Sam:
    """Return the model of a run folder or checkpoint, or of weights by name or file.

    Args:
        source: A run folder, a `.ckpt`, a weights file, or a name such as `vit_nano`.
        arch: The architecture of weights; a checkpoint knows its own.

    Raises:
        CheckpointError: if there are no such weights, or they do not fit.
    """
    path = Path(source)
    if path.suffix == ".ckpt" or (path / "checkpoints").is_dir():
        return load_run(path).load().sam
    return build_sam(arch, weights=source).eval()


def score_set(
    sam: Sam, entry: EvaluationSet, images: Sequence[EvaluationImage], *, untrained: bool = True
) -> SetScores:
    """Measure the model, the baselines and, if wanted, random weights on one set."""
    baselines, radius = evaluate_baselines(images)
    return SetScores(
        name=entry.name,
        title=entry.title,
        images=len(images),
        objects=sum(len(image.rows) for image in images),
        radius=radius,
        model=evaluate(sam, images),
        untrained=evaluate(untrained_like(sam), images) if untrained else None,
        baselines=baselines,
    )


def score_sets(
    sam: Sam,
    entries: Iterable[EvaluationSet],
    data: Path,
    *,
    limit: int | None = None,
    skip_missing: bool = False,
    untrained: bool = True,
) -> list[SetScores]:
    """Measure a model on several sets, with a line on stderr after each.

    Args:
        sam: The model.
        entries: The sets.
        data: The folder of the real sets.
        limit: Most images of a set.
        skip_missing: Leave out sets that are not on this machine, and say so.
        untrained: Measure random weights too.

    Raises:
        SamftError: if a set cannot be read.
    """
    found = []
    for entry in entries:
        start = time.perf_counter()
        try:
            images = load(entry, data, limit=limit)
        except DatasetError as error:
            if not skip_missing:
                raise
            print(f"{entry.name} is left out: {error}", file=sys.stderr)
            continue
        found.append(score_set(sam, entry, images, untrained=untrained))
        seconds = time.perf_counter() - start
        print(f"{entry.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def cells(scores: SetScores) -> list[str]:
    """Return one line of the table, in the order of `HEADER`."""
    ours = [scores.model.iou[name] for name in ("box", "point", "oracle", "box_point")]
    empty = [scores.model.empty[name] for name in ("box", "point")]
    trivial = [scores.baselines[name] for name in (*BOX_BASELINES, DISC)]
    return [
        scores.title,
        str(scores.images),
        str(scores.objects),
        *map(_iou, ours),
        *(f"{value:.0%}" for value in empty),
        *_untrained(scores.untrained),
        *map(_iou, trivial),
        f"{scores.radius:.1f}",
    ]


def table(found: Sequence[SetScores], *, markdown: bool = False) -> list[str]:
    """Return the lines of the table."""
    rows = [cells(item) for item in found]
    if markdown:
        ruler = ["---"] + ["---:"] * (len(HEADER) - 1)
        return [f"| {' | '.join(row)} |" for row in (HEADER, ruler, *rows)]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in (HEADER, *rows)]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return the exit status."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        sam = load_sam(options.weights, options.arch).to(options.device)
        entries = sets_named(options.sets)
        found = score_sets(
            sam,
            entries,
            options.data,
            limit=options.limit,
            skip_missing=options.sets is None,
            untrained=not options.no_random,
        )
        if options.json is not None:
            text = json.dumps([asdict(item) for item in found], indent=2)
            write_atomically(options.json, lambda path: path.write_text(text, encoding="utf-8"))
    except SamftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    failures = check(found)
    print("\n".join(table(found, markdown=options.markdown)))
    print(f"\n{NOTE}")
    print("\nMay be shipped." if not failures else f"\nNot to be shipped: {'; '.join(failures)}.")
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--weights", required=True, help="name, weights file, .ckpt or run folder")
    parser.add_argument("--arch", default="vit_nano", help="architecture of weights without one")
    parser.add_argument("--sets", nargs="+", help="default: all that are on this machine")
    parser.add_argument("--limit", type=int, help="most images of each set")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-random", action="store_true", help="skip random weights: faster")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    return parser.parse_args(arguments)


def _iou(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _untrained(scores: ModelScores | None) -> list[str]:
    return ["-", "-"] if scores is None else [_iou(scores.iou[name]) for name in ("box", "point")]


if __name__ == "__main__":
    sys.exit(main())
