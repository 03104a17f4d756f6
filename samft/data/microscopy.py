"""Microscopy: images with one object per nucleus, cell or organelle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_same_size
from samft.data.datamodule import SamDataModule
from samft.data.files import list_files, relative_name
from samft.data.objects import (
    Objects,
    from_class_map,
    from_label_map,
    from_masks,
    make_sample,
)
from samft.data.pairing import find_pairs, report_lonely
from samft.data.pictures import DEFAULT_PERCENTILES, PercentileScale, read_picture
from samft.data.readers.image import read_label_map
from samft.data.records import Record
from samft.errors import ConfigError
from samft.types import Sample


@dataclass(kw_only=True, eq=False, repr=False)
class MicroscopyDataModule(SamDataModule):
    """Instances in microscope images.

    Two layouts are recognised: one folder per image with `images/` and `masks/`, one mask file per
    object (Data Science Bowl 2018); and a label image beside each image, in `masks/` or `labels/`
    or with an ending such as `_masks`, one value per object.

    Args:
        images: Glob pattern of the images, relative to `root`; default: found by name.
        labels: Glob pattern of the label images; default: found by name.
        objects: What an object is in a label image: each value, each connected component, or auto:
            components where the only value is 255 (a black and white mask), values elsewhere.
        percentiles: The two percentiles of each image that become black and white. Images of 8 bits
            stay as they are.
        class_name: What the objects are.
    """

    images: str | None = None
    labels: str | None = None
    objects: Literal["auto", "value", "component"] = "auto"
    percentiles: tuple[float, float] = DEFAULT_PERCENTILES
    class_name: str = "object"

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(
                "the percentiles are out of range",
                where="data.percentiles",
                found=list(self.percentiles),
                expected="two rising numbers from 0 to 100",
            )
        self._scale = PercentileScale(low, high, self.keep_depth)

    @property
    def class_names(self) -> Sequence[str]:
        """The one class."""
        return (self.class_name,)

    def index(self) -> list[Record]:
        """Find the images and the masks of each."""
        root = self.folder
        if self.images is None and self.labels is None:
            cases = _case_folders(list_files(root))
            if cases is not None:
                return self._case_records(root, cases)
        pairs = find_pairs(root, images=self.images, labels=self.labels, on_missing=self.on_missing)
        return [self._record(root, pair.image, (pair.label,)) for pair in pairs]

    def read(self, record: Record) -> Sample:
        """Read one image with its objects."""
        image = read_picture(record.images, self._scale, channels=self.channels)
        if len(record.labels) == 1:
            return make_sample(record, image, self._label_objects(record.labels[0]))
        size = image.shape[1], image.shape[2]
        return make_sample(record, image, from_masks(_foregrounds(record, size), size))

    def _label_objects(self, path: Path) -> Objects:
        label_map = read_label_map(path)
        black_and_white = bool(np.isin(label_map, (0, 255)).all())
        if self.objects == "component" or (self.objects == "auto" and black_and_white):
            foreground = (label_map > 0).astype(np.int32)
            return from_class_map(foreground, {1: 0}, mode="component")
        return from_label_map(label_map)

    def _case_records(self, root: Path, cases: Mapping[Path, _Case]) -> list[Record]:
        for kind, partner, lonely in (
            ("image", "mask", [case.images[0] for case in cases.values() if not case.masks]),
            ("mask", "image", [case.masks[0] for case in cases.values() if not case.images]),
        ):
            report_lonely(root, lonely, kind, partner, on_missing=self.on_missing)
        complete = [case for case in cases.values() if case.images and case.masks]
        return [self._record(root, case.images[0], tuple(case.masks)) for case in complete]

    def _record(self, root: Path, image: Path, labels: tuple[Path, ...]) -> Record:
        name = relative_name(root, image)
        return Record(
            sample_id=name, case_id=self.case_of(image, name), images=(image,), labels=labels
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """The files of one folder per image."""

    images: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)


def _case_folders(files: Sequence[Path]) -> dict[Path, _Case] | None:
    """Return the folders with one image each in `images/` and its objects in `masks/`, if any."""
    cases: dict[Path, _Case] = defaultdict(_Case)
    for path in files:
        if path.parent.name == "images":
            cases[path.parent.parent].images.append(path)
        elif path.parent.name == "masks":
            cases[path.parent.parent].masks.append(path)
    single = all(len(case.images) <= 1 for case in cases.values())
    several = len(cases) > 1 or any(len(case.masks) > 1 for case in cases.values())
    has_both = any(case.images and case.masks for case in cases.values())
    return dict(cases) if single and several and has_both else None


def _foregrounds(record: Record, size: tuple[int, int]) -> Iterator[NDArray[np.bool_]]:
    for path in record.labels:
        mask = read_label_map(path)
        check_same_size(path, mask.shape, record.images[0], size)
        yield 2 * mask > mask.max()
