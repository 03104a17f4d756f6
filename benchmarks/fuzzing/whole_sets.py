"""Folders read as a user's would be: recognised, indexed, checked, all of it decoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from PIL import Image

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.registry import layout_class, recognise
from samft.data.objects import ObjectMode
from samft.data.preprocessing import Preprocessing
from samft.data.shapes import Shape, ShapeTruth
from samft.data.splits import assign_splits, with_folder_splits
from samft.errors import SamftError

SIZE: Final = (10, 12)
"""(height, width) of the images that lie beside the label files."""


def png(*, mask: bool = False) -> bytes:
    """Return an image of `SIZE`, or a mask with two values."""
    values = np.zeros(SIZE if mask else (*SIZE, 3), np.uint8)
    values[2:6, 3:8] = 1
    values[7:9, 1:4] = 2
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def use_set(layout: str, root: Path, **settings: Any) -> None:  # Any: those of `LayoutSettings`
    """Do with a folder what training does.

    Args:
        layout: Name of the layout.
        root: The folder.
        settings: See `LayoutSettings`.

    Raises:
        SamftError: if the folder is refused.
    """
    kind = layout_class(layout)
    kind.recognise(Listing.of(root))
    found = kind(root, LayoutSettings(**settings))
    records = found.records()
    assert all(isinstance(name, str) for name in found.class_names)
    all_of(
        lambda: found.check(records),
        lambda: assign_splits(
            with_folder_splits(records, root), val_fraction=0.0, test_fraction=0.0, seed=0
        ),
        *(lambda record=record: _use_record(found, record) for record in records),
    )


def use_any(root: Path) -> None:
    """Find out what layout a folder has, and use it.

    Args:
        root: The folder.

    Raises:
        SamftError: if the folder is refused.
    """
    use_set(recognise(root)[0].name, root, on_missing="skip")


def _use_record(layout: Any, record: Any) -> None:
    truth = layout.truth(record)
    for mode in get_args(ObjectMode):
        truth.objects(mode)
    layout.source(record, Preprocessing()).part(0, None)


def draw(shapes: Sequence[Shape], size: tuple[int, int] | None, path: Path) -> None:
    """Turn outlines into pixels, of the size that their own file states.

    Args:
        shapes: The outlines.
        size: (height, width), `SIZE` where the file does not say.
        path: The file.
    """
    index = {name: number for number, name in enumerate({s.class_name for s in shapes})}
    truth = ShapeTruth(shapes, size or SIZE, index, where=path)
    for mode in get_args(ObjectMode):
        truth.objects(mode)


def all_of(*steps: Callable[[], object]) -> None:
    """Take every step, also after one was refused; then raise the first refusal."""
    refusals: list[SamftError] = []
    for step in steps:
        try:
            step()
        except SamftError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
