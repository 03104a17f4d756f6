"""Targets: what samft keeps for itself: stored embeddings, caches, records of unfinished work."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch

from benchmarks.fuzzing.mutation import mutate_json, mutate_yaml
from benchmarks.fuzzing.places import with_own_places
from benchmarks.fuzzing.target import Target
from benchmarks.fuzzing.targets.checkpoints import mutate_zip_directory
from samft.data.index_cache import load_arrays, store_arrays
from samft.data.record_store import RecordStore
from samft.data.records import Record
from samft.embeddings.folders import clear, info
from samft.embeddings.index import RECORD_BYTES, TAG_BYTES, IndexRecord
from samft.embeddings.key import EntryKey, StoreKey
from samft.embeddings.manifest import MANIFEST, Manifest
from samft.embeddings.store import EmbeddingStore
from samft.inference.journal import KINDS, Journal
from samft.inference.output_folder import OutputFolder
from samft.inference.work_folder import WorkFolder
from samft.models.cache import sha256_of
from samft.run_environment import read_record, read_settings

_KEY: Final = StoreKey(
    weights="0" * 64, model={"arch": "vit_nano"}, preprocessing={}, dtype="float16"
)
_TAG: Final = bytes.fromhex(_KEY.digest)[:TAG_BYTES]
_SHARD: Final = f"{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-1-{'0' * 12}"
_FOLDER: Final = f"stores/{_KEY.folder_name}"
_VALUES: Final = torch.arange(24, dtype=torch.float16)
_BODY: Final = "<8s32sIIQB3x8Q"
_PLAN: Final = {"box": [1, 2], "arch": "vit_nano", "nested": {"a": 1}}


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    data = _VALUES.numpy().tobytes()
    shard = f"{_FOLDER}/{_SHARD}"
    manifest = {f"{_FOLDER}/{MANIFEST}": _manifest()}
    index = {f"{shard}.index": _records()}
    return (
        Target(
            "store_manifest", f"{_FOLDER}/{MANIFEST}", _read_store, lambda _: [_manifest()],
            mutate_json, around={f"{shard}.data": data, **index},
        ),
        Target(
            "store_index", f"{shard}.index", _read_store, lambda _: [_records()], mutate_records,
            around={f"{shard}.data": data, **manifest},
        ),
        Target(
            "store_data", f"{shard}.data", _read_store, lambda _: [data],
            around={**index, **manifest},
        ),
        Target("cached_hashes", "cache/weights/sha256.json", _read_hashes, _hash_seeds, mutate_json,
               around={"w.pth": b"content"}),
        Target("index_cache", "index/about.json", _read_index, _array_part("about.json"),
               mutate_json, around=_array_files("about.json")),
        Target("index_array", "index/images-ends.npy", _read_index, _array_part("images-ends.npy"),
               around=_array_files("images-ends.npy")),
        Target("work_part", "out.npy.partial/part.npz", _read_part, _part_seeds,
               mutate_zip_directory),
        Target("work_manifest", "out.npy.partial/work.json", _open_work, _work_seeds, mutate_json),
        Target("journal_plan", "out/config.predict.yaml", _go_on, _plan_seeds, mutate_yaml),
        Target("journal_entry", "out/.samft/images/a.json", with_own_places(_begin_anew),
               _entry_seeds, mutate_json,
               around={"out/config.predict.yaml": b"box: 1\n", "secret.txt": b"kept"}),
        Target("run_record", "run/env.json", read_record, _plan_as_json,
               mutate_json),
        Target("run_config", "run/config.fit.yaml", read_settings, _plan_seeds,
               mutate_yaml),
    )  # fmt: skip


# --- stored embeddings ------------------------------------------------------------------------


def _read_store(path: Path) -> object:
    root = path.parent.parent
    found = info(root)
    with EmbeddingStore(root, _KEY) as store:
        for entry in store.entries:
            store.get(entry, dtype=torch.float32)
            store.forget(entry)
    with EmbeddingStore(root, _KEY, mode="write") as store:
        store.get(EntryKey(bytes(32), 7))  # a damaged one counts as there until it is read
        store.put(EntryKey(bytes(32), 7), torch.ones(2))
        store.flush()
        if store.get(EntryKey(bytes(32), 7)) is None:
            raise AssertionError("what was stored is not there")
    clear(root)
    return found


def _manifest() -> bytes:
    manifest = Manifest.of(_KEY)
    with TemporaryDirectory() as folder:
        manifest.write(Path(folder))
        return Path(folder, MANIFEST).read_bytes()


def _records() -> bytes:
    whole = IndexRecord(
        entry=EntryKey(bytes(32)), offset=0, shape=(2, 3, 4), crc=zlib.crc32(_VALUES.numpy())
    )
    second = IndexRecord(
        entry=EntryKey(bytes(32), 1), offset=0, shape=(4,), crc=zlib.crc32(_VALUES[:4].numpy())
    )
    return whole.encode(_TAG) + second.encode(_TAG)


def mutate_records(data: bytes, seed: int) -> bytes:
    """Change a number of a record of an index; its checksum is right again."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    if len(data) < RECORD_BYTES:
        return data
    start = RECORD_BYTES * chance.randrange(len(data) // RECORD_BYTES)
    values = list(struct.unpack_from(_BODY, data, start))
    place = chance.randrange(2, len(values))
    top = 2 ** {4: 64, 5: 8}.get(place, 64 if place > 5 else 32) - 1
    number = chance.choice((0, 1, 2, 3, 7, 8, 9, 64, 255, 2**20, 2**31, 2**40, top, top - 1))
    values[place] = min(number, top)
    body = struct.pack(_BODY, *values)
    return data[:start] + body + struct.pack("<I", zlib.crc32(body)) + data[start + RECORD_BYTES :]


# --- caches -----------------------------------------------------------------------------------


def _read_hashes(path: Path) -> object:
    os.environ["SAMFT_CACHE"] = str(path.parent.parent)
    try:
        found = sha256_of([path.parents[2] / "w.pth"])
    finally:
        del os.environ["SAMFT_CACHE"]
    if found != hashlib.sha256(b"content").hexdigest():
        raise AssertionError("a hash that is not the file's")
    return found


def _hash_seeds(_: Path) -> Sequence[bytes]:
    fingerprint = {"size": 7, "mtime_ns": 1, "ctime_ns": 1, "inode": 1, "device": 1}
    return [json.dumps({"/w.pth": {"file": fingerprint, "sha256": "0" * 64}}).encode()]


@cache
def _stored_arrays() -> Mapping[str, bytes]:
    """Return the files that the records of a small data set are stored in."""
    records = [
        Record(
            sample_id=f"a/{number}.png", case_id=f"a/{number}", split="train",
            images=(Path(f"a/{number}.png"),) * 2, labels=(Path(f"b/{number}.png"),),
        )
        for number in range(5)
    ]  # fmt: skip
    before = os.environ.get("SAMFT_CACHE")
    with TemporaryDirectory() as folder:
        os.environ["SAMFT_CACHE"] = folder
        store = RecordStore.build(records)
        arrays = {
            f"{name}-{part}": values
            for name, column in store._texts.items()
            for part, values in column.arrays().items()
        } | {f"number-{name}": values for name, values in store._numbers.items()}
        stored = store_arrays(arrays, {name: one.wraps for name, one in store._texts.items()})
        os.environ.pop("SAMFT_CACHE")
        if before is not None:
            os.environ["SAMFT_CACHE"] = before
        return {path.name: path.read_bytes() for path in (stored or Path()).iterdir()}


def _array_files(without: str) -> Mapping[str, bytes]:
    files = _stored_arrays().items()
    return {f"index/{name}": content for name, content in files if name != without}


def _array_part(name: str) -> Callable[[Path], Sequence[bytes]]:
    return lambda _: [_stored_arrays()[name]]


def _read_index(path: Path) -> object:
    arrays, about = load_arrays(path.parent)
    return {name: values[:1].tolist() for name, values in arrays.items()}, about


# --- unfinished work --------------------------------------------------------------------------


def _read_part(path: Path) -> object:
    folder = WorkFolder(path.parent.with_suffix(""), {"a": 1})
    part = folder.load("part")
    folder.need("part")
    return part


def _part_seeds(_: Path) -> Sequence[bytes]:
    seeds = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, labels=np.ones((3, 4), np.int32), boxes=np.zeros((2, 4)))
        seeds.append(buffer.getvalue())
    return seeds


def _open_work(path: Path) -> object:
    with WorkFolder(path.parent.with_suffix(""), {"a": 1}).opened():
        return True


def _work_seeds(_: Path) -> Sequence[bytes]:
    text = json.dumps({"format": 1, "a": 1}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return [json.dumps({"digest": digest, "format": 1, "a": 1}).encode()]


def _go_on(path: Path) -> object:
    Journal(OutputFolder(path.parent)).begin(_PLAN, overwrite=False)
    return None


def _begin_anew(path: Path) -> object:
    journal = Journal(OutputFolder(path.parents[2]))
    entries = [entry for kind in KINDS for entry in journal.entries(kind)]
    secret = path.parents[3] / "secret.txt"
    journal.begin({"box": 2}, overwrite=True)
    if not secret.is_file():
        raise AssertionError("a file outside the folder was deleted")
    return entries


def _plan_as_json(_: Path) -> Sequence[bytes]:
    return [json.dumps(_PLAN).encode()]


def _plan_seeds(folder: Path) -> Sequence[bytes]:
    return _plan_as_json(folder)  # which is YAML too


def _entry_seeds(_: Path) -> Sequence[bytes]:
    return [json.dumps({"files": ["masks/a.png"], "name": "a", "size": [3, 4]}).encode()]
