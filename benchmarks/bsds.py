"""Edges on BSDS500 with nobody's training on it: people, Sobel, Canny and a SAM, beside the paper.

    python -m benchmarks.bsds                            # vit_nano on the test images that are here
    python -m benchmarks.bsds --data BSDS500/BSDS500/data --split all --model none
    python -m benchmarks.bsds --model vit_b --weights sam_vit_b_01ec64.pth --maps maps

The published numbers are those of the 200 test images; the first line says how many there are here.
Every method's edges are scored by the same rules at 99 thresholds; people, each against all others,
at their one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from benchmarks.nano.sets import DATA
from benchmarks.results import aligned
from samft.data.folder import FolderDataModule
from samft.data.records import SPLITS, Split
from samft.evaluation.zero_shot.edge_settings import EdgeSettings
from samft.evaluation.zero_shot.edge_truth import edge_images
from samft.evaluation.zero_shot.edges import EdgeImage, EdgeReport, run_edges
from samft.models.registry import build_sam

FOLDERS: Final = (".", "data", "BSDS500/data", "general/BSDS500/data")
SCORES: Final = ("ods", "ois", "ap", "r50")
PUBLISHED: Final = {
    "people": (0.80, None, None, None),
    "sobel": (0.539, None, None, None),
    "canny": (0.600, 0.640, 0.580, None),
    "SAM ViT-H": (0.768, 0.786, 0.794, 0.928),
}
"""Source: Arbelaez et al. 2011, IEEE PAMI 33(5), figure 1, for people (their F) and Canny; Kirillov
et al. 2023, arXiv:2304.02643, table 3, for Sobel and SAM."""
ALL: Final = "all"
NONE: Final = "none"


def find_folder(root: Path) -> Path:
    """Return the folder with `images` and `groundTruth` in or below a folder.

    Raises:
        SystemExit: if there is none.
    """
    for below in FOLDERS:
        folder = root / below
        if (folder / "images").is_dir() and (folder / "groundTruth").is_dir():
            return folder
    raise SystemExit(f"no BSDS500 in {root}: give --data DIR, which holds images and groundTruth")


def read_images(folder: Path, splits: Iterable[Split], most: int | None) -> Iterator[EdgeImage]:
    """Yield the first images of each split, named with it."""
    data = FolderDataModule(root=str(folder), layout="bsds")
    for split in splits:
        for number, item in enumerate(edge_images(data, split)):
            if most is not None and number >= most:
                break
            yield item


def announced(images: Iterable[EdgeImage]) -> Iterator[EdgeImage]:
    """Say on the error output which image is worked on."""
    began = time.perf_counter()
    for number, item in enumerate(images, start=1):
        seconds = time.perf_counter() - began
        print(f"{seconds:5.0f} s, image {number}: {item.sample_id}", file=sys.stderr, flush=True)
        yield item


def table(report: EdgeReport, *, model: str) -> Iterator[str]:
    """Yield the lines of the table: what was measured here, and what was published."""
    head = ["edges of", *(name.upper() for name in SCORES)]
    rows = [[*head, *(f"published {name.upper()}" for name in SCORES), "s per image"]]
    here = {"people": (report.human.f, None, None, None)}
    here |= {name: tuple(scores[key] for key in SCORES) for name, scores in report.scores.items()}
    for name in [*here, *(name for name in PUBLISHED if name not in here)]:
        times = [row.seconds for row in report.rows if row.method == name]
        rows.append(
            [
                model if name == "sam" else name,
                *_cells(here.get(name)),
                *_cells(PUBLISHED.get(name)),
                f"{sum(times) / len(times):.2f}" if times else "-",
            ]
        )
    yield from aligned(rows, markdown=True)


def _cells(values: tuple[float | None, ...] | None) -> list[str]:
    shown = values or (None,) * len(SCORES)
    return ["-" if value is None else f"{value:.3f}" for value in shown]


def subset(report: EdgeReport, split: str) -> str:
    """Say in one line what the numbers are about."""
    names = "images of all splits" if split == ALL else f"{split} images"
    return (
        f"{report.num_images} {names}, {report.num_annotations} annotations; people: "
        f"{report.human.num_images} images, precision {report.human.precision:.3f}, "
        f"recall {report.human.recall:.3f}"
    )


def parse(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=DATA, help="BSDS500, or a folder with it")
    parser.add_argument("--split", choices=[*SPLITS, ALL], default="test")
    parser.add_argument("--most", type=int, help="images of each split; default: all")
    parser.add_argument("--model", default="vit_nano", help=f"architecture, or {NONE!r}")
    parser.add_argument("--weights", help="name or file; default: the model's own")
    parser.add_argument("--nms_thresh", type=float, default=EdgeSettings().nms_thresh)
    parser.add_argument("--holes", action="store_true", help="boundaries of holes too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--maps", type=Path, help="folder for the edge maps as PNG")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(given)
    torch.set_num_threads(options.threads)
    folder = find_folder(options.data)
    sams = {}
    if options.model != NONE:
        sam = build_sam(options.model, weights=options.weights or options.model)
        sams["sam"] = sam.eval().to(options.device)
    splits = SPLITS if options.split == ALL else (options.split,)
    report = run_edges(
        sams,
        announced(read_images(folder, splits, options.most)),
        replace(EdgeSettings(), nms_thresh=options.nms_thresh, holes=options.holes),
        maps=options.maps,
    )
    print(subset(report, options.split))
    print()
    print("\n".join(table(report, model=options.model)))


if __name__ == "__main__":
    main()
