"""The table of stores, and deleting them and nothing else."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from embedding_stores import SHAPE, entry, fill, store_key, value

from samft.embeddings.folders import clear, embeddings_dir, info, list_stores
from samft.embeddings.shard import list_shards
from samft.embeddings.store import EmbeddingStore
from samft.errors import ConfigError, OutputError
from samft.models.cache import weights_dir

OLD = store_key(weights="a" * 64, dtype="bfloat16")
NEW = store_key(weights="b" * 64)


@pytest.fixture
def root(tmp_path):
    """Two stores, one last used ten days ago, beside folders that only look like stores."""
    root = tmp_path / "root"
    for key, count in ((OLD, 2), (NEW, 3)):
        with EmbeddingStore.open(root, key, mode="write") as store:
            fill(store, range(count))
    then = time.time() - 10 * 24 * 3600
    for path in (root / OLD.folder_name).iterdir():
        os.utime(path, (then, then))
    (root / "0123456789abcdef").mkdir()
    (root / "0123456789abcdef" / "store.json").write_text("{}")
    (root / "notes").mkdir()
    return root


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_the_default_folder_is_beside_the_weights():
    assert embeddings_dir().name == "embeddings"
    assert embeddings_dir().parent == weights_dir().parent


def test_the_table(root):
    assert list_stores(root) == sorted([root / OLD.folder_name, root / NEW.folder_name])
    new, old = info(root)
    assert (new.name, old.name) == (NEW.folder_name, OLD.folder_name)
    assert (new.num_entries, old.num_entries) == (3, 2)
    assert (new.dtype, old.dtype) == ("float16", "bfloat16")
    assert new.arch == "vit_nano"
    assert new.what == "image embeddings"
    assert new.shapes == (SHAPE,)
    files = (root / NEW.folder_name).iterdir()
    assert new.num_bytes == sum(path.stat().st_size for path in files)
    assert datetime.now(UTC) - old.used > timedelta(days=9)
    assert datetime.now(UTC) - new.used < timedelta(minutes=5)
    assert list_stores(root / "absent") == info(root / "absent") == []


def test_reading_counts_as_use(root):
    EmbeddingStore.open(root, OLD)
    assert datetime.now(UTC) - info(root)[0].used < timedelta(minutes=5)
    assert info(root)[0].name in {OLD.folder_name, NEW.folder_name}
    assert clear(root, older_than=timedelta(days=1)) == []


def test_clear_everything_leaves_what_is_no_store(root):
    gone = clear(root)
    assert {row.name for row in gone} == {OLD.folder_name, NEW.folder_name}
    assert names(root) == ["0123456789abcdef", "notes"]
    assert (root / "0123456789abcdef" / "store.json").read_text() == "{}"


def test_clear_by_name_and_by_age(root):
    with pytest.raises(ConfigError, match="no such store") as caught:
        clear(root, name=NEW.folder_name[:-1])
    assert NEW.folder_name in str(caught.value)
    assert clear(root, name=NEW.folder_name, older_than=timedelta(days=1)) == []
    assert [row.name for row in clear(root, older_than=timedelta(days=1))] == [OLD.folder_name]
    assert [row.name for row in clear(root, name=NEW.folder_name)] == [NEW.folder_name]
    with pytest.raises(ConfigError, match="nothing is cached"):
        clear(root, name=NEW.folder_name)


@pytest.mark.parametrize("name", ["..", "../outside", "/", ""])
def test_a_name_cannot_lead_out(root, name):
    with pytest.raises(ConfigError, match="no such store"):
        clear(root, name=name)


def test_a_link_to_a_store_is_not_followed(root, tmp_path):
    outside = tmp_path / "outside"
    with EmbeddingStore.open(outside, store_key(), mode="write") as store:
        fill(store, range(2))
    (root / store.folder.name).symlink_to(store.folder)
    before = names(store.folder)
    clear(root)
    assert names(store.folder) == before
    assert (root / store.folder.name).is_symlink()


def test_links_within_a_store_are_removed_and_not_what_they_lead_to(root, tmp_path):
    folder = root / NEW.folder_name
    (shard,) = list_shards(folder)
    victims = []
    for path in (shard.data, shard.index, shard.lock):
        victims.append(tmp_path / f"victim{path.suffix}")
        victims[-1].write_text("precious")
        path.unlink(missing_ok=True)
        path.symlink_to(victims[-1])
    with EmbeddingStore.open(root, NEW, mode="write") as store:  # neither cuts nor locks them
        store.put(entry(7), value(7))
    assert [path.read_text() for path in victims] == ["precious"] * 3
    clear(root, name=NEW.folder_name)
    assert [path.read_text() for path in victims] == ["precious"] * 3
    assert not folder.exists()


def test_other_files_in_a_store_stay(root, caplog):
    note = root / NEW.folder_name / "note.txt"
    note.write_text("mine")
    clear(root)
    assert names(note.parent) == ["note.txt"]
    assert "files that are no part of the store" in caplog.text


def test_what_an_interrupted_start_left_goes_too(root):
    (root / NEW.folder_name / "store.json.123-0123456789ab").write_text("")
    clear(root, name=NEW.folder_name)
    assert NEW.folder_name not in names(root)


def test_a_store_in_use_stays(root):
    with EmbeddingStore.open(root, NEW, mode="write"):
        with pytest.raises(OutputError, match="running process") as caught:
            clear(root)
        assert NEW.folder_name in str(caught.value)
        assert len(list_stores(root)) == 2
    assert len(clear(root)) == 2


def test_a_reader_survives_clearing(root):
    reader = EmbeddingStore.open(root, NEW)
    view = reader.get(entry(0))
    clear(root)
    assert view.equal(value(0))
    assert reader.get(entry(1)) is None
    reader.refresh()


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"what": 1}', b"\xff\xfe", b'{"key": {"dtype": []}}']
)
def test_a_store_whose_description_is_damaged_is_none(root, damage):
    (root / NEW.folder_name / "store.json").write_bytes(damage)
    assert list_stores(root) == [root / OLD.folder_name]
