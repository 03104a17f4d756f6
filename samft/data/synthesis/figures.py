"""Things made of several parts: fish, limbed figures, plants, pots, corals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from samft.data.synthesis.shapes import FAMILIES, Points, Shape, blob, branches, placed


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a figure.

    Args:
        shape: What it covers.
        tone: Parts of the same tone share their colours.
    """

    shape: Shape
    tone: int = 0


def fish(rng: Generator, centre: Points, length: float) -> list[Part]:
    """Return a fish from the side: fins, tail, body, eye; `length` is half its length, pixels."""
    t = np.linspace(-1, 1, 24)
    height = rng.uniform(0.22, 0.6)
    profile = height * np.sqrt(np.maximum(1 - np.abs(t) ** rng.uniform(1.6, 2.6), 0))
    profile *= 1 - 0.35 * t * rng.uniform(-0.3, 1)
    body = np.concatenate([np.stack([t, profile], -1), np.stack([t, -profile], -1)[::-1]])
    spread, fork = rng.uniform(0.15, 0.5), rng.uniform(0.95, 1.35)
    tail = np.array([[0.8, 0.05], [1.45, spread], [fork, 0], [1.45, -spread], [0.8, -0.05]])
    fins = [
        np.array([[-0.3, side * height * 0.7], [0.1, side * (height + rng.uniform(0.05, 0.35))],
                  [0.5, side * height * 0.4]])
        for side in (-1, 1)
    ]  # fmt: skip
    turn = rng.normal(0, 0.35) + rng.choice([0, np.pi])
    eye = placed(np.array([[-0.72, -0.05]]), centre, length, turn)
    outlines = [placed(points, centre, length, turn) for points in (tail, *fins, body)]
    parts = [Part(shape=Shape(contours=[outline]), tone=1) for outline in outlines[:-1]]
    parts.append(Part(shape=Shape(contours=[outlines[-1]]), tone=0))
    parts.append(Part(shape=Shape(strokes=[eye], widths=[max(length * 0.14, 1.5)]), tone=2))
    return parts


def limbed(rng: Generator, centre: Points, height: float) -> list[Part]:
    """Return a body with head and limbs, upright or lying; `height` is half its height, pixels."""
    turn = rng.normal(0, 0.3) + rng.choice([0, np.pi / 2, -np.pi / 2], p=[0.6, 0.2, 0.2])
    wide = rng.uniform(0.18, 0.42)
    hips, shoulders = np.array([0, 0.2]), np.array([rng.normal(0, 0.1), -0.42])

    def limb(start: Points, reach: float, thick: float, tone: int) -> Part:
        angle = rng.uniform(0.1, np.pi - 0.1)
        knee = start + np.array([np.cos(angle), np.sin(angle)]) * reach / 2
        angle += rng.normal(0, 0.6)
        end = knee + np.array([np.cos(angle), np.sin(angle)]) * reach / 2
        line = placed(np.stack([start, knee, end]), centre, height, turn)
        return Part(shape=Shape(strokes=[line], widths=[max(height * thick, 2)]), tone=tone)

    legs = [limb(hips, rng.uniform(0.6, 1), wide * 0.75, 1) for _ in range(2)]
    arms = [limb(shoulders, rng.uniform(0.5, 0.9), wide * 0.5, 2) for _ in range(2)]
    trunk = np.stack([np.asarray(hips), np.asarray(shoulders)])
    torso = Part(
        shape=Shape(
            strokes=[placed(trunk, centre, height, turn)], widths=[max(height * wide * 1.8, 3)]
        )
    )
    at = placed(shoulders[None] + [[rng.normal(0, 0.05), -0.32]], centre, height, turn)[0]
    head = Shape(contours=[blob(rng, at, height * rng.uniform(0.13, 0.2), roughness=0.04)])
    hat = Shape(
        contours=[blob(rng, at - [0, height * 0.1], height * 0.15, elongation=1.7, roughness=0.03)]
    )
    parts = [*legs, arms[0], torso, arms[1], Part(shape=head, tone=2)]
    return [*parts, Part(shape=hat, tone=3)] if rng.random() < 0.4 else parts


def stacked(rng: Generator, centre: Points, radius: float) -> list[Part]:
    """Return a few overlapping solids, like a mushroom, a pot on a stand or a vehicle."""
    count = int(rng.integers(2, 5))
    turn = rng.uniform(0, 2 * np.pi)
    step = np.array([np.cos(turn), np.sin(turn)]) * radius * rng.uniform(0.4, 0.8)
    names = ["ellipse", "blob", "rectangle", "polygon", "crescent"]
    parts = []
    for index in range(count):
        at = np.asarray(centre + step * (index - (count - 1) / 2), np.float32)
        reach = radius * rng.uniform(0.35, 0.75)
        shape = FAMILIES[str(rng.choice(names))](rng, at, reach)
        parts.append(Part(shape=shape, tone=index))
    return parts


def decorated(rng: Generator, centre: Points, radius: float) -> list[Part]:
    """Return one solid with marks, windows or spots on it."""
    solid = FAMILIES[str(rng.choice(["ellipse", "blob", "rectangle", "polygon"]))]
    parts = [Part(shape=solid(rng, centre, radius))]
    marks = ["ellipse", "rectangle", "glyph", "ring", "blob", "star"]
    name = str(rng.choice(marks))
    for _ in range(int(rng.integers(1, 7))):
        at = np.asarray(centre + rng.normal(0, 0.35, 2) * radius, np.float32)
        parts.append(Part(shape=FAMILIES[name](rng, at, radius * rng.uniform(0.08, 0.3)), tone=1))
    return parts


def plant(rng: Generator, centre: Points, height: float) -> list[Part]:
    """Return a branching plant or coral growing upwards; `height` is half its height, pixels."""
    root = np.asarray(centre) + np.array([0, height])
    trunks = int(rng.integers(1, 4))
    parts = []
    for heading in -np.pi / 2 + rng.normal(0, 0.45, trunks):
        width = max(height * rng.uniform(0.08, 0.3), 2)
        shape = branches(rng, root, heading, length=height * 0.8, width=width, depth=3)
        parts.append(Part(shape=shape))
    return parts


def boulder(rng: Generator, centre: Points, radius: float) -> list[Part]:
    """Return a rough solid, like a rock or a massive coral."""
    outline = blob(
        rng,
        centre,
        radius,
        elongation=rng.uniform(1, 2),
        angle=rng.normal(0, 0.4),
        roughness=rng.uniform(0.08, 0.2),
    )
    return [Part(shape=Shape(contours=[outline]))]
