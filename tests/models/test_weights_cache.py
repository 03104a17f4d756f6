"""Where weights are kept, and hashes that are remembered only while they are true."""

import hashlib
import time

import pytest

from samft.models import cache
from samft.models.cache import sha256_of, weights_dir


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SAMFT_CACHE", "~/elsewhere")
    assert weights_dir() == tmp_path / "elsewhere" / "weights"
    monkeypatch.delenv("SAMFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights_dir() == tmp_path / "xdg" / "samft" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights_dir() == tmp_path / ".cache" / "samft" / "weights"
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert weights_dir() == tmp_path / "Library" / "Caches" / "samft" / "weights"
    monkeypatch.setattr(cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData"))
    assert weights_dir() == tmp_path / "AppData" / "samft" / "Cache" / "weights"


@pytest.fixture
def hashed(monkeypatch):
    """How often a file was really read."""
    calls, digest = [], hashlib.file_digest

    def counting(file, name):
        calls.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(cache.hashlib, "file_digest", counting)
    return calls


def settled(path, content):
    """Write a file whose times lie long enough ago."""
    path.write_bytes(content)
    time.sleep(1.05)
    return path


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, hashed):
    path = settled(tmp_path / "w", b"one")
    assert {sha256_of([path]) for _ in range(3)} == {hashlib.sha256(b"one").hexdigest()}
    assert len(hashed) == 1
    path.write_bytes(b"two")
    assert sha256_of([path]) == hashlib.sha256(b"two").hexdigest()
    assert len(hashed) == 2


def test_a_file_that_just_changed_is_not_remembered(tmp_path, hashed):
    path = tmp_path / "w"
    path.write_bytes(b"one")
    sha256_of([path])
    sha256_of([path])
    assert len(hashed) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 3}', b"\xff"])
def test_a_damaged_memory_is_no_harm(tmp_path, cache_folder, content):
    cache_folder.mkdir(parents=True)
    (cache_folder / "sha256.json").write_bytes(content)
    path = tmp_path / "w"
    path.write_bytes(b"one")
    assert sha256_of([path]) == hashlib.sha256(b"one").hexdigest()


def test_a_cache_that_cannot_be_written_is_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "file"))
    path = settled(tmp_path / "w", b"one")
    assert sha256_of([path]) == hashlib.sha256(b"one").hexdigest()


def test_the_hash_of_several_files_depends_on_each(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(b"one")
    first = sha256_of(files)
    files[1].write_bytes(b"two")
    assert sha256_of(files) != first
    assert sha256_of(files) != sha256_of(files[::-1])
