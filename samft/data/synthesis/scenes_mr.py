"""Slices like those of MR scanners: heads, and organs within organs."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from samft.data.synthesis import optics
from samft.data.synthesis.canvas import LabelLayers
from samft.data.synthesis.optics import Image
from samft.data.synthesis.shapes import Points, blob
from samft.data.synthesis.slices import Slice, enlarged
from samft.data.synthesis.textures import value_noise


def mr(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """An MR slice: a head or any organ-like nesting, with smooth bias field and lesions."""
    native = round(size / float(rng.choice([1.0, 1.5, 2.0], p=[0.5, 0.3, 0.2])))
    body = Slice(rng, native, air=rng.uniform(0, 15), visible=12)
    if rng.random() < 0.6:
        _head(body)
    else:
        _organs(body)
    values = body.values
    texture = value_noise(rng, native, 6, octaves=3) - 0.5
    values *= 1 + np.float32(rng.uniform(0, 0.35)) * texture
    bias = 0.6 + 0.8 * value_noise(rng, native, native / 2)
    if rng.random() < 0.7:
        values *= bias
    values = optics.blur(values, rng.uniform(0.45, 1.0))
    level = float(np.exp(rng.uniform(np.log(1), np.log(14))))
    real, imaginary = rng.standard_normal((2, native, native), np.float32) * np.float32(level)
    values = np.hypot(values + real, imaginary)  # magnitude of a complex signal: Rician noise
    values *= np.float32(rng.uniform(0.5, 1.3))
    if rng.random() < 0.1:
        values = np.float32(255) - values
    return enlarged(values, body.labels, size)


def _head(body: Slice) -> None:
    rng = body.rng
    tones = rng.uniform(40, 230, 6)
    body.scale *= [1, rng.uniform(1.0, 1.25)]
    body.organ((0, 0), (0.82, 0.84), tones[0], rough=0.02, label=False)
    body.organ((0, 0), (0.74, 0.76), rng.uniform(0, 40), rough=0.015, label=False)
    brain = _folded(rng, rng.uniform(0.005, 0.03)) * 0.68
    whole = body.outline(brain, tones[1])
    if not whole:
        return
    white = _folded(rng, rng.uniform(0.03, 0.11)) * rng.uniform(0.48, 0.58)
    parts: list[tuple[Points, float]] = [(body.to_pixels(white), tones[2])]
    for side in (-1, 1):
        bend = rng.uniform(0.5, 1.2)
        horn = blob(rng, (0, 0), 1, roughness=0.12) * [0.07, 0.2 * bend] + [side * 0.12, -0.02]
        parts.append((body.to_pixels(horn), tones[3] if rng.random() < 0.5 else 15))
        if rng.random() < 0.6:
            core = blob(rng, (0, 0), 1, roughness=0.1) * [0.09, 0.12] + [side * 0.27, 0.05]
            parts.append((body.to_pixels(core), tones[4]))
    body.parts(whole, parts, layer=1)
    _lesions(body, whole)


def _folded(rng: Generator, depth: float) -> Points:
    """Return a round outline with irregular folds of about `depth`."""
    theta = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    orders, phases = rng.integers(5, 30, 5), rng.uniform(0, 2 * np.pi, 5)
    folds = np.cos(theta * orders[:, None] + phases[:, None]).sum(0) / np.sqrt(2.5)
    circle = np.stack([np.cos(theta), np.sin(theta)], -1)
    outline: Points = (circle * (1 + depth * folds)[:, None]).astype(np.float32)
    return outline


def _organs(body: Slice) -> None:
    rng = body.rng
    whole = body.organ((0, 0), (0.9, 0.9), rng.uniform(40, 200), rough=0.05)
    for _ in range(int(rng.integers(2, 12))):
        reach, angle = rng.uniform(0, 0.6), rng.uniform(0, 2 * np.pi)
        half = float(np.exp(rng.uniform(np.log(0.06), np.log(0.35))))
        at = (reach * np.cos(angle), reach * np.sin(angle))
        outer = blob(rng, (0, 0), 1, roughness=0.1, elongation=rng.uniform(1, 1.8)) * half + at
        parts = [(body.to_pixels(outer), rng.uniform(10, 240))]
        body.parts(whole, parts, layer=1)
        if rng.random() < 0.4:  # a wall of another intensity around a cavity
            inner = (outer - np.asarray(at)) * rng.uniform(0.5, 0.8) + at
            body.parts(whole, [(body.to_pixels(inner), rng.uniform(10, 240))], layer=2)
    _lesions(body, whole)


def _lesions(body: Slice, whole: int) -> None:
    rng = body.rng
    for _ in range(int(rng.integers(0, 5))):
        reach, angle = rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi)
        at = body.to_pixels(np.array([[reach * np.cos(angle), reach * np.sin(angle)]]))[0]
        radius = body.size * float(np.exp(rng.uniform(np.log(0.012), np.log(0.09))))
        outline = blob(rng, at, radius, roughness=0.18, elongation=rng.uniform(1, 1.6))
        body.parts(whole, [(outline, rng.uniform(150, 255))], layer=2)
