"""One label file for each image: what such layouts have in common."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from samft.data.checks import check_same_size
from samft.data.files import name_some, relative_name
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.label_files import (
    find_image_files,
    find_label_files,
    match_by_stem,
    refuse_shared,
)
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import looks_like_label, report_lonely
from samft.data.readers.image import probe_image
from samft.data.readers.outlines import LabelledImage
from samft.data.records import Record
from samft.data.shapes import ShapeTruth
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Index:
    """What is kept of the label files: no shapes."""

    labels: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    image_of: dict[Path, Path] = field(default_factory=dict)


class PerImageLayout(Layout):
    """A folder of images and label files, paired by their names or by what the label file says.

    A subclass says how one file is read, and how it is told from others with its ending.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    suffixes: ClassVar[tuple[str, ...]]
    """Endings of the label files, lower case."""
    kind: ClassVar[str]
    """What the label files are, for messages, such as `labelme's JSON`."""

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()
        self._stated: dict[Path, tuple[int, int]] = {}

    @abstractmethod
    def read(self, label: Path) -> LabelledImage | None:
        """Read a label file.

        Returns:
            What it says; `None` if it is well made but of another kind.

        Raises:
            DatasetError: if it is damaged.
        """

    def declared_names(self) -> tuple[str, ...]:
        """Return the classes in the order that a file beside the labels gives, or none."""
        return ()

    def named_image(self, label: Path, labelled: LabelledImage) -> Path | None:
        """Return the image that a label file names, if it is there; by default names decide."""
        del label, labelled
        return None

    def explain_lonely(self, labels: Iterable[Path]) -> None:
        """Raise a better error than "no image" about label files that have none, if there is."""
        del labels

    def records(self) -> list[Record]:
        """See `Layout`."""
        images = find_image_files(self.root, self.settings)
        index = self._read_all(set(images))
        image_of = self._pair(index, images)
        self._log_left_out(index)
        self._names = self._choose_names(index.names)
        records = [self._record(image, label) for label, image in image_of.items()]
        return sorted(records, key=lambda record: record.sample_id)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        label, image = record.labels[0], record.images[0]
        labelled = self.read(label)
        if labelled is None:  # it was one when the folder was indexed
            raise self._foreign([label])
        size = probe_image(image, every_channel=True)
        if labelled.size is not None:
            check_same_size(label, labelled.size, image, size)
        return ShapeTruth(labelled.shapes, size, self._class_index(), where=label)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        del check_affine
        for record in records:
            label, image = record.labels[0], record.images[0]
            size = probe_image(image, every_channel=every_channel)
            if label in self._stated:
                check_same_size(label, self._stated[label], image, size)

    def _read_all(self, images: set[Path]) -> _Index:
        index = _Index()
        for label in find_label_files(self.root, self.suffixes, self.settings):
            labelled = self.read(label)
            if labelled is None:
                index.foreign.append(label)
                continue
            index.labels.append(label)
            index.names.update(shape.class_name for shape in labelled.shapes if not shape.unknown)
            index.left_out.update(labelled.left_out)
            if labelled.size is not None:
                self._stated[label] = labelled.size
            named = self.named_image(label, labelled)
            if named is not None and named in images:
                index.image_of[label] = named
        if not index.labels or (index.foreign and self.settings.labels is not None):
            raise self._foreign(index.foreign)
        return index

    def _pair(self, index: _Index, images: list[Path]) -> Mapping[Path, Path]:
        named = set(index.image_of.values())
        image_of = index.image_of | match_by_stem(
            self.root,
            [label for label in index.labels if label not in index.image_of],
            [image for image in images if image not in named],
        )
        refuse_shared(self.root, image_of)
        lonely_labels = [label for label in index.labels if label not in image_of]
        if lonely_labels and self.settings.on_missing == "error":
            self.explain_lonely(lonely_labels)
        on_missing = self.settings.on_missing
        report_lonely(self.root, lonely_labels, "label file", "image", on_missing=on_missing)
        taken = set(image_of.values())
        chosen = self.settings.images is not None
        lonely_images = [
            image
            for image in images
            if image not in taken and (chosen or not looks_like_label(self.root, image))
        ]
        report_lonely(self.root, lonely_images, "image", "label file", on_missing=on_missing)
        if not image_of:
            raise DatasetError(
                "no image has a label file",
                where=self.root,
                found=f"{len(images)} images, {len(index.labels)} of {self.kind}, no names agree",
                fix="set data.images and data.labels to patterns such as scans/*.tif and marks/*",
            )
        return image_of

    def _log_left_out(self, index: _Index) -> None:
        if index.foreign:
            _log.info(
                "not %s and not read: %s",
                self.kind,
                name_some(self.root, index.foreign),
            )
        log_left_out(index.left_out)

    def _choose_names(self, present: set[str]) -> tuple[str, ...]:
        declared = self.declared_names()
        names = declared if present <= set(declared) and declared else tuple(sorted(present))
        return chosen_classes(self.settings, names, "no label file has a class of this name")

    def _class_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self._names)}

    def _record(self, image: Path, label: Path) -> Record:
        name = relative_name(self.root, image)
        return Record(sample_id=name, case_id=name, images=(image,), labels=(label,))

    def _foreign(self, found: list[Path]) -> DatasetError:
        return DatasetError(
            f"no file is {self.kind}" if len(found) != 1 else f"the file is not {self.kind}",
            where=self.root if len(found) != 1 else found[0],
            found=name_some(self.root, found) or "no files",
            fix="set data.layout to what they are, or data.labels to a pattern of the right ones",
        )


def log_left_out(counts: Mapping[str, int]) -> None:
    """Say once what was drawn but is no object."""
    if counts:
        _log.warning(
            "shapes left out: %s",
            ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items())),
        )
