"""Outlines and strokes, and the pixels they cover.

Coordinates are continuous pixels `(x, y)` with the centre of the top-left pixel at (0, 0). An image
is painted with the same pixels that its mask consists of and blurred afterwards, so that half the
step of intensity lies on the mask's border.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""(m, 2) float32 `(x, y)`."""
Place = Sequence[float] | NDArray[np.floating]
"""One `(x, y)`."""

Canvas = NDArray[Any]  # Any: whatever numbers an image or a label map consists of

_SHIFT: Final = 4  # fractional bits of the coordinates that OpenCV draws with


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one object covers: filled outlines together with thick lines.

    Args:
        contours: Closed outlines; a pixel inside an even number of them is a hole.
        strokes: Open lines.
        widths: Width of each stroke, pixels.
    """

    contours: Sequence[Points] = ()
    strokes: Sequence[Points] = ()
    widths: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Pixels of an image, kept as a small patch.

    Args:
        box: Rows and columns of the patch.
        mask: (h, w) bool, which pixels of the patch belong to the region.
    """

    box: tuple[slice, slice]
    mask: NDArray[np.bool_]


def fill_outline(canvas: Canvas, contours: Sequence[Points], value: float) -> None:
    """Fill closed outlines in place, even-odd."""
    cv2.fillPoly(canvas, [_fixed(points) for points in contours], value, cv2.LINE_8, _SHIFT)


def draw_stroke(canvas: Canvas, points: Points, width: float, value: float) -> None:
    """Draw an open line with round ends in place; its width is rounded to an odd number."""
    pixels = 2 * int(width / 2) + 1
    # OpenCV draws a line of thickness 1 one pixel wide, of 2 three, and of an odd n > 2 n + 2 wide.
    thickness = max(pixels - 2, min(pixels, 2))
    cv2.polylines(canvas, [_fixed(points)], False, value, thickness, cv2.LINE_8, _SHIFT)  # noqa: FBT003  # OpenCV has no keywords here


def region_of(shape: Shape, size: int, *, margin: int = 0) -> Region | None:
    """Return the pixels of a shape within a square image, or `None` if it lies outside.

    Args:
        shape: The shape.
        size: Side of the image.
        margin: Empty pixels to leave around it where the image has room.
    """
    pad = margin + 1 + int(max(shape.widths, default=0.0) / 2)
    points = np.concatenate([*shape.contours, *shape.strokes])
    low = np.maximum(np.floor(points.min(0)).astype(int) - pad, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + pad + 1, size)
    if (high <= low).any():
        return None
    patch = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    origin = low.astype(np.float32)
    if shape.contours:
        fill_outline(patch, [contour - origin for contour in shape.contours], 1)
    for stroke, width in zip(shape.strokes, shape.widths, strict=True):
        draw_stroke(patch, stroke - origin, width, 1)
    box = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    return Region(box=box, mask=patch.view(np.bool_))


def radial_outlines(
    rng: Generator,
    centres: Points,
    radii: NDArray[np.float32],
    *,
    elongation: NDArray[np.float32] | float = 1.0,
    angles: NDArray[np.float32] | float = 0.0,
    roughness: float = 0.0,
    points: int = 32,
) -> NDArray[np.float32]:
    """Return n smooth closed outlines: ellipses whose radius wobbles by a few Fourier harmonics.

    Args:
        rng: Source of the wobble.
        centres: (n, 2).
        radii: (n,) geometric mean of the two half axes, pixels.
        elongation: (n,) ratio of the half axes.
        angles: (n,) direction of the long axis, radians.
        roughness: Size of the wobble relative to the radius; 0 gives ellipses.
        points: Vertices of each outline.

    Returns:
        (n, points, 2) float32.
    """
    count = len(centres)
    theta = np.linspace(0, 2 * np.pi, points, endpoint=False, dtype=np.float32)
    orders = np.arange(2, 7, dtype=np.float32)
    amplitude = roughness * rng.standard_normal((count, 5), np.float32) / (orders / 2) ** 1.5
    phase = rng.random((count, 5), np.float32) * np.float32(2 * np.pi)
    waves = np.cos(theta * orders[:, None] + phase[..., None])
    radius = np.maximum(1 + np.einsum("nk,nkp->np", amplitude, waves), 0.25) * radii[:, None]
    stretch = np.broadcast_to(np.sqrt(np.asarray(elongation, np.float32)), (count,))[:, None]
    x, y = radius * np.cos(theta) * stretch, radius * np.sin(theta) / stretch
    turn = np.broadcast_to(np.asarray(angles, np.float32), (count,))[:, None]
    cos, sin = np.cos(turn), np.sin(turn)
    outlines = np.stack([x * cos - y * sin, x * sin + y * cos], -1) + centres[:, None]
    return outlines.astype(np.float32)


def blob(
    rng: Generator,
    centre: Place,
    radius: float,
    *,
    elongation: float = 1.0,
    angle: float = 0.0,
    roughness: float = 0.1,
    points: int = 40,
) -> Points:
    """Return one outline of `radial_outlines`."""
    outline: Points = radial_outlines(
        rng,
        np.asarray([centre], np.float32),
        np.asarray([radius], np.float32),
        elongation=elongation,
        angles=angle,
        roughness=roughness,
        points=points,
    )[0]
    return outline


def placed(points: NDArray[np.floating], centre: Place, scale: float, turn: float) -> Points:
    """Return points of a unit drawing at a place of the image, scaled and turned (radians)."""
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    matrix = np.array([[cos, sin], [-sin, cos]])
    moved: Points = (points @ matrix + np.asarray(centre)).astype(np.float32)
    return moved


def branches(
    rng: Generator, start: Place, heading: float, *, length: float, width: float, depth: int
) -> Shape:
    """Return a tree of thinning, meandering strokes, like vessels, roots or corals.

    Args:
        rng: Source of the meanders.
        start: (2,) where the trunk begins.
        heading: Direction of the trunk, radians.
        length: Length of the trunk, pixels.
        width: Width of the trunk, pixels.
        depth: How often branches fork.
    """
    strokes: list[Points] = []
    widths: list[float] = []
    todo = [(np.asarray(start, np.float64), heading, length, width, depth)]
    while todo:
        at, direction, reach, thick, left = todo.pop()
        turns = direction + np.cumsum(rng.normal(0, 0.22, 6))
        steps = np.stack([np.cos(turns), np.sin(turns)], -1) * reach / 6
        line = np.concatenate([at[None], at + np.cumsum(steps, 0)])
        strokes.append(line.astype(np.float32))
        widths.append(thick)
        if left > 0:
            spread = rng.uniform(0.3, 0.8, 2)
            for turn in (spread[0], -spread[1]):
                shrink = rng.uniform(0.55, 0.9)
                todo.append((line[-1], turns[-1] + turn, reach * shrink, thick * 0.75, left - 1))
    return Shape(strokes=strokes, widths=widths)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _ellipse(rng: Generator, centre: Points, radius: float) -> Shape:
    stretch, angle = rng.uniform(1, 3), rng.uniform(0, np.pi)
    return Shape(contours=[blob(rng, centre, radius, elongation=stretch, angle=angle, roughness=0)])


def _blob(rng: Generator, centre: Points, radius: float) -> Shape:
    stretch, angle, rough = rng.uniform(1, 2.2), rng.uniform(0, np.pi), rng.uniform(0.05, 0.3)
    return Shape(
        contours=[blob(rng, centre, radius, elongation=stretch, angle=angle, roughness=rough)]
    )


def _polygon(rng: Generator, centre: Points, radius: float) -> Shape:
    corners = int(rng.integers(3, 9))
    theta = np.sort(rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners)
    theta += rng.uniform(-0.35, 0.35, corners) * 2 * np.pi / corners
    reach = rng.uniform(0.6, 1.25, corners)
    unit = np.stack([np.cos(theta), np.sin(theta)], -1) * reach[:, None]
    unit[:, 0] *= rng.uniform(1, 1.8)
    return Shape(contours=[placed(unit, centre, radius, rng.uniform(0, 2 * np.pi))])


def _star(rng: Generator, centre: Points, radius: float) -> Shape:
    corners = 2 * int(rng.integers(3, 9))
    theta = np.arange(corners) * 2 * np.pi / corners
    reach = np.where(np.arange(corners) % 2 == 0, 1.3, rng.uniform(0.4, 0.8))
    reach = reach * rng.uniform(0.85, 1.15, corners)
    unit = np.stack([np.cos(theta), np.sin(theta)], -1) * reach[:, None]
    return Shape(contours=[placed(unit, centre, radius, rng.uniform(0, 2 * np.pi))])


def _rectangle(rng: Generator, centre: Points, radius: float) -> Shape:
    stretch, power = rng.uniform(1, 2), rng.uniform(3, 12)
    theta = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(theta), np.sin(theta)
    reach = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    unit = np.stack([cos * reach * stretch, sin * reach / stretch], -1) * 0.9
    return Shape(contours=[placed(unit, centre, radius, rng.uniform(0, 2 * np.pi))])


def _crescent(rng: Generator, centre: Points, radius: float) -> Shape:
    half = rng.uniform(0.6, 2.4)
    arc = np.linspace(-half, half, 20)
    thick = rng.uniform(0.2, 0.6) * np.sqrt(np.maximum(1 - (arc / half) ** 2, 0.02))
    outer = np.stack([np.cos(arc), np.sin(arc)], -1) * (1 + thick)[:, None]
    inner = np.stack([np.cos(arc), np.sin(arc)], -1) * (1 - thick)[:, None]
    unit = np.concatenate([outer, inner[::-1]]) - [np.cos(half / 2), 0]
    return Shape(contours=[placed(unit, centre, radius, rng.uniform(0, 2 * np.pi))])


def _ring(rng: Generator, centre: Points, radius: float) -> Shape:
    stretch, angle, rough = rng.uniform(1, 1.8), rng.uniform(0, np.pi), rng.uniform(0, 0.12)
    outer = blob(rng, centre, radius, elongation=stretch, angle=angle, roughness=rough)
    inner = centre + (outer - centre) * rng.uniform(0.35, 0.85)
    return Shape(contours=[outer, inner.astype(np.float32)])


def _cluster(rng: Generator, centre: Points, radius: float) -> Shape:
    count = int(rng.integers(2, 6))
    offsets = rng.normal(0, 0.5, (count, 2)) * radius
    radii = radius * rng.uniform(0.35, 0.75, count)
    # Lines of no length are discs; together they are a union, where contours would cancel out.
    places = [(centre + offset).astype(np.float32)[None] for offset in offsets]
    joints = [np.concatenate([place, np.asarray(centre, np.float32)[None]]) for place in places]
    return Shape(
        strokes=[*places, *joints], widths=[*(2 * radii), *np.full(count, max(radius * 0.5, 2))]
    )


def _glyph(rng: Generator, centre: Points, radius: float) -> Shape:
    grid = rng.integers(-1, 2, (int(rng.integers(2, 5)), int(rng.integers(2, 4)), 2))
    turn = rng.normal(0, 0.3)
    width = max(radius * rng.uniform(0.12, 0.4), 2)
    lines = [placed(line * [0.6, 1.0], centre, radius, turn) for line in grid]
    joint = placed(grid[:, 0] * [0.6, 1.0], centre, radius, turn)  # so that it hangs together
    return Shape(strokes=[*lines, joint], widths=[width] * (len(lines) + 1))


def _squiggle(rng: Generator, centre: Points, radius: float) -> Shape:
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.1, 0.6), 16))
    line = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], -1), 0) / 5
    width = max(radius * rng.uniform(0.06, 0.35), 2)
    return Shape(strokes=[placed(line - line.mean(0), centre, radius, 0)], widths=[width])


def _tree(rng: Generator, centre: Points, radius: float) -> Shape:
    heading = rng.uniform(0, 2 * np.pi)
    start = np.asarray(centre) - np.array([np.cos(heading), np.sin(heading)]) * radius
    width = max(radius * rng.uniform(0.06, 0.25), 2)
    depth = int(rng.integers(1, 4))
    return branches(rng, start.astype(np.float32), heading, length=radius, width=width, depth=depth)


FAMILIES: Final[dict[str, Callable[[Generator, Points, float], Shape]]] = {
    "ellipse": _ellipse,
    "blob": _blob,
    "polygon": _polygon,
    "star": _star,
    "rectangle": _rectangle,
    "crescent": _crescent,
    "ring": _ring,
    "cluster": _cluster,
    "glyph": _glyph,
    "squiggle": _squiggle,
    "tree": _tree,
}
"""Shape families: from a source of randomness, a centre and a rough radius in pixels."""

SOLID: Final = ("ellipse", "blob", "polygon", "star", "rectangle", "crescent", "cluster")
THIN: Final = ("ring", "glyph", "squiggle", "tree")
