"""Reading every layout that holds a SAM."""

import json
from collections import OrderedDict

import lightning.pytorch as pl
import pytest
import torch
from checkpoint_files import prefixed, saved, state, untied
from safetensors.torch import save_file
from tiny_sam import assert_same, tiny_sam
from torch import nn

from samft.models import torch_file
from samft.models.checkpoint import read_state_dict, weights_files
from samft.models.huggingface import to_huggingface

__all__ = ["state"]  # a fixture


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
    compiled = {
        key.replace("image_encoder.", "image_encoder._orig_mod."): v for key, v in state.items()
    }
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
