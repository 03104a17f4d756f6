"""Which files of a shard are a sample, and a table that is made once."""

from __future__ import annotations

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from samft.data.shards import shard_index
from samft.data.shards.finding import expand_braces, find_shards, split_of_shard
from samft.data.shards.sample_files import kinds_of, split_member
from samft.data.shards.shard_index import open_shard
from samft.data.shards.shard_set import ShardSet, open_shards
from samft.errors import ConfigError, DatasetError, MachineError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pack(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            content = f"content of {name}".encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "key", "ending"),
    [
        ("sa_1.jpg", "sa_1", "jpg"),
        ("a/b/sa_1.JSON", "a/b/sa_1", "json"),
        ("x.mask.png", "x", "mask.png"),
        ("1.2.840.tif", "1.2.840", "tif"),
        ("x.labels.tiff", "x", "labels.tiff"),
    ],
)
def test_key_and_ending(name, key, ending) -> None:
    assert split_member(name) == (key, ending)


@pytest.mark.parametrize("name", ["a/.jpg", "._sa_1.jpg", "__info__.json", "README", "x.npy"])
def test_no_part_of_a_sample(name) -> None:
    assert split_member(name) is None


def test_what_files_are_for() -> None:
    assert kinds_of(("jpg", "json")) == {"jpg": "image", "json": "label"}
    assert kinds_of(("png", "cls")) == {"png": "image", "cls": "class"}
    assert kinds_of(("png", "jpeg", "txt")) == {"png": "label", "jpeg": "image", "txt": "text"}
    assert kinds_of(("tif", "mask.tif")) == {"tif": "image", "mask.tif": "label"}


def test_samples_are_grouped_wherever_their_files_lie(tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    names = ["sa_2.jpg", "sa_1.json", "sa_1.jpg", "notes.md", "sa_2.json", "sa_3.json"]
    path = pack(tmp_path / "a.tar", names)
    shards = ShardSet(tmp_path, [open_shard(path)])
    assert [entry.key for entry in shards] == ["sa_2", "sa_1"]
    assert "1 files of other kinds, 1 samples without an image left out" in caplog.text
    for copied in (shards, pickle.loads(pickle.dumps(shards))):
        assert copied.read(copied[1], "label") == b"content of sa_1.json"
        assert copied.read(copied[0], "image") == b"content of sa_2.jpg"
        assert copied.name(copied[0]) == "a/sa_2"
    with pytest.raises(IndexError):
        shards[2]


def test_a_table_is_made_once_for_each_state_of_a_file(tmp_path, cache, monkeypatch) -> None:
    path = pack(tmp_path / "a.tar", ["1.jpg", "1.json"])
    first = open_shard(path)
    monkeypatch.setattr(shard_index, "read_members", lambda path: pytest.fail("read again"))
    assert open_shard(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("SAMFT_CACHE", str(cache))
    first.stored.write_bytes(b"half")
    assert open_shard(path).samples == 1
    pack(path, ["1.jpg", "2.jpg"])
    os.utime(path, ns=(1, 1))
    second = open_shard(path)
    assert second.samples == 2
    assert second.stored != first.stored
    assert len(list((cache / "index" / "shards").iterdir())) == 2


def test_a_cache_that_cannot_be_written(tmp_path, cache) -> None:
    cache.write_text("a file is in the way")
    path = pack(tmp_path / "a.tar", ["1.jpg"])
    with pytest.raises(MachineError, match="SAMFT_CACHE"):
        open_shard(path)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["1.jpg", "1.png", "1.json"], "1.png and 1.json"),
        (["1.jpg", "1.jpeg"], "1.jpg and 1.jpeg"),
        (["1.jpg", "1.jpg"], "1.jpg and 1.jpg"),
        (["readme"], "1 files of other kinds"),
        ([], "no files"),
        (["k" * 1100 + ".jpg"], "1100 bytes"),
    ],
)
def test_shards_that_make_no_sense(tmp_path, names, text) -> None:
    path = pack(tmp_path / "a.tar", names)
    with pytest.raises(DatasetError) as caught:
        open_shard(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


def test_rows_of_several_shards(tmp_path) -> None:
    sizes = (3, 1, 4)
    for number, size in enumerate(sizes):
        pack(tmp_path / f"{number}.tar", [f"{number}-{i}.jpg" for i in range(size)])
    opened = open_shards(sorted(tmp_path.glob("*.tar")))
    shards = ShardSet(tmp_path, opened)
    keys = ["0-0", "0-1", "0-2", "1-0", "2-0", "2-1", "2-2", "2-3"]
    assert [entry.key for entry in shards] == keys
    assert shards.sizes == sizes
    some = ShardSet(tmp_path, opened, np.array([1, 2, 4, 7], np.uint32))
    assert [entry.key for entry in some] == ["0-1", "0-2", "2-0", "2-3"]
    assert some.sizes == (2, 0, 2)
    for entry in some:
        assert some.read(entry, "image") == f"content of {entry.key}.jpg".encode()


def test_a_shard_that_shrinks_while_it_is_used(tmp_path) -> None:
    path = pack(tmp_path / "a.tar", ["1.jpg"])
    shards = ShardSet(tmp_path, [open_shard(path)])
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(DatasetError, match="it ends before byte 528") as caught:
        shards.read(shards[0], "image")
    assert "start again" in str(caught.value)
    path.unlink()
    other = pickle.loads(pickle.dumps(shards))
    with pytest.raises(DatasetError, match="the shard cannot be read"):
        other.read(other[0], "image")


def test_more_shards_than_may_be_open(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("samft.data.shards.shard_set._MAX_OPEN", 2)
    for number in range(5):
        pack(tmp_path / f"{number}.tar", [f"{number}.jpg"])
    shards = ShardSet(tmp_path, open_shards(sorted(tmp_path.glob("*.tar"))))
    for row in (0, 4, 2, 0, 1, 3, 4, 0):
        assert shards.read(shards[row], "image") == f"content of {row}.jpg".encode()


def test_braces() -> None:
    assert expand_braces("sa_{000008..000011}.tar") == [
        f"sa_{number:06d}.tar" for number in range(8, 12)
    ]
    assert expand_braces("{a,b}/{1..2}") == ["a/1", "a/2", "b/1", "b/2"]
    for wrong in ("{5..2}.tar", "{a}.tar", "{0..99999999999}.tar", "{1..1000}{1..1000}{1..9}"):
        with pytest.raises(ConfigError, match="the pattern of shards does not make sense"):
            expand_braces(wrong)


def test_finding_shards(tmp_path) -> None:
    for name in ("b.tar", "a.tar", "train/x.tar", "val-000.tar"):
        pack(tmp_path / name, ["1.jpg"])
    found = find_shards(tmp_path, "**/*.tar")
    assert [path.name for path in found] == ["a.tar", "b.tar", "x.tar", "val-000.tar"]
    assert [split_of_shard(tmp_path, path) for path in found] == [None, None, "train", "val"]
    assert find_shards(tmp_path, "{b,a}.tar") == [tmp_path / "b.tar", tmp_path / "a.tar"]
    with pytest.raises(DatasetError, match="1 of 2 shards"):
        find_shards(tmp_path, "{a,c}.tar")
    with pytest.raises(ConfigError, match="does not stay below"):
        find_shards(tmp_path, "../{a,b}.tar")
    with pytest.raises(ConfigError, match="does not stay below"):
        find_shards(tmp_path, "../*.tar")
