"""The benchmark of large images: what it draws, and what it makes of the labels."""

from __future__ import annotations

import numpy as np
import pytest
from threshold_models import ThresholdGenerator

from benchmarks import large_images


@pytest.fixture
def exact(monkeypatch):
    """Segment by a threshold in this process."""

    class Exact(ThresholdGenerator):
        def records(self, image, *, candidates=None):
            return super().records(np.where(image > 60, 255, 0), candidates=candidates)

    monkeypatch.setattr(large_images, "build_sam", lambda *_: ThresholdGenerator().sam)
    monkeypatch.setattr(large_images, "AutomaticMasks", lambda *_, **__: Exact())


@pytest.mark.parametrize("case", large_images.CASES)
def test_an_exact_model_finds_every_nucleus(exact, tmp_path, case, monkeypatch) -> None:
    monkeypatch.setattr(large_images, "PLANE", 256)
    arguments = ["--weights", "none", "--side", "1500", "--depth", "80", "--cases", case]
    options = large_images.parse(arguments)
    if case == "image":
        large_images.draw_image(tmp_path / "image.zarr", options.side)
    else:
        large_images.draw_volume(tmp_path / "volume.zarr", options.depth)
    numbers = large_images.segment(case, tmp_path, options)
    found = list(
        large_images.check_image(tmp_path, 1500)
        if case == "image"
        else large_images.check_volume(tmp_path, 80)
    )
    count = {"image": 7 * 7, "volume": 3 * 3}[case]
    assert len(found) == numbers["count"] == count
    assert all(item.iou > 0.8 and item.pieces == 1 for item in found)
    assert len({item.label for item in found}) == count
    lines = list(large_images.report(case, found, numbers))
    assert f"  all: {count} of {count} found (100.00%)" in lines[2]
    assert lines[-1] == "  0 objects are no nucleus"
    if case == "image":
        cut = sum(item.on_seam for item in found)
        assert 5 < cut < 20
        assert f"cut by a tile's border: {cut} of {cut} found" in lines[3]


def test_pieces_and_misses_are_counted() -> None:
    truth = np.zeros((10, 20), bool)
    truth[:, :10] = True
    labels = np.zeros((10, 20), np.int32)
    assert large_images.look_up(truth, labels, on_seam=True) == large_images.Found(0.0, 0, 0, True)
    labels[:, :6], labels[:, 6:16] = 4, 9
    cut = large_images.look_up(truth, labels, on_seam=False)
    assert cut == large_images.Found(0.6, 4, 2, False)
    labels[:, 6:10] = 0
    labels[0, 9] = 9  # a speck is no piece
    whole = large_images.look_up(truth, labels, on_seam=False)
    assert whole == large_images.Found(0.6, 4, 1, False)
