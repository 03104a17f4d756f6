"""Rings, rectangles and ellipses."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.data.readers.outlines import (
    MOST_VERTICES,
    Outlines,
    ellipse,
    points_inside,
    rectangle,
)
from samft.errors import DatasetError

SQUARE = [(0, 0), (4, 0), (4, 4), (0, 4)]
sides = st.floats(0.5, 400)


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


def test_a_closed_ring_is_opened_and_shifted() -> None:
    ring = Outlines(Path("a"), shift=0.5).ring([*SQUARE, (0, 0)])
    assert ring is not None
    assert ring.tolist() == [[0.5, 0.5], [4.5, 0.5], [4.5, 4.5], [0.5, 4.5]]


@pytest.mark.parametrize("points", [[], [(1, 1)], [(0, 0), (3, 0)], [(0, 0), (3, 0), (6, 0)],
                                    [(0, 0), (3, 3), (0, 0)]])  # fmt: skip
def test_what_has_no_area_is_counted(points: list[tuple[int, int]]) -> None:
    found = Outlines(Path("a"))
    found.add_polygon("cell", points)
    assert found.shapes == []
    assert found.left_out == {"outline without area": 1}


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([("a", 1), (2, 3), (4, 5)], "no numbers"),
        ([(1, 2, 3)] * 3, "shape"),
        ([(1, 2), (3,)], "no numbers"),
        ([1, 2, 3], "shape"),
        ([{"x": 1}] * 3, "no numbers"),
        ([(10**400, 1), (2, 3), (4, 5)], "no numbers"),
    ],
)
def test_what_is_no_list_of_points(points: list[object], found: str) -> None:
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        Outlines(Path("x.json")).ring(points)  # type: ignore[arg-type]
    assert found in str(caught.value.found)
    assert caught.value.where == Path("x.json")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e9, 1e300])
def test_vertices_far_away_are_refused(bad: float) -> None:
    with pytest.raises(DatasetError, match="nowhere near the image") as caught:
        Outlines(Path("x.json")).ring([*SQUARE, (1, bad)])
    assert caught.value.where == Path("x.json")
    assert f"{bad:.6g}" in str(caught.value.found)
    assert "take the file out" in str(caught.value.fix)


def test_too_many_vertices_are_refused() -> None:
    with pytest.raises(DatasetError, match="more than 500000 vertices"):
        Outlines(Path("x.json")).ring(np.random.default_rng(0).uniform(size=(MOST_VERTICES + 1, 2)))


def test_bitmaps_are_limited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", "10000")
    found = Outlines(Path("x.json"))
    found.reserve_bitmap(90, 90)
    with pytest.raises(DatasetError, match="more memory than allowed"):
        found.reserve_bitmap(50, 50)
    with pytest.raises(DatasetError, match="impossible size"):
        Outlines(Path("x.json")).reserve_bitmap(0, 5)


@given(rx=sides, ry=sides, degrees=st.floats(-720, 720))
@settings(deadline=None, max_examples=25)
def test_an_ellipse_has_its_area_and_extent(rx: float, ry: float, degrees: float) -> None:
    ring = ellipse((30.0, -7.0), (rx, ry), degrees=degrees)
    assert area(ring) == pytest.approx(math.pi * rx * ry, rel=0.03)
    turn = math.radians(degrees)
    across = math.hypot(rx * math.cos(turn), ry * math.sin(turn))
    down = math.hypot(rx * math.sin(turn), ry * math.cos(turn))
    assert (np.ptp(ring, axis=0) / 2).tolist() == pytest.approx([across, down], abs=0.1)
    assert ((ring.min(axis=0) + ring.max(axis=0)) / 2).tolist() == pytest.approx([30, -7], abs=0.1)


def test_an_ellipse_larger_than_any_image_has_no_more_corners() -> None:
    largest = ellipse((0.0, 0.0), (1e5, 1.0))
    assert math.pi * math.sqrt(1e5 / 0.1) < len(largest) < 3200
    assert len(ellipse((0.0, 0.0), (1e7, 1e7))) == len(largest)


def test_angles_go_clockwise_on_the_screen() -> None:
    ring = rectangle(0, 0, 10, 2, degrees=90)
    assert ring.round(6).tolist() == [[6, -4], [6, 6], [4, 6], [4, -4]]
    # A long box turned by 45 degrees runs from the upper left to the lower right: y goes down.
    tilted = rectangle(0, 0, 10, 2, degrees=45)
    left, right = tilted[tilted[:, 0].argmin()], tilted[tilted[:, 0].argmax()]
    assert left[1] < right[1]


@given(x=st.floats(-20, 20), y=st.floats(-20, 20))
@settings(deadline=None, max_examples=25)
def test_points_in_an_ellipse(x: float, y: float) -> None:
    far = (x / 10) ** 2 + (y / 6) ** 2
    inside = points_inside(np.array([[x, y]]), ellipse((0.0, 0.0), (10.0, 6.0)))
    if abs(far - 1) > 0.05:
        assert inside.tolist() == [far < 1]
