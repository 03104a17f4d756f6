"""Index records: what goes in comes out, what was torn or damaged does not."""

import torch
from embedding_stores import entry
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.embeddings.index import RECORD_BYTES, IndexRecord, decode, decode_all
from samft.embeddings.key import EntryKey
from samft.embeddings.shard import Shard, aligned, is_shard_file, list_shards

TAG = b"storetag"
records = st.builds(
    IndexRecord,
    entry=st.builds(EntryKey, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)),
    offset=st.integers(0, 2**63),
    shape=st.lists(st.integers(0, 2**40), max_size=8).map(tuple),
    crc=st.integers(0, 2**32 - 1),
)


@settings(deadline=None, max_examples=50)
@given(record=records, bit=st.integers(0, RECORD_BYTES * 8 - 1))
def test_a_record_comes_back_and_a_flipped_bit_is_noticed(record, bit):
    data = record.encode(TAG)
    assert len(data) == RECORD_BYTES
    assert decode(data, TAG) == record
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(damaged), TAG) is None
    assert decode(data, b"othertag") is None


@settings(deadline=None, max_examples=50)
@given(
    written=st.lists(records, max_size=6), cut=st.integers(0, 6 * RECORD_BYTES), tail=st.binary()
)
def test_a_torn_end_costs_only_what_was_torn(written, cut, tail):
    data = b"".join(record.encode(TAG) for record in written)[:cut]
    whole = len(data) // RECORD_BYTES
    found, used = decode_all(data, TAG)
    assert found == written[:whole]
    assert used == whole * RECORD_BYTES
    assert decode_all(data[:used] + tail, TAG) == (found, used)


def test_a_damaged_record_in_the_middle_does_not_hide_the_next():
    first, second, third = (
        IndexRecord(entry=entry(n), offset=64 * n, shape=(n,), crc=n) for n in range(3)
    )
    data = bytearray(b"".join(record.encode(TAG) for record in (first, second, third)))
    data[RECORD_BYTES + 9] ^= 4
    assert decode_all(bytes(data), TAG) == ([first, third], 3 * RECORD_BYTES)


def test_the_end_of_an_entry():
    record = IndexRecord(entry=entry(0), offset=64, shape=(3, 5), crc=0)
    assert record.end(2) == 94
    assert [aligned(n) for n in (0, 1, 64, 94)] == [0, 64, 64, 128]


def test_names_of_shards(tmp_path):
    shard, other = Shard.new(tmp_path), Shard.new(tmp_path)
    assert shard.name != other.name
    assert shard.is_of_this_machine
    assert all(is_shard_file(path.name) for path in (shard.data, shard.index, shard.lock))
    assert not is_shard_file("notes.index")
    assert not is_shard_file(f"{shard.name}.txt")
    assert list_shards(tmp_path / "absent") == []
    shard.index.touch()
    (tmp_path / "notes.index").touch()
    assert list_shards(tmp_path) == [shard]


def test_a_record_beyond_the_file_reads_as_nothing(tmp_path):
    shard = Shard.new(tmp_path)
    shard.data.write_bytes(bytes(100))
    huge = IndexRecord(entry=entry(0), offset=0, shape=(2**40, 2**40), crc=0)
    long = IndexRecord(entry=entry(0), offset=64, shape=(19,), crc=0)
    fits = IndexRecord(entry=entry(0), offset=64, shape=(18,), crc=0)
    assert shard.read(huge, torch.float16) is None
    assert shard.read(long, torch.float16) is None
    assert shard.read(fits, torch.float16).shape == (18,)
