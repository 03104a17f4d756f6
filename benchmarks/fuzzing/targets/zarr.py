"""Targets: OME-Zarr, version 2 and 3 of zarr: one file of a store is the input, the rest stays.

The stores are written out here, so that what lies in them is plain to see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fuzzing.mutation import mutate_json
from benchmarks.fuzzing.target import Target
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.ome_zarr import OmeZarrLayout
from samft.data.preprocessing import Preprocessing
from samft.data.readers.ome_zarr_groups import find_zarrs
from samft.data.zarr_source import zarr_sources
from samft.errors import SamftError

_SHAPE, _CHUNK, _SHARD = (2, 5, 6), (1, 4, 4), (1, 8, 8)
_STORE: Final = "a.zarr"
_VALUES: Final = (np.arange(16, dtype="<u2") * 700).reshape(_CHUNK)
_CELLS: Final = (np.arange(16, dtype="<u2") // 6).reshape(_CHUNK)
_MISSING: Final = 2**64 - 1
_PLACES: Final = [(z, y, x) for z in range(2) for y in range(2) for x in range(2)]
_BLOSC: Final = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    second, third, plate = _second_store(), _third_store(), _plate()
    return (
        _target("zarr2_notes", second, ".zattrs"),
        _target("zarr2_array", second, "0/.zarray"),
        _target("zarr2_labels", second, "labels/cells/.zattrs"),
        _target("zarr3_notes", third, "zarr.json"),
        _target("zarr3_array", third, "0/zarr.json"),
        _target("zarr3_shard", third, "0/c/0/0/0", form=False),
        _target("zarr_plate", plate, ".zattrs"),
        Target("zarr2_chunk", f"{_STORE}/0/0/0/0", _read, _chunk_seeds,
               around=_without(_second_store(_BLOSC), "0/0/0/0")),
    )  # fmt: skip


def _target(name: str, store: Mapping[str, bytes], file: str, *, form: bool = True) -> Target:
    """Return a target whose input is one file of a store.

    Args:
        name: Its name.
        store: The files.
        file: Which of them.
        form: Whether it is JSON, to be kept so.
    """
    read = _read_sources if name == "zarr_plate" else _read
    mutate = mutate_json if form else None
    return Target(
        name, f"{_STORE}/{file}", read, lambda folder: _seeds(folder, store, file), mutate,
        around=_without(store, file),
    )  # fmt: skip


def _seeds(folder: Path, store: Mapping[str, bytes], file: str) -> Sequence[bytes]:
    """Return the file; the store is read once, as zarr looks for codecs in all packages then."""
    for name, content in store.items():
        path = folder / _STORE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    _read_sources(folder / _STORE / file)
    return [store[file]]


def _without(store: Mapping[str, bytes], file: str) -> dict[str, bytes]:
    return {f"{_STORE}/{name}": data for name, data in store.items() if name != file}


def _root(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == _STORE).parent


def _read(path: Path) -> object:
    """Read what a data set of this store consists of: images and objects."""
    layout = OmeZarrLayout(_root(path), LayoutSettings())
    for record in layout.records():
        truth, source = layout.truth(record), layout.source(record, Preprocessing())
        last, (height, width) = len(source.planes) - 1, source.size(0)
        source.part(last, (height // 2, 0, height - height // 2, width))
        truth.objects("value", at=(1, 0))
        for level in range(source.image.num_levels)[1:]:
            source.image.plane(0, level=level)
    return None


def _read_sources(path: Path) -> object:
    root, failures = _root(path), dict[str, SamftError]()
    for folder in find_zarrs(root):
        for source in zarr_sources(root, folder, Preprocessing(), failures)[:20]:
            source.picture(0)
            source.image.across(1, 0, level=source.image.level_for(2.0))
    if failures:
        raise next(iter(failures.values()))
    return None


def _chunk_seeds(folder: Path) -> Sequence[bytes]:
    import numcodecs

    _seeds(folder, _second_store(), ".zattrs")
    kinds = (("lz4", 1), ("zstd", 2), ("zlib", 0), ("blosclz", 1))
    return [
        bytes(numcodecs.Blosc(cname=name, shuffle=shuffle).encode(_VALUES))
        for name, shuffle in kinds
    ]


def _json(**content: Any) -> bytes:  # Any: JSON
    return json.dumps(content).encode()


def _notes(levels: int) -> list[dict[str, Any]]:  # Any: JSON
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    datasets = [
        {"path": str(level),
         "coordinateTransformations": [{"type": "scale", "scale": [1.0, 2.0**level, 2.0**level]}]}
        for level in range(levels)
    ]  # fmt: skip
    return [{"version": "0.4", "name": "a", "axes": axes, "datasets": datasets}]


def _said() -> dict[str, Any]:  # Any: JSON
    return {
        "version": "0.4",
        "properties": [{"label-value": 1, "class": "cat"}, {"label-value": 2, "class": "dog"}],
        "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}],
        "source": {"image": "../../"},
    }


def _omero() -> dict[str, Any]:  # Any: JSON
    return {"channels": [{"label": "dna", "window": {"start": 0, "end": 9}, "color": "FF0000"}]}


def _second_store(compressor: dict[str, Any] | None = None) -> dict[str, bytes]:
    """Return the files of an image of two resolutions with labels, version 2."""
    group, store = _json(zarr_format=2), dict[str, bytes]()
    for folder in ("", "labels/", "labels/cells/"):
        store[f"{folder}.zgroup"] = group
    store[".zattrs"] = _json(multiscales=_notes(2), omero=_omero())
    store["labels/.zattrs"] = _json(labels=["cells"])
    store["labels/cells/.zattrs"] = _json(**{"multiscales": _notes(1), "image-label": _said()})
    store |= _second_array("0", _SHAPE, _VALUES, compressor)
    store |= _second_array("1", (2, 3, 3), _VALUES)
    return store | _second_array("labels/cells/0", _SHAPE, _CELLS)


def _second_array(
    folder: str, shape: tuple[int, ...], values: np.ndarray, compressor: Any = None
) -> dict[str, bytes]:
    described = _json(
        zarr_format=2, shape=shape, chunks=_CHUNK, dtype="<u2", compressor=compressor, order="C",
        fill_value=0, filters=None, dimension_separator="/",
    )  # fmt: skip
    # Chunks that are not there are all background: of a packed array there is one alone.
    places = _PLACES if compressor is None else []
    chunks = {f"{folder}/{z}/{y}/{x}": values.tobytes() for z, y, x in places}
    return {f"{folder}/.zarray": described, **chunks}


def _third_store() -> dict[str, bytes]:
    """Return the files of an image in shards with labels, version 3."""

    def group(**notes: Any) -> bytes:  # Any: JSON
        ome = {"ome": {"version": "0.5", **notes}}
        return _json(zarr_format=3, node_type="group", attributes=ome)

    store = {
        "zarr.json": group(multiscales=_notes(1), omero=_omero()),
        "labels/zarr.json": group(labels=["cells"]),
        "labels/cells/zarr.json": group(**{"multiscales": _notes(1), "image-label": _said()}),
    }
    return store | _third_array("0", _VALUES) | _third_array("labels/cells/0", _CELLS)


def _third_array(folder: str, values: np.ndarray) -> dict[str, bytes]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    inside = {"chunk_shape": _CHUNK, "codecs": [little], "index_codecs": [little],
              "index_location": "end"}  # fmt: skip
    grid = {"name": "regular", "configuration": {"chunk_shape": _SHARD}}
    described = _json(
        zarr_format=3, node_type="array", shape=_SHAPE, data_type="uint16", fill_value=0,
        chunk_grid=grid, codecs=[{"name": "sharding_indexed", "configuration": inside}],
        chunk_key_encoding={"name": "default", "configuration": {"separator": "/"}},
        attributes={}, dimension_names=list("zyx"), storage_transformers=[],
    )  # fmt: skip
    chunk = values.tobytes()
    index = np.array([(0, len(chunk)), (0, len(chunk)), (_MISSING, _MISSING), (0, len(chunk))],
                     "<u8")  # fmt: skip
    shard = chunk + index.tobytes()
    return {f"{folder}/zarr.json": described, **{f"{folder}/c/{z}/0/0": shard for z in range(2)}}


def _plate() -> dict[str, bytes]:
    """Return the files of a plate with one well of two fields."""
    plate = {
        "columns": [{"name": "1"}], "rows": [{"name": "A"}], "name": "a", "field_count": 2,
        "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}], "version": "0.4",
    }  # fmt: skip
    store = {".zattrs": _json(plate=plate), ".zgroup": _json(zarr_format=2)}
    fields = [{"path": "0", "acquisition": 0}, {"path": "1"}]
    store["A/1/.zattrs"] = _json(well={"images": fields, "version": "0.4"})
    for field in ("A/1/0", "A/1/1"):
        store[f"{field}/.zattrs"] = _json(multiscales=_notes(1))
        store |= _second_array(f"{field}/0", _SHAPE, _VALUES)
    return store
