"""OME-Zarr images with their label images inside: single ones, series, plates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from samft.data.classes import ClassTable, class_table
from samft.data.files import relative_name
from samft.data.label_maps import values_of
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.objects import ObjectMode
from samft.data.pairing import report_lonely
from samft.data.preprocessing import Preprocessing
from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.ome_zarr_groups import (
    ImageLabel,
    find_zarrs,
    image_names,
    label_images,
)
from samft.data.readers.zarr_nodes import is_zarr
from samft.data.records import Record
from samft.data.sources import Source
from samft.data.truth import Truth
from samft.data.zarr_source import ZarrSource
from samft.data.zarr_truth import LabelClasses, ZarrLayer, ZarrTruth
from samft.errors import DatasetError

_LOOKED_AT = 50  # zarrs that are opened to find out whether they have labels
_PROBED = 8  # label images of which some planes are read to find out what their values are
_PROBED_PLANES = 8
_BINARY = ({1}, {255})


@dataclass(frozen=True, slots=True)
class _Found:
    """An image in a zarr, or label images without one."""

    zarr: Path
    name: str  # of the image in its zarr
    labels: tuple[ImageLabel, ...]

    @property
    def folder(self) -> Path:
        return self.zarr / self.name if self.name else self.zarr


class OmeZarrLayout(Layout):
    """Every OME-Zarr below the root: images, series and plates, with `labels/` in each image.

    The class of an object is what `image-label` says of its value, or else the name of the label
    image. With `data.labels` only label images of matching names count, with `data.images` only
    zarrs whose names match. `data.classes` by value, as in `{1: nucleus}`, names the values of
    label images that name none themselves.

    Every value is an object, unless the label images are black and white, or name a class of its
    own for each value: then it is every connected piece.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "ome_zarr"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()
        self._labels: dict[Path, ImageLabel] = {}
        self._binary = False

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        count, example = 0, ""
        for zarr in _candidates(listing):
            try:
                found = [
                    (zarr / name, labels)
                    for name in image_names(zarr)[:_LOOKED_AT]
                    if (labels := label_images(zarr / name, listing.root))
                ]
            except DatasetError:
                continue  # what is wrong with it is said when it is indexed
            count += bool(found)
            if found and not example:
                example = f"{_name(listing.root, found[0][0])} with labels/{found[0][1][0].name}"
        return f"{count} OME-Zarr with label images, such as {example}" if count else None

    def records(self) -> list[Record]:
        """See `Layout`."""
        found = [item for zarr in self._zarrs() for item in self._images(zarr)]
        settings = self.settings
        lonely = [item.folder for item in found if not item.labels]
        report_lonely(self.root, lonely, "image", "label image", on_missing=settings.on_missing)
        kept = [item for item in found if item.labels]
        if not kept:
            raise DatasetError(
                "no OME-Zarr image has labels",
                where=self.root,
                found=f"{len(lonely)} images without",
                expected="*.zarr with an image and labels/ in it",
                fix="set data.root to the folder that holds them, or change data.labels",
            )
        self._labels = {label.folder: label for item in kept for label in item.labels}
        self._names = self._class_names()
        self._binary = self._looks_binary()
        return [self._record(item) for item in kept]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        image = OmeZarrImage(record.images[0], self.root)
        labels = [OmeZarrImage(folder, self.root) for folder in record.labels]
        level, levels = _matching_levels(image, labels)
        planes, *size = image.shape(level)
        layers = [
            ZarrLayer(
                image=label,
                level=label_level,
                classes=self._classes(self._labels[folder]),
                mode=self._mode(self._labels[folder]),
            )
            for label, label_level, folder in zip(labels, levels, record.labels, strict=True)
        ]
        return ZarrTruth(
            size=tuple(size) if planes == 1 else (planes, *size),
            layers=tuple(layers),
            ignore_value=self.settings.ignore_value,
            threshold=self.settings.threshold,
        )

    def source(self, record: Record, preprocessing: Preprocessing) -> Source:
        """See `Layout`; at the resolution that the label images have."""
        image = OmeZarrImage(record.images[0], self.root)
        labels = [OmeZarrImage(folder, self.root) for folder in record.labels]
        level, _ = _matching_levels(image, labels)
        return ZarrSource(
            record.sample_id, record.images[0], preprocessing, root=self.root, level=level
        )

    def _zarrs(self) -> list[Path]:
        patterns = self.settings.images
        found = find_zarrs(self.root)
        if patterns is None:
            return found
        return [
            path
            for path in found
            if any(fnmatch(_name(self.root, path), pattern) for pattern in patterns)
        ]

    def _images(self, zarr: Path) -> Iterator[_Found]:
        names = image_names(zarr)
        for name in names:
            labels = label_images(zarr / name, self.root)
            wanted = [label for label in labels if self._is_wanted(label)]
            yield _Found(zarr, name, tuple(wanted))
        if not names and label_images(zarr, self.root):
            report_lonely(
                self.root, [zarr], "label image", "image", on_missing=self.settings.on_missing
            )

    def _is_wanted(self, label: ImageLabel) -> bool:
        pattern = self.settings.labels
        return pattern is None or fnmatch(label.name, pattern)

    def _record(self, item: _Found) -> Record:
        name = _name(self.root, item.folder)
        # The fields of a well show the same cells, the series of a file the same specimen.
        inside = PurePosixPath(item.name).parent.as_posix() if item.name else "."
        zarr = _name(self.root, item.zarr)
        return Record(
            sample_id=name,
            case_id=zarr if inside == "." else f"{zarr}/{inside}",
            images=(item.folder,),
            labels=tuple(label.folder for label in item.labels),
            entry=item.name or None,
        )

    def _class_names(self) -> tuple[str, ...]:
        labels = self._labels.values()
        if self._by_value():
            return self._table().names
        present: dict[str, None] = {}
        for label in labels:
            named = [label.classes[value] for value in sorted(label.classes)]
            present |= dict.fromkeys(named or [label.name])
        return chosen_classes(self.settings, tuple(present), "no label image has such a class")

    def _by_value(self) -> bool:
        named = any(label.classes for label in self._labels.values())
        return isinstance(self.settings.classes, Mapping) and not named

    def _table(self) -> ClassTable:
        settings = self.settings
        return class_table(
            settings.classes,
            first_value=settings.first_value,
            background=settings.background,
            ignore_value=settings.ignore_value,
        )

    def _classes(self, label: ImageLabel) -> LabelClasses:
        if self._by_value():
            return LabelClasses(class_of={}, table=self._table())
        index = {name: number for number, name in enumerate(self._names)}
        if label.classes:
            class_of = {v: index[name] for v, name in label.classes.items() if name in index}
            return LabelClasses(class_of=class_of, named=frozenset(label.classes))
        return LabelClasses(class_of={}, others=index.get(label.name))

    def _mode(self, label: ImageLabel) -> ObjectMode | None:
        if self.settings.objects != "auto":
            return None
        of_classes = self._binary or label.by_class or self._by_value()
        return "component" if of_classes else "value"

    def _looks_binary(self) -> bool:
        """Tell whether one value, 1 or 255, is all that there is in label images without notes."""
        plain = [label for label in self._labels.values() if not label.classes][:_PROBED]
        values: set[int] = set()
        for label in plain:
            image = OmeZarrImage(label.folder, self.root)
            level = image.num_levels - 1
            planes = image.shape(level)[0]
            for index in {planes * n // _PROBED_PLANES for n in range(_PROBED_PLANES)}:
                pixels = image.plane(index, level=level)
                if pixels.dtype.kind == "f":
                    return False
                values |= {value for value in values_of(pixels.astype(np.int64)) if value > 0}
                if len(values) > 1:
                    return False
        return values in _BINARY


def _candidates(listing: Listing) -> list[Path]:
    """Return folders that are zarrs: by name, or by what lies in them."""
    if is_zarr(listing.root):
        return [listing.root]
    by_name = [listing.root / name for name in listing.ending(".zarr")]
    inside = Counter(
        "/".join(name.split("/")[:depth])
        for name in listing.names
        for depth in (1, 2)
        if name.count("/") >= depth
    )
    others = [listing.root / name for name in list(inside)[: 20 * _LOOKED_AT]]
    found = [path for path in (*by_name, *others) if is_zarr(path)]
    outermost = [path for path in found if not any(o in path.parents for o in found)]
    return outermost[:_LOOKED_AT]


def _matching_levels(image: OmeZarrImage, labels: list[OmeZarrImage]) -> tuple[int, list[int]]:
    """Return the largest resolution that all label images have too, and which of theirs it is."""
    for level in range(image.num_levels):
        shape = image.extent(level)
        levels = [
            next((n for n in range(label.num_levels) if label.extent(n) == shape), None)
            for label in labels
        ]
        fitting = [found for found in levels if found is not None]
        if len(fitting) == len(levels):
            return level, fitting
    other = next(label for label in labels if label.extent(0) != image.extent(0))
    raise DatasetError(
        "label image and image sizes differ",
        where=other.folder,
        found=_sides(other.extent(0)),
        expected=f"{_sides(image.extent(0))} as in {image.folder}",
        fix="save the labels at a resolution that the image has",
    )


def _sides(extent: tuple[int, ...]) -> str:
    pairs = zip(("time points", "planes", "rows", "columns"), extent, strict=True)
    return ", ".join(f"{count} {what}" for what, count in pairs)


def _name(root: Path, folder: Path) -> str:
    return root.name if folder == root else relative_name(root, folder)
