"""JSON maps between images and masks, a file per object: the layout of SAM-Med2D, SA-Med2D-20M."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_files, check_same_size
from samft.data.files import SUFFIXES, match_files, relative_name, stem_of
from samft.data.layered_mask import LayeredMask, pack_objects
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.named_files import NamedFiles
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import report_lonely
from samft.data.readers.image import probe_image, read_label_map
from samft.data.readers.json_files import kind_of, read_json_object
from samft.data.records import Record, Split
from samft.data.splits import split_of_folder
from samft.data.truth import Truth
from samft.errors import ConfigError, DatasetError

_log = logging.getLogger(__name__)
_FILE = re.compile(r"(?:image2label|label2image|SAMed2D_v\d+)(?:_(\w+))?\.json", re.IGNORECASE)
_MAPPING = re.compile(r"SAMed2D_v\d+_class_mapping_id\.json", re.IGNORECASE)
_EXPECTED = "a JSON object that maps images to their masks, or masks to their image"
_INSTANCE = re.compile(r"_\d+$")
_SLICE = re.compile(r"--[a-z]_\d+$|(?<=\d)_\d+$")
_UNNAMED = "object"


@dataclass(slots=True)
class _Image:
    split: Split | None
    masks: dict[Path, None] = field(default_factory=dict)


class SamMed2dLayout(Layout):
    """`image2label_train.json` and `label2image_test.json`, with a PNG file per object.

    The class of an object is what its mask's name has more than its image's, without the number
    behind it: `amos_0006_90_liver_000.png` is a liver. The numbers of SA-Med2D-20M become names
    where its class mapping lies beside. Slices of one volume, `amos_0006_90` and `amos_0006_91`,
    are one case. Each file is one object, however many pieces it has. `data.labels` chooses among
    the JSON files.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "sammed2d"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()
        self._mapping: dict[tuple[str, str], str] = {}

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        names = _tables(listing)
        return f"{', '.join(names)} of SAM-Med2D" if names else None

    def records(self) -> list[Record]:
        """See `Layout`."""
        if self.settings.images is not None:
            raise ConfigError(
                "images are chosen by the JSON files here",
                where="data.images",
                found=", ".join(self.settings.images),
                fix="remove data.images, or choose a JSON file with data.labels",
            )
        files = NamedFiles(self.root, self.settings.on_missing)
        found: dict[Path, _Image] = {}
        repeated = 0
        for path in self._table_paths():
            repeated += self._read_table(path, found, files)
        files.report_missing()
        if repeated:
            _log.warning("%d masks are listed twice and count once", repeated)
        if not found:
            raise DatasetError("the JSON files name no image that is there", where=self.root)
        self._report_unlisted(found)
        self._mapping = self._read_mapping()
        present = {self._class_of(image, mask) for image in found for mask in found[image].masks}
        self._names = chosen_classes(
            self.settings, sorted(present), "no mask has this class in its name"
        )
        return [self._record(path, found[path]) for path in sorted(found)]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        size = probe_image(record.images[0], every_channel=True)
        if not record.labels:
            return LayeredMask(size=size)
        return pack_objects(self._masks(record, size), size, count=len(record.labels))

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        check_files(records, check_affine=check_affine, every_channel=every_channel)

    def _masks(
        self, record: Record, size: tuple[int, int]
    ) -> Iterator[tuple[NDArray[np.bool_], int]]:
        image, threshold = record.images[0], self.settings.threshold
        for path in record.labels:
            mask = read_label_map(path)
            check_same_size(path, mask.shape, image, size)
            shown = mask > 0 if threshold is None else mask >= threshold
            if shown.any():
                yield shown, self._names.index(self._class_of(image, path))

    def _table_paths(self) -> list[Path]:
        if self.settings.labels is not None:
            return match_files(self.root, self.settings.labels, setting="data.labels")
        names = _tables(Listing.of(self.root))
        if not names:
            raise DatasetError(
                "there is no JSON file that maps images to masks",
                where=self.root,
                expected="image2label_train.json or label2image_test.json",
                fix="set data.root to the folder that holds it, or name it in data.labels",
            )
        return [self.root / name for name in names]

    def _read_table(self, path: Path, found: dict[Path, _Image], files: NamedFiles) -> int:
        where = relative_name(self.root, path)
        split = _split_of(path)
        # The names begin with the folder that holds the JSON file, or do not.
        bases = [path.parent, self.root, path.parent.parent]
        repeated = 0
        for image_name, mask_names in _entries(read_json_object(path, _EXPECTED), where):
            image = files.find(image_name, bases, f"{where}: {image_name!r}")
            if image is None:
                continue
            entry = found.setdefault(image, _Image(split))
            if entry.split != split:
                raise DatasetError(
                    "one image lies in two splits",
                    where=relative_name(self.root, image),
                    found=f"{split} in {where}, {entry.split} in another file",
                    fix="choose one file with data.labels, or correct them",
                )
            for name in mask_names:
                mask = files.find(name, bases, f"{where}: {image_name!r}")
                repeated += mask in entry.masks
                entry.masks |= {} if mask is None else {mask: None}
        return repeated

    def _report_unlisted(self, found: Mapping[Path, _Image]) -> None:
        masks = {mask for entry in found.values() for mask in entry.masks}
        for kind, partner, listed in (("image", "mask", set(found)), ("mask", "image", masks)):
            lonely = [
                path
                for folder in {path.parent for path in listed}
                for path in sorted(folder.iterdir())
                if path.name.lower().endswith(SUFFIXES)
                and path not in found
                and path not in masks
                and not path.name.startswith(".")
            ]
            report_lonely(self.root, lonely, kind, partner, on_missing=self.settings.on_missing)

    def _record(self, image: Path, entry: _Image) -> Record:
        name = relative_name(self.root, image)
        masks = [mask for mask in entry.masks if self._class_of(image, mask) in self._names]
        return Record(
            sample_id=name,
            case_id=_SLICE.sub("", stem_of(image)),
            images=(image,),
            labels=tuple(masks),
            split=entry.split,
        )

    def _class_of(self, image: Path, mask: Path) -> str:
        stem, own = stem_of(image), stem_of(mask)
        tail = own.removeprefix(stem) if own.startswith(stem) else own
        name = _INSTANCE.sub("", tail.strip("-_. ")).strip("-_. ")
        if not name or name.isdecimal():
            parts = stem.split("--")
            dataset = parts[1] if len(parts) > 1 else ""
            name = self._mapping.get((dataset, name), name if "--" in tail else "")
        return name or _UNNAMED

    def _read_mapping(self) -> dict[tuple[str, str], str]:
        """Return the names of SA-Med2D-20M's class numbers: by data set, `{"liver": "0001"}`."""
        names = [n for n in Listing.of(self.root).ending(".json") if _is_named(_MAPPING, n)]
        found: dict[tuple[str, str], str] = {}
        for name in names[:1]:
            content = read_json_object(self.root / name, "the class numbers of SA-Med2D-20M")
            for dataset, classes in content.items():
                if not isinstance(classes, dict):
                    raise _no_names(f"{name}: {dataset!r}", classes)
                for key, number in classes.items():
                    found[dataset, _digits(number, f"{name}: {dataset!r}")] = key
        return found


def _tables(listing: Listing) -> list[str]:
    return [
        name
        for name in listing.ending(".json")
        if name.count("/") <= 2 and _is_named(_FILE, name) and not _is_named(_MAPPING, name)
    ]


def _is_named(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.fullmatch(name.rpartition("/")[2]) is not None


def _split_of(path: Path) -> Split | None:
    match = _FILE.fullmatch(path.name)
    word = match[1] if match is not None and match[1] else ""
    return split_of_folder(f"{word}/x")


def _entries(content: Mapping[str, Any], where: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield every image with its masks; of a map from masks to images, one mask at a time."""
    for key, value in content.items():
        if isinstance(value, str):
            yield value, [key]
        elif isinstance(value, list):
            yield key, value
        else:
            raise _no_names(f"{where}: {key!r}", value)


def _digits(value: object, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _no_names(where, value)
    return f"{value:04d}" if isinstance(value, int) else value


def _no_names(where: str, value: object) -> DatasetError:
    return DatasetError(
        "an entry makes no sense", where=where, found=kind_of(value), expected=_EXPECTED
    )
