"""Writing: files that other tools read, whole or not at all."""

import sys
from unittest import mock

import pytest
import torch
from safetensors import safe_open
from tiny_sam import TINY, assert_same, tiny_sam
from torch import nn

import samft
from samft.errors import MachineError, OutputError
from samft.models import checkpoint
from samft.models.checkpoint import read_state_dict, save_state_dict
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config

NAMES = ["w.pth", "w.pt", "w.safetensors"]


@pytest.fixture(scope="module")
def sam():
    return tiny_sam()


@pytest.fixture
def official(monkeypatch):
    """The model classes of `segment_anything`, which wants a torchvision that has no CPU build."""
    for name in ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional"):
        monkeypatch.setitem(sys.modules, f"torchvision{name}", mock.MagicMock())
    import segment_anything.modeling as modeling

    grid = (TINY.grid_size, TINY.grid_size)
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=TINY.image_size,
            embed_dim=TINY.encoder.dim,
            depth=TINY.encoder.depth,
            num_heads=TINY.encoder.heads,
            out_chans=TINY.embed_dim,
            use_rel_pos=True,
            window_size=TINY.encoder.window_size,
            global_attn_indexes=TINY.encoder.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=TINY.embed_dim,
            image_embedding_size=grid,
            input_image_size=(TINY.image_size, TINY.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=TINY.embed_dim,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=TINY.embed_dim, num_heads=4, mlp_dim=TINY.decoder_mlp_dim
            ),
            iou_head_hidden_dim=TINY.embed_dim,
        ),
    )


def test_pth_loads_strictly_into_segment_anything(sam, official, tmp_path):
    save_state_dict(sam, tmp_path / "w.pth")
    official.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=True)
    assert_same(dict(official.state_dict()), dict(sam.state_dict()))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(sam, tmp_path, name):
    save_state_dict(sam.state_dict(), tmp_path / "new" / "folder" / name)
    read, origin = read_state_dict(tmp_path / "new" / "folder" / name)
    assert_same(read, dict(sam.state_dict()))
    assert (origin.entry, origin.prefix, origin.ignored) == ("", "", ())
    assert [item.name for item in (tmp_path / "new" / "folder").iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_stays(sam, tmp_path, name):
    halves = {key: tensor.half() for key, tensor in sam.state_dict().items()}
    save_state_dict(halves, tmp_path / name)
    assert_same(read_state_dict(tmp_path / name)[0], halves)


def test_metadata(sam, tmp_path):
    nano = build_from_config(ARCHITECTURES["vit_nano"])
    save_state_dict(nano, tmp_path / "nano.safetensors", metadata={"licence": "Apache-2.0"})
    save_state_dict(sam, tmp_path / "tiny.safetensors")
    with safe_open(tmp_path / "nano.safetensors", "pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "arch": "vit_nano",
            "image_size": "256",
            "samft_version": samft.__version__,
            "licence": "Apache-2.0",
        }
    with safe_open(tmp_path / "tiny.safetensors", "pt") as file:
        assert file.metadata()["arch"] == "custom"


@pytest.mark.parametrize("name", NAMES)
def test_a_view_does_not_save_its_base(tmp_path, name):
    base = torch.zeros(1000, 1000)
    views = {"image_encoder.a": base[0], "image_encoder.b": base[:, 0], "image_encoder.c": base[1]}
    save_state_dict(views, tmp_path / name)
    assert (tmp_path / name).stat().st_size < 20_000


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_overwritten_unless_told(sam, tmp_path, name):
    path = tmp_path / name
    path.write_text("precious")
    with pytest.raises(OutputError, match=rf"exists already(?s:.*){name}"):
        save_state_dict(sam, path)
    assert path.read_text() == "precious"
    save_state_dict(sam, path, overwrite=True)
    assert_same(read_state_dict(path)[0], dict(sam.state_dict()))


def test_unknown_ending(sam, tmp_path):
    with pytest.raises(OutputError, match=r"found: \.onnx, expected: \.pth, \.pt or"):
        save_state_dict(sam, tmp_path / "w.onnx")


def test_only_official_keys_are_written(tmp_path):
    with pytest.raises(OutputError, match="2 other keys such as weight") as error:
        save_state_dict(nn.Linear(2, 2), tmp_path / "w.pth")
    assert len(str(error.value).splitlines()) <= 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_the_old_file(sam, tmp_path, monkeypatch, name):
    path = tmp_path / name
    save_state_dict(sam, path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(MachineError, match=rf"(?s){name}.*No space left.*free disk space"):
        save_state_dict(tiny_sam(seed=9), path, overwrite=True)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_made(sam, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="could not be written"):
        save_state_dict(sam, tmp_path / "file" / "w.pth")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_others_may_read_what_the_user_lets_them_read(sam, tmp_path, name):
    (tmp_path / "like").touch()
    save_state_dict(sam, tmp_path / name)
    assert (tmp_path / name).stat().st_mode == (tmp_path / "like").stat().st_mode
