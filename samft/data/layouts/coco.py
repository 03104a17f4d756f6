"""COCO instances: a JSON file for all images of a split, wherever the images lie."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from samft.data.checks import check_same_size
from samft.data.files import SUFFIXES, describe_contents, match_files, relative_name
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.image_folders import ImageFolders, split_of_path
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import report_lonely
from samft.data.readers.coco import CocoFile, classes_of, looks_like_coco, read_coco
from samft.data.readers.image import probe_image
from samft.data.records import Record
from samft.data.roots import stays_inside
from samft.data.shapes import ShapeTruth
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_LOOKED_AT = 50
# Beside instances_*.json, COCO has files about the same images that are for other tasks.
_INSTANCES = "instances_"
_OTHER_TASKS = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")


class CocoLayout(Layout):
    """One or several COCO files, and images in whatever folder has their names.

    COCO itself, Roboflow's exports (`_annotations.coco.json` in `train/`, `valid/`, `test/`), UIIS,
    UIIS10K, USIS10K, TrashCan, and single files. Splits come from the names of the JSON files, of
    their folders, or of the folders of images.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "coco"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._files: dict[Path, CocoFile] = {}
        self._names: tuple[str, ...] = ()

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in _without_other_tasks(_without_beside(listing.names))[:_LOOKED_AT]:
            if looks_like_coco(listing.root / name):
                return f"{name} holds COCO's images, annotations and categories"
        return None

    def records(self) -> list[Record]:
        """See `Layout`."""
        self._files = {path: read_coco(path) for path in self._label_files()}
        self._refuse_versions()
        names = classes_of(list(self._files.values()))
        self._names = chosen_classes(self.settings, names, "no category has this name")
        folders = ImageFolders(self.root, self.settings.images)
        records = [record for file in self._files.values() for record in self._of(file, folders)]
        self._refuse_shared(records)
        others = folders.others(record.sample_id for record in records)
        report_lonely(
            self.root, others, "image", "entry in a COCO file", on_missing=self.settings.on_missing
        )
        _log_left_out(self._files.values())
        return sorted(records, key=lambda record: record.sample_id)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        size = self._checked_size(record, every_channel=True)
        index = {name: number for number, name in enumerate(self._names)}
        # A crowd of another class says nothing about these.
        shapes = [shape for shape in self._file(record).shapes(_row(record))
                  if shape.class_name in index]  # fmt: skip
        return ShapeTruth(shapes, size, index, where=record.labels[0])

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        del check_affine
        for record in records:
            self._checked_size(record, every_channel=every_channel)

    def _file(self, record: Record) -> CocoFile:
        path = record.labels[0]
        if path not in self._files:
            self._files[path] = read_coco(path)
        return self._files[path]

    def _checked_size(self, record: Record, *, every_channel: bool) -> tuple[int, int]:
        size = probe_image(record.images[0], every_channel=every_channel)
        stated = self._file(record).size(_row(record))
        if stated is not None:
            check_same_size(record.labels[0], stated, record.images[0], size)
        return size

    def _label_files(self) -> list[Path]:
        if self.settings.labels is not None:
            return match_files(self.root, self.settings.labels, setting="data.labels")
        names = _without_other_tasks(_without_beside(_names_below(self.root)))
        paths = [self.root / name for name in names]
        found = [p for p in paths if stays_inside(self.root, p) and looks_like_coco(p)]
        if not found:
            raise DatasetError(
                "no COCO file found",
                where=self.root,
                found=describe_contents(self.root),
                expected="a JSON file with images, annotations and categories",
                fix="set data.labels to a pattern such as annotations/*.json",
            )
        return found

    def _of(self, file: CocoFile, folders: ImageFolders) -> Iterator[Record]:
        places = folders.find(file.file_names, file.path)
        missing = [Path(self.root, name) for name, place in places.items() if place is None]
        report_lonely(
            self.root,
            missing,
            f"image of {relative_name(self.root, file.path)}",
            "file",
            on_missing=self.settings.on_missing,
        )
        split = split_of_path(relative_name(self.root, file.path))
        for row, name in enumerate(file.file_names):
            place = places[name]
            if place is not None:
                yield Record(
                    sample_id=place,
                    case_id=place,
                    images=(self.root / place,),
                    labels=(file.path,),
                    split=split or split_of_path(place.rpartition("/")[0]),
                    entry=str(row),
                )

    def _refuse_shared(self, records: Sequence[Record]) -> None:
        """Refuse an image that two entries describe: which is right is not to be guessed."""
        owner: dict[str, Record] = {}
        for record in records:
            other = owner.setdefault(record.sample_id, record)
            if other is record:
                continue
            files = [relative_name(self.root, item.labels[0]) for item in (other, record)]
            raise DatasetError(
                "an image is listed twice in COCO files",
                where=record.images[0],
                found=f"in {files[0]} and {files[1]}" if files[0] != files[1] else f"in {files[0]}",
                expected="one entry for each image",
                fix=f"choose with data.labels, such as '{_pattern(files[1])}'"
                if files[0] != files[1]
                else "join the two entries, and the image_id of their annotations",
            )

    def _refuse_versions(self) -> None:
        """Refuse copies of one data set with other classes, such as both versions of TrashCan."""
        by_name: dict[str, list[CocoFile]] = defaultdict(list)
        for file in self._files.values():
            by_name[file.path.name].append(file)
        for first, *rest in by_name.values():
            images = set(first.file_names)
            for other in rest:
                shared = len(images.intersection(other.file_names))
                same_classes = set(first.class_names) == set(other.class_names)
                if same_classes or shared * 2 <= min(len(images), len(other.file_names)):
                    continue
                files = [relative_name(self.root, item.path) for item in (first, other)]
                raise DatasetError(
                    "the folder holds two versions of the same images, with other classes",
                    where=self.root,
                    found=f"{files[0]} and {files[1]}",
                    expected="one of them",
                    fix=f"choose with data.root, or with data.labels: '{_pattern(files[0])}' and "
                    "data.images",
                )


def _row(record: Record) -> int:
    assert record.entry is not None  # made by `records`
    return int(record.entry)


def _pattern(name: str) -> str:
    folder = name.rpartition("/")[0]
    return f"{folder}/*.json" if folder else name


def _names_below(root: Path) -> list[str]:
    names: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [relative_name(root, Path(folder, n)) for n in files if not n.startswith(".")]
    return sorted(names)


def _without_beside(names: Iterable[str]) -> list[str]:
    """Return the JSON files without those that belong to one image of the same name."""
    every = list(names)
    stems = {name.rpartition(".")[0] for name in every if name.lower().endswith(SUFFIXES)}
    return [n for n in every if n.lower().endswith(".json") and n.rpartition(".")[0] not in stems]


def _without_other_tasks(names: Iterable[str]) -> list[str]:
    """Return the JSON files, only the `instances_` ones of folders that have such."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[name.rpartition("/")[0]].append(name)
    kept: list[str] = []
    for folder in by_folder.values():
        bases = {name: name.rpartition("/")[2] for name in folder}
        has_instances = any(base.startswith(_INSTANCES) for base in bases.values())
        kept += [n for n in folder if not (has_instances and bases[n].startswith(_OTHER_TASKS))]
    return sorted(kept, key=lambda name: (name.count("/"), name))


def _log_left_out(files: Iterable[CocoFile]) -> None:
    for file in files:
        counts = Counter({kind: count for kind, count in file.left_out.items() if count})
        if counts:
            text = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            _log.warning("%s: left out are %s", file.path, text)
