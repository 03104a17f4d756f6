"""BIDS data sets with masks in `derivatives/`: MRI, CT, microscopy."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from samft.data.checks import check_files
from samft.data.classes import UNNAMED, ClassTable, class_table
from samft.data.files import list_files, match_files, name_some, relative_name
from samft.data.labels import read_class_mask, read_label_layers, values_in
from samft.data.layered_mask import LayeredMask, MaskLayer, layers_of
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.bids_match import BidsFile, join_channels, match_labels, sort_files
from samft.data.layouts.label_values import LabelValues
from samft.data.layouts.listing import Listing
from samft.data.layouts.measured_picture import MeasuredPicture
from samft.data.layouts.named_files import sample_name
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import report_lonely
from samft.data.preprocessing import Preprocessing
from samft.data.readers.bids import find_class_names, find_pixel_size_mm, parse_name
from samft.data.records import Record
from samft.data.sources import PictureSource, Source
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_DESCRIPTION = "dataset_description.json"
_SIDECARS = (".json", ".tsv", ".txt", ".md")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    subject: str


class BidsLayout(Layout):
    """`sub-01/anat/sub-01_T2w.nii.gz`, masks in `derivatives/PIPELINE/sub-01/...`.

    A mask is told by its suffix (`_dseg`, `_mask`) or by what follows the image's name
    (`_seg-manual`, `_label-lesion_mask`). Several masks of one image show different structures,
    each a class by its own name, in whatever value it is painted. The values of a `dseg` mask are
    named by its `dseg.tsv`. With `{value: name}` in `data.classes`, masks of one file per image are
    read by their values. `data.labels` chooses masks where there are several pipelines or raters,
    `data.images` images, one pattern per channel.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "bids"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()
        self._table: ClassTable | None = None
        self._value_names: dict[Path, dict[int, str]] = {}

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        files = sort_files(listing.root, [listing.root / name for name in listing.names])
        labels = [f for f in files if f.name.is_label and not f.path.name.endswith(_SIDECARS)]
        if not labels:
            return None
        if _DESCRIPTION not in listing.names and all(f.pipeline is None for f in labels):
            return None
        return f"subjects as in BIDS, masks such as {relative_name(listing.root, labels[0].path)}"

    def records(self) -> list[Record]:
        """See `Layout`."""
        images, labels = self._files()
        groups = self._channel_groups(images)
        matched = match_labels(self.root, groups[0], labels)
        channels = join_channels(self.root, groups) if len(groups) > 1 else {}
        used = {label.path for found in matched.values() for label in found}
        self._report([f.path for f in labels if f.path not in used], "mask", "image")
        self._read_class_names(labels)
        self._choose_classes(matched)
        cases: list[_Case] = []
        lonely: list[Path] = []
        for image in groups[0]:
            kept = self._kept(image, matched.get(image.path, []))
            if not kept:
                lonely.append(image.path)
                continue
            cases.append(
                _Case(
                    images=channels.get(image.path, (image.path,)),
                    labels=kept,
                    subject=f"sub-{image.name.entities['sub']}",
                )
            )
        self._report(lonely, "image", "mask")
        self._tell_incomplete(cases)
        if not cases:
            raise DatasetError(
                "no image of the BIDS data set has a mask",
                where=self.root,
                expected="derivatives/labels/sub-01/anat/sub-01_T2w_seg-manual.nii.gz or the like",
                fix="name the masks in data.labels, such as 'derivatives/**/*_mask.nii.gz'",
            )
        return [self._record(case) for case in cases]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        settings = self.settings
        layers: list[MaskLayer] = []
        for path in record.labels:
            named = self._value_names.get(path)
            if self._table is not None:
                mask = read_class_mask(path, self._table, threshold=settings.threshold)
                layers += layers_of(mask)
            elif named is not None:
                layers += self._by_value(path, named).layers
            else:
                layers += self._structure(path)
        return LayeredMask(
            size=layers[0].values.shape,
            layers=tuple(layers),
            ignore_value=settings.ignore_value,
        )

    def source(self, record: Record, preprocessing: Preprocessing) -> Source:
        """See `Layout`; a microscope image has the pixel size of its sidecar."""
        source = super().source(record, preprocessing)
        if not isinstance(source, PictureSource):
            return source
        spacing = find_pixel_size_mm(record.images[0], self.root)
        if spacing is None:
            return source
        return MeasuredPicture(record.sample_id, record.images, preprocessing, spacing_mm=spacing)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        check_files(records, check_affine=check_affine, every_channel=every_channel)

    def _files(self) -> tuple[list[BidsFile], list[BidsFile]]:
        every = sort_files(self.root, list_files(self.root))
        if self.settings.labels is not None:
            chosen = match_files(self.root, self.settings.labels, setting="data.labels")
            labels = sort_files(self.root, chosen)
        else:
            labels = [f for f in every if f.name.is_label and not f.name.is_probability]
            soft = sum(f.name.is_probability for f in every)
            if soft:
                _log.info("%d files of probabilities are left out (data.labels, threshold)", soft)
            self._refuse_several_pipelines(labels)
        taken = {label.path for label in labels}
        images = [
            f
            for f in every
            if f.path not in taken and not f.name.is_label and not f.name.is_probability
        ]
        used = {label.pipeline for label in labels}
        return [f for f in images if f.pipeline is None or f.pipeline in used], labels

    def _refuse_several_pipelines(self, labels: Sequence[BidsFile]) -> None:
        pipelines = {label.pipeline: label.path for label in labels}
        if len(pipelines) > 1:
            raise DatasetError(
                "several pipelines have made masks",
                where=self.root / "derivatives",
                found=", ".join(sorted(p or "the data set itself" for p in pipelines)),
                expected="the masks of one of them",
                fix="set data.layout: bids, and choose with data.labels, such as "
                f"{_pattern(labels)!r}",
            )

    def _channel_groups(self, images: Sequence[BidsFile]) -> list[list[BidsFile]]:
        if self.settings.images is None:
            return [list(images)]
        groups = []
        for pattern in self.settings.images:
            kept = set(match_files(self.root, pattern, setting="data.images"))
            groups.append([image for image in images if image.path in kept])
        return groups

    def _read_class_names(self, labels: Sequence[BidsFile]) -> None:
        for label in labels:
            if label.name.suffix == "dseg" and not label.name.tail:
                names = find_class_names(label.path, self.root)
                if names is not None:
                    self._value_names[label.path] = names

    def _choose_classes(self, matched: Mapping[Path, Sequence[BidsFile]]) -> None:
        settings, every = self.settings, [label for found in matched.values() for label in found]
        present: dict[str, None] = {}
        for label in sorted(every, key=lambda file: file.path):
            present |= dict.fromkeys(self._classes_in(label.path))
        single = all(len(found) == 1 for found in matched.values())
        by_value = isinstance(settings.classes, Mapping) and single and not self._value_names
        unnamed = settings.classes is not None and set(present) <= {UNNAMED}
        if by_value or unnamed:
            self._table = class_table(
                settings.classes,
                first_value=settings.first_value,
                background=settings.background,
                ignore_value=settings.ignore_value,
            )
            self._names = self._table.names
        else:
            self._names = chosen_classes(settings, sorted(present), "no mask is of this structure")

    def _classes_in(self, label: Path) -> list[str]:
        named = self._value_names.get(label)
        if named is None:
            return [parse_name(label).structure or UNNAMED]
        return [name for value, name in named.items() if value != self.settings.background]

    def _kept(self, image: BidsFile, labels: Sequence[BidsFile]) -> tuple[Path, ...]:
        if self._table is None:
            labels = [x for x in labels if set(self._classes_in(x.path)) & set(self._names)]
        shown = Counter(name for x in labels for name in self._classes_in(x.path))
        twice = next((name for name, count in shown.items() if count > 1), None)
        if twice is not None:
            fitting = [x.path for x in labels if twice in self._classes_in(x.path)]
            raise DatasetError(
                f"several masks of one image show {twice!r}",
                where=image.path,
                found=name_some(self.root, fitting),
                expected="one mask for every structure",
                fix="choose with data.labels, such as '**/*_desc-rater1_mask.nii.gz'",
            )
        return tuple(sorted(label.path for label in labels))

    def _tell_incomplete(self, cases: Sequence[_Case]) -> None:
        if self._table is not None:
            return
        for name in self._names:
            shown = sum(any(name in self._classes_in(p) for p in case.labels) for case in cases)
            if shown < len(cases):
                _log.warning(
                    "%d of %d images have no mask of %r", len(cases) - shown, len(cases), name
                )

    def _by_value(self, path: Path, named: Mapping[int, str]) -> LayeredMask:
        settings = self.settings
        regions: dict[str, tuple[int, ...]] = {}
        for value, name in named.items():
            if value not in (settings.background, settings.ignore_value):
                regions[name] = (*regions.get(name, ()), value)
        values = LabelValues(
            regions=regions,
            names=self._names,
            background=settings.background,
            ignore_value=settings.ignore_value,
        )
        return values.read([path], threshold=settings.threshold)

    def _structure(self, path: Path) -> list[MaskLayer]:
        settings = self.settings
        index = self._names.index(self._classes_in(path)[0])
        layers, _ = read_label_layers(path, threshold=settings.threshold)
        nothing = (settings.background, settings.ignore_value)
        return [
            MaskLayer(
                values=layer,
                class_of={v: index for v in values_in(layer) if v >= 0 and v not in nothing},
                joined=parse_name(path).suffix != "dseg",
            )
            for layer in layers
        ]

    def _record(self, case: _Case) -> Record:
        return Record(
            sample_id=sample_name(self.root, case.images[0]),
            case_id=case.subject,
            images=case.images,
            labels=case.labels,
        )

    def _report(self, paths: Sequence[Path], kind: str, partner: str) -> None:
        report_lonely(self.root, paths, kind, partner, on_missing=self.settings.on_missing)


def _pattern(labels: Sequence[BidsFile]) -> str:
    """Return a pattern that matches masks of one pipeline, the first by name."""
    pipeline = min(label.pipeline for label in labels if label.pipeline)
    ends = {label.path.name.rpartition("_")[2] for label in labels if label.pipeline == pipeline}
    end = f"*_{ends.pop()}" if len(ends) == 1 else "*.nii.gz"
    return f"derivatives/{pipeline}/**/{end}"
