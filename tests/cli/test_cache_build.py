"""`samft cache build` that is killed, run twice at once, or finds the disk full."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from quick_trainer import quick_trainer

from samft import PromptSettings, SamModule, SyntheticDataModule
from samft.cached_encoder import CachedEncoder
from samft.cli.cache_build import build
from samft.cli.entry import main
from samft.data.microscopy import MicroscopyDataModule
from samft.embeddings.folders import embeddings_dir, list_stores
from samft.embeddings.index import TAG_BYTES
from samft.embeddings.manifest import Manifest
from samft.embeddings.shard import list_shards
from samft.embeddings.storage_types import TORCH_TYPES
from samft.embeddings.store import EmbeddingStore
from samft.models import build_sam

SIZE = 64
Usage = namedtuple("Usage", "total used free")
needs_fork = pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="forks")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=SIZE).eval()


def stored(root: Path) -> dict[tuple[bytes, int], bytes]:
    """Return every entry of the one store with its bytes, read without the store's own code."""
    (folder,) = list_stores(root)
    manifest = Manifest.read(folder)
    size = TORCH_TYPES[manifest.dtype].itemsize
    found: dict[tuple[bytes, int], bytes] = {}
    for shard in list_shards(folder):
        data = shard.data.read_bytes()
        for record in shard.records(bytes.fromhex(manifest.digest)[:TAG_BYTES])[0]:
            name = record.entry.content, record.entry.variant
            value = data[record.offset : record.end(size)]
            assert found.setdefault(name, value) == value  # of two builders
    return found


def build_all(sam, root, *, num_train, told=None, start=None, stop=2):
    """Build a cache, a commit each, and write a byte to `told` after each entry."""
    opened, put = EmbeddingStore.open, EmbeddingStore.put

    def put_and_tell(store, entry, tensor):
        written = put(store, entry, tensor)
        if told is not None:
            os.write(told, b".")
        return written

    EmbeddingStore.open = lambda *words, **settings: opened(*words, **settings, commit_seconds=0)
    EmbeddingStore.put = put_and_tell
    try:
        data = SyntheticDataModule(
            num_train=num_train, num_val=3, size=SIZE, image_size=SIZE, variants=1, batch_size=4
        )
        if start is not None:
            start.wait(20)
        build(CachedEncoder(sam, stop=stop, dtype="float32", root=root), data)
    finally:
        EmbeddingStore.open, EmbeddingStore.put = opened, put


def forked(*words, **settings):
    process = multiprocessing.get_context("fork").Process(
        target=build_all, args=words, kwargs=settings
    )
    process.start()
    return process


@needs_fork
@pytest.mark.slow
def test_a_build_killed_ten_times_is_the_build_that_was_not(sam, tmp_path):
    chance, num_train = random.Random(3), 45
    for _ in range(10):
        read_end, told = os.pipe()
        process = forked(sam, tmp_path / "killed", num_train=num_train, told=told)
        os.close(told)
        for _ in range(chance.randint(1, 4)):
            assert os.read(read_end, 1), "it was done before it was killed"
        time.sleep(chance.uniform(0, 0.01))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        os.close(read_end)
        assert process.exitcode == -signal.SIGKILL
    before = stored(tmp_path / "killed")
    assert 10 <= len(before) < num_train
    build_all(sam, tmp_path / "killed", num_train=num_train)
    build_all(sam, tmp_path / "whole", num_train=num_train)
    whole = stored(tmp_path / "whole")
    assert len(whole) == num_train + 3
    assert stored(tmp_path / "killed") == whole
    assert before.items() <= whole.items()


@needs_fork
def test_two_builds_at_once_are_one_build(sam, tmp_path):
    start = multiprocessing.get_context("fork").Barrier(2)
    processes = [forked(sam, tmp_path / "two", num_train=16, start=start) for _ in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    build_all(sam, tmp_path / "one", num_train=16)
    assert len(stored(tmp_path / "one")) == 16 + 3
    assert stored(tmp_path / "two") == stored(tmp_path / "one")


@pytest.mark.parametrize("stop", [None, 2])
def test_one_bit_of_the_weights_means_all_of_it_again(sam, tmp_path, stop):
    build_all(sam, tmp_path / "a", num_train=4, stop=stop)
    weight = sam.image_encoder.layers[1].blocks[0].mlp.fc1.weight
    with torch.no_grad():
        weight.view(torch.int32)[0, 0] ^= 1
        build_all(sam, tmp_path / "a", num_train=4, stop=stop)
        weight.view(torch.int32)[0, 0] ^= 1
    first, second = list_stores(tmp_path / "a")
    assert [len(list_shards(folder)) for folder in (first, second)] == [1, 1]
    sizes = [shard.index.stat().st_size for f in (first, second) for shard in list_shards(f)]
    assert sizes == [7 * 128] * 2


# ---- from the command line


def options(dsb_folder, *more):
    return [
        *("--model", "samft.SamModule", "--model.arch", "vit_nano", "--trainer.accelerator", "cpu"),
        *("--model.image_size", str(SIZE), "--model.cache_embeddings", "float32"),
        *("--data", "samft.MicroscopyDataModule", "--data.root", str(dsb_folder)),
        *("--data.val_fraction", "0.34", *more),
    ]


def module(**settings):
    return SamModule(
        "vit_nano",
        image_size=SIZE,
        prompts=PromptSettings(rounds=0, extra_passes=0),
        cache_embeddings="float32",
        **settings,
    )


@pytest.mark.parametrize("adaptation", ["late", "late_lora"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fit_finds_what_build_has_stored(dsb_folder, tmp_path, adaptation, precision):
    torch.manual_seed(4)
    weights = tmp_path / "nano.pth"
    torch.save(build_sam("vit_nano", image_size=SIZE).state_dict(), weights)
    chosen = options(dsb_folder, "--model.adapt", adaptation, "--model.weights", str(weights))
    assert main(["cache", "build", *chosen, "--trainer.precision", precision]) == 0
    assert len(stored(embeddings_dir())) == 6
    model = module(adapt=adaptation, weights=str(weights))
    data = MicroscopyDataModule(root=str(dsb_folder), batch_size=2, val_fraction=0.34)
    quick_trainer(tmp_path, max_epochs=1, precision=precision).fit(model, datamodule=data)
    assert model.cached_encoder.computed == 0
    assert model.cached_encoder.read > 0


def test_a_build_without_room_for_all_writes_nothing(dsb_folder, monkeypatch, capsys):
    free = 2**30 + 190_000  # six entries take 197 kB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, free))
    assert main(["cache", "build", *options(dsb_folder)]) == 3
    said = capsys.readouterr().err.partition("MachineError: ")[2]
    assert said.startswith("there is not enough disk space for the cached embeddings\n")
    assert len(said.strip().splitlines()) == 3
    assert stored(embeddings_dir()) == {}


def test_a_build_is_continued_where_only_the_rest_has_room(dsb_folder, monkeypatch):
    assert main(["cache", "build", *options(dsb_folder)]) == 0
    whole = stored(embeddings_dir())
    (shard,) = list_shards(list_stores(embeddings_dir())[0])
    shard.index.write_bytes(shard.index.read_bytes()[: 4 * 128])  # as after a kill
    free = 2**30 + 70_000  # two entries take 66 kB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, free))
    assert main(["cache", "build", *options(dsb_folder)]) == 0
    assert stored(embeddings_dir()) == whole


def build_on_a_small_disk(words, out):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    with out.open("w") as sys.stderr, Path(os.devnull).open("w") as sys.stdout:
        code = main(["cache", "build", *words])
    os._exit(code)


@needs_fork
def test_a_disk_that_takes_no_more_ends_a_build_and_a_later_one_goes_on(dsb_folder, tmp_path):
    out = tmp_path / "said.txt"
    process = multiprocessing.get_context("fork").Process(
        target=build_on_a_small_disk, args=(options(dsb_folder), out)
    )
    process.start()
    process.join(60)
    said = out.read_text()
    assert process.exitcode == 3, said
    message = said.partition("MachineError: ")[2].strip().splitlines()
    assert message[0] == "the embeddings cannot be cached"
    assert f"where: {embeddings_dir()}" in message[1]
    assert "found: File too large" in message[1]
    assert "free some disk space or choose another folder" in message[2]
    assert len(message) == 3
    assert "Traceback" not in said
    assert "could not be stored" not in said  # it is said once
    assert 0 < len(stored(embeddings_dir())) < 6
    assert main(["cache", "build", *options(dsb_folder)]) == 0
    assert len(stored(embeddings_dir())) == 6


@pytest.mark.slow
def test_a_killed_command_is_continued(tmp_path):
    words = [
        *("--model", "samft.SamModule", "--model.arch", "vit_nano", "--trainer.accelerator", "cpu"),
        *("--model.image_size", str(SIZE), "--model.cache_embeddings", "float32"),
        *("--model.adapt", "late", "--data", "samft.SyntheticDataModule", "--data.num_val", "2"),
        *("--data.size", str(SIZE), "--data.variants", "2", "--data.num_train", "120"),
    ]
    # A fork, because another Python takes many seconds to import what this one has.
    how = "spawn" if sys.platform in {"win32", "darwin"} else "fork"
    process = multiprocessing.get_context(how).Process(
        target=main, args=(["cache", "build", *words],)
    )
    process.start()
    end = time.monotonic() + 100
    while time.monotonic() < end and process.is_alive():
        if any(path.stat().st_size for path in embeddings_dir().glob("*/*.index")):
            break
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    part = stored(embeddings_dir())
    assert 0 < len(part) < 242
    assert main(["cache", "build", *words]) == 0
    killed = stored(embeddings_dir())
    with suppress(FileNotFoundError):
        shutil.rmtree(embeddings_dir())
    assert main(["cache", "build", *words]) == 0
    assert len(killed) == 242
    assert stored(embeddings_dir()) == killed
    assert part.items() <= killed.items()
