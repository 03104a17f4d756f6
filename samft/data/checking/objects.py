"""How large the objects of an image are, and whether they are what they seem."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.data.checking.facts import Facts
from samft.data.checking.findings import Finding
from samft.data.checking.settings import CheckSettings
from samft.data.labels import ClassMask, InstanceMask
from samft.data.objects import ObjectMode, Objects
from samft.data.truth import Truth
from samft.types import IGNORE

_MOST_LAYERS: Final = 255  # so that pixels can be counted in bytes


def count_objects(
    facts: Facts,
    truth: Truth,
    *,
    mode: ObjectMode,
    axis: int | None,
    settings: CheckSettings,
    name: str,
    one_file_each: bool,
) -> NDArray[Any] | None:
    """Add the objects of an image, or of all slices of a volume, to its facts.

    Args:
        facts: With the size of the image.
        truth: The labels.
        mode: What an object is.
        axis: Along which a volume is cut; `None` for a flat image.
        settings: The size of training.
        name: The file, for findings.
        one_file_each: Whether every object has a file of its own, so that none should overlap.

    Returns:
        (H, W) object numbers of a flat image.
    """
    places = [None] if axis is None else [(axis, index) for index in range(facts.size[axis])]
    sides = [side for number, side in enumerate(facts.size) if number != axis or axis is None]
    scale = settings.image_size / max(sides)
    ignored = pixels = overlap = twice = 0
    full = True
    classes: Counter[int] = Counter(facts.classes)
    objects = None
    for at in places:
        objects = truth.objects(mode, at=at)
        areas = _areas(objects)
        kept = areas >= max(1, settings.min_area)
        facts.add_areas(areas[kept], scale, settings.tiny)
        facts.dropped += int((areas > 0).sum() - kept.sum())
        classes.update(objects.object_class[kept].tolist())
        ignored += int((objects.layers == IGNORE).all(axis=0).sum())
        pixels += objects.layers[0].size
        full = full and areas.size > 0 and int(areas.max()) == objects.layers[0].size
        if one_file_each:
            overlap += int(((objects.layers > 0).sum(axis=0) > 1).sum())
        twice += _twins(objects, areas)
    assert objects is not None  # there is at least one plane
    facts.classes, facts.ignored = dict(classes), ignored / pixels
    facts.findings += _strange(name, full=full, overlap=overlap, twice=twice)
    if isinstance(truth, ClassMask | InstanceMask) and _shares_out(truth):
        facts.findings.append(_with_background(name))
    return objects.layers.max(axis=0) if axis is None else None


def _areas(objects: Objects) -> NDArray[np.int64]:
    count = objects.object_class.size
    flat = np.clip(objects.layers, 0, None).reshape(-1)
    return np.bincount(flat, minlength=count + 1)[1:]


def _twins(objects: Objects, areas: NDArray[np.int64]) -> int:
    """Count objects that cover exactly the pixels of another one of their class."""
    found = 0
    for row in np.flatnonzero(objects.object_layer > 0):
        inside = objects.layers[objects.object_layer[row]] == row + 1
        for layer in range(int(objects.object_layer[row])):
            below = objects.layers[layer][inside]
            other = int(below[0]) - 1 if below.size and below[0] > 0 else -1
            same = other >= 0 and bool((below == below[0]).all()) and areas[other] == below.size
            found += int(same and objects.object_class[other] == objects.object_class[row])
    return found


def _shares_out(truth: ClassMask | InstanceMask) -> bool:
    """Tell whether every pixel lies in exactly one of several layers, all of which are used."""
    layers = truth.layers
    if isinstance(truth, ClassMask) and not all(truth.class_of):
        return False
    count = np.zeros(layers.shape[1:], np.uint8)
    for layer in layers if 1 < len(layers) < _MOST_LAYERS else ():
        count += layer != 0
    return bool((count == 1).all())


def _with_background(name: str) -> Finding:
    return Finding(
        code="mask-full",
        file=name,
        found="the layers of the mask share out every pixel, so one of them is the background",
        expected="a layer for each class, none for the background",
        fix="leave out the layer of the background, or save the number of the layer at each pixel",
    )


def _strange(name: str, *, full: bool, overlap: int, twice: int) -> list[Finding]:
    found = []
    if full:
        found.append(
            Finding(
                code="mask-full",
                file=name,
                found="one object covers every pixel",
                expected="objects on a background",
                fix="check the mask; if a value is background, set data.background to it",
            )
        )
    if twice:
        found.append(
            Finding(
                code="object-twice",
                file=name,
                found=f"{twice} object{'s' * (twice > 1)} with exactly the pixels of another",
                expected="each object once",
                fix="delete the copies",
            )
        )
    elif overlap:
        found.append(
            Finding(
                code="masks-overlap",
                file=name,
                found=f"{overlap} pixels belong to several objects",
                expected="masks side by side",
                fix="nothing, if the objects lie over each other: samft keeps both",
            )
        )
    return found
