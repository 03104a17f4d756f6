"""The store in one process: what is put comes back, and nothing else does."""

import pickle

import pytest
import torch
from embedding_stores import FullDisk, entry, fill, holds, store_key, value

from samft.embeddings.shard import list_shards
from samft.embeddings.storage_types import TORCH_TYPES
from samft.embeddings.store import EmbeddingStore
from samft.errors import ConfigError, MachineError, OutputError

SHAPES = [(), (1,), (7,), (3, 5, 7), (256, 4, 4), (2, 1, 3, 1, 5), (0, 4), (1,) * 8]


@pytest.mark.parametrize("dtype", list(TORCH_TYPES))
def test_every_shape_comes_back_bit_by_bit(tmp_path, dtype):
    key = store_key(dtype=dtype)
    expected = [value(n, shape, TORCH_TYPES[dtype]) for n, shape in enumerate(SHAPES)]
    with EmbeddingStore.open(tmp_path, key, mode="write") as store:
        for number, tensor in enumerate(expected):
            assert store.put(entry(number), tensor)
            assert torch.equal(store.get(entry(number)), tensor)
    reader = EmbeddingStore.open(tmp_path, key)
    for number, tensor in enumerate(expected):
        found = reader.get(entry(number))
        assert found.dtype == TORCH_TYPES[dtype]
        assert torch.equal(found, tensor)
        assert reader.get(entry(number), dtype=torch.float32).dtype == torch.float32
    assert len(reader) == len(SHAPES)
    assert reader.counts.damaged == 0


def test_strided_tensors_with_a_gradient_are_stored_by_value(tmp_path):
    tensor = torch.randn(6, 4, requires_grad=True).t()
    with EmbeddingStore.open(tmp_path, store_key(dtype="float32"), mode="write") as store:
        store.put(entry(0), tensor)
        assert torch.equal(store.get(entry(0)), tensor)
        assert not store.get(entry(0)).requires_grad


def test_variants_and_misses(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        store.put(entry(1, variant=0), value(10))
        store.put(entry(1, variant=3), value(13))
        assert torch.equal(store.get(entry(1, variant=3)), value(13))
        assert store.get(entry(1, variant=1)) is None
        wanted = [entry(2), entry(1, variant=3), entry(1, variant=1), entry(2)]
        assert store.missing(wanted) == [entry(2), entry(1, variant=1)]
        assert entry(1) in store
        assert not store.has(entry(2))


def test_putting_twice_writes_once(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        assert store.put(entry(1), value(1))
        assert not store.put(entry(1), value(2))
        assert torch.equal(store.get(entry(1)), value(1))
        assert (len(store), store.counts.written) == (1, 1)


def test_a_view_is_private_and_aligned(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(3), shape=(3,))
        view = store.get(entry(1))
        assert view.data_ptr() % 64 == 0
        view.zero_()
        assert torch.equal(store.get(entry(1)), value(1, (3,)))
    assert holds(EmbeddingStore.open(tmp_path, store_key()), range(3), shape=(3,))


def test_shards_are_limited_and_continued(tmp_path):
    for start in (0, 5, 10):
        with EmbeddingStore.open(tmp_path, store_key(), mode="write", shard_bytes=512) as store:
            fill(store, range(start, start + 5))
    sizes = [shard.data.stat().st_size for shard in list_shards(store.folder)]
    assert len(sizes) == 4  # 120 bytes each, four to a shard: 15 entries need four
    assert max(sizes) <= 512
    assert holds(EmbeddingStore.open(tmp_path, store_key()), range(15))


def test_an_entry_larger_than_a_shard_gets_its_own(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write", shard_bytes=16) as store:
        fill(store, range(3))
        assert len(list_shards(store.folder)) == 3
        assert holds(store, range(3))


def test_commits_wait_until_their_time_has_come(tmp_path):
    key = store_key()
    with EmbeddingStore.open(tmp_path, key, mode="write", commit_seconds=1e9) as store:
        fill(store, range(4))
        reader = EmbeddingStore.open(tmp_path, key)
        assert len(store) == 4
        assert len(reader) == 0
        store.get(entry(2))  # gives only what is committed
        reader.refresh()
        assert holds(reader, range(4))


def test_readers_see_what_comes_later(tmp_path):
    reader = EmbeddingStore.open(tmp_path, store_key())
    assert len(reader) == 0
    assert not reader.folder.exists()
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(3))
    assert reader.missing([entry(1), entry(9)]) == [entry(9)]
    assert holds(reader, range(3))


def test_a_store_travels_as_a_reader(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(2))
        store.flush()
        copy = pickle.loads(pickle.dumps(store))
    assert copy.mode == "read"
    assert holds(copy, range(2))
    with pytest.raises(OutputError, match="open for reading"):
        copy.put(entry(5), value(5))


def test_after_closing_it_reads_on(tmp_path):
    store = EmbeddingStore.open(tmp_path, store_key(), mode="write")
    fill(store, range(2))
    store.close()
    store.close()
    assert holds(store, range(2))
    with pytest.raises(OutputError, match='mode="write"'):
        store.put(entry(5), value(5))


def test_too_many_dimensions_and_unknown_types_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'int8'"):
        EmbeddingStore.open(tmp_path, store_key(dtype="int8"))
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        with pytest.raises(ConfigError, match="at most 8 dimensions"):
            store.put(entry(0), torch.zeros((1,) * 9))
        with pytest.raises(ConfigError, match="do not fit into float16"):
            store.put(entry(0), torch.full((2,), 1e6))
        assert len(store) == 0


def test_clipped_values_are_counted_and_told(tmp_path, caplog):
    key = store_key()
    with EmbeddingStore.open(tmp_path, key, mode="write", overflow="saturate") as store:
        store.put(entry(0), torch.tensor([1e6, 1.0, -1e6]))
        store.put(entry(1), torch.tensor([1e6]))
        assert store.get(entry(0)).tolist() == [65504.0, 1.0, -65504.0]
    assert store.counts.saturated == 3
    assert len(caplog.records) == 1
    assert "clipped" in caplog.text


def test_a_damaged_entry_is_left_out_and_can_be_put_again(tmp_path, caplog):
    key = store_key()
    with EmbeddingStore.open(tmp_path, key, mode="write") as store:
        fill(store, range(3))
    (shard,) = list_shards(store.folder)
    data = bytearray(shard.data.read_bytes())
    data[128 + 7] ^= 1  # within the second entry
    shard.data.write_bytes(data)
    with EmbeddingStore.open(tmp_path, key, mode="write") as store:
        assert store.get(entry(1)) is None
        assert (store.counts.damaged, store.has(entry(1))) == (1, False)
        assert str(shard.data) in caplog.text
        assert torch.equal(store.get(entry(2)), value(2))
        assert store.put(entry(1), value(1))
        assert holds(store, range(3))
    assert holds(EmbeddingStore.open(tmp_path, key), range(3))


def test_a_lost_data_file_is_a_miss(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(2))
    (shard,) = list_shards(store.folder)
    shard.data.unlink()
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        assert store.get(entry(0)) is store.get(entry(1)) is None
        assert store.missing([entry(0), entry(1)]) == [entry(0), entry(1)]
        fill(store, range(2))
    assert holds(EmbeddingStore.open(tmp_path, store_key()), range(2))


def test_a_shard_of_another_store_gives_nothing(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(2))
    other = EmbeddingStore.open(tmp_path, store_key(weights="f" * 64), mode="write")
    other.close()
    for path in store.folder.iterdir():
        if path.name != "store.json":
            path.rename(other.folder / path.name)
    assert len(EmbeddingStore.open(tmp_path, other.key)) == 0


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    folder = tmp_path / store_key().folder_name
    folder.mkdir()
    (folder / "store.json").write_text("{}")
    for mode in ("read", "write"):
        with pytest.raises(OutputError, match="holds something else") as caught:
            EmbeddingStore.open(tmp_path, store_key(), mode=mode)
        assert str(folder) in str(caught.value)
    assert (folder / "store.json").read_text() == "{}"


# Room for an entry (120 bytes) and its record (128), then: the next entry in part, at a border, its
# record in part, and at a border.
@pytest.mark.parametrize("room", [248 + 50, 248, 248 + 120 + 30, 248 + 120])
def test_a_full_disk_is_told_and_leaves_the_store_readable(tmp_path, monkeypatch, room):
    key = store_key()
    with EmbeddingStore.open(tmp_path, key, mode="write", commit_seconds=0) as store:
        disk = FullDisk(monkeypatch, room)
        store.put(entry(0), value(0))
        with pytest.raises(MachineError) as caught:
            store.put(entry(1), value(1))
        text = str(caught.value)
        assert "No space left on device" in text
        assert str(store.folder) in text
        assert "train without the cache" in text
        assert len(text.splitlines()) <= 3
        assert holds(store, range(1))
        assert holds(EmbeddingStore.open(tmp_path, key), range(1))
        disk.room = 10**6  # somebody made room
        fill(store, range(4))
        assert holds(store, range(4))
    assert holds(EmbeddingStore.open(tmp_path, key), range(4))


def test_a_full_disk_at_the_end_lets_go_of_the_shard(tmp_path, monkeypatch):
    store = EmbeddingStore.open(tmp_path, store_key(), mode="write", commit_seconds=1e9)
    fill(store, range(2))
    disk = FullDisk(monkeypatch, 0)
    with pytest.raises(MachineError, match="cannot be cached"):
        store.close()
    disk.room = 10**6
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        assert store.missing([entry(0), entry(1)]) == [entry(0), entry(1)]
        fill(store, range(2))
    assert len(list_shards(store.folder)) == 1
    assert holds(store, range(2))


def test_an_error_in_the_block_is_the_one_that_is_seen(tmp_path, monkeypatch):
    def compute():
        with EmbeddingStore.open(tmp_path, store_key(), mode="write", commit_seconds=1e9) as store:
            fill(store, range(2))
            FullDisk(monkeypatch, 0)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        compute()
    monkeypatch.undo()
    assert len(EmbeddingStore.open(tmp_path, store_key())) == 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be cached") as caught:
        EmbeddingStore.open(tmp_path / "file", store_key(), mode="write")
    assert str(tmp_path / "file") in str(caught.value)


def test_the_description_tells_what_and_why(tmp_path):
    key = store_key(model={"arch": "vit_b", "cut_block": 6})
    store = EmbeddingStore.open(tmp_path, key, mode="write")
    text = (store.folder / "store.json").read_text()
    store.close()
    for part in ("activations before block 6", "may be deleted", key.digest, "vit_b", "float16"):
        assert part in text
