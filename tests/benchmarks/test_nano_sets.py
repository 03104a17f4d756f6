"""The evaluation sets: which images and objects, always the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.nano.sets import SETS, chosen, load, sets_named, tiles
from samft.errors import ConfigError, DatasetError
from samft.types import Sample


def sample_of(layer: torch.Tensor) -> Sample:
    count = int(layer.max())
    return Sample(
        image=torch.zeros(3, *layer.shape, dtype=torch.uint8),
        layers=layer[None].int(),
        object_layer=torch.zeros(count, dtype=torch.int64),
        object_class=torch.zeros(count, dtype=torch.int64),
        sample_id="one",
        case_id="one",
    )


def test_chosen_objects_are_spread_evenly():
    sample = sample_of(torch.arange(1, 11).view(2, 5))
    assert chosen(sample, 4).rows.tolist() == [0, 2, 5, 7]
    assert chosen(sample, 10).rows.tolist() == list(range(10))


def test_tiles_cut_objects_and_drop_what_is_left_over():
    layer = torch.zeros(5, 7)
    layer[0, 1:5] = 1  # two pixels in the first tile, two in the second
    layer[2, 5] = 2  # one pixel in the second
    layer[4, 6] = 3  # outside both
    first, second = tiles(sample_of(layer), 3, min_area=2)
    assert first.size == second.size == (3, 3)
    assert [first.num_objects, second.num_objects] == [1, 1]
    assert first.masks()[0].nonzero().tolist() == [[0, 1], [0, 2]]
    assert second.masks()[0].nonzero().tolist() == [[0, 0], [0, 1]]
    assert first.sample_id != second.sample_id
    (both,) = tiles(sample_of(layer), 5, min_area=1)
    assert both.num_objects == 1  # the cut of 5 x 5 ends before the other two


def test_unknown_set():
    with pytest.raises(ConfigError, match=r"'dsb2017'[\s\S]*--sets[\s\S]*mean 'dsb2018'"):
        sets_named(["dsb2017"])
    assert [entry.name for entry in sets_named(None)] == list(SETS)


def test_small_objects_are_left_out_and_the_limit_holds(data_folder):
    images = load(SETS["dsb2018"], data_folder, limit=2)
    assert len(images) == 2
    assert all(int(mask.sum()) >= 30 for item in images for mask in item.sample.masks(item.rows))
    again = load(SETS["dsb2018"], data_folder, limit=2)
    assert [item.sample.sample_id for item in images] == [i.sample.sample_id for i in again]


def test_generated_images_are_the_same_every_time(tmp_path):
    first, again = (load(SETS["synthetic"], tmp_path, limit=2) for _ in range(2))
    more = load(SETS["synthetic"], tmp_path, limit=3)
    assert [len(first), len(more)] == [2, 3]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.sample.image, other.sample.image)
        assert torch.equal(one.rows, other.rows)
    assert torch.equal(first[0].sample.image, more[0].sample.image)
    assert all(int(m.sum()) >= 30 for item in first for m in item.sample.masks(item.rows))


def test_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match="the data folder does not exist"):
        load(SETS["grabcut"], tmp_path)


def test_real_grabcut(real_data: Path):
    if not (real_data / "general/GrabCut_scribbles").is_dir():
        pytest.skip("no GrabCut")
    images = load(SETS["grabcut"], real_data)
    assert len(images) == 8
    assert all(item.rows.tolist() == [0] for item in images)
    # Three of the eight have no unknown band.
    assert sum(bool(item.sample.ignored().any()) for item in images) == 5


def test_real_stardist(real_data: Path):
    if not (real_data / "microscopy/stardist_nuclei").is_dir():
        pytest.skip("no stardist image")
    (whole,) = load(SETS["stardist"], real_data)
    assert len(whole.rows) > 100
    parts = load(SETS["stardist_tiles"], real_data)
    assert [item.sample.size for item in parts] == [(256, 256)] * 4
    pixels = sum(int((item.sample.layers > 0).sum()) for item in parts)
    assert 0 <= int((whole.sample.layers > 0).sum()) - pixels < 30 * 40  # small pieces at the cuts
