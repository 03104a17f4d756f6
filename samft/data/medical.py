"""Medical images: CT and MR volumes cut into slices, and flat images, with class masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.cache import ByteLimitedCache
from samft.data.checks import check_files, check_same_size
from samft.data.classes import ClassTable, class_table
from samft.data.datamodule import SamDataModule
from samft.data.files import relative_name, stem_of
from samft.data.intensity import (
    VOLUME_PERCENTILES,
    Window,
    percentile_range,
    to_float,
    to_rgb,
    to_uint8,
    window_limits,
)
from samft.data.labels import ClassMask, read_class_mask
from samft.data.objects import ObjectMode, make_sample
from samft.data.pairing import find_channels
from samft.data.pictures import choose, read_picture
from samft.data.readers.volume import AXIS_LETTERS, Axis
from samft.data.readers.volumes import is_volume, probe_segments, probe_volume, read_volume
from samft.data.records import Record, Split
from samft.data.splits import SplitBy, block_splits, group_by_split
from samft.errors import ConfigError, did_you_mean
from samft.types import Sample


@dataclass(kw_only=True, eq=False, repr=False)
class MedicalDataModule(SamDataModule):
    """Volumes (NIfTI, NRRD) as slices, or flat images, with one value per class in the masks.

    Images and masks are found by name: `images/` beside `labels/`, a folder per patient, BIDS with
    `derivatives/`, or whatever the patterns say. Volumes are brought to one orientation first.

    Args:
        images: Glob pattern of the images, relative to `root`, or a list with one pattern per
            channel (such as two MR sequences); default: found by name.
        labels: Glob pattern of the masks; default: found by name.
        classes: Names of the mask values: a list for 1, 2, ..., or by value as in
            `{1: liver, 255: tumour}`. Of `.seg.nrrd` files, which name their segments, the names to
            use (default: all). Without names every value but 0 is of one class.
        objects: Make each connected piece of a class an object, or each class in a slice.
        ignore_value: The mask value of pixels of which nothing is known.
        threshold: Read masks as binary: foreground from this value on (soft or lossy masks).
        window: Which values become black and white: ct_soft, ct_lung, ct_bone, [level, width], or
            auto, which takes the 0.5th and 99.5th percentile of each volume. Images of 8 bits stay
            as they are.
        axis: Direction in which volumes are cut: axial, coronal, sagittal, or auto: along the
            largest voxel side, axial where voxels are nearly cubes.
        split_by: Split by case; or cut every volume into slabs (block), which shows that training
            works but not that the model generalises to other patients.
        check_affine: Whether the mask of a volume must state the same position in space.
        cache_gb: Memory for decoded volumes, per worker, in gigabytes.
    """

    images: str | list[str] | None = None
    labels: str | None = None
    classes: list[str] | dict[int, str] | None = None
    objects: ObjectMode = "component"
    ignore_value: int | None = None
    threshold: float | None = None
    window: Window = "auto"
    axis: Axis = "auto"
    split_by: SplitBy = "case"
    check_affine: bool = True
    cache_gb: float = 1.0
    min_area: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self._window = window_limits(self.window)
        self._table: ClassTable | None = None
        self._volumes: ByteLimitedCache[_Case] = ByteLimitedCache(int(self.cache_gb * 1024**3))

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, known once the data was indexed."""
        self.prepare_index()
        assert self._table is not None  # made by `index`
        return self._table.names

    def index(self) -> list[Record]:
        """Find the images and masks, and the slices of volumes."""
        root = self.folder
        files = find_channels(
            root,
            images=self.images if isinstance(self.images, list) else [self.images],
            labels=self.labels,
            on_missing=self.on_missing,
        )
        self._table = self._class_table([label for _, label in files])
        return [
            record
            for images, label in files
            for record in (
                self._slices(root, images, label)
                if is_volume(images[0])
                else [self._flat(root, images, label)]
            )
        ]

    def read(self, record: Record) -> Sample:
        """Read one flat image or one slice."""
        assert self._table is not None  # made by `index`
        if record.slice_index is None:
            mask = read_class_mask(record.labels[0], self._table, threshold=self.threshold)
            image = read_picture(record.images, self._scale, channels=self.channels)
            return make_sample(record, image, mask.objects(self.objects))
        case = self._volumes.get((record.images, record.labels), partial(self._read_case, record))
        at = record.axis, record.slice_index
        spacing = [mm for axis, mm in enumerate(case.spacing_mm) if axis != record.axis]
        return make_sample(
            record,
            to_rgb(
                np.take(case.image, at[1], axis=at[0] + 1),
                record.images[0],
                more=self.channels is not None,
            ),
            case.mask.objects(self.objects, at=at),
            spacing_mm=(spacing[0], spacing[1]),
        )

    def check(self, records: Sequence[Record]) -> None:
        """Look at every file from outside, and compare where volumes and their masks lie."""
        check_files(
            records, check_affine=self.check_affine, every_channel=self.channels is not None
        )

    def _split(self, records: list[Record]) -> dict[Split, list[Record]]:
        return group_by_split(records) if self.split_by == "block" else super()._split(records)

    def _flat(self, root: Path, images: tuple[Path, ...], label: Path) -> Record:
        if self.split_by == "block":
            raise ConfigError(
                "a flat image cannot be cut into slabs",
                where="data.split_by",
                found="block",
                expected="case",
                fix=f"set data.split_by: case, or leave {images[0].name} out with data.images",
            )
        name = relative_name(root, images[0])
        case = self.case_of(images[0], _subject(name) or name)
        return Record(sample_id=name, case_id=case, images=images, labels=(label,))

    def _slices(self, root: Path, images: tuple[Path, ...], label: Path) -> list[Record]:
        geometry = probe_volume(images[0])
        axis = geometry.slice_axis(self.axis)
        count = geometry.shape[axis]
        splits: Sequence[Split | None] = [None] * count
        if self.split_by == "block":
            splits = block_splits(
                count, val_fraction=self.val_fraction, test_fraction=self.test_fraction
            )
        name = relative_name(root, images[0].with_name(stem_of(images[0])))
        case = self.case_of(images[0], _subject(name) or name)
        return [
            Record(
                sample_id=f"{name}/{AXIS_LETTERS[axis]}{index:03d}",
                case_id=case,
                images=images,
                labels=(label,),
                slice_index=index,
                axis=axis,
                split=split,
            )
            for index, split in enumerate(splits)
            if split is not None or self.split_by == "case"
        ]

    def _class_table(self, labels: Sequence[Path]) -> ClassTable:
        named: dict[str, None] = {}
        for path in labels:
            named |= dict.fromkeys(s.name for s in probe_segments(path)) if is_volume(path) else {}
        if not named:
            return class_table(self.classes, ignore_value=self.ignore_value)
        names = list(named)
        if self.classes is not None:
            names = list(self.classes if isinstance(self.classes, list) else self.classes.values())
            unknown = [name for name in names if name not in named]
            if unknown:
                raise ConfigError(
                    "no mask has a segment of this name",
                    where="data.classes",
                    found=", ".join(unknown),
                    fix=did_you_mean(unknown[0], named),
                )
        return replace(class_table(names), ignore_value=self.ignore_value)

    def _read_case(self, record: Record) -> _Case:
        assert self._table is not None  # made by `index`
        first = read_volume(record.images[0])
        planes: list[NDArray[Any]] = []
        for path in record.images:
            volume = first if path == record.images[0] else read_volume(path)
            check_same_size(path, volume.geometry.shape, record.images[0], first.geometry.shape)
            planes += list(volume.array)
        if self.channels is not None:
            planes = choose(planes, self.channels, record.images[0])
        mask = read_class_mask(record.labels[0], self._table, threshold=self.threshold)
        check_same_size(
            record.labels[0], mask.layers.shape[1:], record.images[0], first.geometry.shape
        )
        image = np.stack([self._scale(plane) for plane in planes])
        return _Case(image=image, mask=mask, spacing_mm=first.spacing_mm)

    def _scale(self, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype == np.uint8:
            return values
        limits = self._window or percentile_range(values, *VOLUME_PERCENTILES)
        return to_float(values, *limits) if self.keep_depth else to_uint8(values, *limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """A decoded volume, ready to be sliced: scaled image, small-integer mask."""

    image: NDArray[Any]
    mask: ClassMask
    spacing_mm: tuple[float, float, float]

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + self.mask.nbytes


def _subject(name: str) -> str | None:
    """Return the BIDS subject, such as `sub-01`, that a relative path names by a folder."""
    parts = name.split("/")[:-1]
    return next((part for part in parts if part.startswith("sub-")), None)
