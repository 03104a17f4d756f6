"""Builders that are killed, that run side by side, or whose files were cut anywhere."""

import multiprocessing
import os
import random
import signal
import sys

import pytest
from embedding_stores import SHAPE, entry, fill, holds, store_key, value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samft.embeddings.shard import list_shards
from samft.embeddings.store import EmbeddingStore
from samft.errors import OutputError

needs_fork = pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="forks")
LARGE = (64, 16, 16)  # 32 KiB, so that a kill finds writes under way
SHARD_BYTES = 10 * 2**15


def build(root, numbers, *, told=None, start=None):
    """Put what is missing, a commit each, and write a byte to `told` after each."""
    if start is not None:
        start.wait(20)
    with EmbeddingStore.open(
        root, store_key(), mode="write", commit_seconds=0, shard_bytes=SHARD_BYTES
    ) as store:
        for number in numbers:
            store.put(entry(number), value(number, LARGE))
            if told is not None:
                os.write(told, b".")


def forked(**arguments):
    process = multiprocessing.get_context("fork").Process(target=build, kwargs=arguments)
    process.start()
    return process


@needs_fork
def test_twenty_kills_do_no_harm(tmp_path):
    chance = random.Random(5)
    numbers = range(400)
    for _ in range(20):
        read_end, told = os.pipe()
        process = forked(root=tmp_path, numbers=numbers, told=told)
        os.close(told)
        for _ in range(chance.randint(1, 15)):
            assert os.read(read_end, 1)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        os.close(read_end)
        assert process.exitcode == -signal.SIGKILL
    before = EmbeddingStore.open(tmp_path, store_key())
    assert 0 < len(before) < len(numbers)
    assert all(before.get(key) is not None for key in before.entries)
    build(tmp_path, numbers)
    after = EmbeddingStore.open(tmp_path, store_key())
    assert holds(after, numbers, LARGE)
    assert after.counts.damaged == 0
    shards = list_shards(after.folder)
    assert len(shards) == len(numbers) // 10  # the dead builders' shards were filled up
    assert sum(shard.data.stat().st_size for shard in shards) == len(numbers) * 2**15


@needs_fork
def test_two_builders_and_a_reader_at_once(tmp_path):
    numbers = list(range(60))
    start = multiprocessing.get_context("fork").Barrier(3)
    processes = [
        forked(root=tmp_path, numbers=order, start=start) for order in (numbers, numbers[::-1])
    ]
    start.wait(20)
    reader = EmbeddingStore.open(tmp_path, store_key())
    while any(process.is_alive() for process in processes):
        reader.refresh()
        for number in numbers:
            found = reader.get(entry(number))
            assert found is None or found.equal(value(number, LARGE))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    reader.refresh()
    assert holds(reader, numbers, LARGE)
    assert reader.counts.damaged == 0


@needs_fork
def test_a_forked_child_reads_but_does_not_write(tmp_path):
    def child(answers):
        try:
            store.put(entry(9), value(9))
        except OutputError as error:
            answers.send((holds(store, range(2)), str(error)))
        store.close()

    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(2))
        store.flush()
        answer, answers = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=child, args=(answers,))
        process.start()
        assert answer.poll(20)
        reads, text = answer.recv()
        process.join()
        assert reads
        assert "a forked process" in text
        fill(store, range(4))
    assert holds(store, range(4))


def test_two_writers_take_different_shards(tmp_path):
    with (
        EmbeddingStore.open(tmp_path, store_key(), mode="write") as one,
        EmbeddingStore.open(tmp_path, store_key(), mode="write") as two,
    ):
        fill(one, range(3))
        fill(two, range(3))
    assert len(list_shards(one.folder)) == 2
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        assert holds(store, range(3))
        fill(store, range(5))
    assert len(list_shards(one.folder)) == 2
    assert holds(store, range(5))


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    index_cut=st.integers(0, 6 * 128), data_cut=st.integers(0, 800), tail=st.binary(max_size=300)
)
def test_files_cut_anywhere_give_only_true_entries(tmp_path_factory, index_cut, data_cut, tail):
    root = tmp_path_factory.mktemp("cut")
    with EmbeddingStore.open(root, store_key(), mode="write") as store:
        fill(store, range(6))
    (shard,) = list_shards(store.folder)
    shard.index.write_bytes(shard.index.read_bytes()[:index_cut] + tail)
    shard.data.write_bytes(shard.data.read_bytes()[:data_cut])
    ends = [128 * number + 120 for number in range(6)]
    whole = [n for n in range(index_cut // 128) if ends[n] <= data_cut]
    with EmbeddingStore.open(root, store_key(), mode="write") as store:
        for number in range(6):
            found = store.get(entry(number))
            assert (found is not None) == (number in whole)
        fill(store, range(6))
        assert holds(store, range(6))
    assert holds(EmbeddingStore.open(root, store_key()), range(6))


def test_what_a_dead_writer_left_unfinished_is_cut_off(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(2))
    (shard,) = list_shards(store.folder)
    sizes = shard.data.stat().st_size, shard.index.stat().st_size
    for path in (shard.data, shard.index):
        with path.open("ab") as file:
            file.write(b"unfinished")
    EmbeddingStore.open(tmp_path, store_key(), mode="write").close()
    assert (shard.data.stat().st_size, shard.index.stat().st_size) == sizes
    assert holds(EmbeddingStore.open(tmp_path, store_key()), range(2), SHAPE)


def test_a_shard_of_another_machine_is_read_and_not_continued(tmp_path):
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(2))
    (shard,) = list_shards(store.folder)
    elsewhere = "0123abcd" + shard.name[8:]
    for path in (shard.data, shard.index):
        path.rename(path.with_name(elsewhere + path.suffix))
    with EmbeddingStore.open(tmp_path, store_key(), mode="write") as store:
        fill(store, range(4))
    assert len(list_shards(store.folder)) == 2
    assert holds(store, range(4))
