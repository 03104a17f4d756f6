"""Weights by name: where they come from, what is checked, what is recorded."""

import hashlib
import os
import time
import urllib.response
from dataclasses import replace
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from tiny_sam import assert_same, tiny_sam

from samft.errors import CheckpointError, MachineError
from samft.models import download, weights
from samft.models.checkpoint import save_state_dict
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_sam
from samft.models.weights import WEIGHTS, WeightsEntry, fetch, load_weights, resolve_weights


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def no_download(monkeypatch):
    def fail(*args, **options):
        pytest.fail("tried to download")

    monkeypatch.setattr(weights, "download", fail)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A tiny model that can be called `tiny`, whose file is in `tmp_path / "server"`."""
    path = tmp_path / "server" / "sam_tiny.pth"
    save_state_dict(tiny_sam(seed=1), path)
    content = path.read_bytes()
    entry = WeightsEntry(
        name="tiny",
        arch="vit_b",
        url="https://weights.example/sam_tiny.pth",
        num_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
    )
    monkeypatch.setitem(weights.WEIGHTS, "tiny", entry)
    monkeypatch.setattr(weights, "_ENTRIES", (*weights._ENTRIES, entry))
    return entry, path


class FileServer:
    """Answers every request with a file."""

    def __init__(self, path):
        self.path, self.requests = path, []

    def open(self, request, *, timeout):
        self.requests.append(request.full_url)
        return urllib.response.addinfourl(self.path.open("rb"), Message(), request.full_url, 200)


def refused(error, *words):
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    for word in words:
        assert word in text, text


def test_the_table():
    assert set(WEIGHTS) >= {"vit_b", "vit_l", "vit_h", "vit_t"}
    for name, entry in WEIGHTS.items():
        if entry.url is None:
            continue
        address = urlsplit(entry.url)
        assert entry.name == name
        assert entry.arch in ARCHITECTURES
        assert address.scheme == "https"
        assert address.path.endswith((".pth", ".pt"))
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.licence == "Apache-2.0"
    assert len({entry.sha256 for entry in WEIGHTS.values()}) == len(WEIGHTS)
    # About four bytes for each of the 93.7, 312.3, 641.1 and 10.1 million values; the last file
    # also has the statistics of batch norms.
    sizes = [WEIGHTS[name].num_bytes / 4e6 for name in ("vit_b", "vit_l", "vit_h", "vit_t")]
    assert sizes == pytest.approx([93.7, 312.3, 641.1, 10.13], rel=6e-3)


def test_the_weights_that_come_with_samft_need_no_network(no_download):
    entry = WEIGHTS["vit_nano"]
    assert entry.path.is_relative_to(Path(weights.__file__).parents[1])
    assert entry.path.stat().st_size == entry.num_bytes <= 10_000_000
    assert entry.path.with_suffix(".md").is_file()
    sam = build_sam("vit_nano")
    info = load_weights(sam, "vit_nano", offline=True)
    assert (info.name, info.sha256) == ("vit_nano", entry.sha256)
    assert {tensor.dtype for tensor in sam.parameters()} == {torch.float32}


def test_weights_that_should_have_come_with_samft(monkeypatch, tmp_path, no_download):
    monkeypatch.setattr(weights, "_PACKAGED", tmp_path)
    with pytest.raises(CheckpointError) as error:
        resolve_weights("vit_nano")
    refused(error, "which come with samft, are not there", str(tmp_path), "install samft again")
    (tmp_path / "vit_nano.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError) as error:
        resolve_weights("vit_nano")
    refused(error, "was changed or damaged", WEIGHTS["vit_nano"].sha256, "install samft again")


# --- names and paths -----------------------------------------------------------------------------


def test_paths(tmp_path, monkeypatch, no_download):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "w.pth").touch()
    (tmp_path / "w.pth").touch()
    assert resolve_weights("~/w.pth") == tmp_path / "home" / "w.pth"
    assert resolve_weights("w.pth").resolve() == tmp_path / "w.pth"
    assert resolve_weights("./home/../w.pth").resolve() == tmp_path / "w.pth"
    assert resolve_weights(tmp_path / "w.pth") == tmp_path / "w.pth"
    assert resolve_weights(tmp_path / "home") == tmp_path / "home"


def test_a_path_comes_before_a_name(tmp_path, monkeypatch, no_download):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit_b").touch()
    assert resolve_weights("vit_b").resolve() == tmp_path / "vit_b"


def test_unknown_name(tmp_path, monkeypatch, no_download):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        resolve_weights("vitb")
    refused(error, "no such weights file: vitb", str(tmp_path / "vitb"), "did you mean 'vit_b'")
    with pytest.raises(CheckpointError) as error:
        resolve_weights("no/such/file.pth")
    refused(
        error,
        "no such weights file: no/such/file.pth",
        str(tmp_path),
        "vit_h, vit_l, vit_nano, vit_t",
    )


def test_name_that_no_file_can_have(no_download):
    with pytest.raises(CheckpointError, match="no such weights file"):
        resolve_weights("n" * 5000)


def test_special_files(no_download):
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_weights(tiny_sam(), "/dev/null")


# --- offline -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h", "vit_t"])
def test_offline_says_what_to_put_where(cache_folder, no_download, name):
    with pytest.raises(CheckpointError) as error:
        resolve_weights(name, offline=True)
    entry = WEIGHTS[name]
    place = str(cache_folder / entry.url.rpartition("/")[2])
    refused(error, place, entry.url, entry.sha256, f"the weights {name} are not on this machine")


@pytest.mark.parametrize("variable", ["SAMFT_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_by_environment(monkeypatch, no_download, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(CheckpointError, match="downloading is off"):
        resolve_weights("vit_b")


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_online_by_environment(monkeypatch, value):
    monkeypatch.setenv("SAMFT_OFFLINE", value)
    asked = []

    def refuse(url, *args, **options):
        asked.append(url)
        raise MachineError("no network in a test")

    monkeypatch.setattr(weights, "download", refuse)
    with pytest.raises(MachineError):
        resolve_weights("vit_b")
    assert asked == [WEIGHTS["vit_b"].url]


def test_the_argument_beats_the_environment(monkeypatch):
    monkeypatch.setenv("SAMFT_OFFLINE", "1")

    def refuse(*args, **options):
        raise MachineError("no network in a test")

    monkeypatch.setattr(weights, "download", refuse)
    with pytest.raises(MachineError):
        resolve_weights("vit_b", offline=False)


# --- named weights -------------------------------------------------------------------------------


def test_named_weights_are_downloaded_once_and_load(published, monkeypatch, cache_folder):
    entry, path = published
    server = FileServer(path)
    monkeypatch.setattr(download, "https_opener", lambda: server)
    for seed in (2, 3):
        sam = tiny_sam(seed=seed)
        info = load_weights(sam, "tiny")
        assert_same(dict(sam.state_dict()), dict(tiny_sam(seed=1).state_dict()))
    assert server.requests == [entry.url]
    assert info.path == cache_folder / "sam_tiny.pth"
    assert (info.name, info.sha256) == ("tiny", entry.sha256)
    assert info.origin.layout == "official"


def test_named_weights_put_there_by_hand_work_offline(published, cache_folder, no_download):
    entry, path = published
    cache_folder.mkdir(parents=True)
    path.rename(entry.path)
    assert resolve_weights("tiny", offline=True) == cache_folder / "sam_tiny.pth"


def test_one_flipped_byte_is_noticed(published, cache_folder):
    entry, path = published
    fetch(entry, offline=False, opener=FileServer(path))
    time.sleep(1.05)  # so that the hash is remembered
    fetch(entry, offline=True)
    assert (cache_folder / "sha256.json").exists()
    stat = entry.path.stat()
    with entry.path.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))
    os.utime(entry.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CheckpointError) as error:
        load_weights(tiny_sam(), "tiny")
    found = hashlib.sha256(entry.path.read_bytes()).hexdigest()
    refused(error, str(entry.path), entry.sha256, found, "delete it to download it again")


def test_known_weights_are_recognised_under_any_name(published, tmp_path):
    entry, path = published
    copy = path.rename(tmp_path / "my copy.bin")
    info = load_weights(tiny_sam(), copy)
    assert (info.name, info.path, info.sha256) == ("tiny", copy, entry.sha256)


def test_other_weights_go_by_their_file_name(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_state_dict(tiny_sam(), path)
    info = load_weights(tiny_sam(seed=5), str(path))
    assert (info.name, info.path) == ("mine.safetensors", path)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_another_size_leave_the_model_alone(published):
    sam = tiny_sam(seed=4)
    before = {key: tensor.clone() for key, tensor in sam.state_dict().items()}
    _, path = published
    broken = torch.load(path, weights_only=True)
    broken["image_encoder.neck.1.bias"] = torch.zeros(3)
    torch.save(broken, path)
    with pytest.raises(CheckpointError, match=r"neck\.1\.bias \(3,\) instead of \(32,\)"):
        load_weights(sam, path)
    assert_same(dict(sam.state_dict()), before)


def test_a_file_that_cannot_be_read(published, monkeypatch):
    _, path = published

    def denied(files):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(weights, "sha256_of", denied)
    with pytest.raises(CheckpointError, match=r"cannot be read(?s:.*)Permission denied"):
        load_weights(tiny_sam(), path)


def test_entries_are_independent_of_the_cache_folder(monkeypatch, tmp_path):
    entry = replace(WEIGHTS["vit_b"])
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "other"))
    assert entry.path == tmp_path / "other" / "weights" / "sam_vit_b_01ec64.pth"
