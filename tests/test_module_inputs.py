"""Training and prediction on many channels and on inputs that are not square."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from fixtures_data import discs, picture, save
from PIL import Image
from quick_trainer import quick_trainer

from samft import (
    AutomaticMasks,
    MicroscopyDataModule,
    Predictor,
    PromptSettings,
    SamModule,
    build_sam,
    load_run,
)
from samft.cached_encoder import CachedEncoder
from samft.checkpoints import load_module
from samft.cli.entry import main
from samft.errors import ConfigError

SIZE = 64
ROOT = Path(__file__).parents[1]
QUICK = PromptSettings(rounds=1, extra_passes=0, max_objects_per_image=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of four 16-bit channels; the objects are seen in the last one alone."""
    root = tmp_path_factory.mktemp("channels")
    for number in range(6):
        labels = discs(number)
        save(root / "masks" / f"{number}.tif", labels.astype(np.uint16))
        noise = np.random.default_rng(number).integers(0, 60_000, (3, *labels.shape))
        stack = np.stack([*noise, picture(labels, number) * 200]).astype(np.uint16)
        (root / "images").mkdir(exist_ok=True)
        tifffile.imwrite(root / "images" / f"{number}.tif", stack, metadata={"axes": "CYX"})
    return root


def data(folder: Path, **settings: object) -> MicroscopyDataModule:
    given = {"channels": [0, 1, 2, 3], "val_fraction": 0.34, "batch_size": 2, **settings}
    return MicroscopyDataModule(root=str(folder), **given)


def module(**settings: object) -> SamModule:
    plain = {
        "image_size": SIZE,
        "prompts": QUICK,
        "optimizer": {"lr": 1e-3, "warmup_steps": 0, "channel_lr_factor": 10.0},
    }
    torch.manual_seed(0)
    return SamModule("vit_nano", **{**plain, **settings})


def values(sam: torch.nn.Module, part: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in sam.state_dict().items() if k.startswith(part)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_learned_adapter_learns_in_front_of_a_frozen_encoder(
    folder: Path, tmp_path: Path
) -> None:
    tuned = module(channels={"count": 4})
    encoder, adapter = values(tuned.sam, "image_encoder"), values(tuned.sam, "channel_adapter")
    trainer = quick_trainer(tmp_path, max_epochs=1)
    trainer.fit(tuned, data(folder))
    assert same(encoder, values(tuned.sam, "image_encoder"))
    moved = tuned.sam.state_dict()["channel_adapter.weight"] - adapter["channel_adapter.weight"]
    assert bool((moved[:, 3] != 0).all())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = load_module(tmp_path / "a.ckpt")
    assert again.hparams["channels"]["count"] == 4
    assert same(values(tuned.sam, ""), values(again.sam, ""))


def test_data_of_other_channels_are_refused_before_training(folder: Path, tmp_path: Path) -> None:
    for settings, channels, delivered in (
        ({}, [0, 1, 2, 3], "found: 4, expected: 3, as the model takes"),
        ({"channels": {"count": 4}}, [3], "found: 3, expected: 4, as the model takes"),
    ):
        with pytest.raises(ConfigError) as caught:
            quick_trainer(tmp_path, max_steps=1, num_sanity_val_steps=0).fit(
                module(**settings), data(folder, channels=channels)
            )
        assert "data and model differ in channels" in str(caught.value)
        assert f"where: data.channels, {delivered}" in str(caught.value)


def test_embeddings_are_cached_behind_a_fixed_adapter_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        module(channels={"count": 4}, cache_embeddings="float16")
    assert "while the channel adapter in front of the encoder is trained" in str(caught.value)
    assert "set model.channels.mode to fixed" in str(caught.value)
    images, sizes = torch.rand(1, 4, SIZE, SIZE) * 255, torch.tensor([[SIZE, SIZE]])
    found = []
    for mix in ("first", "mean", "first"):
        sam = module(channels={"count": 4, "mode": "fixed", "mix": mix}).sam.eval()
        encoder = CachedEncoder(sam, dtype="float32", root=tmp_path)
        found.append((encoder(images, sizes), encoder.computed, encoder.read))
        encoder.close()
    assert [counts for _, *counts in found] == [[1, 0], [1, 0], [0, 1]]
    assert torch.equal(found[0][0], found[2][0])
    assert not torch.allclose(found[0][0], found[1][0])


def test_trimmed_training_and_validation(folder: Path, tmp_path: Path) -> None:
    tuned = module(channels={"count": 4}, trim_padding=True)
    seen: list[torch.Size] = []
    tuned.sam.image_encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    quick_trainer(tmp_path, max_epochs=1).fit(tuned, data(folder, eval_batch_size=2))
    # 48 x 64 pixels: the least multiple of nano's patches of 8 is the image itself.
    assert {tuple(shape[-2:]) for shape in seen} == {(48, SIZE)}
    assert 0 <= tuned.history[-1]["val/iou_box"] <= 1
    assert tuned.hparams["trim_padding"] is True
    seen.clear()
    quick_trainer(tmp_path).predict(tuned, data(folder), return_predictions=False)
    assert {tuple(shape[-2:]) for shape in seen} == {(48, SIZE)}


def test_trimming_refuses_what_it_cannot_go_with() -> None:
    with pytest.raises(ConfigError) as caught:
        module(trim_padding=True, cache_embeddings="float16")
    assert "an image's embedding depends on the other images of its batch" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        module(trim_padding=True, windows={"parts": 2})
    assert "windows are cut from the whole padded square" in str(caught.value)
    assert "found: true, with model.windows.parts 2" in str(caught.value)


def test_the_predictor_takes_the_channels_of_the_model() -> None:
    torch.manual_seed(0)
    sam = module(channels={"count": 4}).sam
    predictor = Predictor(sam)
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 4), dtype=np.uint8)
    answers = []
    for form in (image, image.astype(np.float32), torch.from_numpy(image).permute(2, 0, 1)):
        predictor.set_image(form)
        answers.append(predictor.predict(box=[10, 5, 60, 30]))
    assert answers[0].masks.shape == (3, 40, 80)
    assert torch.equal(answers[0].logits, answers[2].logits)
    assert AutomaticMasks(sam, points_per_side=2).generate(image) is not None
    for wrong, found in (
        (image[..., :3], "ndarray of shape (40, 80, 3), format RGB"),
        (Image.fromarray(image[..., :3]), "Image of shape (), format RGB"),
    ):
        with pytest.raises(ConfigError) as caught:
            predictor.set_image(wrong)
        assert "the image does not have the channels of the model" in str(caught.value)
        assert f"found: {found}" in str(caught.value)
        assert "expected: an array (height, width, 4) or a tensor (4, height, width)" in str(
            caught.value
        )
    with pytest.raises(ConfigError, match="format BGR"):
        predictor.set_image(image, "BGR")
    with pytest.raises(ConfigError, match="another scale"):
        predictor.set_image(image.astype(np.uint16) * 257)


def test_the_predictor_trims_all_images_alike() -> None:
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=SIZE).eval()
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in [(40, 80), (50, 80)]]
    square = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    plain, trimming = Predictor(sam), Predictor(sam)
    plain.set_image(square)
    expected = plain.predict(box=[10, 5, 60, 30])
    sam.trim_padding = True
    trimming.set_image(square)
    assert torch.equal(trimming.predict(box=[10, 5, 60, 30]).logits, expected.logits)
    trimming.set_images(images, batch_size=1)
    assert trimming.embeddings.shape[-2:] == (5, 8)
    first = trimming.predict(box=[10, 5, 60, 30], image=1).best()
    assert first.masks.shape == (1, 50, 80)
    again = trimming.predict(box=[10, 5, 60, 30], mask=first.logits, image=1)
    assert again.logits.shape == (3, 20, 32)


def test_fit_predict_and_merge_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *("fit", "--config", str(ROOT / "recipes/microscopy.yaml")),
        *("--config", str(ROOT / "configs/model/vit_nano.yaml")),
        *("--data.num_workers", "0", "--data.val_fraction", "0.34", "--data.root", str(folder)),
        *("--model.image_size", str(SIZE), "--trainer.accelerator", "cpu"),
        *("--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "1"),
        *("--model.channels.count", "4", "--model.trim_padding", "true"),
        *("--runs", str(tmp_path / "runs")),
    ]
    assert main(words) != 0
    told = capsys.readouterr().err
    assert "data and model differ in channels" in told
    assert not (tmp_path / "runs").exists()
    chosen = ["--data.channels", "[0, 1, 2, 3]", "--data.keep_depth", "true"]
    assert main([*words, *chosen]) == 0
    assert "channel_adapter" in capsys.readouterr().out
    run = tmp_path / "runs" / "microscopy" / "0"
    assert (run / "overlays" / "best.png").is_file()

    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"0.tif": [{"box": [10, 10, 40, 40]}]}))
    source = ["--source", str(folder / "images"), "--prompts", str(boxes)]
    assert main(["predict", str(run), *source, "--out", str(tmp_path / "a")]) == 0
    assert list((tmp_path / "a").rglob("*.png"))

    capsys.readouterr()
    assert main(["merge", str(run), str(tmp_path / "tuned.pth")]) != 0
    assert "a stock SAM file cannot hold the channel adapter" in capsys.readouterr().err
    assert main(["merge", str(run), str(tmp_path / "tuned.safetensors")]) == 0
    again = build_sam("vit_nano", tmp_path / "tuned.safetensors", image_size=SIZE)
    assert again.num_channels == 4
    tuned = load_run(run).load().sam
    assert same(values(tuned, "channel_adapter"), values(again, "channel_adapter"))
