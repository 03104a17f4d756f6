"""Packs samples into shards that samft, webdataset and everything that reads tar can read."""

from __future__ import annotations

import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from samft.data.records import Split
from samft.data.run_lengths import compress
from samft.errors import ConfigError, OutputError
from samft.types import IGNORE, Sample

if TYPE_CHECKING:  # importing it takes Lightning, which shards do without
    from samft.data.split_datamodule import Samples, SplitDataModule

CLASSES_FILE: Final = "classes.txt"
"""The names of the classes, one a line, in the folder that holds all splits."""
DEFAULT_MAX_BYTES: Final = 2**30
"""Of one shard: large enough to be read in one go, small enough to be copied again."""
PictureFormat = Literal["png", "jpg", "webp"]
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "webp": {"format": "WEBP", "lossless": True},
}
_BLOCK: Final = 512
_log = logging.getLogger(__name__)


def write_split(
    data: SplitDataModule,
    split: Split,
    folder: Path,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    picture_format: PictureFormat = "png",
) -> list[Path]:
    """Pack a split of a datamodule into `folder/<split>`, without augmentation.

    `ShardedDataModule` with `root: folder` reads it: the same pixels (with png and webp), objects,
    names and classes. A pixel of which nothing is known in one of several layers is unknown in all.

    Args:
        data: The datamodule.
        split: Which split.
        folder: The data set of shards; other splits may lie there already.
        max_bytes: A shard ends before it grows larger; one sample may be larger by itself.
        picture_format: How images are stored; jpg is smaller and not exact.

    Returns:
        The shards.

    Raises:
        OutputError: if there are shards of this split already.
        ConfigError: if the images are not RGB of 8 bits, or the folder holds other classes.
    """
    data.prepare_index()
    _write_classes(folder, data.class_names)
    return write_shards(
        data.dataset(split),
        folder / split,
        class_names=data.class_names,
        max_bytes=max_bytes,
        picture_format=picture_format,
    )


def write_shards(
    samples: Samples,
    folder: Path,
    *,
    class_names: Sequence[str],
    max_bytes: int = DEFAULT_MAX_BYTES,
    picture_format: PictureFormat = "png",
) -> list[Path]:
    """Pack samples into `folder/000000.tar` and so on; see `write_split`.

    A shard appears under its name when it is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = sorted(path.name for path in folder.glob("*.tar"))
    if present:
        raise OutputError(
            "there are shards already",
            where=folder,
            found=", ".join(present[:3]),
            fix="choose another folder, or delete them",
        )
    keys = _Keys()
    with _Writer(folder, max_bytes) as writer:
        for index in range(len(samples)):
            sample = samples[index]
            files = {
                picture_format: _picture(sample, picture_format),
                "json": _labels(sample, class_names),
            }
            writer.add(keys.of(sample.sample_id), files)
    _log.info("%d samples are in %d shards in %s", len(samples), len(writer.finished), folder)
    return writer.finished


class _Writer:
    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.finished: list[Path] = []
        self._tar: tarfile.TarFile | None = None
        self._bytes = 0

    def add(self, key: str, files: dict[str, bytes]) -> None:
        size = sum(_BLOCK + -(-len(content) // _BLOCK) * _BLOCK for content in files.values())
        if self._tar is not None and self._bytes + size > self.max_bytes:
            self._finish()
        if self._tar is None:
            self._tar = tarfile.open(self._partial(), "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        for ending, content in files.items():
            member = tarfile.TarInfo(f"{key}.{ending}")  # no owner and no time: the same bytes
            member.size, member.mode = len(content), 0o644
            self._tar.addfile(member, io.BytesIO(content))
        self._bytes += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._tar is None:
            return
        if error is None:
            self._finish()
        else:  # half a shard must not look like a whole one
            self._tar.close()
            self._partial().unlink()

    def _finish(self) -> None:
        assert self._tar is not None  # only called then
        self._tar.close()
        path = self.folder / f"{len(self.finished):06d}.tar"
        os.replace(self._partial(), path)  # noqa: PTH105  # atomic
        self.finished.append(path)
        self._tar, self._bytes = None, 0

    def _partial(self) -> Path:
        return self.folder / ".writing.tar.part"


class _Keys:
    """Names that webdataset understands: it takes what follows the first dot for the ending."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def of(self, sample_id: str) -> str:
        parts = [part for part in sample_id.replace("\\", "/").split("/") if part.strip(".")]
        name = "/".join(parts).replace(":", "_").replace(".", "_")
        folder, slash, file = name.rpartition("/")
        key = base = folder + slash + (file.lstrip("_") or "sample")  # __NAME means something else
        number = 1
        while key in self.used:
            number += 1
            key = f"{base}_{number}"
        self.used.add(key)
        return key


def _picture(sample: Sample, picture_format: PictureFormat) -> bytes:
    if sample.image.dtype != torch.uint8 or sample.image.shape[0] != 3:
        raise ConfigError(
            "shards hold RGB images of 8 bits",
            where=sample.sample_id,
            found=f"{sample.image.shape[0]} channels of {sample.image.dtype}",
            fix="set data.keep_depth to false, and at most three data.channels",
        )
    buffer = io.BytesIO()
    pixels = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
    Image.fromarray(pixels).save(buffer, **_OPTIONS[picture_format])
    return buffer.getvalue()


def _labels(sample: Sample, class_names: Sequence[str]) -> bytes:
    layers = sample.layers.numpy()
    annotations = [
        {
            "id": row + 1,
            "category_id": int(sample.object_class[row]),
            "iscrowd": 0,
            "area": int(mask.sum()),
            "bbox": _box(mask),
            "segmentation": _rle(mask),
        }
        for row, mask in enumerate(_masks(sample))
    ]
    unknown = (layers == IGNORE).any(axis=0)
    if unknown.any():
        annotations.append({"id": 0, "category_id": 0, "iscrowd": 1, "segmentation": _rle(unknown)})
    about = {"sample_id": sample.sample_id, "case_id": sample.case_id}
    spacing = None if sample.spacing_mm is None else list(sample.spacing_mm)
    document = {
        "image": {"width": sample.size[1], "height": sample.size[0]},
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names)],
        "annotations": annotations,
        "samft": about | ({} if spacing is None else {"spacing_mm": spacing}),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _masks(sample: Sample) -> Iterator[NDArray[np.bool_]]:
    layers = sample.layers.numpy()
    for row, layer in enumerate(sample.object_layer.tolist()):
        yield layers[layer] == row + 1


def _box(mask: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return [0, 0, 0, 0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _rle(mask: NDArray[np.bool_]) -> dict[str, object]:
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(np.concatenate([[flat[0]], flat[1:] != flat[:-1], [True]]))
    counts = np.diff(np.concatenate([[0], ends]))
    return {"size": list(mask.shape), "counts": compress(counts).decode("ascii")}


def _write_classes(folder: Path, names: Sequence[str]) -> None:
    path = folder / CLASSES_FILE
    text = "".join(f"{name}\n" for name in names)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            "the folder holds a data set with other classes",
            where=path,
            found=path.read_text(encoding="utf-8").split("\n")[:5],
            expected=list(names)[:5],
            fix="choose another folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
