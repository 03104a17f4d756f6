"""The benchmark of first weights: it runs, and starting from places learns faster."""

import pytest
import torch

from benchmarks.nano import box_filling


def test_ellipses_fill_their_boxes() -> None:
    boxes, ellipses, sides = box_filling.boxes_and_ellipses(200, torch.Generator().manual_seed(0))
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1) / 4  # of pixels of two
    large = sides > 16
    share = ellipses[large].flatten(1).sum(dim=1) / area[large]
    assert (share - torch.pi / 4).abs().max() < 0.1


def test_a_row_for_every_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert box_filling.main(["--steps", "2", "--boxes", "4", "--threads", "1"]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == ["start", "default", "codes", "places"]


@pytest.mark.slow
def test_starting_from_places_learns_faster() -> None:
    scores = {
        start: box_filling.learn(start, steps=60, count=32, lr=3e-3, seed=0)[0]
        for start in ("default", "places")
    }
    assert scores["places"] > scores["default"] + 0.05
