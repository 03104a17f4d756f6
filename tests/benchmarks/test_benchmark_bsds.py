"""The benchmark of edges on BSDS500: its table, its folder, its subset."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation.zero_shot.bright_sam import BrightSam, drawn_objects
from PIL import Image
from scipy.io import savemat

from benchmarks import bsds


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "general" / "BSDS500" / "data"
    for split in ("train", "val", "test"):
        for below in ("images", "groundTruth"):
            (root / below / split).mkdir(parents=True)
        for number in range(2):
            image, labels = drawn_objects(number)
            Image.fromarray(image).save(root / "images" / split / f"{split}{number}.png")
            cell = np.empty((1, 2), object)
            for person in range(2):
                drawn = np.where(labels > 3 - person, 0, labels)  # the second one leaves one out
                edges = drawn[:, 1:] != drawn[:, :-1]
                cell[0, person] = {
                    "Segmentation": labels.astype(np.uint16) + 1,
                    "Boundaries": np.pad(edges, ((0, 0), (0, 1))).astype(np.uint8),
                }
            file = root / "groundTruth" / split / f"{split}{number}.mat"
            savemat(file, {"groundTruth": cell})
    return tmp_path


def test_the_table_has_what_was_measured_and_what_was_published(
    folder, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(bsds, "build_sam", lambda *_, **__: BrightSam())
    maps = tmp_path / "maps"
    bsds.main(["--data", str(folder), "--split", "all", "--most", "1", "--maps", str(maps)])
    said = capsys.readouterr()
    first, _, head, _, *rows = said.out.splitlines()
    assert first.startswith("3 images of all splits, 6 annotations; people: 3 images, precision ")
    cells = {row.split("|")[1].strip(): [c.strip() for c in row.split("|")[2:-1]] for row in rows}
    assert head.split("|")[2].strip() == "ODS"
    assert list(cells) == ["people", "sobel", "canny", "vit_nano", "SAM ViT-H"]
    assert cells["sobel"][4:8] == ["0.539", "-", "-", "-"]
    assert cells["SAM ViT-H"][:8] == ["-"] * 4 + ["0.768", "0.786", "0.794", "0.928"]
    assert 0.5 < float(cells["vit_nano"][0]) <= 1
    assert float(cells["people"][0]) > 0
    assert said.err.count("image ") == 3
    assert len(list(maps.rglob("*.png"))) == 9


def test_a_folder_without_bsds_says_what_to_give(tmp_path) -> None:
    with pytest.raises(SystemExit, match="give --data DIR, which holds images and groundTruth"):
        bsds.find_folder(tmp_path)


def test_the_data_folder_itself_may_be_given(folder) -> None:
    inner = folder / "general" / "BSDS500" / "data"
    assert bsds.find_folder(inner) == inner
    assert bsds.find_folder(inner.parent).resolve() == inner
    assert len(list(bsds.read_images(inner, ("test",), None))) == 2
