"""An adapter folder brings the same answers back, in samft and through peft, or says why not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from adapted_sams import answers, base, difference, images, lora, trained
from models.tiny_sam import TINY, assert_same
from parity.reference_models import official_sam
from safetensors.torch import load_file, save_file

from samft.errors import CheckpointError, ConfigError, OutputError
from samft.models.adaptation.merge import merged
from samft.models.adaptation.saved import load_adapted, save_adapted
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings

KINDS = {
    "lora": (lora(targets=["q", "v"], decoder=True), "vit"),
    "dora": (lora(targets=["k", "out"], variant="dora"), "tiny_vit"),
    "everything": (
        AdaptationSettings(
            train=["mask_heads", "norms", "positions"],
            lora=LoraSettings(variant="rslora", targets=["q", "mlp"], blocks=(1, 3)),
            adapter=AdapterSettings(kind="medsa", dim=3),
        ),
        "tiny_vit",
    ),
    "parts": (AdaptationSettings(train=["mask_decoder"], blocks="upper_half"), "vit"),
    "adaptformer": (AdaptationSettings(train=[], adapter=AdapterSettings()), "vit"),
}


@pytest.fixture
def folder(tmp_path):
    settings = AdaptationSettings(
        train=["mask_heads"], lora=LoraSettings(targets=["q"], variant="dora")
    )
    sam = trained(settings, steps=1).sam
    save_adapted(sam, settings, tmp_path / "run" / "adapter", "ab" * 32)
    return tmp_path / "run" / "adapter"


def refused(folder, *words, sam=None):
    sam = base() if sam is None else sam
    before = {key: value.clone() for key, value in sam.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_adapted(sam, folder)
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    for word in (str(folder), *words):
        assert word in text, text
    assert_same(sam.state_dict(), before)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_back_to_the_bit(kind, tmp_path):
    settings, encoder = KINDS[kind]
    sam = trained(settings, encoder).sam
    save_adapted(sam, settings, tmp_path / "adapter", "")
    files = {item.name for item in tmp_path.glob("adapter/*")}
    assert files - {"adapter_model.safetensors", "adapter_config.json"} == {
        "trained.safetensors",
        "samft.json",
    }
    assert [item.name for item in tmp_path.iterdir()] == ["adapter"]
    restored = load_adapted(base(encoder), tmp_path / "adapter")
    assert restored.settings == settings
    assert_same(restored.sam.state_dict(), sam.state_dict())
    assert difference(answers(sam), answers(restored.sam)) == 0
    assert {k for k, p in sam.named_parameters() if p.requires_grad} == {
        k for k, p in restored.sam.named_parameters() if p.requires_grad
    }


def test_peft_loads_it_into_the_official_model(tmp_path):
    """No samft on the reading side: it answers and merges the same in segment_anything's model."""
    import peft

    settings = lora(targets=["q", "v", "mlp"], variant="dora", rank=3, decoder=True)
    sam = trained(settings).sam
    save_adapted(sam, settings, tmp_path / "adapter", "")
    official = official_sam(TINY)
    official.load_state_dict(base().state_dict())
    adapted = peft.PeftModel.from_pretrained(official, tmp_path / "adapter").eval()
    with torch.no_grad():
        pixels = sam.normalize(images())
        found = adapted.base_model.model.image_encoder(pixels)
        wanted = sam.image_encoder(pixels)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    stock = adapted.merge_and_unload().state_dict()
    for key, value in merged(sam).state_dict().items():
        torch.testing.assert_close(stock[key], value, rtol=1e-6, atol=1e-6, msg=key)


def test_the_record(folder):
    record = json.loads((folder / "samft.json").read_text())
    assert record["base_sha256"] == "ab" * 32
    assert record["arch"] == "tiny"
    assert record["settings"]["lora"]["variant"] == "dora"
    keys = load_file(folder / "adapter_model.safetensors")
    assert {key.split(".lora_")[0] for key in keys} == {
        f"base_model.model.image_encoder.blocks.{index}.attn.qkv" for index in range(3)
    }
    trained_keys = load_file(folder / "trained.safetensors")
    assert all(
        key.startswith("mask_decoder.") and ".transformer." not in key for key in trained_keys
    )


def test_other_base_weights(folder):
    refused(folder, "other weights", "ab" * 32, sam=base(seed=1))
    refused(folder, "other weights", "tiny_t at 128 px", "tiny at 128", sam=base("tiny_vit"))
    nearly = base()
    nearly.image_encoder.blocks[1].mlp.lin1.bias.data[0] += 1e-7
    refused(folder, "other weights", "frozen weights", sam=nearly)
    other_decoder = base()  # these values are in the folder, so they may differ
    other_decoder.mask_decoder.iou_token.weight.data.zero_()
    load_adapted(other_decoder, folder)


def test_an_adapted_model_is_no_base(folder):
    with pytest.raises(ConfigError, match="already"):
        load_adapted(trained(lora(), steps=1).sam, folder)


def edit_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


LORA_A = "base_model.model.image_encoder.blocks.0.attn.qkv.lora_A.weight"


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("adapter_model.safetensors", lambda t: t.pop(LORA_A), ("1 missing", "qkv.lora_A")),
        (
            "adapter_model.safetensors",
            lambda t: t.update({LORA_A: torch.zeros(2, 32)}),
            ("(2, 32) instead of (8, 32)",),
        ),
        (
            "adapter_model.safetensors",
            lambda t: t[LORA_A].fill_(float("inf")),
            ("not finite", "qkv.lora_A"),
        ),
        (
            "trained.safetensors",
            lambda t: t.update({"image_encoder.neck.0.weight": torch.zeros(1)}),
            ("1 unexpected", "image_encoder.neck.0.weight"),
        ),
        (
            "trained.safetensors",
            lambda t: t.pop("mask_decoder.iou_token.weight"),
            ("1 missing", "mask_decoder.iou_token.weight"),
        ),
    ],
)
def test_tensors_that_do_not_fit(folder, file, change, words):
    edit_tensors(folder / file, change)
    refused(folder, file, *words)


@pytest.mark.parametrize("which", ["lora_B.weight", "lora_magnitude_vector"])
def test_updates_of_other_rows(folder, which):
    """Row 40 is a key; the settings have queries only. A plain merge would silently take it."""
    key = f"base_model.model.image_encoder.blocks.1.attn.qkv.{which}"
    edit_tensors(folder / "adapter_model.safetensors", lambda t: t[key][40].add_(0.5))
    refused(folder, "rows that its settings leave alone", "image_encoder.blocks.1.attn.qkv")


def test_files_that_are_missing_or_damaged(folder, tmp_path):
    for name in ("adapter_model.safetensors", "trained.safetensors", "adapter_config.json"):
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        refused(copy, name)
        (copy / name).write_bytes((folder / name).read_bytes()[:-30])
        refused(copy, name)
        (copy / name).write_bytes(b"\x80\x02}q\x00.")  # a pickle
        refused(copy, name)


def test_foreign_folders(folder, tmp_path):
    refused(tmp_path / "nowhere", "no such adapter folder")
    (folder / "samft.json").unlink()
    refused(folder, "not written by samft", "adapter_config.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 9}, ("format 9", "expected: format 1")),
        ({"frozen_sha256": None}, ("cannot be used", "frozen_sha256")),
        ({"settings": {"train": ["neck"]}}, ("LoRA file in a folder whose settings have no",)),
        ({"settings": {"lora": {"rank": -1}}}, ("rank is out of range", "adapt.lora.rank")),
        ({"settings": {"lora": {"rank": 8}}}, ("missing",)),
        ({"arch": "vit_b"}, ("other weights", "vit_b")),
    ],
)
def test_records_that_do_not_fit(folder, changes, words):
    edit_json(folder / "samft.json", **changes)
    if "settings" in changes and "rank is" not in words[0]:
        # the base is compared first; with other settings other weights count as frozen
        words = ("other weights",)
    refused(folder, *words)


def test_lora_config_of_another_adapter(folder):
    edit_json(folder / "adapter_config.json", lora_alpha=64)
    refused(folder, "adapter_config.json: lora_alpha", "found: 64", "expected: 8")


def test_does_not_overwrite(folder):
    sam = trained(lora(), steps=1).sam
    with pytest.raises(OutputError, match="not empty"):
        save_adapted(sam, lora(), folder, "")
    empty = folder.parent / "empty"
    empty.mkdir()
    save_adapted(sam, lora(), empty, "")
    assert difference(answers(merged(load_adapted(base(), empty).sam)), answers(sam)) < 1e-5
