"""Key names of `transformers.SamModel`, and weights by hub id without a network."""

import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny_sam import TINY, assert_same, tiny_sam
from transformers import SamConfig as TheirConfig
from transformers import SamModel

from samft.errors import CheckpointError, DependencyError, MachineError
from samft.models.checkpoint import read_state_dict
from samft.models.config import ARCHITECTURES, VitEncoder
from samft.models.huggingface import (
    download_snapshot,
    from_huggingface,
    is_hub_id,
    to_huggingface,
)
from samft.models.registry import build_from_config
from samft.models.weights import load_weights, resolve_weights

COPY = "shared_image_embedding.positional_embedding"
OFFICIAL_COUNTS = {"vit_b": 314, "vit_l": 482, "vit_h": 594}
PLAIN = [name for name, size in ARCHITECTURES.items() if isinstance(size.encoder, VitEncoder)]


def their_config(config):
    part = {"image_size": config.image_size, "patch_size": config.patch_size}
    return TheirConfig(
        vision_config={
            **part,
            "hidden_size": config.encoder.dim,
            "num_hidden_layers": config.encoder.depth,
            "num_attention_heads": config.encoder.heads,
            "output_channels": config.embed_dim,
            "mlp_dim": 4 * config.encoder.dim,
            "global_attn_indexes": list(config.encoder.global_blocks),
            "window_size": config.encoder.window_size,
            "num_pos_feats": config.embed_dim // 2,
        },
        prompt_encoder_config={**part, "hidden_size": config.embed_dim},
        mask_decoder_config={
            "hidden_size": config.embed_dim,
            "num_hidden_layers": config.decoder_depth,
            "num_attention_heads": config.decoder_heads,
            "mlp_dim": config.decoder_mlp_dim,
            "iou_head_hidden_dim": config.embed_dim,
        },
    )


def shapes(state):
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


@pytest.mark.parametrize("arch", PLAIN)
def test_names_of_every_size_go_there_and_back(arch):
    with torch.device("meta"):
        ours = build_from_config(ARCHITECTURES[arch]).state_dict()
        theirs = SamModel(their_config(ARCHITECTURES[arch])).state_dict()
    if arch in OFFICIAL_COUNTS:
        assert len(ours) == OFFICIAL_COUNTS[arch]
    renamed = to_huggingface(ours)
    assert shapes(renamed) == shapes(theirs)
    del renamed[COPY]  # values on the meta device cannot be compared
    back = from_huggingface(renamed)
    assert list(back) == list(ours)
    assert all(back[key] is ours[key] for key in ours)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(3)
    model = SamModel(their_config(TINY)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_our_weights_load_strictly_into_theirs(theirs):
    ours = tiny_sam()
    before = theirs.state_dict()
    saved = {key: tensor.clone() for key, tensor in before.items()}
    theirs.load_state_dict(to_huggingface(ours.state_dict()), strict=True)
    assert_same(from_huggingface(theirs.state_dict()), dict(ours.state_dict()))
    theirs.load_state_dict(saved)


@pytest.mark.parametrize("shards", [False, True])
def test_a_folder_they_saved_loads_strictly_into_ours(theirs, tmp_path, shards):
    theirs.save_pretrained(tmp_path, max_shard_size="200KB" if shards else "1GB")
    assert (tmp_path / "model.safetensors").exists() is not shards
    ours = tiny_sam()
    info = load_weights(ours, tmp_path)
    assert_same(to_huggingface(ours.state_dict()), dict(theirs.state_dict()))
    assert info.origin.layout == "huggingface"
    assert len(info.sha256) == 64


def test_either_copy_of_the_fourier_matrix_will_do(theirs):
    whole = dict(theirs.state_dict())
    for name in (COPY, "prompt_encoder.shared_embedding.positional_embedding"):
        one = {key: tensor for key, tensor in whole.items() if key != name}
        assert_same(from_huggingface(one), from_huggingface(whole))


def test_unknown_names_stay_as_they_are():
    tensor = torch.zeros(1)
    assert to_huggingface({"semantic_head.weight": tensor}) == {"semantic_head.weight": tensor}
    assert from_huggingface({"mask_decoder.hq_token.weight": tensor}) == {
        "mask_decoder.hq_token.weight": tensor
    }


# --- hub -----------------------------------------------------------------------------------------


def test_what_reads_like_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    assert is_hub_id("facebook/sam-vit-base")
    assert is_hub_id("wanglab/medsam_vit.base")
    for path in (
        "vit_b",
        "facebook/sam.pth",
        "facebook/sam.safetensors",
        "./facebook/sam",
        "../a/b",
        "/facebook/sam",
        "~/facebook/sam",
        "a/b/c",
        "weights/sam",
        "https://host/sam",
        "",
    ):
        assert not is_hub_id(path), path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Make a repository in an otherwise empty cache of the hub; returns its folder of files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--owner--sam"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    (repo / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return repo / "snapshots" / ("0" * 40)


def test_cached_repository_is_used_offline(theirs, hub, monkeypatch):
    theirs.save_pretrained(hub)
    monkeypatch.setenv("SAMFT_OFFLINE", "1")
    ours = tiny_sam()
    info = load_weights(ours, "owner/sam")
    assert info.path == hub
    assert_same(to_huggingface(ours.state_dict()), dict(theirs.state_dict()))


def test_repository_that_is_not_cached_offline(hub):
    with pytest.raises(CheckpointError) as error:
        resolve_weights("owner/other", offline=True)
    text = str(error.value)
    assert "owner/other are not on this machine, and downloading is switched off" in text
    assert "SAMFT_OFFLINE" in text
    assert len(text.splitlines()) <= 3


def test_repository_without_weights(hub):
    (hub / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="owner/sam(?s:.*)model.safetensors or pytorch_model"):
        download_snapshot("owner/sam", offline=True)


class FakeHub:
    """Stands for `snapshot_download`: copies what is allowed out of a list of files."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.folder, self.files, self.fetched, self.offline = folder, files, [], None

    def __call__(self, repo_id, *, allow_patterns, local_files_only):
        self.offline = local_files_only
        for name in self.files:
            if any(Path(name).match(pattern) for pattern in allow_patterns):
                (self.folder / name).touch()
                self.fetched.append(name)
        return str(self.folder)


FILES = ["config.json", "README.md", "run.py", "tf_model.h5", "pytorch_model.bin", "training.pkl"]


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        ([*FILES, "model.safetensors"], {"config.json", "model.safetensors"}),
        (
            [*FILES, "model.safetensors.index.json", "model-00001-of-00001.safetensors"],
            {"config.json", "model.safetensors.index.json", "model-00001-of-00001.safetensors"},
        ),
        (FILES, {"config.json", "pytorch_model.bin"}),
    ],
)
def test_only_weights_are_fetched_and_no_pickle_beside_safetensors(
    tmp_path, monkeypatch, files, fetched
):
    fake = FakeHub(tmp_path, files)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
    assert resolve_weights("owner/sam") == tmp_path
    assert set(fake.fetched) == fetched
    assert fake.offline is False


def failing(error):
    def snapshot_download(*args, **options):
        raise error

    return snapshot_download


def test_errors_of_the_hub_are_told_as_ours(monkeypatch):
    from huggingface_hub import errors

    answer = mock.MagicMock(headers={})
    timeout = errors.HfHubHTTPError.__bases__[0]
    for error, expected, words in (
        (errors.RepositoryNotFoundError("no", response=answer), CheckpointError, "no such hub"),
        (errors.GatedRepoError("no", response=answer), CheckpointError, "hf auth login"),
        (errors.HfHubHTTPError("500 oops", response=answer), MachineError, "500 oops"),
        (errors.LocalEntryNotFoundError("no connection"), MachineError, "check the network"),
        (timeout("read timed out"), MachineError, "read timed out"),
        (OSError(28, "No space left on device"), MachineError, "No space left"),
    ):
        monkeypatch.setattr("huggingface_hub.snapshot_download", failing(error))
        with pytest.raises(expected, match="owner/sam") as caught:
            resolve_weights("owner/sam")
        assert words in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 3


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"owner/sam(?s:.*)samft\[export\]"):
        resolve_weights("owner/sam")


def test_hub_files_pass_the_same_gates(hub):
    torch.save({"image_encoder.x": Exception("code")}, hub / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"Exception"):
        read_state_dict(download_snapshot("owner/sam", offline=True))
