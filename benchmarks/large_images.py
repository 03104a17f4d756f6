"""Segments an image and a volume that are too large for memory, and counts what was found.

Nuclei are drawn at known places into zarr, block by block. Another process segments them, zarr in
and zarr out, and reports its peak memory. Then every nucleus is looked up in the labels: whether it
was found, whether as one object, and whether those that tiles cut fare worse than the others.

    python -m benchmarks.large_images                        # 12000 px, 300 slices
    python -m benchmarks.large_images --side 3000 --depth 40
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from benchmarks.measuring import peak_mb
from samft import (
    AutomaticMasks,
    TiledMasks,
    VolumeMasks,
    VolumeSource,
    build_sam,
    open_array,
    sampled_range,
)
from samft.inference.tiles import TileGrid

ROOT = Path(__file__).parents[1]
CASES = ("image", "volume")
TILE, HALO = 1024, 96
POINTS = {"image": 12, "volume": 10}
"""Points per side of a tile or slice; closer than most nuclei are wide. They are what costs."""
BLOCK = 1000
PLANE = 512
FOUND = 0.5
"""IoU from which a nucleus counts as found."""
PIECE = 0.1
"""Share of a nucleus from which a label counts as a piece of it."""


@dataclass(frozen=True, slots=True)
class Nuclei:
    """Ellipsoids, or ellipses, at known places.

    Args:
        centres: (n, axes) float, `(z, y, x)` or `(y, x)`.
        radii: (n, axes) float, half axes.
        brightness: (n,) float.
        turns: (n,) float, angle in the plane, degrees.
    """

    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    brightness: NDArray[np.float64]
    turns: NDArray[np.float64]

    def touching(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those that may reach into a block from `low` to `high`."""
        reach = self.radii.max(axis=1, keepdims=True)
        inside = (self.centres + reach >= low) & (self.centres - reach <= high)
        return np.flatnonzero(inside.all(axis=1))

    def cut(self, index: int, plane: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return centre and half axes `(y, x)` of the ellipse that a plane z makes of one."""
        centre, radii = self.centres[index], self.radii[index]
        if plane is None:
            return centre, radii
        share = 1 - ((plane - centre[0]) / radii[0]) ** 2
        return centre[1:], radii[1:] * np.sqrt(max(share, 0.0))

    def paint(self, canvas: NDArray[np.float32], index: int, *, at: Place, value: float) -> None:
        """Fill one on a canvas whose first pixel lies at `at`."""
        (y, x), (ry, rx) = self.cut(index, at.plane)
        if min(ry, rx) < 0.5:
            return
        # OpenCV takes sixteenths of a pixel.
        middle = round((x - at.x) * 16), round((y - at.y) * 16)
        axes = round(rx * 16), round(ry * 16)
        cv2.ellipse(canvas, middle, axes, self.turns[index], 0, 360, value, -1, cv2.LINE_8, 4)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a canvas lies.

    Args:
        y: Row of its first pixel.
        x: Column of its first pixel.
        plane: Its slice; `None` in an image.
    """

    y: int
    x: int
    plane: int | None = None


def scatter(shape: tuple[int, ...], *, pitch: float, smallest: float, largest: float) -> Nuclei:
    """Place one nucleus in every cell of a grid, such that none touch and none leave the array."""
    rng = np.random.default_rng(0)
    cells = [max(int(length // pitch), 1) for length in shape]
    steps = [length / count for length, count in zip(shape, cells, strict=True)]
    middles = [(np.arange(count) + 0.5) * step for count, step in zip(cells, steps, strict=True)]
    centres = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(-1, len(shape))
    radii = rng.uniform(smallest, largest, centres.shape)
    room = np.maximum(np.array(steps) / 2 - radii.max(axis=1, keepdims=True) - 2, 0)
    return Nuclei(
        centres=centres + rng.uniform(-1, 1, centres.shape) * room,
        radii=radii,
        brightness=rng.uniform(90, 200, len(centres)),
        turns=rng.uniform(0, 180, len(centres)),
    )


def draw(nuclei: Nuclei, size: tuple[int, int], at: Place) -> NDArray[np.float32]:
    """Draw a part of the image or a slice: nuclei, blurred, on a dark ground, with noise."""
    margin = 8
    canvas = np.full((size[0] + 2 * margin, size[1] + 2 * margin), 25, np.float32)
    around = Place(at.y - margin, at.x - margin, at.plane)
    low = [around.y, around.x] if at.plane is None else [at.plane, around.y, around.x]
    extent = canvas.shape if at.plane is None else (0, *canvas.shape)
    corner = np.array(low)
    for index in nuclei.touching(corner, corner + np.array(extent)):
        nuclei.paint(canvas, int(index), at=around, value=float(nuclei.brightness[index]))
    canvas = cv2.GaussianBlur(canvas, (0, 0), 1.5)[margin:-margin, margin:-margin]
    rng = np.random.default_rng((at.y, at.x, at.plane or 0))
    return canvas + rng.normal(0, 4, canvas.shape).astype(np.float32)


def image_nuclei(side: int) -> Nuclei:
    """Return the nuclei of the image: 96 to 160 pixels across."""
    return scatter((side, side), pitch=210, smallest=48, largest=80)


def volume_nuclei(depth: int) -> Nuclei:
    """Return the nuclei of the volume: 44 to 74 voxels across."""
    return scatter((depth, PLANE, PLANE), pitch=84, smallest=22, largest=37)


def draw_image(path: Path, side: int) -> None:
    """Draw the image into a zarr array."""
    nuclei, chunk = image_nuclei(side), min(BLOCK, side)
    array = zarr.create_array(
        store=str(path), shape=(side, side), chunks=(chunk, chunk), dtype="uint8"
    )
    for y in range(0, side, chunk):
        for x in range(0, side, chunk):
            size = min(chunk, side - y), min(chunk, side - x)
            block = draw(nuclei, size, Place(y, x))
            array[y : y + size[0], x : x + size[1]] = np.clip(block, 0, 255).astype(np.uint8)


def draw_volume(path: Path, depth: int) -> None:
    """Draw the volume into a zarr array, 16 bits deep."""
    nuclei, shape = volume_nuclei(depth), (depth, PLANE, PLANE)
    array = zarr.create_array(
        store=str(path), shape=shape, chunks=(1, PLANE, PLANE), dtype="uint16"
    )
    for z in range(depth):
        plane = draw(nuclei, (PLANE, PLANE), Place(0, 0, z))
        array[z] = np.clip(plane * 40, 0, 65535).astype(np.uint16)


def segment(case: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Segment in this process; return seconds, peak memory and the count."""
    torch.set_num_threads(options.threads)
    sam = build_sam(options.arch, options.weights).eval()
    generator = AutomaticMasks(
        sam,
        points_per_side=POINTS[case],
        max_mask_area_fraction=0.1,
        pred_iou_thresh=0.7,
        stability_score_thresh=0.8,
    )
    array, out = open_array(folder / f"{case}.zarr"), folder / f"{case}-labels.zarr"
    start = time.perf_counter()
    if case == "image":
        tiled = TiledMasks(generator, tile_side=TILE, halo=HALO, min_area=500)
        result = tiled.label(array, out, progress=tell)
    else:
        source = VolumeSource(array, value_range=sampled_range(array))
        volumes = VolumeMasks(generator, min_voxels=500, max_gap=2)
        result = volumes.label(source, out, progress=tell)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": peak_mb(torch.device("cpu")), "count": result.count}


def tell(done: int, total: int) -> None:
    """Say on standard error how far it is."""
    if done % 50 == 0 or done == total:
        print(f"  {done} of {total} steps", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one nucleus.

    Args:
        iou: IoU with the label that has most of it.
        label: That label, 0 for none.
        pieces: Labels that have a tenth of it or more.
        on_seam: Whether the border of two tiles goes through it.
    """

    iou: float
    label: int
    pieces: int
    on_seam: bool


def look_up(truth: NDArray[np.bool_], labels: NDArray[np.int32], *, on_seam: bool) -> Found:
    """Compare one nucleus with the labels around it."""
    inside = np.bincount(labels[truth])
    inside[0] = 0
    label = int(inside.argmax())
    if inside[label] == 0:
        return Found(0.0, 0, 0, on_seam)
    union = truth.sum() + (labels == label).sum() - inside[label]
    pieces = int((inside >= PIECE * truth.sum()).sum())
    return Found(float(inside[label] / union), label, pieces, on_seam)


def check_image(folder: Path, side: int) -> Iterator[Found]:
    """Look every nucleus of the image up."""
    labels, nuclei = open_array(folder / "image-labels.zarr"), image_nuclei(side)
    grid = TileGrid((side, side), side=TILE, halo=HALO)
    for index, ((y, x), radii) in enumerate(zip(nuclei.centres, nuclei.radii, strict=True)):
        reach = float(radii.max())
        around = int(reach) + 40
        top, left = max(int(y) - around, 0), max(int(x) - around, 0)
        part = np.asarray(labels[top : int(y) + around, left : int(x) + around])
        canvas = np.zeros(part.shape, np.float32)
        nuclei.paint(canvas, index, at=Place(top, left), value=1.0)
        corners = [(x - reach, y - reach), (x + reach, y + reach)]
        owners = {grid.owner(*corner) for corner in corners}
        yield look_up(canvas > 0, part, on_seam=len(owners) > 1)


def check_volume(folder: Path, depth: int) -> Iterator[Found]:
    """Look every nucleus of the volume up."""
    labels, nuclei = open_array(folder / "volume-labels.zarr"), volume_nuclei(depth)
    for index, (centre, radii) in enumerate(zip(nuclei.centres, nuclei.radii, strict=True)):
        around = int(radii.max()) + 12
        low = np.maximum(centre.astype(int) - around, 0)
        high = centre.astype(int) + around
        part = np.asarray(labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
        canvas = np.zeros(part.shape, np.float32)
        for plane in range(len(part)):
            place = Place(int(low[1]), int(low[2]), int(low[0]) + plane)
            nuclei.paint(canvas[plane], index, at=place, value=1.0)
        yield look_up(canvas > 0, part, on_seam=False)


def report(case: str, found: list[Found], numbers: dict[str, float]) -> Iterator[str]:
    """Yield the lines of the result."""
    yield f"{case}: {numbers['seconds']:.0f} s, peak memory {numbers['peak_mb']:.0f} MB"
    yield f"  {len(found)} nuclei drawn, {numbers['count']:.0f} objects labelled"
    groups = {"all": found}
    if case == "image":
        groups |= {
            "cut by a tile's border": [item for item in found if item.on_seam],
            "not cut": [item for item in found if not item.on_seam],
        }
    for name, items in groups.items():
        hits = [item.iou for item in items if item.iou >= FOUND]
        split = sum(item.pieces > 1 for item in items)
        yield (
            f"  {name}: {len(hits)} of {len(items)} found ({len(hits) / max(len(items), 1):.2%}), "
            f"mean IoU {np.mean(hits) if hits else 0:.4f}, {split} in pieces"
        )
    matched = {item.label for item in found if item.iou >= FOUND}
    yield f"  {numbers['count'] - len(matched):.0f} objects are no nucleus"


def run(case: str, folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Draw, segment in another process, and look the nuclei up."""
    path = folder / f"{case}.zarr"
    if case == "image":
        draw_image(path, options.side)
    else:
        draw_volume(path, options.depth)
    command = [sys.executable, "-m", "benchmarks.large_images", "--worker", case, str(folder)]
    command += ["--weights", options.weights, "--arch", options.arch]
    command += ["--threads", str(options.threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    numbers = json.loads(done.stdout.splitlines()[-1])
    found = (
        check_image(folder, options.side)
        if case == "image"
        else check_volume(folder, options.depth)
    )
    yield from report(case, list(found), numbers)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--weights", default="vit_nano", help="name or weights file")
    parser.add_argument("--arch", default="vit_nano", help="size of the model")
    parser.add_argument("--side", type=int, default=12000, help="side of the image, pixels")
    parser.add_argument("--depth", type=int, default=300, help="slices of the volume")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the benchmark, or segment for it."""
    options = parse()
    if Path(options.weights).exists():
        options.weights = str(Path(options.weights).absolute())
    if options.worker is not None:
        case, folder = options.worker
        print(json.dumps(segment(case, Path(folder), options)))
        return
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            for line in run(case, Path(folder), options):
                print(line, flush=True)


if __name__ == "__main__":
    main()
