"""The ways from files to a batch that the data benchmark compares, and the start of an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.measuring import peak_mb
from samft.data.collate import collate
from samft.data.folder import FolderDataModule
from samft.data.geometry import frame_for
from samft.data.sharded_datamodule import ShardedDataModule
from samft.data.tiling import windows_of
from samft.types import SamBatch

CASES: Final = {
    "coco": "JPEG, COCO polygons and run lengths",
    "labels": "JPEG, label PNG",
    "tiles": "tiles of a TIFF with label TIFF",
}
WAYS: Final = {
    "coco": ("samft", "straightforward"),
    "labels": ("samft", "straightforward"),
    "tiles": ("samft", "whole image", "whole, kept"),
}
_TILE: Final = 512


@dataclass(frozen=True)
class Batch:
    """What a way gives: (B, 3, S, S) uint8, and (S, S) bool of every object in turn."""

    images: Tensor
    masks: Sequence[Tensor]


Way = Callable[[int], Batch]
"""Makes the batch of a number."""


class _Masks(Sequence[Tensor]):
    """The objects of a samft batch as masks, made when they are asked for."""

    def __init__(self, batch: SamBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return self.batch.num_objects

    def __getitem__(self, row: int) -> Tensor:  # type: ignore[override]  # no slices
        if row >= len(self):
            raise IndexError(row)
        return self.batch.select(torch.tensor([row])).masks()[0]


def open_way(case: str, way: str, folder: Path, *, batch: int, size: int) -> Way:
    """Return what makes batches of a case in one of its ways."""
    if way == "samft":
        return _open_samft(case, folder, batch, size)
    if case == "tiles":
        return _open_tiles(folder / "tiff", batch, size, keep=way == "whole, kept")
    read = _coco_reader(folder / "jpeg") if case == "coco" else _label_reader(folder / "jpeg")
    return lambda number: _stacked((read(number * batch + i) for i in range(batch)), size)


def _open_samft(case: str, folder: Path, batch: int, size: int) -> Way:
    settings: dict[str, Any] = {"val_fraction": 0.0, "check_files": False, "objects": "value"}
    if case == "coco":
        data = FolderDataModule(root=str(folder / "jpeg"), layout="coco", **settings)
    elif case == "labels":
        data = FolderDataModule(
            root=str(folder / "jpeg"), images="images/*.jpg", labels="labels/*.png", **settings
        )
    else:
        data = FolderDataModule(root=str(folder / "tiff"), tile=_TILE, **settings)
    samples = data.dataset("train")

    def make(number: int) -> Batch:
        rows = [(number * batch + i) % len(samples) for i in range(batch)]
        found = collate([samples[row] for row in rows], image_size=size)
        return Batch(found.images, _Masks(found))

    return make


_Read = tuple[Image.Image, list[NDArray[np.uint8]]]


def _coco_reader(folder: Path) -> Callable[[int], _Read]:
    from pycocotools.coco import COCO

    coco = COCO(folder / "instances.json")
    names = sorted(coco.imgs)

    def read(number: int) -> _Read:
        image = coco.imgs[names[number % len(names)]]
        found = coco.imgToAnns[image["id"]]
        masks = [coco.annToMask(annotation) for annotation in found]
        with Image.open(folder / "images" / image["file_name"]) as opened:
            return opened.convert("RGB"), masks

    return read


def _label_reader(folder: Path) -> Callable[[int], _Read]:
    paths = sorted((folder / "images").iterdir())

    def read(number: int) -> _Read:
        path = paths[number % len(paths)]
        with Image.open(folder / "labels" / f"{path.stem}.png") as labels:
            masks = _split(np.asarray(labels))
        with Image.open(path) as opened:
            return opened.convert("RGB"), masks

    return read


def _open_tiles(folder: Path, batch: int, size: int, *, keep: bool) -> Way:
    read = tifffile.imread
    if keep:
        read = lru_cache(read)
    paths = (folder / "images" / "slide.tif", folder / "labels" / "slide.tif")
    with tifffile.TiffFile(paths[0]) as file:
        height, width = file.pages[0].shape
    windows = windows_of((height, width), _TILE, overlap=0)

    def part(number: int) -> _Read:
        top, left, high, wide = windows[number % len(windows)]
        image, labels = (
            np.ascontiguousarray(read(path)[top : top + high, left : left + wide]) for path in paths
        )
        return Image.fromarray(image).convert("RGB"), _split(labels)

    return lambda number: _stacked((part(number * batch + i) for i in range(batch)), size)


def _split(labels: NDArray[Any]) -> list[NDArray[np.uint8]]:
    return [(labels == value).astype(np.uint8) for value in np.unique(labels) if value]


def _stacked(read: Iterable[_Read], size: int) -> Batch:
    images, masks = [], []
    for image, found in read:
        height, width = frame_for((image.height, image.width), size).input_size
        resized = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        images.append(_padded(torch.from_numpy(resized).permute(2, 0, 1), size))
        small = [
            np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
            for mask in found  # every object as large as the image, one byte a pixel
        ]
        kept = torch.from_numpy(np.stack(small).view(bool))
        masks.append(_padded(kept[kept.flatten(1).any(dim=1)], size))
    return Batch(torch.stack(images), torch.cat(masks))


def _padded(tensor: Tensor, size: int) -> Tensor:
    height, width = tensor.shape[-2:]
    return torch.nn.functional.pad(tensor, (0, size - width, 0, size - height))


def index_start(folder: Path) -> dict[str, float]:
    """Start training on shards in this process: from nothing to the first batch."""
    imports = peak_mb(torch.device("cpu"))
    started = time.perf_counter()
    data = ShardedDataModule(
        root=str(folder / "index" / "shards"),
        split_by="sample",
        val_fraction=0.001,
        image_size=1024,
        batch_size=4,
    )
    data.prepare_index()
    indexed = time.perf_counter()
    loader = iter(data.train_dataloader())
    next(loader)
    ordered = time.perf_counter()
    return {
        "entries": sum(len(data.entries(split)) for split in ("train", "val", "test")),
        "shards": len(data.entries("train").shards),
        "seconds": ordered - started,
        "index_seconds": indexed - started,
        "order_seconds": ordered - indexed,
        "imports_mb": imports,
        "peak_mb": peak_mb(torch.device("cpu")),
    }
