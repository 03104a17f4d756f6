"""Reading: every layout that holds a SAM, and every file that only looks like one."""

import gzip
import json
import os
from collections import OrderedDict

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_sam import assert_same, tiny_sam
from torch import nn

from samft.errors import CheckpointError
from samft.models import checkpoint, torch_file
from samft.models.checkpoint import read_state_dict, weights_files
from samft.models.huggingface import to_huggingface


@pytest.fixture(scope="module")
def state():
    return {key: tensor.clone() for key, tensor in tiny_sam().state_dict().items()}


def saved(content, path):
    torch.save(content, path)
    return path


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def untied(state):
    """Return Hugging Face names with one copy of the Fourier matrix, as safetensors wants it."""
    theirs = to_huggingface(state)
    del theirs["prompt_encoder.shared_embedding.positional_embedding"]
    return theirs


def message(error):
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    return text


def refused(path, *words):
    with pytest.raises(CheckpointError) as error:
        read_state_dict(path)
    text = message(error)
    for word in (str(path), *words):
        assert word in text, text
    return text


# --- layouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sam.pth", "sam.pt", "sam.bin", "sam"])
def test_official_file_under_any_name(state, tmp_path, name):
    read, origin = read_state_dict(saved(OrderedDict(state), tmp_path / name))
    assert_same(read, state)
    assert (origin.layout, origin.entry, origin.prefix, origin.ignored) == ("official", "", "", ())


def test_safetensors(state, tmp_path):
    save_file(state, tmp_path / "sam.safetensors")
    read, origin = read_state_dict(tmp_path / "sam.safetensors")
    assert_same(read, state)
    assert origin.layout == "official"


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "sam.", "_orig_mod.", "module.sam.", "sam._orig_mod.", "a.b.model."],
)
def test_any_common_prefix(state, tmp_path, prefix):
    read, origin = read_state_dict(saved(prefixed(state, prefix), tmp_path / "w.pth"))
    assert_same(read, state)
    assert origin.prefix == prefix.replace("_orig_mod.", "")


def test_parts_compiled_one_by_one(state, tmp_path):
    compiled = {key.replace("image_encoder.", "image_encoder._orig_mod."): v for key, v in
                state.items()}  # fmt: skip
    read, _ = read_state_dict(saved(compiled, tmp_path / "w.pth"))
    assert_same(read, state)


@pytest.mark.parametrize("ddp", ["", "module."])
def test_medsam_training_file(state, tmp_path, ddp):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    content = {"model": prefixed(state, ddp), "optimizer": optimizer.state_dict(), "epoch": 7}
    read, origin = read_state_dict(saved(content, tmp_path / "medsam.pth"))
    assert_same(read, state)
    assert (origin.entry, origin.prefix, origin.ignored) == ("model", ddp, ())


def test_micro_sam_file_names_the_decoder_it_leaves_out(state, tmp_path, caplog):
    content = {
        "model_state": prefixed(state, "sam."),
        "decoder_state": OrderedDict({"out_conv.weight": torch.zeros(3)}),
        "epoch": 3,
    }
    path = saved(content, tmp_path / "best.pt")
    read, origin = read_state_dict(path)
    assert_same(read, state)
    assert (origin.entry, origin.prefix) == ("model_state", "sam.")
    assert origin.ignored == ("decoder_state",)
    assert caplog.messages == [f"{path}: not part of SAM, ignored: decoder_state"]


class LitSam(pl.LightningModule):
    def __init__(self, lr=0.1, prompts=None):
        super().__init__()
        self.save_hyperparameters()
        self.sam = tiny_sam()
        self.extra = nn.Linear(2, 2)

    def training_step(self, batch, index):
        return self.sam.mask_decoder.iou_token.weight.sum() * 0.0

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters())
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])]


def test_lightning_checkpoint(tmp_path):
    module = LitSam(prompts={"kind": "box"})
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader([0.0]))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    read, origin = read_state_dict(tmp_path / "last.ckpt")
    assert_same(read, module.sam.state_dict())
    assert (origin.entry, origin.prefix) == ("state_dict", "sam.")
    assert origin.ignored == ("extra.weight", "extra.bias")


def test_huggingface_folder_in_each_form(state, tmp_path):
    theirs = untied(state)
    for name in ("safe", "bin", "shards", "bin_shards"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "sam"}')
    save_file(theirs, tmp_path / "safe" / "model.safetensors")
    saved(theirs, tmp_path / "bin" / "pytorch_model.bin")
    keys = sorted(theirs)
    for folder, name, write in (
        ("shards", "model.safetensors", save_file),
        ("bin_shards", "pytorch_model.bin", torch.save),
    ):
        weight_map = {}
        for number, part in enumerate((keys[:50], keys[50:])):
            shard = f"part-{number}.{name.rpartition('.')[2]}"
            write({key: theirs[key] for key in part}, tmp_path / folder / shard)
            weight_map |= dict.fromkeys(part, shard)
        index = tmp_path / folder / f"{name}.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for folder, count in (("safe", 1), ("bin", 1), ("shards", 2), ("bin_shards", 2)):
        read, origin = read_state_dict(tmp_path / folder)
        assert_same(read, state)
        assert origin.layout == "huggingface"
        assert len(weights_files(tmp_path / folder)) == count


def test_huggingface_names_behind_a_prefix(state, tmp_path):
    read, origin = read_state_dict(
        saved({"state_dict": prefixed(to_huggingface(state), "model.")}, tmp_path / "w.ckpt")
    )
    assert read.keys() == state.keys()
    assert (origin.layout, origin.prefix) == ("huggingface", "model.")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_read(state, tmp_path, dtype):
    content = {key: tensor.to(dtype) for key, tensor in state.items()}
    read, _ = read_state_dict(saved(content, tmp_path / "w.pth"))
    assert {tensor.dtype for tensor in read.values()} == {dtype}


def test_views_and_parameters_are_read(state, tmp_path):
    content = dict(state)
    key = "image_encoder.blocks.0.attn.qkv.weight"
    content[key] = nn.Parameter(state[key].t().contiguous().t())
    read, _ = read_state_dict(saved(content, tmp_path / "w.pth"))
    assert_same(read, state)
    assert not read[key].requires_grad


def test_files_without_checksums_are_read(state, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(state, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    read, _ = read_state_dict(path)
    assert_same(read, state)


def test_file_systems_without_mmap(state, tmp_path, monkeypatch):
    load, seen = torch.load, []

    def refusing(*args, mmap, **options):
        seen.append((mmap, options["weights_only"]))
        if mmap:
            raise RuntimeError("unable to mmap 123 bytes from file: No such device (19)")
        return load(*args, mmap=mmap, **options)

    monkeypatch.setattr(torch, "load", refusing)
    read, _ = read_state_dict(saved(state, tmp_path / "w.pth"))
    assert_same(read, state)
    assert seen == [(True, True), (False, True)]


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
        ('{"weight_map": {"a": 3}}', ("the file name 3",)),
    ],
)
def test_damaged_index(tmp_path, text, words):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError) as error:
        read_state_dict(tmp_path)
    for word in (str(index), "weight_map", *words):
        assert word in message(error)


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


def test_shards_may_be_links_as_in_the_cache_of_the_hub(state, tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    save_file(untied(state), tmp_path / "blobs" / "abc")
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blobs/abc")
    read, _ = read_state_dict(tmp_path / "snapshot")
    assert read.keys() == state.keys()


def test_header_limit_leaves_room_for_the_largest_model(tmp_path):
    """594 tensors with two optimiser states each, named as verbosely as Lightning does."""
    names = [f"sam.image_encoder.blocks.{i}.attn.some_projection.weight" for i in range(594 * 3)]
    path = saved({name: torch.zeros(1) for name in names}, tmp_path / "w.pth")
    assert path.stat().st_size < torch_file.MAX_HEADER_BYTES / 8
