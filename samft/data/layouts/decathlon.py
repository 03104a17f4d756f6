"""JSON lists of images and masks: the Medical Segmentation Decathlon, MONAI, Auto3DSeg."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from samft.data.files import match_files, name_some, relative_name
from samft.data.labels import read_class_mask
from samft.data.layered_mask import LayeredMask, layers_of
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.label_values import LabelValues, label_values
from samft.data.layouts.listing import Listing
from samft.data.layouts.named_files import NamedFiles, sample_name
from samft.data.layouts.pairs import PairsLayout, subject_of
from samft.data.pairing import report_lonely
from samft.data.readers.datalist import DatalistEntry, is_datalist, read_datalist
from samft.data.records import Record, Split
from samft.data.truth import Truth
from samft.errors import ConfigError, DatasetError

_log = logging.getLogger(__name__)


class DecathlonLayout(PairsLayout):
    """A JSON file with `"training": [{"image": ..., "label": ...}]`, `validation` and `test`.

    Names are relative to the file or to the root. An image is one file, also of several channels,
    or a list of files. Classes are those of `labels`, or of `data.classes` where the file has none.
    Where entries have a `fold`, fold 0 is the validation split, unless there is a list for it.
    Test images without a mask are left out. Files that no list names are no part of the data set.
    `data.labels` chooses among several JSON files.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "decathlon"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._values: LabelValues | None = None

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        names = _datalists(listing)
        return f"{names[0]} lists images and labels for training" if names else None

    def records(self) -> list[Record]:
        """See `Layout`."""
        path = self._list_path()
        datalist = read_datalist(path)
        where = relative_name(self.root, path)
        if datalist.labels is not None:
            self._values = label_values(datalist.labels, self.settings, f"{where}: labels")
        splits = _splits(datalist.entries, where)
        files = NamedFiles(self.root, self.settings.on_missing)
        records: list[Record] = []
        unlabelled: list[Path] = []
        tests = 0
        for entry, split in zip(datalist.entries, splits, strict=True):
            if not entry.labels and entry.split == "test":
                tests += 1
                continue
            record = self._listed(entry, split, [path.parent, self.root], files)
            if record is not None and not record.labels:
                unlabelled.append(record.images[0])
            elif record is not None:
                records.append(record)
        if tests:
            _log.info("%d test images have no label: left out", tests)
        files.report_missing()
        report_lonely(self.root, unlabelled, "image", "mask", on_missing=self.settings.on_missing)
        if self._values is None:
            labels = [label for record in records for label in record.labels]
            self._table = self._class_table(labels)
            self._kind = self._find_kind(labels)
        return self._without_repeats(records, where)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return super().class_names if self._values is None else self._values.names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        threshold = self.settings.threshold
        if self._values is not None:
            return self._values.read(record.labels, threshold=threshold)
        if len(record.labels) == 1:
            return super().truth(record)
        table = self._known_table()
        layers = [
            layer
            for path in record.labels
            for layer in layers_of(read_class_mask(path, table, threshold=threshold))
        ]
        return LayeredMask(
            size=layers[0].values.shape,
            layers=tuple(layers),
            ignore_value=self.settings.ignore_value,
        )

    def _list_path(self) -> Path:
        settings = self.settings
        if settings.images is not None:
            raise ConfigError(
                "images are chosen by the JSON file here",
                where="data.images",
                found=", ".join(settings.images),
                fix="remove data.images, or set data.layout: pairs",
            )
        if settings.labels is not None:
            found = match_files(self.root, settings.labels, setting="data.labels")
        else:
            found = [self.root / name for name in _datalists(Listing.of(self.root))]
        if len(found) != 1:
            raise DatasetError(
                "there is not exactly one JSON file that lists images and masks",
                where=self.root,
                found=name_some(self.root, found) or "none",
                fix="choose one with data.labels, such as dataset.json",
            )
        return found[0]

    def _listed(
        self, entry: DatalistEntry, split: Split | None, bases: Sequence[Path], files: NamedFiles
    ) -> Record | None:
        images = [files.find(name, bases, entry.where) for name in entry.images]
        labels = [files.find(name, bases, entry.where) for name in entry.labels]
        there = tuple(path for path in images if path is not None)
        masks = tuple(path for path in labels if path is not None)
        if len(there) < len(images) or len(masks) < len(labels):
            return None  # remembered, and reported once
        name = sample_name(self.root, there[0])
        case = entry.case or subject_of(relative_name(self.root, there[0])) or name
        return Record(sample_id=name, case_id=case, images=there, labels=masks, split=split)

    def _without_repeats(self, records: Sequence[Record], where: str) -> list[Record]:
        found: dict[str, Record] = {}
        for record in records:
            first = found.setdefault(record.sample_id, record)
            if first != record:
                raise DatasetError(
                    "an image is listed twice, with different masks or splits",
                    where=where,
                    found=record.sample_id,
                    expected="one entry for every image",
                    fix="remove one of the entries",
                )
        if len(found) < len(records):
            repeats = len(records) - len(found)
            _log.warning("%s: %d entries are there twice and are left out", where, repeats)
        if not found:
            raise DatasetError(
                "the list has no image with a mask",
                where=where,
                expected='"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]',
            )
        return list(found.values())


def _datalists(listing: Listing) -> list[str]:
    names = [name for name in listing.ending(".json") if name.count("/") <= 1]
    return [name for name in names if is_datalist(listing.parsed(name))]


def _splits(entries: Sequence[DatalistEntry], where: str) -> list[Split | None]:
    """Return the split of every entry; `None` where it is to be drawn."""
    there = {entry.split for entry in entries if entry.labels}
    folds = {entry.fold for entry in entries if entry.split == "train"} - {None}
    by_fold = "val" not in there and len(folds) > 1
    if by_fold:
        _log.info("%s: fold 0 of %d is the validation split", where, len(folds))
    fixed = by_fold or there != {"train"}
    found: list[Split | None] = []
    for entry in entries:
        held_out = by_fold and entry.split == "train" and entry.fold == 0
        found.append("val" if held_out else entry.split if fixed else None)
    return found
