"""How much a store takes, whether there is room, and whether reading pays."""

from collections import namedtuple

import pytest
from embedding_stores import fill, store_key

from samft.embeddings import estimate as estimating
from samft.embeddings.estimate import check_room, estimate
from samft.embeddings.folders import info
from samft.embeddings.read_speed import ReadSpeed, measure_read
from samft.embeddings.store import EmbeddingStore
from samft.errors import MachineError

Usage = namedtuple("Usage", "total used free")


def test_the_estimate_is_what_is_then_taken(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(40), shape=(5, 33))
    (row,) = info(tmp_path)
    expected = estimate(20, 2, (5, 33), "float16")
    assert 0 <= row.num_bytes - (expected - 64) < 2048
    assert estimate(1, 1, (256, 64, 64), "float16") == 2**21 + 128
    assert estimate(1, 1, (256, 64, 64), "float32") == 2**22 + 128


def test_too_little_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(estimating.shutil, "disk_usage", lambda path: Usage(0, 0, 3 * 10**9))
    folder = tmp_path / "not" / "there"
    check_room(folder, 10**9)
    with pytest.raises(MachineError) as caught:
        check_room(folder, 5 * 10**9)
    text = str(caught.value)
    assert "3.00 GB free" in text
    assert "5.00 GB, and 1.07 GB left" in text
    assert str(folder) in text
    assert "train without cache" in text
    assert len(text.splitlines()) <= 3
    with pytest.raises(MachineError):
        check_room(folder, 2 * 10**9)
    check_room(folder, 2 * 10**9, keep_free=0)
    assert not folder.exists()


def test_the_rule():
    speed = ReadSpeed(seconds=0.02, entry_bytes=2**21, num_entries=8)
    assert speed.faster_than(0.03)
    assert not speed.faster_than(0.03, margin=2)
    assert not speed.faster_than(0.01)
    assert speed.bytes_per_second == pytest.approx(2**21 / 0.02)


@pytest.mark.parametrize("cold", [True, False])
def test_reading_is_timed_entry_by_entry(tmp_path, cold):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        assert measure_read(store) is None
        fill(store, range(20))
    times = iter([0.0, 1.0, 2.0, 5.0, 6.0, 8.0])
    speed = measure_read(store, count=3, cold=cold, timer=lambda: next(times))
    assert speed == ReadSpeed(seconds=2.0, entry_bytes=120, num_entries=3)
    assert measure_read(store, count=100).num_entries == 20
    for path in store.folder.glob("*.data"):
        path.unlink()
    assert measure_read(store) is None
