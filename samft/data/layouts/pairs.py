"""Images and masks in files of their own, paired by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_files
from samft.data.classes import ClassTable, class_table
from samft.data.files import SUFFIXES, relative_name, stem_of
from samft.data.labels import ClassMask, InstanceMask, class_mask, read_label_layers
from samft.data.large_mask import LargeMask
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.mask_kind import MaskKind, guess_kind, only_black_and_white
from samft.data.objects import decode_colours
from samft.data.other_files import without_by_products
from samft.data.pairing import find_channels, looks_like_label
from samft.data.readers.image import probe_image, read_mask
from samft.data.readers.tiff import is_large_tiff
from samft.data.readers.tiff_stack import is_stack
from samft.data.readers.volume import Segment
from samft.data.readers.volumes import is_volume, probe_segments
from samft.data.records import Record
from samft.data.truth import Truth
from samft.errors import ConfigError, DatasetError, did_you_mean


class PairsLayout(Layout):
    """`images/` beside `masks/` or `labels/`, a folder per case, endings such as `_mask`, patterns.

    A mask holds a value per class or per object, or colours of a palette; volumes and stacks too.
    `.seg.nrrd` files name their classes themselves.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "pairs"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._table: ClassTable | None = None
        self._kind: MaskKind = "classes"

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        root = listing.root
        files = without_by_products([root / name for name in listing.ending(*SUFFIXES)])
        masks = [path for path in files if looks_like_label(root, path)]
        if not masks or len(masks) == len(files):
            return None
        images, first = len(files) - len(masks), relative_name(root, masks[0])
        return f"{images} images and {len(masks)} masks by their names, such as {first}"

    def records(self) -> list[Record]:
        """See `Layout`."""
        settings = self.settings
        files = find_channels(
            self.root,
            images=settings.images or (None,),
            labels=settings.labels,
            on_missing=settings.on_missing,
        )
        labels = [label for _, label in files]
        self._table = self._class_table(labels)
        self._kind = self._find_kind(labels)
        return [self._record(images, label) for images, label in files]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._known_table().names

    @property
    def concluded(self) -> str:
        """See `Layout`."""
        return self._kind

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        path = record.labels[0]
        if self.settings.palette is not None:
            return self._colour_mask(path)
        threshold = self.settings.threshold
        if threshold is None and is_large_tiff(path) and not is_stack(path):
            understand = partial(self._understood, path)
            return LargeMask(path=path, size=probe_image(path), understand=understand)
        layers, segments = read_label_layers(path, threshold=threshold)
        return self._understood(path, layers, segments)

    def _understood(
        self, path: Path, layers: NDArray[Any], segments: Sequence[Segment] = ()
    ) -> Truth:
        """Return what label layers mean, all of a file or a part of it."""
        table, settings = self._known_table(), self.settings
        if self._kind == "classes" or segments:
            return class_mask(layers, segments, table=table, path=path)
        binary = settings.objects == "auto" and only_black_and_white(layers)
        if binary or settings.threshold is not None:
            pieces = (layers > 0).astype(np.uint8)
            return ClassMask(layers=pieces, class_of=({1: 0},) * len(layers))
        return InstanceMask(layers=layers, ignore_value=table.ignore_value)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        check_files(records, check_affine=check_affine, every_channel=every_channel)

    def _record(self, images: tuple[Path, ...], label: Path) -> Record:
        first = images[0]
        file_name = relative_name(self.root, first)
        name = file_name
        if is_volume(first):
            name = relative_name(self.root, first.with_name(stem_of(first)))
        return Record(
            sample_id=name, case_id=subject_of(file_name) or name, images=images, labels=(label,)
        )

    def _find_kind(self, labels: Sequence[Path]) -> MaskKind:
        settings = self.settings
        if settings.objects == "value":
            return "instances"
        named = settings.classes is not None or settings.palette is not None
        if settings.objects != "auto" or named or self._known_table().index_of is not None:
            return "classes"
        return guess_kind(labels)

    def _known_table(self) -> ClassTable:
        assert self._table is not None  # made by `records`
        return self._table

    def _class_table(self, labels: Sequence[Path]) -> ClassTable:
        settings = self.settings
        if settings.palette is not None:
            return _colour_table(settings, list(settings.palette))
        named: dict[str, None] = {}
        for path in labels:
            named |= dict.fromkeys(s.name for s in probe_segments(path)) if is_volume(path) else {}
        if not named:
            return class_table(
                settings.classes,
                first_value=settings.first_value,
                background=settings.background,
                ignore_value=settings.ignore_value,
            )
        names = chosen_classes(settings, tuple(named), "no mask has a segment of this name")
        return replace(class_table(names), ignore_value=settings.ignore_value)

    def _colour_mask(self, path: Path) -> ClassMask:
        assert self.settings.palette is not None  # asked for by `truth`
        colours = list(self.settings.palette.values())
        mask = read_mask(path, palette="colour")
        if mask.ndim == 2:
            raise DatasetError(
                "the mask has no colours, but colours of a palette were announced",
                where=path,
                found="a grey image",
                expected="an RGB image (data.masks: colour)",
                fix="set data.masks: index and name the values in data.classes",
            )
        class_map, unexpected = decode_colours(mask, colours)
        if unexpected is not None:
            known = ", ".join(str(tuple(colour)) for colour in colours[:8])
            raise DatasetError(
                "the mask has a colour that is not in the palette",
                where=path,
                found=f"RGB {unexpected}",
                expected=known,
                fix="add it to data.palette, or set data.masks: index if values are class numbers",
            )
        layers = class_map[None].astype(np.uint8)
        return ClassMask(layers=layers, class_of=(dict(self._known_table().index_of or {}),))


def _colour_table(settings: LayoutSettings, colours: Sequence[str]) -> ClassTable:
    """Return the classes of a palette by the number of their colour."""
    table = class_table(colours, first_value=0, background=settings.background)
    names = chosen_classes(settings, table.names, "no colour of the palette has this name")
    numbers = {n: names.index(name) for n, name in enumerate(colours) if name in names}
    return replace(table, names=names, index_of=numbers)


def chosen_classes(settings: LayoutSettings, present: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the classes to use of labels that name their classes themselves.

    Args:
        settings: What the user wants.
        present: The names that the labels have.
        what: What to say where a wanted one is not among them.

    Raises:
        ConfigError: if a name is wanted that no label has.
    """
    names = settings.chosen_names
    if names is None:
        return tuple(present)
    unknown = [name for name in names if name not in present]
    if unknown:
        raise ConfigError(
            what,
            where="data.classes",
            found=", ".join(unknown),
            fix=did_you_mean(unknown[0], present),
        )
    return names


def subject_of(name: str) -> str | None:
    """Return the BIDS subject, such as `sub-01`, that a relative path names by a folder."""
    parts = name.split("/")[:-1]
    return next((part for part in parts if part.startswith("sub-")), None)
