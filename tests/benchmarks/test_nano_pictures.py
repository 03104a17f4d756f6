"""The pictures of the README."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.nano import pictures
from samft.models.registry import build_sam


@pytest.fixture
def image(data_folder):
    return pictures.unseen_image(pictures.DOMAINS["nuclei"].data(data_folder))


def test_the_image_is_of_the_validation_split(data_folder):
    data = pictures.DOMAINS["nuclei"].data(data_folder)
    image = pictures.unseen_image(data)
    unseen = {record.sample_id for record in data.records("val")}
    assert image.sample.sample_id in unseen
    assert not unseen & {record.sample_id for record in data.records("train")}
    assert image.rows.tolist() == sorted(image.rows.tolist())


def test_every_other_object_gets_a_click(image, monkeypatch):
    asked = []
    real = pictures.answer

    def spy(sam, embedding, prompts):
        asked.append(prompts)
        return real(sam, embedding, prompts)

    monkeypatch.setattr(pictures, "answer", spy)
    masks, iou = pictures.segment(build_sam("vit_nano"), image)
    assert masks.shape == (4, 48, 64)
    assert 0 <= iou <= 1
    assert asked[0].has_box.tolist() == [True, False, True, False]
    assert asked[0].labels[:, 0].tolist() == [-10, 1, -10, 1]


def test_panels(image):
    truth = image.sample.masks(image.rows)
    nothing = torch.zeros_like(truth)
    row = pictures.draw(image, (nothing, 0.0), (truth, 1.0))
    width = (pictures.WIDTH - 18) // 4
    assert row.shape == (round(width * 48 / 64) + 22, 4 * width + 18, 3)
    starts = [number * (width + 6) for number in range(4)]
    prompts, before, after, true = (row[22:, start : start + width] for start in starts)
    assert np.array_equal(after, true)
    assert not np.array_equal(before, true)
    # The picture is grey: colour comes from what is drawn on it.
    coloured = [(np.ptp(panel.astype(int), axis=2) > 30).any() for panel in (prompts, before, true)]
    assert coloured == [True, False, True]


def test_large_pictures_get_a_palette(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    pictures.save_small(noise, tmp_path / "exact.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "exact.png")), noise)
    monkeypatch.setattr(pictures, "MAX_BYTES", 20_000)
    pictures.save_small(noise, tmp_path / "new" / "small.png")
    assert Image.open(tmp_path / "new" / "small.png").mode == "P"
    assert (tmp_path / "new" / "small.png").stat().st_size < 20_000


def test_command_with_tuned_runs(data_folder, nano_checkpoint, tmp_path, capsys):
    run = str(nano_checkpoint)
    given = ["--weights", str(nano_checkpoint), "--data", str(data_folder)]
    given += ["--out", str(tmp_path / "pictures"), "--domains", "nuclei", "underwater"]
    assert pictures.main([*given, "--tuned", f"nuclei={run}", f"underwater={run}"]) == 0
    for name in ("nuclei", "underwater"):
        with Image.open(tmp_path / "pictures" / f"{name}.png") as found:
            assert 980 <= found.width <= 1000
    assert capsys.readouterr().out.count(" bytes") == 2


def test_unknown_domain(tmp_path, capsys):
    assert pictures.main(["--out", str(tmp_path), "--tuned", "nuclie=run"]) == 2
    assert "did you mean 'nuclei'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
