"""Tiles: they cover an image exactly once, and see a halo beyond what is theirs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.errors import ConfigError
from samft.inference.tile_settings import TileSettings
from samft.inference.tiles import TileGrid, common, local

GRIDS = st.tuples(
    st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.integers(1, 10)
).map(lambda v: ((v[0], v[1]), v[2], min(v[3], v[2] // 4)))


@settings(deadline=None, max_examples=50)
@given(GRIDS)
def test_cores_are_the_image_and_outers_a_halo_more(drawn) -> None:
    size, side, halo = drawn
    grid = TileGrid(size, side=side, halo=halo)
    owners = np.zeros(size, int)
    sizes = set()
    for tile in grid:
        owners[local(tile.core, (0, 0))] += 1
        sizes.add(tile.size)
        for axis, length in ((0, size[1]), (1, size[0])):
            low, high = tile.outer[axis], tile.outer[axis + 2]
            assert 0 <= low <= max(tile.core[axis] - halo, 0)
            assert min(tile.core[axis + 2] + halo, length) <= high <= length
            assert high - low <= side
    assert (owners == 1).all()
    assert len(sizes) == 1
    assert [tile.index for tile in grid] == list(range(len(grid)))


@settings(deadline=None, max_examples=30)
@given(GRIDS)
def test_owners_and_neighbours_are_those_found_by_looking(drawn) -> None:
    size, side, halo = drawn
    grid = TileGrid(size, side=side, halo=halo)
    tiles = list(grid)
    for y in range(0, size[0], 3):
        for x in range(0, size[1], 3):
            x1, y1, x2, y2 = grid[grid.owner(x, y)].core
            assert x1 <= x < x2
            assert y1 <= y < y2
    for tile in tiles:
        expected = [t.index for t in tiles[tile.index + 1 :] if common(t.outer, tile.outer)]
        assert [t.index for t in grid.later_neighbours(tile)] == expected


def test_no_more_tiles_than_needed() -> None:
    assert len(TileGrid((100, 100), side=100, halo=20)) == 1
    assert len(TileGrid((100, 101), side=100, halo=20)) == 2
    assert len(TileGrid((100, 160), side=100, halo=20)) == 2
    assert len(TileGrid((100, 161), side=100, halo=20)) == 3
    assert len(TileGrid((12000, 12000), side=1024, halo=128)) == 16**2


def test_depth_counts_only_edges_inside_the_image() -> None:
    grid = TileGrid((100, 160), side=100, halo=20)
    left, right = grid
    assert left.outer == (0, 0, 100, 100)
    assert right.outer == (60, 0, 160, 100)
    assert grid.depth(left, (0, 0, 30, 100)) == 70
    assert grid.depth(left, (50, 3, 100, 9)) == 0
    assert grid.depth(right, (65, 3, 160, 9)) == 5
    alone = TileGrid((50, 60), side=100, halo=20)
    assert alone.depth(alone[0], (0, 0, 60, 50)) == 60


def test_sizes() -> None:
    assert TileSettings().sizes(256) == (256, 32)
    assert TileSettings(tile_side=512, halo=100).sizes(256) == (512, 100)
    assert TileSettings(tile_side=4).sizes(256) == (4, 1)
    with pytest.raises(ConfigError) as caught:
        TileSettings.from_dict({"tile_side": 100, "halo": 26})
    assert str(caught.value) == (
        "the halo leaves too little of a tile\n"
        "  where: tiles.halo, found: halo 26, tile_side 100, "
        "expected: a halo of at most 25, a quarter of the tile\n"
        "  fix: enlarge tile_side, or reduce halo"
    )
    with pytest.raises(
        ConfigError, match=r"match_iou is out of range\n.*found: 0.0, expected: 0.01"
    ):
        TileSettings.from_dict({"match_iou": 0.0})
