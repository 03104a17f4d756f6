"""OME-Zarr that lies: refused with a readable error, in bounded memory, and nothing is followed."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from ome_zarr_files import write_group, write_image, write_labels

from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.ome_zarr_groups import find_zarrs, image_names, label_images
from samft.data.readers.zarr_chunks import unpacks_within
from samft.errors import DatasetError

PIXELS = np.random.default_rng(0).integers(0, 60000, (70, 50)).astype(np.uint16)
NAMES = ["../secret", "/etc", "a/../../secret", "..\\secret", "C:/secret", ""]


def message(call) -> str:
    with pytest.raises(DatasetError) as caught:
        call()
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    return text


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def image(folder: Path, version: str = "0.4", **settings: Any) -> Path:
    return write_image(folder, PIXELS, "yx", version=version, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    image(tmp_path / "secret")
    path = image(tmp_path / "a.zarr")
    notes = json.loads((path / ".zattrs").read_text())
    notes["multiscales"][0]["datasets"][0]["path"] = name
    write_group(path, notes)
    assert "leads out of it" in message(lambda: OmeZarrImage(path))
    image(path)
    write_labels(path, "cells", PIXELS, "yx", listed=[name])
    text = message(lambda: label_images(path, tmp_path))
    assert "a name in an OME-Zarr leads out of it" in text
    assert repr(name) in text
    assert "fix: correct its metadata" in text
    plate = write_group(tmp_path / "p", {"plate": {"wells": [{"path": name}]}})
    assert "leads out" in message(lambda: image_names(plate))
    series = write_group(tmp_path / "s", {"bioformats2raw.layout": 3})
    write_group(series / "OME", {"series": [name]})
    assert "leads out" in message(lambda: image_names(series))


def test_names_too_long_for_any_file(tmp_path: Path) -> None:
    name = "x" * 300
    path = image(tmp_path / "a.zarr")
    notes = json.loads((path / ".zattrs").read_text())
    notes["multiscales"][0]["datasets"][0]["path"] = name
    write_group(path, notes)
    assert "the folder is no zarr" in message(lambda: OmeZarrImage(path))
    image(path)
    write_labels(path, "cells", PIXELS, "yx", listed=[name])
    assert "a label image is missing" in message(lambda: label_images(path, tmp_path))
    plate = write_group(tmp_path / "p", {"plate": {"wells": [{"path": name}]}})
    assert image_names(plate) == []


def test_links_that_lead_out(tmp_path: Path) -> None:
    secret, root = image(tmp_path / "secret"), tmp_path / "data"
    path = image(root / "a.zarr")
    chunk = path / "0" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(secret / "0" / "0" / "0")
    text = message(lambda: OmeZarrImage(path, root).plane(0))
    assert "a symbolic link leads out of the data folder" in text
    assert str(chunk) in text
    assert "fix: copy the file" in text
    labelled = image(root / "b.zarr")
    write_labels(labelled, "cells", PIXELS, "yx")
    (labelled / "labels" / "linked").symlink_to(secret)
    write_group(labelled / "labels", {"labels": ["linked"]})
    assert "leads out of it" in message(lambda: label_images(labelled, root))
    other = image(root / "c.zarr")
    (other / "labels").symlink_to(tmp_path / "secret")
    assert "leads out of it" in message(lambda: label_images(other, root))
    (root / "d.zarr").symlink_to(secret)
    text = message(lambda: find_zarrs(root))
    assert "a symbolic link leads out" in text
    (root / "d.zarr").unlink()
    (root / "e.zarr").symlink_to(path)  # one that stays inside is fine
    assert root / "e.zarr" in find_zarrs(root)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_huge_chunks(tmp_path: Path, version: str) -> None:
    path = image(tmp_path / "a", version)
    if version == "0.4":
        edit(path / "0" / ".zarray", chunks=[2**20, 2**20])
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": [2**20, 2**20]}}
        edit(path / "0" / "zarr.json", chunk_grid=grid)
    text = message(lambda: OmeZarrImage(path))
    assert "more memory than allowed" in text
    assert "SAMFT_MAX_BYTES" in text


def test_huge_shapes(tmp_path: Path) -> None:
    path = image(tmp_path / "a")
    edit(path / "0" / ".zarray", shape=[2**30, 2**30])
    found = OmeZarrImage(path)  # part by part it may be read
    assert found.plane(0, window=(2**29, 7, 5, 5)).shape == (1, 5, 5)
    assert "more memory than allowed" in message(lambda: found.plane(0))
    edit(path / "0" / ".zarray", shape=[2**62, 4])
    assert "positive whole numbers" in message(lambda: OmeZarrImage(path))
    deep = write_image(tmp_path / "b", PIXELS[None], "zyx")
    edit(deep / "0" / ".zarray", shape=[2**36, 70, 50])
    assert "at most 1000000 planes" in message(lambda: OmeZarrImage(deep))


def test_millions_of_tiny_chunks(tmp_path: Path) -> None:
    path = image(tmp_path / "a")
    edit(path / "0" / ".zarray", shape=[10_000, 10_000], chunks=[1, 1])
    text = message(lambda: OmeZarrImage(path).plane(0))
    assert "the array lies in too many pieces" in text
    assert "100000000 chunks of 1 x 1" in text
    assert "fix: save it with larger chunks" in text


@pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4"])
def test_chunks_that_unpack_to_far_more(tmp_path: Path, codec: str) -> None:
    size = 32 * 2**20
    stored = zarr.create_array(
        store=str(tmp_path / "a"), shape=(64, 64), chunks=(64, 64), dtype="uint8", zarr_format=2,
        compressors=numcodecs.get_codec({"id": codec}),
    )  # fmt: skip
    stored[...] = 1
    chunk = tmp_path / "a" / "0.0"
    bomb = numcodecs.get_codec({"id": codec}).encode(np.zeros(size, np.uint8))
    chunk.write_bytes(bytes(bomb))
    tracemalloc.start()
    text = message(lambda: OmeZarrImage(tmp_path / "a").plane(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "cannot be read" in text
    assert peak < 16 * 2**20


@pytest.mark.parametrize("whole", [True, False])
def test_shards_that_unpack_to_far_more(tmp_path: Path, whole: bool) -> None:
    stored = zarr.create_array(
        store=str(tmp_path / "a"), shape=(64, 64), chunks=(32, 32), shards=(64, 64), dtype="uint8"
    )
    stored[...] = np.arange(64 * 64).reshape(64, 64) % 251
    shard = tmp_path / "a" / "c" / "0" / "0"
    data = shard.read_bytes()
    bomb = bytes(numcodecs.Zstd().encode(np.zeros(32 * 2**20, np.uint8)))
    index = np.array([[0, len(bomb)]] * 4, "<u8").tobytes()
    checksum = numcodecs.CRC32C().encode(index)[-4:]
    shard.write_bytes(bomb + index + bytes(checksum))
    assert len(data) > 68
    window = None if whole else (3, 3, 5, 5)
    assert "unpacked" in message(lambda: OmeZarrImage(tmp_path / "a").plane(0, window=window))


def test_a_chunk_file_that_is_far_too_large(tmp_path: Path) -> None:
    path = image(tmp_path / "a")
    with (path / "0" / "0" / "0").open("wb") as file:
        file.truncate(2**33)  # a hole: no space is taken
    text = message(lambda: OmeZarrImage(path).plane(0))
    assert f"{2**33} bytes" in text
    assert "chunks of 2048 bytes" in text


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_cut_off(tmp_path: Path, version: str, share: float) -> None:
    path = image(tmp_path / "a", version)
    chunk = path / "0" / ("0/0" if version == "0.4" else "c/0/0")
    data = chunk.read_bytes()
    chunk.write_bytes(data[: int(len(data) * share)])
    assert "cannot be read" in message(lambda: OmeZarrImage(path).plane(0))


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_codecs_that_run_code_are_refused(tmp_path: Path, place: str) -> None:
    path, codec = image(tmp_path / "a"), {"id": "pickle"}
    edit(path / "0" / ".zarray", **{place: [codec] if place == "filters" else codec})
    text = message(lambda: OmeZarrImage(path))
    assert "packed in a way that is not read" in text
    assert "codec 'pickle'" in text
    third = image(tmp_path / "b", "0.5")
    edit(third / "0" / "zarr.json", codecs=[{"name": "bytes"}, {"name": "numcodecs.pickle"}])
    assert "codec 'pickle'" in message(lambda: OmeZarrImage(third))


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": []},
        {"shape": [70]},
        {"shape": [70, 50, 3]},
        {"shape": [-1, 50]},
        {"shape": [0, 50]},
        {"shape": "70"},
        {"shape": [70.5, 50]},
        {"shape": [True, 50]},
        {"shape": None},
        {"chunks": [0, 32]},
        {"chunks": [32]},
        {"dtype": "|O"},
        {"dtype": "<c8"},
        {"dtype": "|S999999999"},
        {"dtype": [["a", "<u2"]]},
        {"dtype": 7},
        {"dtype": "nonsense"},
        {"compressor": 7},
        {"filters": 7},
        {"filters": [7]},
    ],
)
def test_damaged_arrays(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = image(tmp_path / "a")
    edit(path / "0" / ".zarray", **changes)
    assert str(path / "0") in message(lambda: OmeZarrImage(path).plane(0))


@pytest.mark.parametrize(
    "changes",
    [
        {"zarr_format": 9},
        {"node_type": "file"},
        {"attributes": 7},
        {"shape": {}},
        {"chunk_grid": 7},
        {"chunk_grid": {"name": "rectilinear"}},
        {"codecs": 7},
        {"codecs": [7]},
        {"codecs": [{"name": "sharding_indexed", "configuration": 7}]},
        {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [3, 3]}}]},
        {"data_type": "string"},
    ],
)
def test_damaged_arrays_of_version_3(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = image(tmp_path / "a", "0.5")
    edit(path / "0" / "zarr.json", **changes)
    assert str(path / "0") in message(lambda: OmeZarrImage(path).plane(0))


NAN = float("nan")


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": 7},
        {"axes": [7, 8]},
        {"axes": ["y"]},
        {"axes": ["y", "y"]},
        {"axes": ["t", "c"]},
        {"axes": [{"name": 1}, {"name": 2}]},
        {"axes": ["z", "y", "x"]},
        {"datasets": []},
        {"datasets": 7},
        {"datasets": [7]},
        {"datasets": [{"path": 7}]},
        {"datasets": [{"path": "gone"}]},
        {"datasets": [{"path": "0", "coordinateTransformations": 7}]},
        {"datasets": [{"path": "0", "coordinateTransformations": [7]}]},
        *(
            {"datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": scale}]}]}
            for scale in (7, [1], [1, "a"], [1, 0], [1, -2], [1, NAN], [1, float("inf")], [1, True])
        ),
        {"coordinateTransformations": [{"type": "scale", "scale": [1]}]},
    ],
)  # fmt: skip
def test_damaged_notes(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = image(tmp_path / "a")
    notes = json.loads((path / ".zattrs").read_text())
    notes["multiscales"][0] |= changes
    write_group(path, notes)
    assert str(path) in message(lambda: OmeZarrImage(path))


@pytest.mark.parametrize("notes", [{"multiscales": 7}, {"multiscales": []}, {"multiscales": [7]}])
def test_no_image_in_the_notes(tmp_path: Path, notes: dict[str, Any]) -> None:
    path = image(tmp_path / "a")
    write_group(path, notes)
    assert "an OME-Zarr image" in message(lambda: OmeZarrImage(path))


@pytest.mark.parametrize(
    "notes",
    [
        {"plate": 7},
        {"plate": {"wells": 7}},
        {"plate": {"wells": [7]}},
        {"plate": {"wells": [{"path": 7}]}},
        {"well": {"images": [{}]}},
        {"well": []},
    ],
)
def test_damaged_plates(tmp_path: Path, notes: dict[str, Any]) -> None:
    path = write_group(tmp_path / "a", notes)
    assert str(path) in message(lambda: image_names(path))


@pytest.mark.parametrize("listed", [7, [7], {"a": 1}])
def test_damaged_lists(tmp_path: Path, listed: object) -> None:
    path = image(tmp_path / "a")
    write_labels(path, "cells", PIXELS, "yx")
    write_group(path / "labels", {"labels": listed})
    assert str(path / "labels") in message(lambda: label_images(path, tmp_path))
    series = write_group(tmp_path / "s", {"bioformats2raw.layout": 3})
    write_group(series / "OME", {"series": listed})
    assert "series" in message(lambda: image_names(series))


@pytest.mark.parametrize("said", [7, {"properties": 7}, {"colors": {}, "properties": "a"}])
def test_damaged_label_notes(tmp_path: Path, said: object) -> None:
    path = image(tmp_path / "a")
    folder = write_labels(path, "cells", PIXELS, "yx")
    notes = json.loads((folder / ".zattrs").read_text())
    write_group(folder, {**notes, "image-label": said})
    assert str(folder) in message(lambda: label_images(path, tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "nothing", '"a"', "[" * 100_000, "\udce9"])
def test_no_json(tmp_path: Path, text: str) -> None:
    for version, name in (("0.4", ".zattrs"), ("0.4", "0/.zarray"), ("0.5", "zarr.json")):
        path = image(tmp_path / f"{version}{len(name)}", version)
        (path / name).write_bytes(text.encode(errors="surrogateescape"))
        assert "cannot be read" in message(lambda path=path: OmeZarrImage(path))


def test_random_bytes_never_escape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = image(tmp_path / "a", "0.5", shards=True)
    files = [path / "zarr.json", path / "0" / "zarr.json", *(path / "0" / "c").rglob("0")]
    for file in (f for f in files if f.is_file()):
        original = np.frombuffer(file.read_bytes(), np.uint8)
        for _ in range(30):
            hit = original.copy()
            hit[rng.integers(0, len(hit), 3)] = rng.integers(0, 256, 3)
            file.write_bytes(hit.tobytes())
            try:
                OmeZarrImage(path).plane(0)
            except DatasetError as error:
                assert len(str(error).splitlines()) <= 3
        file.write_bytes(original.tobytes())


def test_zstd_without_a_size_is_counted_by_its_blocks() -> None:
    def frame(blocks: list[tuple[int, int, bytes]]) -> bytes:
        body = b"".join(
            (last | kind << 1 | size << 3).to_bytes(3, "little") + data
            for number, (kind, size, data) in enumerate(blocks)
            for last in [int(number == len(blocks) - 1)]
        )
        return b"\x28\xb5\x2f\xfd\x00\x58" + body  # no size, a window, no checksum

    bomb = frame([(1, 128 * 1024, b"\0")] * 5000)  # 20 kB that unpack to 655 MB
    assert len(bomb) < 25_000
    assert not unpacks_within(bomb, "zstd", 100 * 2**20)
    assert unpacks_within(frame([(1, 1024, b"\0")] * 50), "zstd", 100_000)
    assert unpacks_within(frame([(0, 4, b"abcd")] * 3), "zstd", 100)
    two = frame([(1, 1024, b"\0"), (0, 0, b"")]) * 200
    assert not unpacks_within(two, "zstd", 100_000)
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert unpacks_within(skipped + frame([(1, 1024, b"\0")]), "zstd", 100_000)
    for size in (10, 1000, 300_000):
        data = np.random.default_rng(size).integers(0, 3, size).astype(np.uint8)
        assert unpacks_within(bytes(numcodecs.Zstd().encode(data)), "zstd", size)
