"""Underwater images with class masks: colours that mean classes, or class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import ClassTable, class_table
from samft.data.datamodule import SamDataModule
from samft.data.files import relative_name
from samft.data.objects import ObjectMode, decode_colours, from_class_map, make_sample
from samft.data.pairing import find_pairs
from samft.data.pictures import DEFAULT_PERCENTILES, PercentileScale, read_picture
from samft.data.readers.image import read_mask
from samft.data.records import Record
from samft.errors import ConfigError, DatasetError
from samft.types import Sample

SUIM_PALETTE: Final[dict[str, list[int]]] = {
    "background": [0, 0, 0],
    "diver": [0, 0, 255],
    "plant": [0, 255, 0],
    "wreck": [0, 255, 255],
    "robot": [255, 0, 0],
    "reef": [255, 0, 255],
    "fish": [255, 255, 0],
    "sea floor": [255, 255, 255],
}
"""The colours (red, green, blue) of SUIM (Islam et al. 2020, arXiv:2004.01241, table I)."""


@dataclass(kw_only=True, eq=False, repr=False)
class UnderwaterDataModule(SamDataModule):
    """Underwater photographs with colour-coded masks (SUIM) or class numbers (CoralSeg).

    Args:
        images: Glob pattern of the images, relative to `root`; default: found by name.
        labels: Glob pattern of the masks; default: found by name.
        masks: What the masks hold: colours of the palette, or the index of a class, from 0.
        palette: Colour (red, green, blue) of each class, in the order of the classes; default:
            SUIM's eight. For masks of colours.
        classes: Names of the mask values, a list from 0 on or by value as in `{1: coral}`; for
            masks of indices. Without names every value but the background is of one class.
        background: Index or value of the class that is no object; null if every class is one.
        ignore_value: The mask value of pixels of which nothing is known; for masks of indices.
        objects: Make each connected piece of a class an object, or each class in an image.
    """

    images: str | None = None
    labels: str | None = None
    masks: Literal["colour", "index"] = "colour"
    palette: dict[str, list[int]] | None = None
    classes: list[str] | dict[int, str] | None = None
    background: int | None = 0
    ignore_value: int | None = None
    objects: ObjectMode = "component"
    min_area: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        palette = SUIM_PALETTE if self.palette is None else self.palette
        self._colours = list(palette.values())
        self._check_masks()
        self._scale = PercentileScale(*DEFAULT_PERCENTILES, self.keep_depth)
        self._table: ClassTable = class_table(
            list(palette) if self.masks == "colour" else self.classes,
            first_value=0,
            background=self.background,
            ignore_value=self.ignore_value,
        )

    @property
    def class_names(self) -> Sequence[str]:
        """The classes without the background."""
        return self._table.names

    def index(self) -> list[Record]:
        """Find the images and the mask of each."""
        root = self.folder
        pairs = find_pairs(root, images=self.images, labels=self.labels, on_missing=self.on_missing)
        names = [relative_name(root, pair.image) for pair in pairs]
        return [
            Record(
                sample_id=name,
                case_id=self.case_of(pair.image, name),
                images=(pair.image,),
                labels=(pair.label,),
            )
            for name, pair in zip(names, pairs, strict=True)
        ]

    def read(self, record: Record) -> Sample:
        """Read one image with its objects."""
        path = record.labels[0]
        class_map = self._class_map(path)
        present = [int(value) for value in np.unique(class_map)]
        objects = from_class_map(
            class_map,
            self._table.of_values(present, path),
            mode=self.objects,
            ignore_value=self.ignore_value,
        )
        image = read_picture(record.images, self._scale, channels=self.channels)
        return make_sample(record, image, objects)

    def _class_map(self, path: Path) -> NDArray[np.int32]:
        if self.masks == "index":
            mask = read_mask(path)
            if mask.ndim == 3:
                raise DatasetError(
                    "the mask has colours, but class numbers were announced",
                    where=path,
                    found="an RGB image",
                    expected="one number per pixel (data.masks: index)",
                    fix="set data.masks: colour, and data.palette if it is not SUIM's",
                )
            return mask.astype(np.int32)
        colours = read_mask(path, palette="colour")
        if colours.ndim == 2:
            raise DatasetError(
                "the mask has no colours, but colours of a palette were announced",
                where=path,
                found="a grey image",
                expected="an RGB image (data.masks: colour)",
                fix="set data.masks: index and name the values in data.classes",
            )
        class_map, unexpected = decode_colours(colours, self._colours)
        if unexpected is not None:
            known = ", ".join(str(tuple(colour)) for colour in self._colours[:8])
            raise DatasetError(
                "the mask has a colour that is not in the palette",
                where=path,
                found=f"RGB {unexpected}",
                expected=known,
                fix="add it to data.palette, or set data.masks: index if values are class numbers",
            )
        return class_map

    def _check_masks(self) -> None:
        if self.masks == "colour" and (self.classes or self.ignore_value is not None):
            name = "classes" if self.classes else "ignore_value"
            raise ConfigError(
                "the setting is for masks of class numbers",
                where=f"data.{name}",
                fix=f"set data.masks: index, or leave data.{name} out",
            )
        if self.masks == "index" and self.palette is not None:
            raise ConfigError(
                "the setting is for masks of colours",
                where="data.palette",
                fix="set data.masks: colour, or leave data.palette out",
            )
        wrong = [c for c in self._colours if len(c) != 3 or not all(0 <= v <= 255 for v in c)]
        if wrong or not self._colours:
            raise ConfigError(
                "the palette does not make sense",
                where="data.palette",
                found=wrong[0] if wrong else "no colours",
                expected="[red, green, blue] from 0 to 255 for every class",
            )
