"""The benchmark of automatic masks: both programs on a drawn image, and how records are matched."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import automatic


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    rng = np.random.default_rng(0)
    pixels = np.full((60, 80, 3), 40, np.uint8)
    for y, x in ((5, 8), (30, 12), (20, 50)):
        pixels[y : y + 20, x : x + 16] = rng.integers(120, 255, 3)
    path = tmp_path_factory.mktemp("picture") / "boxes.png"
    Image.fromarray(pixels).save(path)
    return path


def test_both_programs_give_the_same_records(picture, tmp_path, monkeypatch, capsys) -> None:
    def in_this_process(_, arguments, **__):
        options = automatic.parse(list(arguments))
        return json.loads(json.dumps(automatic.measure(options.worker[0], picture, options)))

    monkeypatch.setattr(automatic, "run_worker", in_this_process)
    arguments = ["--images", str(picture), "--size", "64", "--points_per_side", "4", "--keep_all"]
    arguments += ["--results", str(tmp_path / "found.json")]
    automatic.main(arguments)
    head, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:5] == ["image", "size", "masks", "theirs", "same"]
    ours, theirs, same = (int(cell) for cell in row[2:5])
    assert ours == theirs == same > 1
    monkeypatch.setattr(automatic, "run_worker", lambda *_, **__: pytest.fail("measured again"))
    automatic.main(arguments)


def test_a_record_is_matched_once_and_only_to_its_like() -> None:
    def record(x, iou=0.5):
        mask = np.zeros((20, 20), np.bool_)
        mask[4:12, x : x + 6] = True
        return automatic._compact(
            {"segmentation": mask, "bbox": [x, 4, 5, 7], "predicted_iou": iou}
        )

    found = automatic.agreement([record(2), record(2), record(9)], [record(2, 0.4), record(10)])
    assert (found.ours, found.theirs, found.same) == (3, 2, 1)
    assert found.score == pytest.approx(0.1)


def test_without_images_it_says_what_to_give(tmp_path) -> None:
    with pytest.raises(SystemExit, match="give --data DIR or --images FILE"):
        automatic.main(["--data", str(tmp_path)])


def test_a_picture_of_16_bits_is_brought_to_8(tmp_path) -> None:
    values = np.linspace(1000, 5000, 400).reshape(20, 20).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    pixels = automatic.read_image(tmp_path / "deep.tif")
    assert pixels.shape == (20, 20, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)
