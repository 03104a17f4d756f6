"""The index of a large data set: exact, small, quick to hand to workers, and split as a list is."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from samft.data import index_cache, record_store
from samft.data.microscopy import MicroscopyDataModule
from samft.data.record_store import RecordStore, collect_records, find_repeated
from samft.data.records import SPLITS, Record
from samft.data.splits import assign_splits, group_by_split, limit_records, with_folder_splits

NAMES = st.text(
    st.one_of(st.sampled_from("ab./ _-é0"), st.characters(exclude_characters="\0")), max_size=12
)
PATHS = NAMES.map(lambda name: Path("/root/set") / name.replace("/", "_"))
NUMBERS = st.integers(0, 2**31 - 1)
RECORDS = st.builds(
    Record,
    sample_id=NAMES,
    case_id=NAMES,
    images=st.lists(PATHS, min_size=1, max_size=3).map(tuple),
    labels=st.lists(PATHS, max_size=2).map(tuple),
    slice_index=st.none() | NUMBERS,
    axis=st.integers(0, 2),
    split=st.none() | st.sampled_from(SPLITS),
    entry=st.none() | NAMES,
    window=st.none() | st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(record_store, "_MAP_FROM", 0)
    return tmp_path / "cache" / "index"


def many(count: int, folders: int = 7, **more) -> list[Record]:
    return [
        Record(
            sample_id=f"f{i % folders}/img_{i}.jpg",
            case_id=f"case{i // 3}",
            images=(Path(f"/data/f{i % folders}/img_{i}.jpg"),),
            labels=(Path(f"/data/f{i % folders}/img_{i}.png"),),
            **more,
        )
        for i in range(count)
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(RECORDS, max_size=12))
def test_what_goes_in_comes_out(records) -> None:
    store = RecordStore.build(records)
    assert list(store) == records
    assert list(pickle.loads(pickle.dumps(store))) == records
    assert list(store[1::2]) == records[1::2]
    for name in ("sample_id", "case_id"):
        assert list(store.text(name)) == [
            getattr(record, name).encode("utf-8", "surrogatepass") for record in records
        ]
    if records:
        assert store[-1] == records[-1]
        repeated = {r.sample_id for r in records}
        assert (find_repeated(store) is None) == (len(repeated) == len(records))
        assert find_repeated(store) == find_repeated(records)
    with pytest.raises(IndexError):
        store[len(records)]


def test_names_that_are_no_text() -> None:
    name = b"m\xfc.png".decode("utf-8", "surrogateescape")
    record = Record(sample_id=name, case_id=name, images=(Path("/a", name),), labels=())
    store = RecordStore.build([record])
    assert store[0] == record


def test_every_image_in_a_folder_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr("samft.data.text_columns._MAX_WRAPS", 50)
    names = [f"{i}/images/{i}.png" for i in range(300)]
    records = [Record(sample_id=n, case_id=n, images=(Path("/r", n),), labels=()) for n in names]
    store = RecordStore.build(records)
    assert list(store) == records
    assert find_repeated(store) is None
    assert find_repeated(RecordStore.build([*records, records[7]])) == records[7]
    root = Path("/r")
    some = [
        Record(sample_id=n, case_id=n, images=(root / n,), labels=())
        for n in [*names, "x/val/a.png", "train/b/c.png"]
    ]
    expected = [r.split for r in with_folder_splits(some, root)]
    assert [r.split for r in with_folder_splits(RecordStore.build(some), root)] == expected
    assert expected[-2:] == ["val", "train"]


def test_tens_of_bytes_each() -> None:
    records = many(20_000)
    store = RecordStore.build(records)
    assert len(pickle.dumps(store)) < 40 * len(records)
    assert len(pickle.dumps(store)) < len(pickle.dumps(records)) / 3


def test_large_stores_travel_as_the_name_of_a_folder(cache) -> None:
    records = many(500)
    store = RecordStore.build(records)
    assert len(list(cache.iterdir())) == 1
    assert len(pickle.dumps(store)) < 300
    copied = pickle.loads(pickle.dumps(store.take(np.arange(0, 500, 5))))
    assert list(copied) == records[::5]
    assert RecordStore.build(records) == store
    assert len(list(cache.iterdir())) == 1
    codes = np.arange(500, dtype=np.int8) % 3
    split = pickle.loads(pickle.dumps(store.with_split_codes(codes)))
    assert [r.split for r in split] == [SPLITS[c] for c in codes]
    assert [r.split for r in split.take(np.array([4, 2]))] == ["val", "test"]


def test_a_cache_folder_that_cannot_be_written(cache, caplog) -> None:
    cache.parent.write_text("a file is in the way")
    records = many(20)
    assert list(RecordStore.build(records)) == records
    assert "the index stays in memory" in caplog.text


def test_a_half_written_index_is_written_again(cache) -> None:
    RecordStore.build(many(20))
    (folder,) = cache.iterdir()
    (folder / "about.json").unlink()
    (folder / "sample_id-blob.npy").write_bytes(b"")
    assert list(RecordStore.build(many(20))) == many(20)
    assert index_cache.load_arrays(folder)[1]["entry"]


def test_long_indices_become_stores_one_by_one(monkeypatch) -> None:
    monkeypatch.setattr(record_store, "_LIST_UP_TO", 10)
    few, more = collect_records(iter(many(10))), collect_records(iter(many(11)))
    assert few == many(10)
    assert isinstance(more, RecordStore)
    assert list(more) == many(11)
    assert collect_records(more) is more


def drawn_by_sorting(records, val: float, test: float, seed: int) -> list[list[str]]:
    """How splits were drawn before there were stores: whole hashes of the cases, sorted."""
    cases = sorted(
        {record.case_id for record in records},
        key=lambda case: hashlib.sha256(f"{seed}:{case}".encode()).digest(),
    )
    tested = max(1, round(test * len(cases))) if test else 0
    validated = max(1, round(val * len(cases))) if val else 0
    chosen = dict.fromkeys(cases[:tested], "test")
    chosen |= dict.fromkeys(cases[tested : tested + validated], "val")
    return [
        [r.sample_id for r in records if chosen.get(r.case_id, "train") == split]
        for split in SPLITS
    ]


@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(20, 300),
    val=st.sampled_from([0, 0.1, 0.2, 0.37]),
    test=st.sampled_from([0, 0.05, 0.3]),
    seed=st.integers(0, 3),
)
def test_splits_are_those_of_sorted_hashes(count, val, test, seed) -> None:
    records = many(count)
    expected = drawn_by_sorting(records, val, test, seed)
    for index in (records, RecordStore.build(records)):
        found = assign_splits(index, val_fraction=val, test_fraction=test, seed=seed)
        assert [[r.sample_id for r in found[split]] for split in SPLITS] == expected


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from([None, *SPLITS]))))
def test_a_store_is_split_or_refused_as_a_list_is(cases) -> None:
    records = [
        Record(sample_id=f"{i}", case_id=c, images=(Path(f"/r/{i}"),), labels=(), split=s)
        for i, (c, s) in enumerate(cases)
    ]
    answers = []
    for index in (records, RecordStore.build(records)):
        try:
            found = assign_splits(index, val_fraction=0.2, test_fraction=0.0, seed=1)
            answers.append({split: list(part) for split, part in found.items()})
        except Exception as error:  # noqa: BLE001  # the same one, whatever it is
            answers.append((type(error), str(error)))
    assert answers[0] == answers[1]
    grouped = group_by_split(RecordStore.build(records))
    assert {s: list(part) for s, part in grouped.items()} == group_by_split(records)


def test_folders_and_limits_of_a_store() -> None:
    root = Path("/r")
    names = [f"{f}/case{i}/{i}.png" for i in range(30) for f in ("Train", "val", "x")]
    records = [
        Record(sample_id=n, case_id=n, images=(root / n, root / n), labels=()) for n in names
    ]
    store = RecordStore.build(records)
    assert list(with_folder_splits(store, root)) == with_folder_splits(records, root)
    limited = limit_records(store, 11, seed=3)
    assert isinstance(limited, RecordStore)
    assert list(limited) == limit_records(records, 11, seed=3)
    expected = sorted(records, key=lambda r: hashlib.sha256(f"3:{r.sample_id}".encode()).digest())
    assert {r.sample_id for r in limited} == {r.sample_id for r in expected[:11]}


def test_a_datamodule_holds_a_store_and_loads_the_same(dsb_folder, monkeypatch) -> None:
    def ids(**more) -> dict[str, list[str]]:
        data = MicroscopyDataModule(
            root=str(dsb_folder), val_fraction=0.4, image_size=32, batch_size=2, **more
        )
        kinds = {type(data.records(split)) for split in ("train", "val")}
        assert kinds == {expected}
        loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
        return {s: [i for b in loader for i in b.sample_ids] for s, loader in loaders.items()}

    expected: type = list
    as_lists = ids()
    monkeypatch.setattr(record_store, "_LIST_UP_TO", 1)
    expected = RecordStore
    assert ids() == as_lists
    assert ids(num_workers=1) == as_lists
    assert ids(skip_empty=True).keys() == as_lists.keys()
