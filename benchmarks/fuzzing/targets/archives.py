"""Targets: files that hold many others: tar shards, Arrow, Parquet, arrays."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from benchmarks.fuzzing.places import with_own_places
from benchmarks.fuzzing.tar_changes import mutate_tar
from benchmarks.fuzzing.target import Target
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.hf_dataset import HfDatasetLayout
from samft.data.preprocessing import Preprocessing
from samft.data.sharded_datamodule import ShardedDataModule
from samft.data.shards.decoding import ShardDecoding
from samft.data.shards.shard_set import ShardSet, open_shards
from samft.inference.array_sources import ImageSource, VolumeSource, open_array, sampled_range

_SIDE = 8
_MOST_SAMPLES = 20


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (
        Target("tar_shard", "a.tar", with_own_places(_read_shard), _tar_seeds, mutate_tar),
        Target("arrow", "data.arrow", with_own_places(_read_rows), _arrow_seeds),
        Target("parquet", "data.parquet", with_own_places(_read_rows), _parquet_seeds),
        Target("array", "volume.npy", _read_array, _array_seeds),
    )


def _read_shard(path: Path) -> object:
    shards = ShardSet(path.parent, open_shards([path]))
    decoding = ShardDecoding()
    for index in range(min(len(shards), _MOST_SAMPLES)):
        shards.name(shards[index])
        decoding.sample(shards, shards[index])
    data = ShardedDataModule(root=str(path.parent), on_missing="skip", val_fraction=0.0)
    data.prepare_index()
    return data.class_names


def _read_rows(path: Path) -> object:
    layout = HfDatasetLayout(path.parent, LayoutSettings())
    records = layout.records()[:_MOST_SAMPLES]
    layout.check(records)
    for record in records:
        layout.truth(record).objects("component")
        layout.source(record, Preprocessing()).picture(0)
    return layout.class_names


def _read_array(path: Path) -> object:
    array = open_array(path)
    limits = None if array.dtype == np.uint8 else sampled_range(array)
    if len(array.shape) == 2:
        image = ImageSource(array, value_range=limits)
        height, width = image.size
        return image.read((0, 0, min(_SIDE, width), min(_SIDE, height)))
    volume = VolumeSource(array, value_range=limits)
    return volume.read(volume.count - 1)


# --- seeds ------------------------------------------------------------------------------------


def _encoded(array: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def encoded_image(kind: str = "PNG") -> bytes:
    """Return a small picture."""
    values = np.arange(_SIDE * _SIDE * 3, dtype=np.uint8).reshape(_SIDE, _SIDE, 3)
    return _encoded(values, kind)


def encoded_mask() -> bytes:
    """Return a mask of two objects."""
    values = np.zeros((_SIDE, _SIDE), np.uint8)
    values[1:3, 1:3], values[5:, 5:] = 1, 2
    return _encoded(values)


def _annotations() -> bytes:
    objects = [
        {"segmentation": {"size": [_SIDE, _SIDE], "counts": [9, 3, 52]}, "area": 3, "id": 1},
        {"segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]], "category_id": 1, "iscrowd": 0},
    ]
    image = {"image_id": 1, "width": _SIDE, "height": _SIDE, "file_name": "a.png"}
    document = {"image": image, "annotations": objects[:1], "samft": {"spacing_mm": [1, 2]}}
    return json.dumps(document).encode()


def _tar(files: dict[str, bytes], kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    used = buffer.getvalue().rstrip(b"\0")
    return used + bytes(-len(used) % 512 + 1024)  # tarfile pads to twenty blocks


def _tar_seeds(_: Path) -> Sequence[bytes]:
    masks = {
        "a.png": encoded_image(),
        "a.mask.png": encoded_mask(),
        "b.png": encoded_image(),
        "b.mask.png": encoded_mask(),
    }
    outlines = {
        "sa_1.jpg": encoded_image("JPEG"),
        "sa_1.json": _annotations(),
        "sa_1.txt": b"a text",
    }
    long = {f"{'d' * 120}/é.png": encoded_image(), f"{'d' * 120}/é.mask.png": encoded_mask()}
    return [
        *(_tar(files, tarfile.USTAR_FORMAT) for files in (masks, outlines)),
        *(_tar(long, kind) for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    ]


def _table(count: int, *, listed: bool = False) -> Any:  # Any: pyarrow.Table
    cell = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    image, mask = ({"bytes": data, "path": None} for data in (encoded_image(), encoded_mask()))
    masks = [[mask, mask]] * count if listed else [mask] * count
    kind = pyarrow.list_(cell) if listed else cell
    columns = {
        "image": pyarrow.array([image] * count, cell),
        "mask": pyarrow.array(masks, kind),
        "case_id": pyarrow.array([str(number) for number in range(count)]),
    }
    feature = {"_type": "Image"}
    noted = {"image": feature, "mask": [feature] if listed else feature}
    features = json.dumps({"info": {"features": noted}})
    return pyarrow.table(columns).replace_schema_metadata({"huggingface": features})


def _tables() -> Iterator[Any]:  # Any: as above
    yield _table(3)
    yield _table(1, listed=True)
    yield _table(2).replace_schema_metadata({})


def _arrow_seeds(_: Path) -> Sequence[bytes]:
    seeds = []
    for table in _tables():
        for writer in (pyarrow.ipc.new_stream, pyarrow.ipc.new_file):
            sink = pyarrow.BufferOutputStream()
            with writer(sink, table.schema) as out:
                out.write_table(table)
            seeds.append(sink.getvalue().to_pybytes())
    return seeds


def _parquet_seeds(_: Path) -> Sequence[bytes]:
    seeds = []
    for table in _tables():
        for compression in ("none", "snappy"):
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(table, sink, compression=compression, row_group_size=2)
            seeds.append(sink.getvalue().to_pybytes())
    return seeds


def _array_seeds(_: Path) -> Sequence[bytes]:
    seeds = []
    for shape, dtype in (
        ((6, 5), "u1"),
        ((2, 6, 5, 3), "u1"),
        ((5, 6, 7), "<f4"),
        ((3, 6, 5), ">i2"),
    ):
        buffer = io.BytesIO()
        np.save(buffer, np.arange(np.prod(shape)).reshape(shape).astype(dtype))
        seeds.append(buffer.getvalue())
    return seeds
