"""Slices like those of CT scanners: shoulders, chest and abdomen, in many windows."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from samft.data.synthesis import optics
from samft.data.synthesis.canvas import LabelLayers
from samft.data.synthesis.optics import Image
from samft.data.synthesis.shapes import Points, blob, branches, draw_stroke, fill_outline
from samft.data.synthesis.slices import Slice, enlarged
from samft.data.synthesis.textures import grid, value_noise


def ct(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """A CT slice of shoulders, chest or abdomen, often of low resolution, in a random window."""
    native = round(size / float(rng.choice([1.0, 1.5, 2.0], p=[0.3, 0.2, 0.5])))
    low, high = _window(rng)
    body = Slice(rng, native, air=-1000, visible=(high - low) * 10 / 255)
    _table(body)
    shell = _trunk(body)
    part = rng.random()
    if part < 0.5:
        _chest(body)
    elif part < 0.85:
        _abdomen(body)
    else:
        _shoulders(body)
    _spine(body)
    if rng.random() < 0.85:
        _ribs(body)
    if rng.random() < 0.6:
        _whole_body(body, shell)
    values = body.values
    bone = values > 150
    values += (value_noise(rng, native, 4, octaves=2) - 0.5) * np.float32(rng.uniform(10, 80))
    values[bone] *= (0.6 + 0.8 * value_noise(rng, native, 3))[bone]
    values = optics.blur(values, rng.uniform(0.4, 0.8))
    noise = (high - low) * float(np.exp(rng.uniform(np.log(0.002), np.log(0.04))))
    values = optics.sensor_noise(rng, values, read=noise)
    if rng.random() < (0.9 if low < -2000 else 0.3):
        x, y = grid(native)
        values[x**2 + y**2 > rng.uniform(0.95, 1.1)] = -3024  # outside of what was scanned
    grey = np.clip((values - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)
    return enlarged(grey, body.labels, size)


def _table(body: Slice) -> None:
    rng = body.rng
    x = np.linspace(-1.1, 1.1, 24)
    depth = rng.uniform(0.98, 1.15)
    bend = rng.uniform(0, 0.25) * rng.choice([-1, 1], p=[0.2, 0.8])
    for _ in range(int(rng.integers(1, 4))):
        line = np.stack([x, depth - bend * x**2], -1)
        body.line(line, rng.uniform(0.006, 0.025), rng.uniform(-900, 300), label=False)
        depth += rng.uniform(0.06, 0.25)


def _trunk(body: Slice) -> Points:
    rng = body.rng
    theta = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    power = rng.uniform(2, 3)
    cos, sin = np.cos(theta), np.sin(theta)
    reach = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    reach *= 1 + 0.03 * np.cos(2 * theta + rng.uniform(0, 6)) * rng.uniform(0, 1.5)
    shell = np.stack([cos * reach, sin * reach], -1) * [0.92, 0.92]
    if rng.random() < 0.3:
        for side in (-1, 1):
            body.organ((side * 0.9, 0.1), (0.16, 0.22), -60, label=False)
    body.outline(shell, rng.uniform(-120, -80), label=False)
    body.outline(shell * rng.uniform(0.86, 0.96), rng.uniform(30, 70), label=False)
    return body.to_pixels(shell)


def _chest(body: Slice) -> None:
    rng = body.rng
    wide, high = rng.uniform(0.3, 0.37), rng.uniform(0.45, 0.66)
    body.organ((0, 0), (0.7, 0.62), rng.uniform(-110, 50), rough=0.02, label=False)
    for side in (-1, 1):
        at = (side * rng.uniform(0.4, 0.46), rng.uniform(-0.05, 0.1))
        half = (wide * rng.uniform(0.85, 1.1), high * rng.uniform(0.85, 1.1))
        lung = body.organ(at, half, rng.uniform(-900, -760), rough=0.09)
        _lung_vessels(body, side, lung)
    if rng.random() < 0.85:  # the heart
        at = (rng.uniform(0, 0.16), rng.uniform(-0.35, 0))
        body.organ(at, (rng.uniform(0.12, 0.36), rng.uniform(0.15, 0.4)), rng.uniform(25, 160))
    body.organ((0.1, 0.28), (0.08, 0.1), rng.uniform(30, 300), rough=0.02)
    if rng.random() < 0.6:  # the windpipe
        body.organ((0, rng.uniform(0, 0.15)), (0.05, 0.06), -980, rough=0.03)
    if rng.random() < 0.4:  # the dome of the liver
        body.organ((rng.choice([-1, 1]) * 0.4, 0.0), (0.3, 0.34), rng.uniform(40, 110))
    if rng.random() < 0.6:  # the breastbone
        body.organ((0, -0.74), (0.13, 0.05), rng.uniform(200, 500))


def _lung_vessels(body: Slice, side: int, lung: int) -> None:
    rng = body.rng
    value = rng.uniform(-500, 60)
    for _ in range(int(rng.integers(0, 25))):  # cut across
        spot = np.array([[side * rng.uniform(0.15, 0.65), rng.uniform(-0.5, 0.5)]])
        width = body.size / 128 * rng.uniform(0.6, 3)
        draw_stroke(body.values, body.to_pixels(spot), width, value * rng.uniform(0.7, 1.3))
    for _ in range(int(rng.integers(0, 5))):  # cut along
        start = body.to_pixels(np.array([[side * rng.uniform(0.15, 0.3), rng.uniform(-0.2, 0.2)]]))
        goal = body.to_pixels(np.array([[side * 0.6, rng.uniform(-0.6, 0.6)]]))
        heading = float(np.arctan2(*(goal - start)[0, ::-1]))
        tree = branches(
            rng, start[0], heading, length=body.size * 0.08, width=body.size / 100, depth=2
        )
        for stroke, width in zip(tree.strokes, tree.widths, strict=True):
            draw_stroke(body.values, stroke, width, value)
    if lung and rng.random() < 0.3:  # a nodule
        at = body.to_pixels(np.array([[side * rng.uniform(0.3, 0.55), rng.uniform(-0.4, 0.4)]]))[0]
        outline = blob(rng, at, body.size * rng.uniform(0.012, 0.05), roughness=0.1)
        body.parts(lung, [(outline, rng.uniform(-100, 80))], layer=2)


def _abdomen(body: Slice) -> None:
    rng = body.rng
    body.organ((0, -0.05), (0.74, 0.68), rng.uniform(-120, -60), rough=0.03, label=False)
    if rng.random() < 0.8:  # the liver
        half = (rng.uniform(0.25, 0.4), rng.uniform(0.3, 0.52))
        body.organ((-0.36, -0.15), half, rng.uniform(45, 130), rough=0.14)
    if rng.random() < 0.7:  # the spleen
        body.organ((0.5, 0.15), (0.17, 0.28), rng.uniform(40, 150), rough=0.12)
    if rng.random() < 0.7:  # the stomach, with gas
        body.organ((0.25, -0.25), (0.28, 0.25), rng.uniform(-10, 60), rough=0.12)
        if rng.random() < 0.6:
            body.organ((0.25, -0.36), (0.16, 0.08), -950)
    for side in (-1, 1):  # the kidneys
        if rng.random() < 0.8:
            body.organ((side * 0.38, 0.42), (0.13, 0.16), rng.uniform(25, 220), rough=0.08)
    for _ in range(int(rng.integers(0, 12))):  # the bowel
        at = (rng.uniform(-0.5, 0.5), rng.uniform(-0.55, 0.2))
        wide = rng.uniform(0.06, 0.14)
        body.organ(at, (wide, wide * rng.uniform(0.7, 1.3)), rng.uniform(0, 90))
        if rng.random() < 0.3:
            body.organ(at, (wide * 0.55, wide * 0.5), rng.uniform(-950, -300), label=False)
    body.organ((0.05, 0.35), (0.06, 0.06), rng.uniform(40, 300), rough=0.02)


def _shoulders(body: Slice) -> None:
    rng = body.rng
    body.organ((0, 0), (0.3, 0.45), rng.uniform(20, 80), label=False)
    body.organ((0, -0.1), (0.07, 0.1), -980, rough=0.04)
    for side in (-1, 1):
        if rng.random() < 0.7:
            body.organ((side * 0.32, 0), (0.16, 0.25), rng.uniform(-900, -760), rough=0.1)
        if rng.random() < 0.8:
            bend = rng.uniform(-0.2, 0.2, 2)
            blade = np.array([[0.35, 0.55], [0.55, 0.4 + bend[0]], [0.72, 0.1 + bend[1]]])
            body.line(blade * [side, 1], rng.uniform(0.025, 0.07), rng.uniform(250, 700))
        if rng.random() < 0.7:
            body.organ((side * 0.8, rng.uniform(-0.2, 0.2)), (0.1, 0.15), rng.uniform(200, 600))
        if rng.random() < 0.6:
            collar = np.array([[0.08, -0.55], [0.3, -0.5], [0.55, -0.4]])
            collar[:, 1] += rng.normal(0, 0.06, 3)
            body.line(collar * [side, 1], rng.uniform(0.03, 0.07), rng.uniform(300, 700))


def _spine(body: Slice) -> None:
    rng = body.rng
    value, y = rng.uniform(200, 600), rng.uniform(0.45, 0.6)
    wide, high = rng.uniform(0.1, 0.17), rng.uniform(0.1, 0.16)
    theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wave = 1 + 0.12 * np.cos(2 * theta + rng.uniform(0, 6))
    front = np.stack([wide * np.cos(theta), high * np.sin(theta)], -1) * wave[:, None] + [0, y]
    tips = np.array(
        [
            [0.10, 0.10],
            [0.27, 0.17],
            [0.12, 0.20],
            [0.02, 0.36],
            [-0.02, 0.36],
            [-0.12, 0.20],
            [-0.27, 0.17],
            [-0.10, 0.10],
        ]
    )
    tips *= rng.uniform(0.75, 1.25, 2)
    tips += rng.normal(0, 0.02, tips.shape)
    tips[:, 1] += y
    hull = np.concatenate([front[(theta > np.pi) | (theta < 0.2)], tips, front[20:21]])
    reach = rng.uniform(0.04, 0.07)
    canal = np.stack([reach * np.cos(theta), reach * np.sin(theta) + y + high + 0.05], -1)
    if rng.random() < 0.7:
        body.outline(canal, rng.uniform(10, 50), label=False)
        body.pierced(hull, canal, value)
    else:
        body.outline(hull, value)


def _ribs(body: Slice) -> None:
    rng = body.rng
    inner = rng.uniform(0.76, 0.86)
    longest = rng.uniform(0.06, 0.25)
    thick = rng.uniform(0.02, 0.07)
    for angle in np.linspace(0, 2 * np.pi, int(rng.integers(9, 20)), endpoint=False):
        if rng.random() < 0.3:
            continue
        at, half = angle + rng.normal(0, 0.1), rng.uniform(0.02, longest)
        arc = np.linspace(at - half, at + half, 8)
        slant = 1 + np.linspace(0, rng.normal(0, 0.04), 8)
        line = np.stack([np.cos(arc), np.sin(arc)], -1) * (inner * slant)[:, None]
        value, width = rng.uniform(250, 900), thick * rng.uniform(0.7, 1.3)
        body.line(line, width, value)
        if width * body.size > 9 and rng.random() < 0.5:  # marrow
            draw_stroke(body.values, body.to_pixels(line[1:-1]), 1, value * 0.4)


def _whole_body(body: Slice, shell: Points) -> None:
    """Label the body as an object with holes: without its lungs, or without all its organs."""
    inside = np.zeros((body.size, body.size), np.uint8)
    fill_outline(inside, [shell], 1)
    threshold = -400 if body.rng.random() < 0.8 else -2000
    mask = (inside > 0) & (body.values > threshold)
    if body.rng.random() < 0.3:
        mask &= body.values < 180
    body.labels.add_mask(mask, layer=1)


def _window(rng: Generator) -> tuple[float, float]:
    """Return the values shown black and white: all there are, or a soft, lung or bone window."""
    kind = rng.random()
    if kind < 0.3:  # as software does that stretches what is in the file
        return -3024.0, rng.uniform(300, 1200)
    if kind < 0.45:
        return rng.uniform(-1200, -1000), rng.uniform(350, 1500)
    if kind < 0.75:
        return rng.uniform(-220, -100), rng.uniform(180, 320)
    if kind < 0.87:
        return rng.uniform(-1400, -1050), rng.uniform(0, 250)
    return rng.uniform(-500, -150), rng.uniform(900, 1500)
