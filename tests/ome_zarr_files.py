"""OME-Zarr files as other programs write them, both versions, for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write_image(
    folder: Path,
    array: np.ndarray,
    axes: str,
    *,
    version: str = "0.4",
    levels: int = 1,
    micrometres: float | None = 0.5,
    notes: dict[str, Any] | None = None,
    chunk: int = 32,
    separator: str = "/",
    shards: bool = False,
) -> Path:
    """Write an image; each level has every second pixel of the one before."""
    unit = {} if micrometres is None else {"unit": "micrometer"}
    described = [
        {"name": a, "type": KINDS[a], **(unit if KINDS[a] == "space" else {})} for a in axes
    ]
    datasets = []
    for level in range(levels):
        factor = 2**level
        part = array[tuple(slice(None, None, factor if a in "yx" else 1) for a in axes)]
        write_array(folder / str(level), part, axes, version, chunk, separator, shards)
        scale = [(micrometres or 1.0) * (factor if a in "yx" else 1) if a in "zyx" else 1.0
                 for a in axes]  # fmt: skip
        transform = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": transform})
    multiscale = {"name": folder.name, "axes": described, "datasets": datasets}
    if version == "0.4":
        multiscale["version"] = "0.4"
    return write_group(folder, {"multiscales": [multiscale], **(notes or {})}, version=version)


def write_array(
    folder: Path,
    part: np.ndarray,
    axes: str,
    version: str,
    chunk: int = 32,
    separator: str = "/",
    shards: bool = False,
) -> None:
    chunks = tuple(min(chunk, s) if a in "yx" else 1 for a, s in zip(axes, part.shape, strict=True))
    settings: dict[str, Any] = {"zarr_format": 3}
    if version == "0.4":
        encoding = {"name": "v2", "separator": separator}
        settings = {"zarr_format": 2, "chunk_key_encoding": encoding}
    elif shards:
        settings["shards"] = tuple(
            c * -(-s // c) if a in "yx" else c
            for a, c, s in zip(axes, chunks, part.shape, strict=True)
        )
    stored = zarr.create_array(
        store=str(folder),
        shape=part.shape,
        chunks=chunks,
        dtype=part.dtype,
        overwrite=True,
        **settings,
    )
    stored[...] = part


def write_group(folder: Path, notes: dict[str, Any], *, version: str = "0.4") -> Path:
    """Write the metadata of a group."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (folder / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        (folder / ".zattrs").write_text(json.dumps(notes))
    else:
        content = {"zarr_format": 3, "node_type": "group",
                   "attributes": {"ome": {"version": "0.5", **notes}}}  # fmt: skip
        (folder / "zarr.json").write_text(json.dumps(content))
    return folder


def write_labels(
    image: Path,
    name: str,
    array: np.ndarray,
    axes: str,
    *,
    version: str = "0.4",
    properties: list[dict[str, Any]] | None = None,
    colors: list[dict[str, Any]] | None = None,
    listed: list[str] | None = None,
    **settings: Any,
) -> Path:
    """Write a label image into `labels/` and add its name to the list."""
    said: dict[str, Any] = {"source": {"image": "../../"}}
    said |= {"properties": properties} if properties else {}
    said |= {"colors": colors} if colors else {}
    folder = image / "labels" / name
    write_image(folder, array, axes, version=version, notes={"image-label": said}, **settings)
    names = listed or [path.name for path in sorted((image / "labels").iterdir()) if path.is_dir()]
    write_group(image / "labels", {"labels": names}, version=version)
    return folder
