"""The files that the data benchmark reads: drawn from a seed, laid out as other programs do."""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_masks

from samft.data.index_cache import index_dir
from samft.data.shards.shard_index import Table, open_shard

COPIES = 4
"""Images of each kind, so that a batch is not four times the same file."""


def make_inputs(folder: Path, options: argparse.Namespace) -> None:
    """Write the files of the cases that are asked for, unless they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    if options.index:
        _once(folder / "index", lambda path: _make_index(path, options))
        return
    if {"coco", "labels"} & set(options.cases):
        _once(folder / "jpeg", lambda path: _make_jpeg(path, options))
    if "tiles" in options.cases:
        _once(folder / "tiff", lambda path: _make_tiff(path, options))


def _once(folder: Path, make: Any) -> None:
    done = folder / "done"
    if not done.exists():
        folder.mkdir(exist_ok=True)
        make(folder)
        done.touch()


def _picture(rng: np.random.Generator, height: int, width: int, bands: int) -> NDArray[np.uint8]:
    """Draw soft patches with some grain: what compresses like a photograph."""
    coarse = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, bands)).astype(np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(-9, 10, (256, 256, bands))
    tiled = np.tile(grain, (height // 256 + 1, width // 256 + 1, 1))[:height, :width]
    pixels: NDArray[np.uint8] = (soft.reshape(height, width, bands) + tiled).clip(0, 255)
    return pixels.astype(np.uint8)


def _blob(rng: np.random.Generator, height: int, width: int, radius: float) -> NDArray[np.float64]:
    """Draw the outline of an object, (N, 2) `(x, y)`."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lengths = radius * (1 + 0.3 * np.sin(3 * angles + rng.uniform(0, 6)))
    centre = rng.uniform(0, (width, height))
    points = centre + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    clipped: NDArray[np.float64] = points.clip(0, (width - 1, height - 1)).round(2)
    return clipped


def _make_jpeg(folder: Path, options: argparse.Namespace) -> None:
    height, width = options.width * 3 // 4, options.width
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(COPIES):
        rng = np.random.default_rng(number)
        name = f"{number:03d}.jpg"
        Image.fromarray(_picture(rng, height, width, 3)).save(folder / "images" / name, quality=92)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        labels = np.zeros((height, width), np.uint16)
        for value in range(1, options.objects + 1):
            ring = _blob(rng, height, width, rng.uniform(0.01, 0.05) * width)
            cv2.fillPoly(labels, [ring.astype(np.int32)], value)
            outline: Any = [ring.reshape(-1).tolist()]
            if value % 2:  # every other one as run lengths
                (outline,) = coco_masks.frPyObjects(outline, height, width)
                outline["counts"] = outline["counts"].decode()
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
            box = [*ring.min(axis=0), *np.ptp(ring, axis=0)]
            annotations.append(
                entry
                | {"segmentation": outline, "iscrowd": 0, "bbox": box, "area": box[2] * box[3]}
            )
        Image.fromarray(labels).save(folder / "labels" / f"{number:03d}.png")
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    (folder / "instances.json").write_text(json.dumps(document), encoding="utf-8")


def _make_tiff(folder: Path, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    side = options.side
    compression = None if options.tiff_compression == "none" else options.tiff_compression
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    settings: dict[str, Any] = {"tile": (512, 512), "compression": compression}
    tifffile.imwrite(
        folder / "images" / "slide.tif", _picture(rng, side, side, 1)[..., 0], **settings
    )
    labels = np.zeros((side, side), np.uint16)
    per_tile = options.objects / 4  # a quarter as many on a tile as on a photograph
    for value in range(1, min(2**16 - 1, int(per_tile * (side / options.tile) ** 2)) + 1):
        ring = _blob(rng, side, side, rng.uniform(10, 40))
        cv2.fillPoly(labels, [ring.astype(np.int32)], value)
    tifffile.imwrite(folder / "labels" / "slide.tif", labels, **settings)


def _make_index(folder: Path, options: argparse.Namespace) -> None:
    """Write shards of a single sample, and tables that say it were there thousands of times.

    Of the data set, only the content is missing: every row of every table leads to an image.
    """
    os.environ["SAMFT_CACHE"] = str(folder.parent / "cache")
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(_picture(rng, 96, 128, 3)).save(buffer, "JPEG")
    mask = np.zeros((96, 128), np.uint8, order="F")
    mask[20:40, 30:70] = 1
    rle = coco_masks.encode(mask)
    rle["counts"] = rle["counts"].decode()
    labels = json.dumps({"annotations": [{"segmentation": rle}]}).encode()
    for shard in range(options.shards):
        path = shards / f"sa_{shard:06d}.tar"
        with tarfile.open(path, "w") as tar:
            for ending, content in (("jpg", buffer.getvalue()), ("json", labels)):
                member = tarfile.TarInfo(f"sa_{shard}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        first = shard * options.entries // options.shards
        last = (shard + 1) * options.entries // options.shards
        opened = open_shard(path)
        np.save(opened.stored, _repeated(opened.table(mapped=False), first, last))
    assert index_dir().is_dir()  # where the tables are


def _repeated(table: Table, first: int, last: int) -> Table:
    keys = [f"sa_{number}".encode() for number in range(first, last)]
    fields = [(name, table.dtype[name]) for name in table.dtype.names or () if name != "key"]
    result = np.zeros(len(keys), np.dtype([*fields, ("key", f"S{max(map(len, keys))}")]))
    for name, _ in fields:
        result[name] = table[name][0]
    result["key"] = keys
    # Any well spread numbers do for the start; those of the keys would take the longest to make.
    result["hash"] = np.random.default_rng(first).integers(0, 2**64, len(keys), np.uint64)
    return result
