"""Automatic masks against the official generator: the same records, in what time and memory.

    python -m benchmarks.automatic                            # vit_nano on real images
    python -m benchmarks.automatic --arch vit_b --size 512 --points_per_side 16 --keep_all

Each program works on each image in a process of its own, with the same weights and settings. A
record counts as the same if its box is and its mask differs in no more than a hundredth of its
pixels. Memory is the peak beyond what the process holds before the model is built.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from benchmarks.measuring import peak_mb, timed
from benchmarks.nano.sets import DATA
from benchmarks.official_generator import import_generator, official_generator
from benchmarks.results import (
    Result,
    Results,
    aligned,
    read_results,
    run_worker,
    write_results,
)
from samft.inference.automatic import AutomaticMasks
from samft.models.registry import build_sam
from samft.models.sam import Sam

IMAGES: Final = (
    "microscopy/DSB2018/stage1_train/*/images/*.png",
    "microscopy/stardist_nuclei/img2d.tif",
    "underwater/EilatMixx/images/test/*.png",
    "general/BSDS500/data/images/test/*.jpg",
)
SAMFT: Final = "samft"
OFFICIAL: Final = "segment_anything"
RANDOM: Final = "random"
SAME_IOU: Final = 0.99


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two programs' records of one image compare.

    Args:
        ours: Records of samft.
        theirs: Records of the official generator that are not empty.
        same: Those that are the same.
        score: Largest difference of predicted IoU among those.
    """

    ours: int
    theirs: int
    same: int
    score: float


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as the programs get it: (H, W, 3) uint8, RGB."""
    with Image.open(path) as image:
        pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, (1, 99))
        scaled = (pixels.astype(np.float64) - low) / max(1e-9, high - low)
        pixels = (scaled.clip(0, 1) * 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def measure(program: str, path: Path, options: argparse.Namespace) -> Result:
    """Find all masks of one image in this process."""
    device = torch.device("cpu")
    image = read_image(path)
    if program == OFFICIAL:
        import_generator()  # what a package takes by itself is not the generator's
    base = peak_mb(device)
    sam = _build(options)
    generate = _generator(program, sam, _settings(options))
    found: list[dict[str, Any]] = []
    seconds, cpu_seconds = timed(lambda: found.extend(generate(image)), device)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak_mb(device) - base,
        "size": list(image.shape[:2]),
        "records": [_compact(record) for record in found if record["area"] > 0],
    }


def _build(options: argparse.Namespace) -> Sam:
    torch.manual_seed(0)
    weights = None if options.weights == RANDOM else options.weights
    return build_sam(options.arch, weights=weights, image_size=options.size).eval()


def _generator(program: str, sam: Sam, settings: dict[str, Any]) -> Any:  # Any: two programs
    if program == SAMFT:
        return AutomaticMasks(sam, **settings).generate
    return official_generator(sam, **settings).generate


def _settings(options: argparse.Namespace) -> dict[str, Any]:  # Any: settings
    settings: dict[str, Any] = {"points_per_side": options.points_per_side}
    if options.keep_all:  # random weights think nothing of their masks
        return settings | {"pred_iou_thresh": -10.0, "stability_score_thresh": 0.0}
    return settings | {
        "pred_iou_thresh": options.pred_iou_thresh,
        "stability_score_thresh": options.stability_score_thresh,
    }


def _compact(record: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    runs = coco_mask.encode(np.asfortranarray(record["segmentation"].astype(np.uint8)))
    return {
        "bbox": [int(value) for value in record["bbox"]],
        "iou": float(record["predicted_iou"]),
        "mask": {"size": list(runs["size"]), "counts": runs["counts"].decode()},
    }


def agreement(ours: Sequence[Result], theirs: Sequence[Result]) -> Agreement:
    """Match the records of two programs one to one, by box and mask."""
    rest, same, worst = list(theirs), 0, 0.0
    for mine in ours:
        for index, other in enumerate(rest):
            if mine["bbox"] == other["bbox"] and _iou(mine["mask"], other["mask"]) >= SAME_IOU:
                worst = max(worst, abs(mine["iou"] - other["iou"]))
                same += 1
                del rest[index]
                break
    return Agreement(len(ours), len(theirs), same, worst)


def _iou(one: Result, other: Result) -> float:
    packed = [{**mask, "counts": mask["counts"].encode()} for mask in (one, other)]
    return float(coco_mask.iou(packed[:1], packed[1:], [0])[0, 0])


def run_all(paths: Sequence[Path], options: argparse.Namespace) -> Results:
    """Run both programs on every image that the results file does not hold."""
    setup = {name: str(getattr(options, name)) for name in _SETUP}
    results = read_results(options.results, setup)
    for path in paths:
        for program in (SAMFT, OFFICIAL):
            key = f"{program} {path}"
            if "seconds" in results.get(key, {}):
                continue
            arguments = [*options.given, "--worker", program, str(path)]
            results[key] = run_worker("benchmarks.automatic", arguments, threads=options.threads)
            seconds = results[key].get("seconds", results[key].get("failed"))
            print(f"{key}: {seconds}", file=sys.stderr, flush=True)
            write_results(options.results, setup, results)
    return results


_SETUP: Final = (
    "arch", "weights", "size", "points_per_side", "pred_iou_thresh", "stability_score_thresh",
    "keep_all", "threads",
)  # fmt: skip


def table(paths: Sequence[Path], results: Results, *, markdown: bool) -> Iterator[str]:
    """Yield the lines of the result."""
    head = ("image", "size", "masks", "theirs", "same", "score off by")
    rows = [(*head, "s", "theirs", "faster", "MB", "theirs", "share")]
    for path in paths:
        ours, theirs = (results[f"{program} {path}"] for program in (SAMFT, OFFICIAL))
        if "failed" in ours or "failed" in theirs:
            raise SystemExit(f"{path}: {ours.get('failed', theirs.get('failed'))}")
        match = agreement(ours["records"], theirs["records"])
        rows.append(
            (
                path.stem[:16],
                "x".join(str(side) for side in reversed(ours["size"])),
                *(str(count) for count in (match.ours, match.theirs, match.same)),
                f"{match.score:.0e}",
                *(f"{result['seconds']:.2f}" for result in (ours, theirs)),
                f"{theirs['seconds'] / ours['seconds']:.1f}x",
                *(f"{result['peak_mb']:.0f}" for result in (ours, theirs)),
                _share(ours["peak_mb"], theirs["peak_mb"]),
            )
        )
    yield from aligned(rows, markdown=markdown)


def _share(ours: float, theirs: float) -> str:
    """Return a ratio; there is none where a process had held more before it measured."""
    return f"{ours / theirs:.2f}" if theirs else "-"


def default_images(root: Path) -> list[Path]:
    """Return the first image of each real set that is there."""
    found = [sorted(root.glob(pattern))[:1] for pattern in IMAGES]
    return [path for paths in found for path in paths]


def parse(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    given = sys.argv[1:] if given is None else given
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--arch", default="vit_nano")
    parser.add_argument("--weights", help=f"name, file or {RANDOM!r}; default: vit_nano's own")
    parser.add_argument("--size", type=int, help="input size; default: the architecture's")
    parser.add_argument("--images", type=Path, nargs="+", help="files; default: of --data")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--points_per_side", type=int, default=32)
    parser.add_argument("--pred_iou_thresh", type=float, default=0.6)
    parser.add_argument("--stability_score_thresh", type=float, default=0.8)
    parser.add_argument("--keep_all", action="store_true", help="no filter by confidence")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="file to keep results in, and go on from")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--worker", nargs=2, metavar=("PROGRAM", "IMAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.weights is None:
        options.weights = "vit_nano" if options.arch == "vit_nano" else RANDOM
    options.given = given
    return options


def main(given: list[str] | None = None) -> None:
    """Run the benchmark, or one of its measurements."""
    options = parse(given)
    torch.set_num_threads(options.threads)
    if options.worker:
        program, path = options.worker
        print(json.dumps(measure(program, Path(path), options)))
        return
    paths = options.images or default_images(options.data)
    if not paths:
        raise SystemExit(f"no images below {options.data}: give --data DIR or --images FILE...")
    print("\n".join(table(paths, run_all(paths, options), markdown=options.markdown)))


if __name__ == "__main__":
    main()
