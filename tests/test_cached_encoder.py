"""Cached embeddings: equal to computed ones, re-used across runs, never stale, never in the way."""

import json
import logging
from pathlib import Path

import pytest
import torch
from quick_trainer import quick_trainer

from samft import PromptSettings, SamModule, SyntheticDataModule, build_sam
from samft.cached_encoder import CachedEncoder
from samft.cli.entry import main
from samft.data.collate import collate
from samft.data.microscopy import MicroscopyDataModule
from samft.data.synthetic import generate
from samft.embeddings.folders import embeddings_dir, info
from samft.embeddings.store import EmbeddingStore
from samft.errors import ConfigError, MachineError

SIZE = 64


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=SIZE).eval()


def batch(*seeds: int):
    return collate([generate(seed, size=SIZE) for seed in seeds], image_size=SIZE)


def run(encoder: CachedEncoder, *seeds: int) -> torch.Tensor:
    one = batch(*seeds)
    return encoder(one.images, one.input_sizes)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0), ("float16", 2**-11)])
def test_equal_to_computing_whether_read_or_computed(sam, tmp_path, dtype, error) -> None:
    with torch.no_grad():
        alone = [sam.encode_image(batch(n).images, batch(n).input_sizes) for n in (0, 1)]
    plain = torch.cat(alone)
    encoder = CachedEncoder(sam, dtype=dtype, root=tmp_path)
    first, second = run(encoder, 0, 1), run(encoder, 1, 0).flip(0)
    assert (encoder.computed, encoder.read) == (2, 2)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, plain, rtol=error, atol=error * 1e-2)


def test_another_run_reads_what_the_first_computed(sam, tmp_path) -> None:
    first = CachedEncoder(sam, root=tmp_path)
    run(first, 0, 1)
    first.close()
    second = CachedEncoder(sam, root=tmp_path)
    run(second, 0, 1, 2)
    assert (second.computed, second.read) == (1, 2)


def test_other_weights_other_pixels_and_other_padding_are_computed(sam, tmp_path) -> None:
    first = CachedEncoder(sam, root=tmp_path)
    run(first, 0)
    first.close()
    one = batch(0)
    again = CachedEncoder(sam, root=tmp_path)
    changed = one.images.clone()
    changed[0, 0, 0, 0] ^= 1
    again(changed, one.input_sizes)
    again(one.images, one.input_sizes // 2)
    assert again.computed == 2
    with torch.no_grad():
        next(sam.image_encoder.parameters()).view(-1)[0] *= 1.0000002
    other = CachedEncoder(sam, root=tmp_path)
    run(other, 0)
    assert (other.computed, other.read) == (1, 0)


def test_a_full_disk_does_not_stop_training(sam, tmp_path, monkeypatch, caplog) -> None:
    def full(*_: object) -> bool:
        raise MachineError("the disk is full", where=tmp_path)

    monkeypatch.setattr(EmbeddingStore, "put", full)
    encoder = CachedEncoder(sam, root=tmp_path)
    with caplog.at_level(logging.WARNING):
        first = run(encoder, 0, 1)
    assert "going on without storing more: the disk is full" in caplog.text
    assert len(caplog.records) == 1  # said once, and not tried again
    assert torch.equal(first, run(encoder, 0, 1))
    assert encoder.computed == 4


def test_a_disk_slower_than_the_encoder_is_left_alone(sam, tmp_path, caplog) -> None:
    times = iter(range(10_000))
    encoder = CachedEncoder(sam, root=tmp_path)
    run(encoder, *range(4))
    encoder._timer = lambda: next(times)  # one second between any two looks at the clock
    encoder._compute_seconds = 0.4  # for four images
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            run(encoder, *range(4))
        assert encoder.read == 16
        run(encoder, 0)
    assert "computing from now on" in caplog.text
    assert encoder.computed == 5


def module(**settings: object) -> SamModule:
    torch.manual_seed(0)
    return SamModule(
        "vit_nano", image_size=SIZE, prompts=PromptSettings(rounds=0, extra_passes=0), **settings
    )


def fit(folder: Path, data, **settings: object) -> SamModule:
    model = module(**settings)
    trainer = quick_trainer(folder, max_epochs=2)
    trainer.fit(model, datamodule=data)
    return model


def test_a_cached_run_is_the_uncached_run(dsb_folder, tmp_path) -> None:
    def data() -> MicroscopyDataModule:
        return MicroscopyDataModule(
            root=str(dsb_folder), transforms="flip", variants=2, batch_size=2, val_fraction=0.34
        )

    plain = fit(tmp_path, data())
    cached = fit(tmp_path, data(), cache_embeddings="float32")
    again = fit(tmp_path, data(), cache_embeddings="float32")
    for name, tensor in plain.state_dict().items():
        # Not to the bit: a batch of other images is multiplied in another order.
        torch.testing.assert_close(tensor, cached.state_dict()[name], rtol=1e-3, atol=1e-4)
        assert torch.equal(cached.state_dict()[name], again.state_dict()[name]), name
    assert cached.cached_encoder.computed > 0
    assert again.cached_encoder.computed == 0


def test_variants_repeat(dsb_folder) -> None:
    data = MicroscopyDataModule(
        root=str(dsb_folder), image_size=SIZE, transforms="flip", variants=2
    )
    loader = data.train_dataloader()
    seeds = []
    for epoch in range(4):
        loader.order.epoch = epoch
        seeds.append({key.index: key.seed for key in loader.order})
    assert seeds[0] == seeds[2]
    assert seeds[1] == seeds[3]
    assert seeds[0] != seeds[1]


def test_what_cannot_be_cached_is_refused(dsb_folder, tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"where: model.cache_embeddings, found: model.adapt trains full"
    ):
        module(adapt="full", cache_embeddings="float16")
    data = MicroscopyDataModule(root=str(dsb_folder), transforms="flip", val_fraction=0.34)
    with pytest.raises(ConfigError, match=r"set data.variants to a few"):
        fit(tmp_path, data, cache_embeddings="float16")
    with pytest.raises(ConfigError, match=r"where: data.variants, found: 0"):
        SyntheticDataModule(variants=0)


def test_info_and_clear(sam, tmp_path, capsys) -> None:
    assert main(["cache", "info", "--root", str(tmp_path)]) == 0
    assert "no embeddings are stored" in capsys.readouterr().out
    encoder = CachedEncoder(sam, root=tmp_path)
    run(encoder, 0, 1)
    encoder.close()
    assert main(["cache", "info", "--root", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["arch"], row["entries"], row["shapes"]) == ("vit_nano", 2, [[128, 8, 8]])
    assert main(["cache", "info", "--root", str(tmp_path)]) == 0
    assert row["name"] in capsys.readouterr().out
    assert main(["cache", "clear", "--root", str(tmp_path)]) == 2
    assert main(["cache", "clear", "--older_than", "1", "--root", str(tmp_path)]) == 0
    assert "deleted 0" in capsys.readouterr().out
    assert main(["cache", "clear", row["name"], "--root", str(tmp_path)]) == 0
    assert "deleted 1" in capsys.readouterr().out
    assert main(["cache", "clear", row["name"], "--root", str(tmp_path)]) == 2


def test_build_leaves_nothing_to_compute(dsb_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    options = [
        *("--model", "samft.SamModule", "--model.arch", "vit_nano"),
        *("--model.image_size", str(SIZE), "--model.cache_embeddings", "float32"),
        *("--data", "samft.MicroscopyDataModule", "--data.root", str(dsb_folder)),
        *("--data.transforms", "flip", "--data.variants", "2", "--data.val_fraction", "0.34"),
        *("--trainer.accelerator", "cpu"),
    ]
    assert main(["cache", "build", *options]) == 0
    (row,) = info(embeddings_dir())
    assert 4 + 2 < row.num_entries <= 4 * 2 + 2  # flips may coincide
    assert main(["cache", "build", *options]) == 0
    assert info(embeddings_dir())[0].num_entries == row.num_entries
    assert not (tmp_path / "runs").exists()
    assert main(["cache", "build", *options, "--model.adapt", "full"]) == 2
    assert "nothing of the image encoder can be cached" in capsys.readouterr().err
