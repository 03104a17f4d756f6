"""What another input size costs and gives: time, memory and zero-shot quality.

    python -m benchmarks.input_size --weights vit_nano --arch vit_nano --set dsb2018 --limit 24 \
        --sizes 128 192 256 384 512
    python -m benchmarks.input_size ... --trim      # also without the padding of images not square

Position tables are interpolated to each size as everywhere in samft. Every size is measured in a
process of its own, so that peak memory is that size's alone; it is what the process took beyond
what it took before the model saw an image. Times are those of one image, after one to warm up, the
fastest of `--repeat`; a click is one decoder pass for one point. The column `x` after each is the
ratio to the architecture's own size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from benchmarks.measuring import peak_mb, timed
from benchmarks.nano.scores import evaluate
from benchmarks.nano.sets import DATA, SETS, EvaluationImage, load
from samft.data.geometry import frame_for
from samft.inference.embedding import embed_images
from samft.models.config import ARCHITECTURES, config_for
from samft.models.registry import build_sam
from samft.models.sam import Sam
from samft.types import POSITIVE, PromptBatch

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What was measured at one size.

    Args:
        size: S, side of the input square.
        trim: Whether padding was cut off.
        encode_ms: Time to encode one image.
        click_ms: Time to answer one click.
        peak_mb: Peak memory of both, beyond that of the loaded model and images.
        box: Mean IoU of answers to boxes.
        point: Mean IoU of answers to one point.
    """

    size: int
    trim: bool
    encode_ms: float
    click_ms: float
    peak_mb: float
    box: float
    point: float


def measure(sam: Sam, images: Sequence[EvaluationImage], *, repeat: int) -> Row:
    """Measure a model of one size in this process.

    Args:
        sam: The model, with or without `trim_padding`.
        images: What it is scored on; times are those of the first.
        repeat: Turns, the fastest of which counts.
    """
    device = sam.pixel_mean.device
    sam.eval()
    pixels = [images[0].sample.image]
    height, width = frame_for(images[0].sample.size, sam.image_size).input_size
    click = PromptBatch(
        image_index=torch.zeros(1, dtype=torch.int64),
        points=torch.tensor([[[width / 2, height / 2]]]),
        labels=torch.full((1, 1), POSITIVE),
    ).to(device)
    before = peak_mb(device)
    with torch.inference_mode():
        embedding, _ = embed_images(sam, pixels)
        sam.decode(embedding, click, multimask=True)
        encode = min(timed(lambda: embed_images(sam, pixels), device)[0] for _ in range(repeat))
        answer = min(
            timed(lambda: sam.decode(embedding, click, multimask=True), device)[0]
            for _ in range(repeat)
        )
    peak = peak_mb(device) - before
    scores = evaluate(sam, images)
    return Row(
        size=sam.image_size,
        trim=sam.trim_padding,
        encode_ms=1000 * encode,
        click_ms=1000 * answer,
        peak_mb=peak,
        box=scores.iou["box"],
        point=scores.iou["point"],
    )


def run_process(size: int, options: argparse.Namespace, *, trim: bool) -> Row:
    """Measure one size in a process of its own."""
    words = ["--only", str(size), "--weights", options.weights, "--arch", options.arch]
    words += ["--set", options.set, "--data", str(options.data), "--limit", str(options.limit)]
    words += ["--repeat", str(options.repeat), "--threads", str(options.threads)]
    words += ["--device", options.device, *(["--trim"] if trim else [])]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.input_size", *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def table(rows: Sequence[Row], native: int) -> Iterator[str]:
    """Yield the lines of a table; ratios are to the untrimmed row of `native` pixels, if any."""
    own = next((row for row in rows if row.size == native and not row.trim), None)
    yield "| size | encode ms | x | click ms | x | peak MB | x | box IoU | point IoU |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [f"{row.size}{' trimmed' if row.trim else ''}"]
        for name, digits in (("encode_ms", 1), ("click_ms", 1), ("peak_mb", 0)):
            value = getattr(row, name)
            ratio = None if own is None or not getattr(own, name) else value / getattr(own, name)
            cells += [f"{value:.{digits}f}", "-" if ratio is None else f"{ratio:.2f}"]
        yield f"| {' | '.join([*cells, f'{row.box:.3f}', f'{row.point:.3f}'])} |"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--weights", default="vit_nano", help="a name, a file or a folder")
    add("--arch", default="vit_nano", choices=ARCHITECTURES)
    add("--sizes", type=int, nargs="+", help="default: half, three quarters, 1, 1.5 and 2 times")
    add("--set", default="dsb2018", choices=SETS, help="what it is scored on")
    add("--data", type=Path, default=DATA, help="folder of the real sets")
    add("--limit", type=int, default=24, help="most images")
    add("--trim", action="store_true", help="also measure with model.trim_padding")
    add("--repeat", type=int, default=5)
    add("--threads", type=int, default=torch.get_num_threads())
    add("--device", default="cpu")
    add("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    cell, native = config_for(options.arch).patch_size, config_for(options.arch).image_size
    shares = (0.5, 0.75, 1, 1.5, 2)
    options.sizes = options.sizes or [round(native * share / cell) * cell for share in shares]
    return options


def main() -> None:
    """Measure every size in turn and print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.only is not None:
        sam = build_sam(options.arch, options.weights, image_size=options.only)
        sam.to(options.device).trim_padding = options.trim
        images = load(SETS[options.set], options.data, limit=options.limit)
        print(json.dumps(asdict(measure(sam, images, repeat=options.repeat))))
        return
    rows = []
    for size in options.sizes:
        for trim in [False, True] if options.trim else [False]:
            rows.append(run_process(size, options, trim=trim))
            print(rows[-1], file=sys.stderr)
    print("\n".join(table(rows, config_for(options.arch).image_size)))


if __name__ == "__main__":
    main()
