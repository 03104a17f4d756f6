"""Masks thinned to lines one pixel wide that keep their topology, in two and three dimensions."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Counter-clockwise from east, as the paper numbers a pixel's neighbours.
_AROUND: Final = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def thin(mask: Mask) -> Mask:
    """Thin a mask of an image until nothing changes.

    Gives what MATLAB's `bwmorph(..., 'thin', Inf)` and scikit-image's `thin` give.

    Args:
        mask: (H, W) bool; beyond the image is background.

    Returns:
        (H, W) bool, a subset of `mask` with the same pieces and holes.

    Source: Guo and Hall 1989, CACM 32(3), algorithm A1.
    """
    padded = np.pad(mask, 1)
    flat = padded.reshape(-1)
    steps = [down * padded.shape[1] + right for down, right in _AROUND]
    pixels = np.flatnonzero(flat)
    changed = True
    while changed and len(pixels):
        before = len(pixels)
        for table in _tables():
            code = np.zeros(len(pixels), dtype=np.uint8)
            for bit, step in enumerate(steps):
                code |= flat[pixels + step].view(np.uint8) << np.uint8(bit)
            leave = table[code]
            flat[pixels[leave]] = False
            pixels = pixels[~leave]
        changed = len(pixels) < before
    return padded[1:-1, 1:-1].copy()


@cache
def _tables() -> tuple[Mask, Mask]:
    """Return for both halves of a pass whether a pixel with these neighbours goes, (256,) each."""
    x = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool)
    straight, slanted, following = x[:, 0::2], x[:, 1::2], np.roll(x[:, 0::2], -1, axis=1)
    crossings = (~straight & (slanted | following)).sum(axis=1)
    pairs = np.minimum((straight | slanted).sum(axis=1), (slanted | following).sum(axis=1))
    common = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    first = ~((x[:, 1] | x[:, 2] | ~x[:, 7]) & x[:, 0])
    second = ~((x[:, 5] | x[:, 6] | ~x[:, 3]) & x[:, 4])
    return common & first, common & second


def thin_volume(mask: Mask) -> Mask:
    """Thin a mask of a volume to lines (and to closed sheets around cavities).

    Border voxels of one of six directions after the other are taken away where that changes neither
    the pieces nor the holes and tunnels, except the ends of lines.

    Args:
        mask: (Z, Y, X) bool; beyond the volume is background.

    Returns:
        (Z, Y, X) bool, a subset of `mask`.

    Source: Lee, Kashyap and Chu 1994, CVGIP 56(6); voxels of a direction are checked again in eight
    interleaved sets, whose members do not touch, instead of one by one.
    """
    padded = np.pad(mask, 1)
    flat = padded.reshape(-1)
    steps = np.array([_offset(step, padded.shape) for step in _CUBE])
    axes = np.array([_offset(step, padded.shape) for step in _FACES])
    voxels = np.flatnonzero(flat)
    z, y, x = np.unravel_index(voxels, padded.shape)
    corner = (z % 2) * 4 + (y % 2) * 2 + x % 2
    changed = True
    while changed and len(voxels):
        before = len(voxels)
        for axis in axes:
            border = np.flatnonzero(~flat[voxels + axis])
            code = _neighbours(flat, voxels[border], steps)
            going = border[_simple(code) & (_count(code) > 1)]
            for part in range(8):
                own = voxels[going[corner[going] == part]]
                if len(own):
                    flat[own[_simple(_neighbours(flat, own, steps))]] = False
            kept = flat[voxels]
            voxels, corner = voxels[kept], corner[kept]
        changed = len(voxels) < before
    return padded[1:-1, 1:-1, 1:-1].copy()


_CUBE: Final = [
    (z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)
]
_FACES: Final = [(0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0)]


def _offset(step: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return (step[0] * shape[1] + step[1]) * shape[2] + step[2]


def _neighbours(flat: Mask, voxels: Ints, steps: Ints) -> Ints:
    """Return which of the 26 neighbours of each voxel are in the mask, as bits."""
    code = np.zeros(len(voxels), dtype=np.int64)
    for bit, step in enumerate(steps):
        code |= flat[voxels + step].astype(np.int64) << bit
    return code


def _count(code: Ints) -> Ints:
    return np.bitwise_count(code).astype(np.int64)


def _simple(code: Ints) -> Mask:
    """Return whether taking the voxel away keeps the topology of mask and background.

    That is so if the neighbours in the mask are one piece (across corners), and the background
    neighbours across faces are one piece (across faces, among the 18 nearest).

    Source: Bertrand and Malandain 1994, Pattern Recognition Letters 15(2).
    """
    unique, inverse = np.unique(code, return_inverse=True)
    background = ~unique & _NEAR
    objects = _piece(unique, unique & -unique, _links(3)) == unique
    faces = background & _FACE_BITS
    reached = _piece(background, faces & -faces, _links(1))
    simple = (unique != 0) & objects & (faces != 0) & (faces & ~reached == 0)
    found: Mask = simple[inverse]
    return found


def _piece(allowed: Ints, seed: Ints, links: tuple[int, ...]) -> Ints:
    """Return the bits of `allowed` that are linked to those of `seed`."""
    piece = seed
    while True:
        grown = piece
        for bit, link in enumerate(links):
            grown = grown | np.where(piece >> bit & 1, link, 0)
        grown = grown & allowed
        if np.array_equal(grown, piece):
            return piece
        piece = grown


@cache
def _links(reach: int) -> tuple[int, ...]:
    """Return for each neighbour those of the 26 that it touches: 1 by faces, 3 also by corners."""
    links = []
    for first in _CUBE:
        bits = 0
        for bit, second in enumerate(_CUBE):
            apart = [abs(a - b) for a, b in zip(first, second, strict=True)]
            bits |= (max(apart) == 1 and sum(apart) <= reach) << bit
        links.append(bits)
    return tuple(links)


_FACE_BITS: Final = sum(1 << bit for bit, step in enumerate(_CUBE) if sum(map(abs, step)) == 1)
_NEAR: Final = sum(1 << bit for bit, step in enumerate(_CUBE) if sum(map(abs, step)) <= 2)
