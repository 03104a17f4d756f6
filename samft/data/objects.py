"""Masks of every kind to label layers with numbered objects, see `samft.types.Sample`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.checks import check_same_size
from samft.data.label_maps import as_tensor, count_values, renumber, values_of
from samft.data.records import Record
from samft.types import IGNORE, Sample

ObjectMode = Literal["component", "class", "value"]
"""Whether an object is a connected piece of a class, all of a class, or each value of a mask."""

TOUCHING = np.ones((3, 3), dtype=bool)
"""Pixels that meet at a corner belong together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objects:
    """The objects of one image: object k (0-based) is `layers[object_layer[k]] == k + 1`.

    Args:
        layers: (L, H, W) int32; 0 background, k + 1 object k, `IGNORE` where nothing is known.
        object_layer: (K,) int64.
        object_class: (K,) int64, index into the datamodule's class names.
    """

    layers: NDArray[np.int32]
    object_layer: NDArray[np.int64]
    object_class: NDArray[np.int64]


def from_label_map(
    label_map: NDArray[np.int32],
    *,
    class_index: int = 0,
    ignore_value: int | None = None,
) -> Objects:
    """Take every positive value as one object (instance segmentation).

    Of pixels with a negative value nothing is known, as of those with `ignore_value`.

    Args:
        label_map: (H, W) int32; the values need not be consecutive.
        class_index: Class of all the objects.
        ignore_value: The value that means "nothing is known here".
    """
    values = [v for v in values_of(label_map) if v > 0 and v != ignore_value]
    ids = renumber(label_map, np.array(values, np.int64), negative=IGNORE)
    if ignore_value is not None:
        ids[label_map == ignore_value] = IGNORE
    return _one_layer(ids, np.full(len(values), class_index, np.int64))


def from_masks(
    masks: Iterable[NDArray[np.bool_]], size: tuple[int, int], *, class_index: int = 0
) -> Objects:
    """Take every mask as one object; masks that overlap go to different layers.

    Args:
        masks: (H, W) bool each.
        size: (height, width), also when there are no masks.
        class_index: Class of all the objects.
    """
    layers = [np.zeros(size, np.int32)]
    object_layer: list[int] = []
    for mask in masks:
        box = _bounding_box(mask)
        inside = mask[box]
        free = (i for i, layer in enumerate(layers) if not (layer[box][inside] != 0).any())
        chosen = next(free, len(layers))
        if chosen == len(layers):
            layers.append(np.zeros(size, np.int32))
        object_layer.append(chosen)
        layers[chosen][box][inside] = len(object_layer)
    return Objects(
        layers=np.stack(layers),
        object_layer=np.array(object_layer, np.int64),
        object_class=np.full(len(object_layer), class_index, np.int64),
    )


def from_class_map(
    class_map: NDArray[np.int32],
    class_of: Mapping[int, int],
    *,
    mode: ObjectMode,
    ignore_value: int | None = None,
) -> Objects:
    """Take every class, or every connected piece of it, as one object (semantic segmentation).

    Of pixels with a negative value nothing is known, as of those with `ignore_value`.

    Args:
        class_map: (H, W) int32.
        class_of: Class index of each value; values that are not in it are background.
        mode: Whether a value is one object, or each connected piece of it.
        ignore_value: The value that means "nothing is known here".
    """
    ids = np.zeros(class_map.shape, np.int32)
    classes: list[int] = []
    for value in values_of(class_map):
        if value < 0 or value not in class_of or value == ignore_value:
            continue
        box = _bounding_box(class_map == value)
        inside = class_map[box] == value
        pieces, count = ndimage.label(inside, TOUCHING) if mode == "component" else (inside, 1)
        ids[box][inside] = pieces[inside].astype(np.int32) + len(classes)
        classes += [class_of[value]] * count
    ids[_unknown(class_map, ignore_value)] = IGNORE
    return _one_layer(ids, np.array(classes, np.int64))


def stack_objects(parts: Sequence[Objects]) -> Objects:
    """Put objects of the same image on top of each other, each part in layers of its own."""
    if len(parts) == 1:
        return parts[0]
    layers, object_layer, shift, depth = [], [], 0, 0
    for part in parts:
        layers.append(np.where(part.layers > 0, part.layers + np.int32(shift), part.layers))
        object_layer.append(part.object_layer + depth)
        shift += part.object_class.size
        depth += part.layers.shape[0]
    return Objects(
        layers=np.concatenate(layers),
        object_layer=np.concatenate(object_layer),
        object_class=np.concatenate([part.object_class for part in parts]),
    )


def stack_filled(parts: Sequence[Objects]) -> Objects:
    """Put objects on top of each other as `stack_objects` does, without layers of background only.

    One layer stays in any case.
    """
    filled = [part for part in parts if part.object_class.size or part.layers.any()]
    return stack_objects(filled or parts[:1])


def make_sample(
    record: Record,
    image: NDArray[Any],
    objects: Objects,
    *,
    spacing_mm: tuple[float, float] | None = None,
) -> Sample:
    """Put an image and its objects together.

    Args:
        record: Where they come from.
        image: (C, H, W) uint8 or float32, 0 to 255; RGB where C is 3.
        objects: The objects in the same frame.
        spacing_mm: Pixel size (y, x).

    Raises:
        DatasetError: if the sizes differ.
    """
    size, expected = objects.layers.shape[1:], image.shape[1:]
    check_same_size(record.labels[0], size, record.images[0], expected)
    return Sample(
        image=as_tensor(image),  # channels last, as it was decoded: no copy, and faster to resize
        layers=torch.from_numpy(objects.layers),
        object_layer=torch.from_numpy(objects.object_layer),
        object_class=torch.from_numpy(objects.object_class),
        sample_id=record.sample_id,
        case_id=record.case_id,
        spacing_mm=spacing_mm,
    )


def drop_small(sample: Sample, min_area: int) -> tuple[Sample, int]:
    """Turn objects of fewer than `min_area` pixels into background.

    Args:
        sample: A sample in the original frame.
        min_area: Smallest area that stays, pixels.

    Returns:
        The sample with the other objects, renumbered, and how many were dropped.
    """
    count = sample.num_objects
    layers = sample.layers.numpy()
    kept = count_values(layers, count)[1:] >= min_area
    dropped = count - int(kept.sum())
    if dropped == 0:
        return sample, 0
    values = np.flatnonzero(kept) + 1
    changed = sample.replace(
        layers=torch.from_numpy(renumber(layers, values, negative=IGNORE)),
        object_layer=sample.object_layer[values - 1],
        object_class=sample.object_class[values - 1],
    )
    return changed, dropped


def decode_colours(
    mask: NDArray[np.uint8], palette: Sequence[Sequence[int]]
) -> tuple[NDArray[np.int32], tuple[int, int, int] | None]:
    """Turn a mask whose colours mean classes into indices of the palette.

    Where all colours of the palette are made of 0 and 255, each channel is cut at 128 first, so
    that the in-between colours of resized or compressed masks find their class.

    Args:
        mask: (H, W, 3) uint8.
        palette: Colours (red, green, blue), 0 to 255.

    Returns:
        (H, W) int32 indices, and the first colour that is not in the palette, or `None`.
    """
    colours = np.asarray(palette, dtype=np.int32)
    seen = mask.astype(np.int32)
    if np.isin(colours, (0, 255)).all():
        seen = np.where(seen >= 128, 255, 0).astype(np.int32)
    codes, known = _colour_codes(seen), _colour_codes(colours)
    order = np.argsort(known)
    index = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    foreign = known[index] != codes
    unexpected = None
    if foreign.any():
        red, green, blue = (int(value) for value in mask[foreign][0])
        unexpected = (red, green, blue)
    return index.astype(np.int32), unexpected


def _colour_codes(colours: NDArray[np.int32]) -> NDArray[np.int32]:
    return (colours[..., 0] << 16) | (colours[..., 1] << 8) | colours[..., 2]


def _one_layer(ids: NDArray[np.int32], object_class: NDArray[np.int64]) -> Objects:
    return Objects(
        layers=ids[None],
        object_layer=np.zeros(object_class.size, np.int64),
        object_class=object_class,
    )


def _unknown(label_map: NDArray[np.int32], ignore_value: int | None) -> NDArray[np.bool_]:
    negative = label_map < 0
    return negative if ignore_value is None else negative | (label_map == ignore_value)


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
