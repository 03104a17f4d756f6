"""The raw data folder of nnU-Net, of both versions."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from samft.data.checks import check_files
from samft.data.files import SUFFIXES, list_files, match_files, name_some, relative_name
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.label_values import LabelValues, label_values
from samft.data.layouts.listing import Listing
from samft.data.layouts.named_files import NamedFiles, sample_name
from samft.data.pairing import report_lonely
from samft.data.readers.nnunet import (
    NnunetDescription,
    is_description,
    read_description,
    read_splits,
)
from samft.data.readers.volumes import is_volume
from samft.data.records import Record, Split
from samft.data.truth import Truth
from samft.errors import ConfigError, DatasetError

_log = logging.getLogger(__name__)
_DESCRIPTION = "dataset.json"
_SPLITS = "splits_final.json"
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    name: str
    images: tuple[Path, ...]
    label: Path


class NnunetLayout(Layout):
    """`dataset.json` with `imagesTr/CASE_0000.nii.gz` and `labelsTr/CASE.nii.gz`.

    An image has one file per channel, a coloured picture only one. Classes are those of
    `dataset.json`, regions of several values included; its `ignore` label is what nothing is known
    of. `imagesTs` with `labelsTs` is the test split. Where there is a `splits_final.json`, its fold
    0 is the validation split. `data.labels` may name the `dataset.json`, `data.images` a pattern of
    the cases to use.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "nnunet"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._values: LabelValues | None = None

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        names = _descriptions(listing.names)
        if len(names) != 1:
            return None
        content = listing.parsed(names[0])
        if is_description(content):
            return f"{names[0]} is one of nnU-Net"
        folder = names[0].removesuffix(_DESCRIPTION)
        first = next((n for n in listing.names if _is_channel(n, f"{folder}imagesTr/")), None)
        if first is None or not isinstance(content, dict) or "labels" not in content:
            return None
        return f"{names[0]} and {first}, named as in nnU-Net"

    def records(self) -> list[Record]:
        """See `Layout`."""
        path = self._description_path()
        description = read_description(path)
        where = f"{relative_name(self.root, path)}: labels"
        self._values = label_values(description.labels, self.settings, where)
        folder = path.parent
        if description.cases is not None:
            cases, tests = self._named_cases(folder, description), list[_Case]()
        else:
            cases = self._found_cases(folder, "Tr", description)
            tests = self._found_cases(folder, "Ts", description)
        if not cases:
            raise DatasetError(
                "nnU-Net's data set has no case with a label",
                where=folder,
                expected="imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz",
                fix="set data.root to the folder with dataset.json, imagesTr and labelsTr",
            )
        splits = self._splits(folder, cases)
        training: Split | None = "train" if tests else None
        records = [self._record(case, splits.get(case.name, training)) for case in cases]
        records += [self._record(case, "test") for case in tests]
        return self._chosen(records)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        assert self._values is not None  # read by `records`
        return self._values.names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        assert self._values is not None  # read by `records`
        return self._values.read(record.labels, threshold=self.settings.threshold)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        check_files(records, check_affine=check_affine, every_channel=every_channel)

    def _description_path(self) -> Path:
        if self.settings.labels is not None:
            found = match_files(self.root, self.settings.labels, setting="data.labels")
        else:
            names = _descriptions(Listing.of(self.root).names)
            found = [self.root / name for name in names]
        if len(found) != 1:
            raise DatasetError(
                "there is not exactly one dataset.json",
                where=self.root,
                found=name_some(self.root, found) or "none",
                fix="set data.root to the folder that holds it, or name it in data.labels",
            )
        return found[0]

    def _named_cases(self, folder: Path, description: NnunetDescription) -> list[_Case]:
        files = NamedFiles(self.root, self.settings.on_missing)
        found: list[_Case] = []
        unlabelled: list[Path] = []
        for name, case in (description.cases or {}).items():
            where = f"{relative_name(self.root, folder / _DESCRIPTION)}: {name!r}"
            images = [files.find(image, [folder], where) for image in case.images]
            label = None if case.label is None else files.find(case.label, [folder], where)
            kept = tuple(path for path in images if path is not None)
            if len(kept) < len(images):
                continue  # remembered, and reported once
            if label is not None:
                found.append(_Case(name=name, images=kept, label=label))
            elif case.label is None:
                unlabelled.append(kept[0])
        files.report_missing()
        self._report(unlabelled, "image", "mask")
        return found

    def _found_cases(self, folder: Path, which: str, description: NnunetDescription) -> list[_Case]:
        images, labels = (
            _files_in(folder / f"{kind}{which}", description.file_ending)
            for kind in ("images", "labels")
        )
        channels: dict[str, dict[int, Path]] = defaultdict(dict)
        nameless: list[Path] = []
        for stem, path in images.items():
            match = _CHANNEL.fullmatch(stem)
            if match is None:
                nameless.append(path)
            else:
                channels[match[1]][int(match[2])] = path
        self._refuse_nameless(nameless)
        if which == "Ts" and not labels:
            if channels:
                _log.info("%d images in imagesTs have no labels: left out", len(channels))
            return []
        no_label = [min(found.values()) for name, found in channels.items() if name not in labels]
        no_image = [path for name, path in labels.items() if name not in channels]
        self._report(no_label, "image", "mask")
        self._report(no_image, "mask", "image")
        cases: list[_Case] = []
        for name in sorted(labels.keys() & channels.keys()):
            _check_channels(channels[name], description.num_channels)
            files = tuple(channels[name][number] for number in sorted(channels[name]))
            cases.append(_Case(name=name, images=files, label=labels[name]))
        announced = description.num_training
        if which == "Tr" and announced is not None and announced != len(cases):
            _log.warning("dataset.json: numTraining %d, found %d cases", announced, len(cases))
        return cases

    def _refuse_nameless(self, paths: Sequence[Path]) -> None:
        if paths:
            raise DatasetError(
                "image files do not end in the number of their channel",
                where=paths[0].parent,
                found=name_some(self.root, paths),
                expected="CASE_0000 and so on, as nnU-Net wants them",
                fix="rename them, or set data.layout: decathlon if dataset.json lists them",
            )

    def _report(self, paths: Sequence[Path], kind: str, partner: str) -> None:
        report_lonely(self.root, paths, kind, partner, on_missing=self.settings.on_missing)

    def _splits(self, folder: Path, cases: Sequence[_Case]) -> dict[str, Split | None]:
        path = next((p for p in (folder / _SPLITS, self.root / _SPLITS) if p.is_file()), None)
        if path is None:
            if (folder / "splits_final.pkl").is_file():
                _log.warning("splits_final.pkl is a pickle, which is not read; save it as JSON")
            return {}
        folds = read_splits(path)
        _log.info("%s: fold 0 of %d is the validation split", _SPLITS, len(folds))
        chosen: dict[str, Split | None] = dict.fromkeys(folds[0]["train"], "train")
        chosen |= dict.fromkeys(folds[0]["val"], "val")
        twice = set(folds[0]["train"]) & set(folds[0]["val"])
        unknown = [case.name for case in cases if case.name not in chosen]
        if twice or unknown:
            raise DatasetError(
                "fold 0 does not give every case one split",
                where=path,
                found=f"twice: {', '.join(sorted(twice)[:3]) or 'none'}; "
                f"missing: {', '.join(unknown[:3]) or 'none'}",
                fix="correct it, or remove it to have the splits drawn anew",
            )
        return chosen

    def _record(self, case: _Case, split: Split | None) -> Record:
        name = sample_name(self.root, case.images[0])
        if is_volume(case.images[0]):
            name = _CHANNEL.sub(r"\1", name)
        return Record(
            sample_id=name,
            case_id=case.name,
            images=case.images,
            labels=(case.label,),
            split=split,
        )

    def _chosen(self, records: list[Record]) -> list[Record]:
        patterns = self.settings.images
        if patterns is None:
            return records
        if len(patterns) > 1:
            raise ConfigError(
                "the channels are those of dataset.json here",
                where="data.images",
                found=", ".join(patterns),
                expected="one pattern, of the cases to use",
            )
        kept = set(match_files(self.root, patterns[0], setting="data.images"))
        return [
            replace(record, images=tuple(p for p in record.images if p in kept))
            for record in records
            if kept & set(record.images)
        ]


def _descriptions(names: Iterable[str]) -> list[str]:
    """Return the `dataset.json` of a folder, or else those of the folders in it."""
    found = [n for n in names if n.rpartition("/")[2] == _DESCRIPTION and n.count("/") <= 1]
    return [_DESCRIPTION] if _DESCRIPTION in found else found


def _is_channel(name: str, folder: str) -> bool:
    stem = name.removeprefix(folder).partition(".")[0]
    return name.startswith(folder) and _CHANNEL.fullmatch(stem) is not None


def _files_in(folder: Path, ending: str | None) -> dict[str, Path]:
    """Return the images and volumes in a folder by their names without the ending."""
    if not folder.is_dir():
        return {}
    endings = SUFFIXES if ending is None else (ending.lower(),)
    if ending is not None and not ending.lower().endswith(SUFFIXES):
        raise DatasetError(
            "files of this ending cannot be read",
            where=folder.parent / _DESCRIPTION,
            found=f"file_ending {ending!r}",
            expected=", ".join(SUFFIXES),
            fix="convert images and labels, and change file_ending",
        )
    found: dict[str, Path] = {}
    for path in list_files(folder):
        fitting = [e for e in endings if path.name.lower().endswith(e)]
        if path.parent == folder and fitting:
            found[path.name[: -max(map(len, fitting))]] = path
    return found


def _check_channels(found: Mapping[int, Path], expected: int) -> None:
    """Refuse a case that lacks a channel; a picture holds its three colours in one file."""
    one_picture = list(found) == [0] and not is_volume(found[0])
    if not one_picture and sorted(found) != list(range(expected)):
        raise DatasetError(
            "a case does not have the channels that dataset.json names",
            where=min(found.values()),
            found=", ".join(f"_{number:04d}" for number in sorted(found)),
            expected=", ".join(f"_{number:04d}" for number in range(expected)),
            fix="add the files that are missing, or correct channel_names",
        )
