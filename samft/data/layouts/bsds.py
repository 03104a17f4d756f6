"""The Berkeley Segmentation Data Set 500: natural images, each segmented by several people."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import ClassVar

from samft.data.files import list_files, match_files, relative_name, stem_of
from samft.data.labels import InstanceMask
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import report_lonely
from samft.data.readers.limits import unreadable
from samft.data.readers.mat import Annotation, read_annotations
from samft.data.records import Record
from samft.data.splits import split_of_folder
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_FOLDER = "groundTruth"
_CLASS = "segment"


class BsdsLayout(Layout):
    """`images/{train,val,test}/X.jpg` with `groundTruth/{train,val,test}/X.mat`.

    The objects are the segments that one annotator drew, which cover the image. People divide an
    image more or less finely, so of several the one with the median number of segments is taken
    (of two in the middle the coarser one, of equal ones the first). The layout `bsds_all` makes a
    record of every annotator's work instead.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "bsds"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = (_CLASS,)

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        found = [n for n in listing.ending(".mat") if _FOLDER in PurePosixPath(n).parts[:-1]]
        return f"{len(found)} files such as {found[0]}, as in BSDS500" if found else None

    def records(self) -> list[Record]:
        """See `Layout`."""
        settings = self.settings
        self._names = chosen_classes(settings, (_CLASS,), "the only class of BSDS is segment")
        truths = match_files(
            self.root, settings.labels or f"**/{_FOLDER}/**/*.mat", setting="data.labels"
        )
        images = self._images()
        by_key = {_key(self.root, path): path for path in truths}
        pairs = [(image, by_key.get(_key(self.root, image))) for image in images]
        used = {truth for _, truth in pairs}
        for kind, partner, lonely in (
            ("image", "mask", [image for image, truth in pairs if truth is None]),
            ("mask", "image", [truth for truth in truths if truth not in used]),
        ):
            report_lonely(self.root, lonely, kind, partner, on_missing=settings.on_missing)
        found = [r for image, truth in pairs if truth for r in self._records_of(image, truth)]
        if not found:
            raise DatasetError(
                "no image has a file in groundTruth",
                where=self.root,
                expected="images/train/8049.jpg and groundTruth/train/8049.mat",
                fix="set data.root to the folder that holds images/ and groundTruth/",
            )
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        path = record.labels[0]
        annotations = [a for a in read_annotations(path) if a.segmentation is not None]
        number = None if record.entry is None else int(record.entry)
        if not annotations or (number is not None and number > len(annotations)):
            raise unreadable(path, f"{len(annotations)} segmentations", "one of every annotator")
        chosen = _median(annotations) if number is None else annotations[number - 1]
        assert chosen.segmentation is not None  # only these were kept
        return InstanceMask(
            layers=chosen.segmentation[None], ignore_value=self.settings.ignore_value
        )

    def _images(self) -> list[Path]:
        patterns = self.settings.images
        if patterns is None:
            return [p for p in list_files(self.root) if "images" in p.relative_to(self.root).parts]
        found = [match_files(self.root, pattern, setting="data.images") for pattern in patterns]
        return [path for paths in found for path in paths]

    def _records_of(self, image: Path, truth: Path) -> list[Record]:
        name = relative_name(self.root, image)
        return [
            Record(
                sample_id=name,
                case_id=name,
                images=(image,),
                labels=(truth,),
                split=split_of_folder(name),
            )
        ]


class BsdsAllLayout(BsdsLayout):
    """As `bsds`, with a record of what each of the annotators drew; never chosen by itself.

    `entry` is the number of the annotator, from 1. All records of an image are one case.
    """

    name: ClassVar[str] = "bsds_all"

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:  # noqa: ARG003  # only by name
        """See `Layout`; `bsds` is what the folder is recognised as."""
        return None

    def _records_of(self, image: Path, truth: Path) -> list[Record]:
        name = relative_name(self.root, image)
        return [
            Record(
                sample_id=f"{name}/annotator{number}",
                case_id=name,
                images=(image,),
                labels=(truth,),
                split=split_of_folder(name),
                entry=str(number),
            )
            for number in range(1, _num_annotators(truth) + 1)
        ]


def _key(root: Path, path: Path) -> tuple[tuple[str, ...], str]:
    folders = path.relative_to(root).parts[:-1]
    return tuple(f for f in folders if f not in ("images", _FOLDER)), stem_of(path).removesuffix(
        ".mat"
    )


def _median(annotations: list[Annotation]) -> Annotation:
    counts = [0 if a.segmentation is None else int(a.segmentation.max()) for a in annotations]
    order = sorted(range(len(counts)), key=lambda index: counts[index])
    return annotations[order[(len(order) - 1) // 2]]


def _num_annotators(path: Path) -> int:
    return sum(annotation.segmentation is not None for annotation in read_annotations(path))
