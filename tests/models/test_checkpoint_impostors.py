"""Files that are taken for the weights of a SAM and are something else."""

import gzip
import os

import numpy as np
import pytest
import torch
from checkpoint_files import prefixed, refused, saved, state
from safetensors.torch import save_file
from torch import nn

from samft.errors import CheckpointError
from samft.models import checkpoint
from samft.models.checkpoint import read_state_dict
from samft.models.huggingface import to_huggingface

__all__ = ["state"]  # a fixture


# --- files that are something else ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("an empty file", "download it again")),
        (b"<!DOCTYPE html><html><body>Sign in</body>", ("a web page",)),
        (b"\n  <html lang='en'>", ("a web page",)),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", ("an XML page",)),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 375042383\n",
            ("a git-LFS pointer", "git lfs pull"),
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), ("HDF5",)),
        (b'model_checkpoint_path: "model.ckpt-1"', ("TensorFlow",)),
        (bytes(90) + bytes.fromhex("57fb808b247547db"), ("TensorFlow",)),
        (gzip.compress(b"x"), ("a gzip archive", "unpack it")),
        (b"PK\x05\x06" + bytes(18), ("an empty zip archive",)),
        (b'{"model_type": "sam"}', ("a JSON file", "the folder")),
        (b"\x89PNG\r\n\x1a\n", ("a PNG picture",)),
        (b"some notes about the weights", ("unknown content", "b'some not'")),
        (b"abc", ("unknown content",)),
    ],
    ids=lambda value: value[0].replace(" ", "_") if isinstance(value, tuple) else "file",
)
def test_impostors_are_named(tmp_path, content, words):
    path = tmp_path / "sam_vit_b.pth"
    path.write_bytes(content)
    refused(path, "this is not a weights file", *words)


def test_numpy_file(tmp_path):
    np.save(tmp_path / "w.npy", np.zeros(3))
    refused(tmp_path / "w.npy", "a NumPy array")


def test_torch_before_1_6(state, tmp_path):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pth", "a file of torch before 1.6", "save it again")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_torch_file_cut_short(state, tmp_path, kept):
    path = saved(state, tmp_path / "w.pth")
    os.truncate(path, int(path.stat().st_size * kept))
    refused(path, "cut short or damaged", f"{path.stat().st_size} bytes", "download it again")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_safetensors_cut_short(state, tmp_path, kept):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    os.truncate(path, int(path.stat().st_size * kept))
    refused(path, "cut short", "download it again")


def test_missing_file_and_folder_without_weights(tmp_path):
    refused(tmp_path / "no.pth", "there is no such weights file")
    refused(tmp_path, "there are no weights in the folder", "an empty folder", "model.safetensors")
    (tmp_path / "notes.txt").touch()
    refused(tmp_path, "notes.txt")


def test_unreadable_file(state, tmp_path, monkeypatch):
    path = saved(state, tmp_path / "w.pth")

    def denied(self, *args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    refused(path, "cannot be opened", "Permission denied")


def test_torchscript_and_other_zip_archives(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "net.pt")
    refused(tmp_path / "net.pt", "a TorchScript program")
    np.savez(tmp_path / "w.npz", a=np.zeros(2))
    refused(tmp_path / "w.npz", "not one written by torch.save", "a.npy")


# --- contents that are something else ------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        (["detector.backbone.x", "tracker.maskmem.y"], "SAM 3"),
        (["memory_attention.layers.0.x", "sam_mask_decoder.y"], "SAM 2"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_relatives_without_our_encoder_are_named(tmp_path, keys, family, wrapped):
    weights = dict.fromkeys(keys, torch.zeros(1))
    path = saved({"model": weights} if wrapped else weights, tmp_path / "w.pt")
    refused(path, "no weights of a SAM", f"{family} weights, which samft does not support")


def test_no_sam_inside(tmp_path):
    path = saved({"conv.weight": torch.zeros(1)}, tmp_path / "w.pt")
    refused(path, "no weights of a SAM", "'conv.weight'", "image_encoder.patch_embed.proj.weight")
    refused(saved(torch.zeros(3), tmp_path / "t.pt"), "no weights of a SAM", "Tensor")
    refused(saved([1, 2], tmp_path / "l.pt"), "no weights of a SAM", "list")
    refused(saved({}, tmp_path / "e.pt"), "no weights of a SAM")
    refused(saved({"text_image_encoder.x": torch.zeros(1)}, tmp_path / "x.pt"), "no weights")


def test_two_models_in_one_file(state, tmp_path):
    path = saved({"model": state, "ema": state, "epoch": 1}, tmp_path / "w.pt")
    refused(path, "more than one SAM", "entries 'model', 'ema'", "torch.save(model.state_dict()")
    both = prefixed(state, "student.") | prefixed(state, "teacher.")
    refused(saved(both, tmp_path / "v.pt"), "more than one SAM", "'student.', 'teacher.'")
    twice = state | prefixed({"image_encoder.pos_embed": torch.zeros(1)}, "_orig_mod.")
    refused(saved(twice, tmp_path / "u.pt"), "more than one SAM")


KEY = "mask_decoder.iou_token.weight"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (3, "found: int"),
        ("text", "found: str"),
        (None, "found: NoneType"),
        ([torch.zeros(1, 32)], "found: list"),
        (torch.zeros(1, 32, dtype=torch.int64), "found: torch.int64 tensor"),
        (torch.zeros(1, 32, dtype=torch.bool), "found: torch.bool tensor"),
        (torch.full((1, 32), float("nan")), "found: NaN or infinite values"),
        (torch.tensor([[1.0] * 31 + [float("-inf")]]), "found: NaN or infinite values"),
        (torch.tensor([[1.0] * 31 + [float("inf")]]).half(), "found: NaN or infinite values"),
        (torch.zeros(1).expand(1, 32), "found: 4 bytes of values"),
    ],
)
def test_values_that_are_no_weights_name_their_key(state, tmp_path, value, found):
    path = saved(prefixed(state | {KEY: value}, "sam."), tmp_path / "w.pth")
    refused(path, f"{path}: {KEY}", found, "finite floating point")


def test_keys_that_are_no_names(state, tmp_path):
    path = saved(state | {7: torch.zeros(1)}, tmp_path / "w.pth")
    refused(path, f"{path}: 7", "found: int, expected: str")


def test_the_two_fourier_matrices_must_agree(state, tmp_path):
    theirs = to_huggingface(state)
    copy = "shared_image_embedding.positional_embedding"
    theirs[copy] = theirs[copy] + 1
    save_file(theirs, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"(?s)copies of the Fourier matrix differ.*{copy}"):
        read_state_dict(tmp_path)


# --- indices of shards ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", ("JSONDecodeError",)),
        ("[]", ("TypeError",)),
        ("{}", ("KeyError",)),
        ('{"weight_map": []}', ("AttributeError",)),
        ('{"weight_map": {}}', ("no files",)),
        ('{"weight_map": {"a": "gone.safetensors"}}', ("gone.safetensors, which is not there",)),
        ('{"weight_map": {"a": 3}}', ("the file name '3'",)),
    ],
)
def test_damaged_index(tmp_path, text, words):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    refused(tmp_path, str(index), "weight_map", *words)


def test_huge_index(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_HEADER_BYTES", 100)
    (tmp_path / "model.safetensors.index.json").write_text(" " * 101)
    with pytest.raises(CheckpointError, match="101 bytes"):
        read_state_dict(tmp_path)


def test_shards_that_overlap(state, tmp_path):
    for name in ("a", "b"):
        save_file({"image_encoder.pos_embed": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}'
    )
    with pytest.raises(CheckpointError, match=r"shards .* do not fit(?s:.*)b\.safetensors"):
        read_state_dict(tmp_path)
