"""Caching below late adapters: the same training as without, and nothing stale."""

from __future__ import annotations

import logging
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from embeddings.embedding_stores import FullDisk
from models.adaptation.adapted_sams import CONFIGS, base, prompts
from quick_trainer import quick_trainer

from samft import PromptSettings, SamModule
from samft.cached_encoder import CachedEncoder
from samft.data.microscopy import MicroscopyDataModule
from samft.data.synthetic import SyntheticDataModule
from samft.embeddings.folders import embeddings_dir, info
from samft.errors import ConfigError, MachineError
from samft.models.adaptation.apply import adapt
from samft.models.adaptation.presets import preset
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings
from samft.models.registry import build_from_config
from samft.module_checks import check_cacheable
from samft.optim.groups import build_optimizer
from samft.optim.settings import OptimizerSettings

SIZE = 64
Usage = namedtuple("Usage", "total used free")
LATE = {
    "late": preset("late"),
    "late_lora": replace(preset("late_lora"), preset="custom"),  # its share is for real sizes
    "adapters": AdaptationSettings(adapter=AdapterSettings(blocks=(2, 2))),
    "neck": AdaptationSettings(train=["neck", "mask_decoder"]),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))


def late(encoder, name="late", drop_path=0.0):
    sam = build_from_config(CONFIGS[encoder], drop_path=drop_path)
    sam.load_state_dict(base(encoder).state_dict())
    torch.manual_seed(2)  # LoRA starts at random
    adapted = adapt(sam, LATE[name])
    adapted.train()
    return adapted


def photos():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 3, 128, 128), generator=generator, dtype=torch.uint8)


SIZES = torch.tensor([[128, 100]])


def train(adapted, encode, steps=6):
    """Take steps with the optimiser of a real run, on one image after the other."""
    torch.manual_seed(7)
    settings = OptimizerSettings(lr=0.01, encoder_lr_factor=1.0, weight_decay=0.1)
    optimizer = build_optimizer(adapted.sam, settings)
    for step in range(steps):
        optimizer.zero_grad()
        image = photos()[step % 3 : step % 3 + 1]
        output = adapted.sam.decode(encode(image, SIZES), prompts(), multimask=None)
        (output.logits.square().mean() + output.iou.square().mean()).backward()
        optimizer.step()
    return adapted.sam.state_dict()


def cached_encoder(adapted, root, **settings):
    return CachedEncoder(adapted.sam, stop=adapted.cut.stop, root=root, **settings)


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("encoder", CONFIGS)
def test_cached_training_is_uncached_training_to_the_bit(encoder, name, tmp_path):
    plain = late(encoder, name, drop_path=0.3)
    expected = train(plain, plain.sam.encode_image)
    cached = late(encoder, name, drop_path=0.3)
    through = cached_encoder(cached, tmp_path, dtype="float32")
    assert through.cut.stop in (1, 2, 3, 5)
    found = train(cached, through)
    assert (through.computed, through.read) == (3, 3)
    start = late(encoder, name).sam.state_dict()
    changed = [key for key in expected if not torch.equal(expected[key], start[key])]
    assert any(key.startswith("image_encoder.") for key in changed)
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


@pytest.mark.parametrize("encoder", CONFIGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_half_precision_stays_close(encoder, dtype, tolerance, tmp_path):
    """Relative to the largest value of the embedding; docs/training.md says so."""
    adapted = late(encoder)
    adapted.train(False)
    with torch.no_grad():
        expected = adapted.sam.encode_image(photos()[:1], SIZES)
        found = cached_encoder(adapted, tmp_path, dtype=dtype)(photos()[:1], SIZES)
    error = (found - expected).abs().max() / expected.abs().max()
    assert 0 < error < tolerance


def test_gradients_end_at_the_cut(tmp_path):
    adapted = late("vit")
    encoder = cached_encoder(adapted, tmp_path)
    tokens = encoder.activations(photos()[:1], SIZES)
    assert (tuple(tokens.shape), tokens.requires_grad) == ((1, *encoder.cut.shape), False)
    encoder(photos()[:1], SIZES).sum().backward()
    touched = {name for name, p in adapted.sam.named_parameters() if p.grad is not None}
    assert touched
    assert touched.isdisjoint(encoder.cut.tensors())


@pytest.mark.parametrize("encoder", CONFIGS)
def test_what_is_trained_does_not_move_the_store_and_one_bit_below_does(encoder, tmp_path):
    adapted = late(encoder)
    first = cached_encoder(adapted, tmp_path)
    train(adapted, first)
    first.close()
    after = cached_encoder(adapted, tmp_path)  # the upper part is another one now
    after(photos()[:1], SIZES)
    assert (after.computed, after.read) == (0, 1)
    for name, tensor in first.cut.tensors().items():
        byte = tensor.detach().view(-1)[-1:].view(torch.uint8)
        byte[0] ^= 1
        other = cached_encoder(adapted, tmp_path)
        other(photos()[:1], SIZES)
        assert (other.computed, other.read) == (1, 0), name
        byte[0] ^= 1
        other.close()
    assert len(info(tmp_path)) == 1 + len(first.cut.tensors())


def test_another_cut_is_another_store(tmp_path):
    sam = base()
    for stop, what in ((1, "before block 1"), (3, "before block 3"), (None, "embeddings")):
        encoder = CachedEncoder(sam, stop=stop, root=tmp_path)
        encoder(photos()[:1], SIZES)
        assert encoder.computed == 1
        encoder.close()
        assert what in info(tmp_path)[0].what
    assert len(info(tmp_path)) == 3


def test_values_do_not_depend_on_the_batch(tmp_path):
    sizes = SIZES.expand(3, 2)
    together = CachedEncoder(base(), stop=2, dtype="float32", root=tmp_path / "a")
    alone = CachedEncoder(base(), stop=2, dtype="float32", root=tmp_path / "b")
    expected = together.activations(photos(), sizes)
    found = [alone.activations(photos()[row : row + 1], SIZES) for row in range(3)]
    assert torch.equal(torch.cat(found), expected)


def test_a_model_in_half_precision_gets_its_own_type_back(tmp_path):
    sam = base().to(torch.bfloat16)
    for _ in range(2):
        encoder = CachedEncoder(sam, stop=2, root=tmp_path)
        assert encoder(photos()[:1], SIZES).dtype == torch.bfloat16
        encoder.close()
    assert encoder.read == 1


def test_a_slow_disk_is_noticed_when_everything_is_stored(tmp_path, caplog):
    first = CachedEncoder(base(), root=tmp_path)
    first(photos(), SIZES.expand(3, 2))
    first.close()
    second = CachedEncoder(base(), root=tmp_path)
    second(photos()[:1], SIZES)
    second._read_seconds += 1000
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            second(photos(), SIZES.expand(3, 2))
    assert "computing from now on" in caplog.text
    assert second.computed == 3  # the last batch; the comparison itself does not count


# ---- faults


@pytest.mark.parametrize("on_error", ["compute", "raise"])
def test_a_store_that_cannot_be_made(on_error, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    adapted = late("vit")
    encoder = cached_encoder(adapted, tmp_path / "file", on_error=on_error, dtype="float32")
    if on_error == "raise":
        with pytest.raises(MachineError, match="the embeddings cannot be cached"):
            encoder(photos()[:1], SIZES)
        return
    with caplog.at_level(logging.WARNING):
        found = [encoder(photos()[:1], SIZES) for _ in range(2)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "file") in caplog.text
    assert all(torch.equal(one, adapted.sam.encode_image(photos()[:1], SIZES)) for one in found)


@pytest.mark.parametrize("on_error", ["compute", "raise"])
def test_a_store_that_cannot_be_read(on_error, tmp_path, caplog, monkeypatch):
    adapted = late("vit")
    first = cached_encoder(adapted, tmp_path)
    first(photos()[:1], SIZES)
    first.close()

    def no_more(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("samft.embeddings.shard.Shard.read", no_more)
    encoder = cached_encoder(adapted, tmp_path, on_error=on_error)
    if on_error == "raise":
        with pytest.raises(MachineError, match="found: Too many open files"):
            encoder(photos()[:1], SIZES)
        return
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            encoder(photos()[:1], SIZES)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "computing from now on: the cached embeddings cannot be read" in caplog.text
    assert encoder.computed == 2


def test_other_programs_fill_the_disk(tmp_path, caplog, monkeypatch):
    encoder = CachedEncoder(base(), root=tmp_path)
    encoder(photos()[:1], SIZES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**9))
    with caplog.at_level(logging.WARNING):
        encoder(photos(), SIZES.expand(3, 2))
    assert len(caplog.records) == 1
    assert "going on without storing more: there is not enough disk space" in caplog.text
    encoder.close()
    assert info(tmp_path)[0].num_entries == 1


def module(**settings):
    torch.manual_seed(0)
    prompting = PromptSettings(rounds=0, extra_passes=0)
    return SamModule("vit_nano", image_size=SIZE, prompts=prompting, **settings)


def fit(folder, dsb_folder, **settings):
    # One image at a time: a batch of other images is multiplied in another order.
    data = MicroscopyDataModule(root=str(dsb_folder), batch_size=1, val_fraction=0.34)
    model = module(**settings)
    quick_trainer(folder, max_epochs=2).fit(model, datamodule=data)
    return model


def same(one, other):
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("adaptation", ["late", "late_lora"])
def test_a_cached_fit_is_the_uncached_fit(adaptation, dsb_folder, tmp_path):
    plain = fit(tmp_path, dsb_folder, adapt=adaptation)
    cached = fit(tmp_path, dsb_folder, adapt=adaptation, cache_embeddings="float32")
    again = fit(tmp_path, dsb_folder, adapt=adaptation, cache_embeddings="float32")
    assert same(plain, cached)
    assert same(plain, again)
    assert cached.cached_encoder.expected == 6
    assert (cached.cached_encoder.computed, again.cached_encoder.computed) == (6, 0)
    assert not same(plain, module(adapt=adaptation))


def test_a_fit_goes_on_without_room_if_told_to(dsb_folder, tmp_path, monkeypatch, caplog):
    plain = fit(tmp_path, dsb_folder, adapt="late")
    FullDisk(monkeypatch, 40_000)
    full = {"adapt": "late", "cache_embeddings": "float32"}
    with caplog.at_level(logging.WARNING, logger="samft"):
        assert same(plain, fit(tmp_path, dsb_folder, **full))
    warnings = [record for record in caplog.records if record.name == "samft.cached_encoder"]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0].getMessage()
    with pytest.raises(MachineError, match="found: No space left on device"):
        fit(tmp_path, dsb_folder, **full, cache_on_error="raise")


def test_a_fit_writes_nothing_where_there_is_no_room_for_all(
    dsb_folder, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 2**30 + 100_000))
    with caplog.at_level(logging.WARNING, logger="samft"):
        model = fit(tmp_path, dsb_folder, adapt="late", cache_embeddings="float32")
    assert "not enough disk space" in caplog.text
    assert model.cached_encoder.computed == 2 + 2 * (4 + 2)  # the sanity check, and two epochs
    assert info(embeddings_dir())[0].num_entries == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (preset("full"), ["trains full, image_encoder.pos_embed", "set model.adapt to late, or"]),
        (
            replace(preset("lora"), lora=LoraSettings(rank=1)),
            ["trains lora, image_encoder.blocks.0.attn", "set model.adapt to late_lora, or"],
        ),
        (
            AdaptationSettings(lora=LoraSettings(), train=["norms"]),
            ["fix: set adapt.lora.blocks to upper_half and take norms out of adapt.train, or"],
        ),
        (AdaptationSettings(adapter=AdapterSettings()), ["set adapt.adapter.blocks to upper_"]),
        (AdaptationSettings(blocks=(0, 1)), ["fix: set adapt.blocks to upper_half, or leave"]),
        (AdaptationSettings(blocks=(1, 2), train=["positions"]), ["fix: take positions out of"]),
    ],
)
def test_what_is_trained_from_the_first_block_on_is_refused(settings, words):
    adapted = adapt(base(), settings)
    with pytest.raises(ConfigError) as caught:
        check_cacheable(adapted)
    text = str(caught.value)
    for word in ("model.cache_embeddings", "or leave model.cache_embeddings off", *words):
        assert word in text
    assert len(text.splitlines()) <= 3


@pytest.mark.parametrize("settings", [*LATE.values(), preset("frozen")])
def test_what_is_trained_above_the_first_block_can_be_cached(settings):
    check_cacheable(adapt(base(), settings))


def test_images_that_never_come_again_are_not_cached(dsb_folder, tmp_path):
    drawn = {"num_train": 2, "num_val": 1, "size": SIZE, "batch_size": 1}
    endless = [
        SyntheticDataModule(**drawn),
        MicroscopyDataModule(
            root=str(dsb_folder), val_fraction=0.34, generic=SyntheticDataModule(**drawn)
        ),
    ]
    for data in endless:
        with pytest.raises(ConfigError, match="found: not set\n  fix: set data.variants to a few"):
            quick_trainer(tmp_path, max_epochs=1).fit(
                module(cache_embeddings="float16"), datamodule=data
            )
