"""`samft convert`: first the hash and the names, then, with the hash, the weights."""

import argparse
import hashlib
from pathlib import Path

import pytest
import torch
from models.tiny_sam import assert_same, tiny_sam
from safetensors import safe_open

from samft.cli.commands.convert import main
from samft.errors import CheckpointError, ConfigError, OutputError
from samft.models.checkpoint import read_state_dict


@pytest.fixture
def old(tmp_path: Path) -> Path:
    content = {"model": tiny_sam().state_dict(), "args": argparse.Namespace(lr=1e-4)}
    torch.save(content, tmp_path / "old.ckpt")
    return tmp_path / "old.ckpt"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_a_hash_it_shows_what_is_inside_and_writes_nothing(old: Path, capsys) -> None:
    out = old.with_name("new.safetensors")
    with pytest.raises(CheckpointError) as error:
        main([str(old), str(out)])
    assert f"--trust-sha256 {sha256(old)}" in str(error.value)
    assert str(old) in str(error.value)
    shown = capsys.readouterr().out
    assert sha256(old) in shown
    assert "argparse.Namespace" in shown
    assert "torch._utils._rebuild_tensor_v2" not in shown
    assert not out.exists()


def test_the_wrong_hash_is_refused(old: Path) -> None:
    out = old.with_name("new.safetensors")
    with pytest.raises(CheckpointError, match="not the file that is trusted") as error:
        main([str(old), str(out), "--trust-sha256", "0" * 64])
    assert f"found: sha256 {sha256(old)}, expected: {'0' * 64}" in str(error.value)
    assert "get the file again" in str(error.value)
    assert not out.exists()


def test_with_the_hash_the_weights_are_written_and_nothing_else(old: Path, capsys) -> None:
    out = old.with_name("new.safetensors")
    with pytest.raises(CheckpointError, match="could run code"):
        read_state_dict(old)
    assert main([str(old), str(out), "--trust-sha256", sha256(old).upper()]) == 0
    assert_same(read_state_dict(out)[0], tiny_sam().state_dict())
    with safe_open(out, framework="pt") as file:
        assert set(file.keys()) == set(tiny_sam().state_dict())
        assert file.metadata()["source_sha256"] == sha256(old)
    assert "nothing else" in capsys.readouterr().out


def test_a_file_that_needs_no_conversion_says_so(tmp_path: Path, capsys) -> None:
    torch.save(tiny_sam().state_dict(), tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="not trusted yet"):
        main([str(tmp_path / "plain.pth"), str(tmp_path / "out.safetensors")])
    assert "samft reads this file as it is" in capsys.readouterr().out


def test_mistakes(old: Path) -> None:
    with pytest.raises(ConfigError, match="cannot hold code") as error:
        main([str(old), str(old.with_suffix(".pth"))])
    assert "expected: .safetensors" in str(error.value)
    with pytest.raises(CheckpointError, match="no such file"):
        main([str(old.with_name("gone.ckpt")), "out.safetensors"])
    there = old.with_name("there.safetensors")
    there.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        main([str(old), str(there), "--trust-sha256", sha256(old)])
    assert there.read_bytes() == b"mine"
