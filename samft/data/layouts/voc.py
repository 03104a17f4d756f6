"""Pascal VOC: masks of classes and objects, and lists of images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from samft.data.checks import check_same_size
from samft.data.classes import class_table
from samft.data.files import describe_contents, match_files, relative_name
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.layouts.voc_files import (
    CLASS_FOLDERS,
    MASK_SUFFIXES,
    chosen_images,
    files_below,
    find_bases,
    find_class_masks,
    find_object_masks,
    folder_of_mask,
    read_splits,
)
from samft.data.layouts.voc_truth import read_voc_truth
from samft.data.pairing import report_lonely
from samft.data.readers.image import IMAGE_SUFFIXES, probe_image
from samft.data.readers.voc import (
    VOC_NAMES,
    VocNames,
    read_class_names,
    read_stated_size,
)
from samft.data.records import Record, Split
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_NAME_FILES: Final = ("labelmap.txt", "class_names.txt", "labels.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Set:
    """One folder in VOC's manner.

    Args:
        base: The folder that holds `JPEGImages`.
        classes: The class masks by the name of their image.
        images: The images by their names.
    """

    base: Path
    classes: Mapping[str, Path]
    images: Mapping[str, Path]


class VocLayout(Layout):
    """`JPEGImages`, `SegmentationClass`, `SegmentationObject` and `ImageSets`, at any depth.

    Also labelme's export and CVAT's "Segmentation mask". Images without mask are left out: in VOC
    these are most. Without a list of names, the classes are VOC's own twenty.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "voc"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()
        self._bases: tuple[Path, ...] = ()
        self._names_of: dict[Path, VocNames] = {}

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        folders = {parent for name in listing.names for parent in PurePosixPath(name).parents}
        for folder in sorted(folders):
            if folder.name == "JPEGImages":
                for name, _ in CLASS_FOLDERS:
                    if folder.with_name(name) in folders:
                        return f"{folder} and {name} beside it, as in Pascal VOC"
        return None

    def records(self) -> list[Record]:
        """See `Layout`."""
        sets = self._sets()
        self._bases = tuple(item.base for item in sets)
        names: dict[str, None] = {}
        for item in sets:
            self._names_of[item.base] = self._read_names(item.base)
            names |= dict.fromkeys(self._names_of[item.base].by_value.values())
        self._names = tuple(names)
        if not self._named_by_user():
            what = "no class of the masks has this name"
            self._names = chosen_classes(self.settings, self._names, what)
        records = [record for item in sets for record in self._records_of(item)]
        if not records:
            raise DatasetError(
                "no image has a class mask",
                where=self.root,
                found=describe_contents(self.root),
                fix="check that the masks have the names of their images in JPEGImages",
            )
        return sorted(records, key=lambda record: record.sample_id)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        index = {name: number for number, name in enumerate(self._names)}
        first, *others = record.labels
        names = self._names_of[self._base_of(first)]
        truth = read_voc_truth(first, others[0] if others else None, names, index)
        size = probe_image(record.images[0], every_channel=True)
        check_same_size(first, truth.size, record.images[0], size)
        return truth

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        del check_affine
        for record in records:
            image = record.images[0]
            size = probe_image(image, every_channel=every_channel)
            for label in record.labels:
                if label.suffix.lower() != ".npy":
                    check_same_size(label, probe_image(label), image, size)
            marks = self._base_of(record.labels[0]) / "Annotations" / f"{image.stem}.xml"
            stated = read_stated_size(marks) if marks.is_file() else None
            if stated is not None:
                check_same_size(marks, stated, image, size)

    def _sets(self) -> list[_Set]:
        wanted = chosen_images(self.root, self.settings.images)
        if self.settings.labels is not None:
            found = match_files(self.root, self.settings.labels, setting="data.labels")
            folders = sorted({folder_of_mask(self.root, path) for path in found})
            masks = [(folder, self._wanted(folder, set(found))) for folder in folders]
        else:
            pairs = (find_class_masks(self.root, base) for base in find_bases(self.root))
            masks = [pair for pair in pairs if pair is not None]
        sets = [
            _Set(
                base=folder.parent,
                classes=classes,
                images=files_below(
                    self.root,
                    folder.parent / "JPEGImages",
                    tuple(IMAGE_SUFFIXES),
                    wanted=wanted,
                ),
            )
            for folder, classes in masks
        ]
        if not sets:
            raise DatasetError(
                "no folder is in the manner of Pascal VOC",
                where=self.root,
                found=describe_contents(self.root),
                expected="JPEGImages beside SegmentationClass",
                fix="set data.root to the folder that holds both",
            )
        return sets

    def _wanted(self, folder: Path, masks: set[Path]) -> dict[str, Path]:
        return files_below(self.root, folder, (*MASK_SUFFIXES, ".npy"), wanted=masks)

    def _records_of(self, item: _Set) -> list[Record]:
        split_of = read_splits(item.base / "ImageSets" / "Segmentation")
        on_missing = self.settings.on_missing
        masked = [name for name in item.classes if not split_of or name in split_of]
        # The test images of VOC come without masks.
        absent = [n for n, split in split_of.items() if n not in item.classes and split != "test"]
        report_lonely(
            self.root,
            [item.base / "JPEGImages" / name for name in absent],
            "listed image",
            "class mask",
            on_missing=on_missing,
        )
        lonely = [item.classes[name] for name in masked if name not in item.images]
        if self.settings.images is None:
            report_lonely(self.root, lonely, "class mask", "image", on_missing=on_missing)
        self._log_left_out(item, len(masked))
        objects = find_object_masks(self.root, item.base)
        return [
            self._record(
                item.images[name], item.classes[name], objects.get(name), split_of.get(name)
            )
            for name in masked
            if name in item.images
        ]

    def _log_left_out(self, item: _Set, masked: int) -> None:
        where = relative_name(self.root, item.base) if item.base != self.root else self.root.name
        if len(item.classes) > masked:
            _log.info("%s: masks in no list, left out: %d", where, len(item.classes) - masked)
        bare = sum(name not in item.classes for name in item.images)
        if bare:
            _log.info("%s: images without mask, left out: %d", where, bare)

    def _record(
        self, image: Path, classes: Path, objects: Path | None, split: Split | None
    ) -> Record:
        name = relative_name(self.root, image)
        labels = (classes,) if objects is None else (classes, objects)
        return Record(sample_id=name, case_id=name, images=(image,), labels=labels, split=split)

    def _read_names(self, base: Path) -> VocNames:
        if self._named_by_user():
            table = class_table(
                self.settings.classes,
                first_value=self.settings.first_value,
                background=self.settings.background,
            )
            values = table.index_of or {}
            return VocNames(by_value={value: table.names[i] for value, i in values.items()})
        path = self._name_file(base)
        if path is not None:
            return read_class_names(path)
        return VocNames(by_value=dict(enumerate(VOC_NAMES, start=1)))

    def _named_by_user(self) -> bool:
        """Whether `classes` says what the values mean, not which of the known classes to use."""
        classes = self.settings.classes
        if classes is None or isinstance(classes, Mapping):
            return classes is not None
        files = [self._name_file(base) for base in self._bases]
        return not any(files) and not set(classes) <= set(VOC_NAMES)

    def _name_file(self, base: Path) -> Path | None:
        folders = [base] if base == self.root else [base, base.parent]
        paths = [folder / name for folder in folders for name in _NAME_FILES]
        return next((path for path in paths if path.is_file()), None)

    def _base_of(self, label: Path) -> Path:
        return next(parent for parent in label.parents if parent in self._names_of)
