"""Any folder of images with labels: finds out how it is laid out, and cuts what is too large."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from samft.data.cache import ByteLimitedCache
from samft.data.checks import check_same_size
from samft.data.datamodule import SamDataModule
from samft.data.enhancement import Enhancement, check_enhancement
from samft.data.intensity import Window
from samft.data.layouts.base import Layout, LayoutSettings, ObjectChoice
from samft.data.layouts.registry import LAYOUT_NAMES, layout_class, recognise
from samft.data.objects import ObjectMode, make_sample
from samft.data.opened import OpenCase
from samft.data.pictures import num_delivered
from samft.data.preprocessing import Preprocessing
from samft.data.readers.volume import AXIS_LETTERS, Axis
from samft.data.records import Record, Split
from samft.data.sources import Source
from samft.data.splits import SplitBy, block_splits, group_by_split
from samft.data.tiling import windows_of
from samft.errors import ConfigError
from samft.types import Sample

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class FolderDataModule(SamDataModule):
    """Images, stacks and volumes with labels in any layout that samft knows.

    What was recognised, and by what, is logged. Volumes and stacks become slices, and with `tile`
    large images become parts.

    Args:
        layout: How the data lies there, such as pairs, coco, labelme, nnunet, dicom, ome_zarr (all
            of them: `samft.data.layouts`), or auto: the first of them that fits. With `images` or
            `labels`, auto means pairs.
        images: Glob pattern of the images, relative to `root`, or a list with one pattern per
            channel (such as two MR sequences); default: found by name.
        labels: Glob pattern of the label files; default: found by name.
        classes: Names of the mask values: a list for 1, 2, ..., or by value as in
            `{1: liver, 255: tumour}`. Of labels that name their classes (COCO, DICOM segmentations,
            `.seg.nrrd`), the names to use (default: all). Without names every value but the
            background is of one class.
        palette: Colour (red, green, blue) of each class, for masks of colours.
        background: The mask value, or the number of the colour, that is no object; null if every
            value is one.
        ignore_value: The mask value of pixels of which nothing is known.
        threshold: Read masks as binary: foreground from this value on (soft or lossy masks).
        objects: What an object is in a mask: each connected piece of a class (component), each
            class in an image (class), each value (value), or auto: pieces where values are classes
            or the mask is black and white, values elsewhere.
        window: Which values become black and white: a CT window such as ct_soft, [level, width],
            zscore (three deviations around the mean, for MR), or auto: two percentiles. Images of
            8 bits stay as they are.
        percentiles: The two percentiles of each image that become black and white; default: 1 and
            99.8 for flat images, 0.5 and 99.5 for volumes.
        enhancement: Correction of colours and contrast, in training and prediction alike: none,
            white_balance, clahe, white_balance_clahe.
        axis: Direction in which volumes are cut: axial, coronal, sagittal, or auto: along the
            largest voxel side, axial where voxels are nearly cubes.
        context_slices: So many slices on both sides of each come along as channels: with 1, red,
            green and blue are the slice before, the slice, and the one behind. With more, set
            `model.channels.count` to 2 * context_slices + 1.
        tile: Side of the parts into which larger flat images are cut, pixels.
        tile_overlap: Pixels that neighbouring parts have in common, at least.
        split_by: Split by case; or cut every volume into slabs (block), which shows that training
            works but not that the model generalises to other patients.
        check_affine: Whether the mask of a volume must state the same position in space.
        cache_gb: Memory for decoded volumes and large images, per worker, in gigabytes.
    """

    layout: str = "auto"
    images: str | list[str] | None = None
    labels: str | None = None
    classes: list[str] | dict[int, str] | None = None
    palette: dict[str, list[int]] | None = None
    background: int | None = 0
    ignore_value: int | None = None
    threshold: float | None = None
    objects: ObjectChoice = "auto"
    window: Window = "auto"
    percentiles: tuple[float, float] | None = None
    enhancement: Enhancement = "none"
    axis: Axis = "auto"
    context_slices: int = 0
    tile: int | None = None
    tile_overlap: int = 0
    split_by: SplitBy = "case"
    check_affine: bool = True
    cache_gb: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_reading()
        self._preprocessing = Preprocessing.of_settings(vars(self))
        self._layout: Layout | None = None
        self._opened: ByteLimitedCache[OpenCase] = ByteLimitedCache(int(self.cache_gb * 1024**3))

    @property
    def num_channels(self) -> int:
        """C, channels of the images: 3, or as many as are chosen beyond that."""
        chosen = num_delivered(self.channels)
        if self.context_slices == 0:
            return chosen
        return (2 * self.context_slices + 1) * len(self.channels or (0,))

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, known once the data was indexed."""
        return self.known_layout().class_names

    def known_layout(self) -> Layout:
        """Return the layout; indexes the data if needed."""
        if self._layout is None:
            self.prepare_index()
        assert self._layout is not None  # found by `index`
        return self._layout

    def index(self) -> Iterable[Record]:
        """Find the images and their labels, and the slices and parts of them."""
        self._layout = self._found_layout()
        records = self._layout.records()
        return (part for record in records for part in self._cut(record))

    def read(self, record: Record) -> Sample:
        """Read one flat image, one slice, or one part of an image."""
        case = self._open(record)
        at = None if record.slice_index is None else (record.axis, record.slice_index)
        mode: ObjectMode = "component" if self.objects == "auto" else self.objects
        return make_sample(
            record,
            case.source.part(record.slice_index or 0, record.window),
            case.truth.objects(mode, at=at, window=record.window),
            spacing_mm=case.source.spacing_mm,
        )

    def check(self, records: Sequence[Record]) -> None:
        """Look at every file from outside, and compare where volumes and their masks lie."""
        self.known_layout().check(
            records, check_affine=self.check_affine, every_channel=self.channels is not None
        )

    def source(self, record: Record) -> Source:
        """Return the whole image or volume that a record is a part of."""
        whole = replace(record, sample_id=_whole_name(record), slice_index=None, window=None)
        return self.known_layout().source(whole, self._preprocessing)

    def _found_layout(self) -> Layout:
        name = self.layout
        if name == "auto" and (self.images is not None or self.labels is not None):
            name = "pairs"
        if name == "auto":
            best, *others = recognise(self.folder, self.layouts_to_try())
            _log.info("%s is read as %s: %s", self.folder, best.name, best.reason)
            if others:
                _log.info("it could also be %s (data.layout)", ", ".join(o.name for o in others))
            name = best.name
        return layout_class(name)(self.folder, self.layout_settings())

    def layouts_to_try(self) -> Sequence[str]:
        """Return the names of the layouts that `auto` considers, in their order."""
        return LAYOUT_NAMES

    def layout_settings(self) -> LayoutSettings:
        """Return what these settings say to a layout."""
        patterns = [self.images] if isinstance(self.images, str) else self.images
        return LayoutSettings(
            images=None if patterns is None else tuple(patterns),
            labels=self.labels,
            classes=self.classes,
            palette=self.palette,
            background=self.background,
            ignore_value=self.ignore_value,
            threshold=self.threshold,
            objects=self.objects,
            on_missing=self.on_missing,
        )

    def _open(self, record: Record) -> OpenCase:
        if record.slice_index is None and record.window is None:
            return self._read_case(record)  # a flat image is not asked for again soon
        key = record.images, record.labels, record.entry
        return self._opened.get(key, lambda: self._read_case(record))

    def _read_case(self, record: Record) -> OpenCase:
        layout = self.known_layout()
        source, truth = self.source(record), layout.truth(record)
        expected = source.size(0) if source.space is None else source.space.shape
        reference = record.images[0]
        check_same_size((*record.labels, reference)[0], truth.size, reference, expected)
        return OpenCase(source=source, truth=truth)

    def _split(self, records: Sequence[Record]) -> dict[Split, Sequence[Record]]:
        return group_by_split(records) if self.split_by == "block" else super()._split(records)

    def _cut(self, record: Record) -> Iterator[Record]:
        case = self.case_of(record.images[0], record.case_id)
        record = replace(record, case_id=case)
        source = self.known_layout().source(record, self._preprocessing)
        if source.space is not None:
            yield from self._slices(record, source)
        elif self.split_by == "block":
            raise ConfigError(
                "a flat image cannot be cut into slabs",
                where="data.split_by",
                found="block",
                expected="case",
                fix=f"set data.split_by: case, or leave {record.images[0].name} out with "
                "data.images",
            )
        elif self.tile is not None:
            yield from self._parts(record, source.size(0))
        else:
            yield record

    def _slices(self, record: Record, source: Source) -> Iterator[Record]:
        space = source.space
        assert space is not None  # asked before
        splits: Sequence[Split | None] = [record.split] * space.planes
        if self.split_by == "block":
            splits = block_splits(
                space.planes, val_fraction=self.val_fraction, test_fraction=self.test_fraction
            )
        for index, split in enumerate(splits):
            if split is not None or self.split_by == "case":
                yield replace(
                    record,
                    sample_id=f"{record.sample_id}/{AXIS_LETTERS[space.axis]}{index:03d}",
                    slice_index=index,
                    axis=space.axis,
                    split=split,
                )

    def _parts(self, record: Record, size: tuple[int, int]) -> Iterator[Record]:
        assert self.tile is not None  # asked before
        if max(size) <= self.tile:
            yield record
            return
        for window in windows_of(size, self.tile, overlap=self.tile_overlap):
            top, left, _, _ = window
            name = f"{record.sample_id}/y{top}x{left}"
            yield replace(record, sample_id=name, window=window)

    def _check_reading(self) -> None:
        for name in ("context_slices", "tile_overlap"):
            self._check_at_least(name, 0)
        self._check_at_least("tile", 32)
        check_enhancement(self.enhancement, self.num_channels)
        if self.tile is not None and self.tile_overlap >= self.tile:
            raise ConfigError(
                "the parts of an image overlap by their whole side",
                where="data.tile_overlap",
                found=self.tile_overlap,
                expected=f"less than data.tile, {self.tile}",
            )
        if self.percentiles is not None:
            low, high = self.percentiles
            if not 0 <= low < high <= 100:
                raise ConfigError(
                    "the percentiles are out of range",
                    where="data.percentiles",
                    found=list(self.percentiles),
                    expected="two rising numbers from 0 to 100",
                )
        wrong = [c for c in (self.palette or {}).values() if _is_no_colour(c)]
        if wrong or self.palette == {}:
            raise ConfigError(
                "the palette does not make sense",
                where="data.palette",
                found=wrong[0] if wrong else "no colours",
                expected="[red, green, blue] from 0 to 255 for every class",
            )


def _is_no_colour(colour: Any) -> bool:  # Any: what the user wrote
    return len(colour) != 3 or not all(0 <= value <= 255 for value in colour)


def _whole_name(record: Record) -> str:
    """Return the name of the file that a slice or part comes from."""
    if record.slice_index is None and record.window is None:
        return record.sample_id
    return record.sample_id.rpartition("/")[0]
