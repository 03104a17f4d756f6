"""DICOM series with segmentations (SEG), contours (RTSTRUCT) or label volumes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from samft.data.checks import check_same_place, check_same_size
from samft.data.classes import ClassTable, class_table
from samft.data.files import SUFFIXES, list_files, match_files, relative_name, stem_of
from samft.data.labels import ClassMask, read_class_mask, read_label_layers
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.dicom_files import dicom_files, report_found, series_names
from samft.data.layouts.dicom_matching import (
    Matches,
    match_objects,
    match_volumes,
    probe_label,
)
from samft.data.layouts.dicom_truth import JoinedMask
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import report_lonely
from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import DICOM_SUFFIXES, DicomSeries, FoundSeries, find_series, is_dicom
from samft.data.readers.dicom_labels import LabelLayers, LabelObject
from samft.data.readers.dicom_seg import DEFAULT_THRESHOLD, read_dicom_seg
from samft.data.readers.rtstruct import read_rtstruct
from samft.data.readers.volumes import is_volume, probe_segments, probe_volume
from samft.data.records import Record
from samft.data.sources import SeriesSource, Source
from samft.errors import ConfigError, DatasetError

_log = logging.getLogger(__name__)
_MOST_PEEKS = 500  # files without an ending that a first look opens
_Kind = Literal["SEG", "RTSTRUCT", "segments", "values", "whole"]
"""What a label file is: of volumes, whether it names segments, holds values, or is one class."""
_Key = tuple[tuple[Path, ...], str | None]


class DicomLayout(Layout):
    """DICOM images anywhere below a folder, whatever their names, with their labels.

    Segmentations and structure sets find their series by what they refer to; NIfTI and NRRD label
    volumes, which are looked at where there is neither, by their folders. Patients are told apart
    by a hash of what the files say.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "dicom"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._series: dict[_Key, DicomSeries] = {}
        self._kinds: dict[Path, _Kind] = {}
        self._names: tuple[str, ...] | None = None
        self._table: ClassTable | None = None
        self._check_affine = True
        self._reported: set[Path] = set()

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        known = listing.ending(*SUFFIXES)
        named = listing.ending(*DICOM_SUFFIXES)
        nameless = sorted(set(listing.names) - set(known) - set(named))
        peeks = [n for n in nameless[:_MOST_PEEKS] if listing.head(n, 132)[128:] == b"DICM"]
        found = sorted([*named, *peeks])
        if len(found) <= len(known):
            return None
        return f"{len(found)} DICOM files, such as {found[0]}"

    def records(self) -> list[Record]:
        """See `Layout`."""
        found, matches, objects = self._find()
        lonely = [found.series[n].paths[0] for n in range(len(found.series))
                  if n not in matches.labels]  # fmt: skip
        on_missing = self.settings.on_missing
        report_lonely(
            self.root, matches.lonely, "segmentation", "DICOM series", on_missing=on_missing
        )
        if matches.labels:
            report_lonely(self.root, lonely, "scan", "segmentation", on_missing=on_missing)
        else:
            self._refuse_unlabelled(found)
        self._name_classes(matches, objects)
        names = series_names(self.root, found.series)
        records: list[Record] = []
        for number, labels in sorted(matches.labels.items()):
            series = found.series[number]
            several = sum(one.paths == series.paths for one in found.series) > 1
            entry = names[number] if several else None
            self._series[series.paths, entry] = series
            records.append(
                Record(
                    sample_id=names[number],
                    case_id=f"patient-{series.keys.case}",
                    images=series.paths,
                    labels=labels,
                    entry=entry,
                )
            )
        return records

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        assert self._names is not None  # made by `records`
        return self._names

    def truth(self, record: Record) -> JoinedMask:
        """See `Layout`."""
        series = self._series[record.images, record.entry]
        return JoinedMask(parts=tuple(self._read(path, series) for path in record.labels))

    def source(self, record: Record, preprocessing: Preprocessing) -> Source:
        """See `Layout`."""
        series = self._series[record.images, record.entry]
        return SeriesSource(record.sample_id, series, preprocessing)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`; headers of series were compared when they were indexed."""
        del every_channel  # DICOM images have one, or are colours
        self._check_affine = check_affine
        for record in records:
            series = self._series[record.images, record.entry]
            for path in record.labels:
                if is_volume(path):
                    self._check_volume(path, series)

    def _find(self) -> tuple[FoundSeries, Matches, dict[Path, LabelObject]]:
        images, candidates, volumes = self._files()
        found = find_series(images)
        report_found(self.root, found, on_missing=self.settings.on_missing)
        known = {path for series in found.series for path in series.paths}
        known |= {path for path, _ in found.failures}
        probed = [probe_label(path) for path in candidates if path not in known]
        objects = {label.path: label for label in probed if label is not None}
        if objects and not self.settings.labels:
            volumes = []
        matches = match_objects(self.root, found.series, list(objects.values()))
        beside = match_volumes(self.root, found.series, volumes)
        numbers = sorted({*matches.labels, *beside.labels})
        joined = {
            number: (*matches.labels.get(number, ()), *beside.labels.get(number, ()))
            for number in numbers
        }
        lonely = (*matches.lonely, *beside.lonely)
        return found, Matches(labels=joined, lonely=lonely), objects

    def _files(self) -> tuple[list[Path], list[Path], list[Path]]:
        """Return the files that may be images, those that may be DICOM labels, label volumes."""
        settings = self.settings
        if settings.images is not None and len(settings.images) > 1:
            raise ConfigError(
                "DICOM series are found by one pattern",
                where="data.images",
                found=f"{len(settings.images)} patterns",
                expected="one, such as 'ct/**/*.dcm'",
            )
        every = dicom_files(self.root)
        images, labels = every, every
        volumes = [path for path in list_files(self.root) if is_volume(path)]
        if settings.labels is not None:
            chosen = match_files(self.root, settings.labels, setting="data.labels")
            volumes = [path for path in chosen if is_volume(path)]
            labels = [path for path in chosen if not is_volume(path)]
        if settings.images is not None:
            images = self._chosen_images(settings.images[0])
        return images, labels, volumes

    def _chosen_images(self, pattern: str) -> list[Path]:
        matched = match_files(self.root, pattern, setting="data.images")
        images = [path for path in matched if is_dicom(path)]
        if not images:
            raise DatasetError(
                "no DICOM file matches the pattern",
                where=self.root / pattern,
                found=f"{len(matched)} files of other kinds",
                fix="change data.images, or set data.layout for other images",
            )
        if len(images) < len(matched):
            others = len(matched) - len(images)
            _log.warning("data.images also matches %d files that are not DICOM, left out", others)
        return images

    def _refuse_unlabelled(self, found: FoundSeries) -> None:
        raise DatasetError(
            "no DICOM series has a label",
            where=self.root,
            found=f"{len(found.series)} series, {found.without_image} DICOM files of other kinds",
            expected="SEG or RTSTRUCT objects that refer to the images, NIfTI or NRRD beside them",
            fix="add them, or choose with data.images and data.labels",
        )

    def _name_classes(self, matches: Matches, objects: Mapping[Path, LabelObject]) -> None:
        """Find the classes, and refuse two files of a series that both have one of them."""
        settings = self.settings
        named: dict[int, list[tuple[Path, str]]] = {}
        for number, paths in matches.labels.items():
            alone = sum(path not in objects for path in paths) == 1
            named[number] = [
                (path, name)
                for path in paths
                for name in self._names_in(path, objects.get(path), alone=alone)
            ]
        present = dict.fromkeys(name for pairs in named.values() for _, name in pairs)
        if "values" not in self._kinds.values():
            self._names = chosen_classes(
                settings, tuple(present), "no segmentation has a segment of this name"
            )
        else:
            if present and settings.classes is None:
                raise ConfigError(
                    "some labels name their classes and some do not",
                    where="data.classes",
                    found=f"{', '.join(list(present)[:4])}; and volumes with values",
                    fix="name the values in data.classes, such as {1: liver, 2: spine}",
                )
            self._table = class_table(
                settings.classes,
                first_value=settings.first_value,
                background=settings.background,
                ignore_value=settings.ignore_value,
            )
            self._names = self._table.names
        for pairs in named.values():
            self._refuse_twice(pairs)

    def _names_in(self, path: Path, label: LabelObject | None, *, alone: bool) -> tuple[str, ...]:
        if label is not None:
            self._kinds[path] = label.kind
            return label.names
        segments = probe_segments(path)
        if segments:
            self._kinds[path] = "segments"
            return tuple(dict.fromkeys(segment.name for segment in segments))
        if alone:
            self._kinds[path] = "values"
            return ()
        self._kinds[path] = "whole"  # a file per class
        return (stem_of(path),)

    def _refuse_twice(self, pairs: Sequence[tuple[Path, str]]) -> None:
        first: dict[str, Path] = {}
        for path, name in pairs:
            other = first.setdefault(name, path)
            if other != path and name in self.class_names:
                raise DatasetError(
                    "two segmentations of one series have a segment of the same name",
                    where=path,
                    found=f"{name!r}, also in {relative_name(self.root, other)}",
                    expected="one segmentation per class, not one per annotator or version",
                    fix="choose with data.labels, a pattern such as '**/*_reader1.dcm', and set "
                    "data.layout: dicom",
                )

    def _read(self, path: Path, series: DicomSeries) -> ClassMask:
        kind, threshold = self._kinds[path], self.settings.threshold
        if kind == "SEG":
            share = DEFAULT_THRESHOLD if threshold is None else threshold
            return self._of_layers(path, read_dicom_seg(path, series, threshold=share))
        if kind == "RTSTRUCT":
            return self._of_layers(path, read_rtstruct(path, series))
        self._check_volume(path, series)
        if kind == "whole":
            layers, _ = read_label_layers(path, threshold=threshold)
            index = {1: self.class_names.index(stem_of(path))} if self._uses(stem_of(path)) else {}
            return ClassMask(layers=(layers > 0).astype(np.uint8), class_of=(index,) * len(layers))
        if kind == "segments" or self._table is None:
            table = replace(class_table(self.class_names), ignore_value=self.settings.ignore_value)
        else:
            table = self._table
        return read_class_mask(path, table, threshold=threshold)

    def _of_layers(self, path: Path, found: LabelLayers) -> ClassMask:
        if found.dropped and path not in self._reported:
            self._reported.add(path)
            counts = ", ".join(f"{count} {what}" for what, count in found.dropped.items())
            _log.warning("%s: left out: %s", relative_name(self.root, path), counts)
        class_of: list[dict[int, int]] = [{} for _ in found.layers]
        for segment in found.segments:
            if self._uses(segment.name):
                class_of[segment.layer][segment.value] = self.class_names.index(segment.name)
        used = [index for index, classes in enumerate(class_of) if classes] or [0]
        layers = found.layers if len(used) == len(class_of) else found.layers[used]
        return ClassMask(layers=layers, class_of=tuple(class_of[index] for index in used))

    def _uses(self, name: str) -> bool:
        return name in self.class_names

    def _check_volume(self, path: Path, series: DicomSeries) -> None:
        geometry, first = probe_volume(path), series.paths[0]
        expected = (1, *series.size) if series.geometry is None else series.geometry.shape
        check_same_size(path, geometry.shape, first, expected)
        if series.positions is not None and series.geometry is not None and self._check_affine:
            check_same_place(path, geometry, first, series.geometry)
