"""The labels of one DICOM series, from several files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samft.data.labels import ClassMask
from samft.data.objects import ObjectMode, Objects, from_masks, stack_objects
from samft.data.records import Window
from samft.types import IGNORE


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedMask:
    """Masks of one image that lie on top of each other.

    Args:
        parts: One mask per file, at least one, all of one size.
    """

    parts: tuple[ClassMask, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """See `samft.data.truth.Truth`."""
        return self.parts[0].size

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`."""
        return sum(part.nbytes for part in self.parts)

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`; with `value`, each segment is an object."""
        found = [part.objects(mode, at=at, window=window) for part in self.parts]
        joined = stack_objects(
            [part for part in found if part.object_class.size or part.layers.any()] or found[:1]
        )
        return merge_classes(joined) if mode == "class" else joined


def merge_classes(objects: Objects) -> Objects:
    """Make all objects of a class one.

    Args:
        objects: Objects, possibly several of one class.
    """
    classes = np.unique(objects.object_class)
    if classes.size == objects.object_class.size:
        return objects
    masks = []
    for index in classes:
        members = np.flatnonzero(objects.object_class == index)
        masks.append(
            np.logical_or.reduce(
                [objects.layers[objects.object_layer[k]] == k + 1 for k in members]
            )
        )
    size = (objects.layers.shape[1], objects.layers.shape[2])
    merged = from_masks(masks, size)
    unknown = (objects.layers == IGNORE).any(axis=0)
    merged.layers[0][unknown & (merged.layers == 0).all(axis=0)] = IGNORE
    return Objects(layers=merged.layers, object_layer=merged.object_layer, object_class=classes)
