"""A key changes with every bit that decides a stored value, and with nothing else."""

import pytest
import torch
from embedding_stores import entry, store_key, value
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.embeddings.key import EntryKey, content_hash, model_parts, weights_hash
from samft.embeddings.store import EmbeddingStore
from samft.errors import ConfigError
from samft.models.config import config_for


def weights():
    generator = torch.Generator().manual_seed(1)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "a.bias": torch.randn(3, generator=generator),
        "b.scale": torch.tensor(2.0),
    }


@settings(deadline=None, max_examples=25)
@given(bit=st.integers(0, 12 * 32 - 1))
def test_one_bit_of_the_weights_gives_another_store(bit):
    changed = weights()
    flat = changed["a.weight"].view(torch.uint8).view(-1)
    flat[bit // 8] ^= 1 << bit % 8
    before = store_key(weights=weights_hash(weights()))
    after = store_key(weights=weights_hash(changed))
    assert before.folder_name != after.folder_name


def test_a_store_of_other_weights_is_not_found(tmp_path):
    changed = weights()
    changed["b.scale"].view(torch.int32).bitwise_xor_(1)
    with EmbeddingStore.open(
        tmp_path, store_key(weights=weights_hash(weights())), mode="write"
    ) as s:
        s.put(entry(1), value(1))
    assert s.has(entry(1))
    other = EmbeddingStore.open(tmp_path, store_key(weights=weights_hash(changed)))
    assert other.get(entry(1)) is None
    assert len(other) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w | {"a.weight": w["a.weight"].reshape(4, 3)},
        lambda w: w | {"a.bias": w["a.bias"].view(torch.int32)},
        lambda w: {name.replace("b.", "c."): tensor for name, tensor in w.items()},
        lambda w: w | {"extra": torch.zeros(0)},
        lambda w: {name: tensor for name, tensor in w.items() if name != "a.bias"},
        lambda w: w | {"b.scale": torch.tensor([2.0])},
    ],
)
def test_names_shapes_and_types_of_weights_count(change):
    assert weights_hash(change(weights())) != weights_hash(weights())


def test_order_and_memory_layout_do_not_count():
    reordered = dict(reversed(weights().items()))
    strided = weights() | {"a.weight": weights()["a.weight"].t().contiguous().t()}
    assert not strided["a.weight"].is_contiguous()
    assert weights_hash(reordered) == weights_hash(strided) == weights_hash(weights())


def test_bytes_cannot_move_between_tensors():
    one = {"a": torch.tensor([1, 2], dtype=torch.uint8), "b": torch.tensor([3], dtype=torch.uint8)}
    two = {"a": torch.tensor([1], dtype=torch.uint8), "b": torch.tensor([2, 3], dtype=torch.uint8)}
    assert weights_hash(one) != weights_hash(two)


def test_every_part_counts_and_their_order_does_not():
    keys = [
        store_key(),
        store_key(weights="1" * 64),
        store_key(model={"arch": "vit_nano", "image_size": 512, "cut_block": None}),
        store_key(model={"arch": "vit_nano", "image_size": 256, "cut_block": 3}),
        store_key(preprocessing={"normalise": False}),
        store_key(dtype="float32"),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    model = {"cut_block": None, "image_size": 256, "arch": "vit_nano"}
    assert store_key(model=model).digest == store_key().digest
    assert store_key().digest.startswith(store_key().folder_name)
    assert len(store_key().folder_name) == 16


def test_a_new_format_gives_new_keys(monkeypatch):
    before = store_key().digest
    monkeypatch.setattr("samft.embeddings.key.FORMAT", 999)
    assert store_key().digest != before


def test_what_is_no_plain_data_is_refused():
    for odd in (object(), float("nan")):
        with pytest.raises(ConfigError, match="not plain data") as caught:
            _ = store_key(preprocessing={"transform": odd}).digest
        assert "by its name and its numbers" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 3


def test_one_pixel_and_the_variant_count():
    image = torch.zeros(3, 6, 5, dtype=torch.uint8)
    changed = image.clone()
    changed[2, 5, 4] = 1
    keys = {
        EntryKey.of(image),
        EntryKey.of(image, 1),
        EntryKey.of(changed),
        EntryKey.of(image.float()),
        EntryKey.of(image.reshape(3, 5, 6)),
    }
    assert len(keys) == 5
    assert EntryKey.of(image.clone()) == EntryKey.of(image)
    assert len(content_hash(b"file")) == 32


def test_the_decoder_does_not_count_but_cut_and_type_do():
    config = config_for("vit_nano")
    parts = model_parts(config)
    assert (parts["arch"], parts["image_size"]) == ("vit_nano", 256)
    assert not [name for name in parts if "decoder" in name]
    assert model_parts(config, cut_block=2)["cut_block"] == 2
    assert model_parts(config, dtype=torch.bfloat16)["compute_dtype"] == "bfloat16"
    assert len(store_key(model=parts).digest) == 64
