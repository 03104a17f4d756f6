"""Hugging Face data sets on disk: `save_to_disk`, Parquet files of the hub, image folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import UNNAMED
from samft.data.files import SUFFIXES
from samft.data.layered_mask import LayeredMask, pack_objects
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.hf_files import (
    metadata_in,
    refuse_several_configs,
    row_files,
    splits_of,
)
from samft.data.layouts.label_values import LabelValues, label_values
from samft.data.layouts.listing import Listing
from samft.data.layouts.named_files import NamedFiles
from samft.data.layouts.row_source import RowSource
from samft.data.layouts.table import TableLayout
from samft.data.preprocessing import Preprocessing
from samft.data.readers.hf_dataset import RowFile, has_image_features, open_rows
from samft.data.readers.image import probe_image, read_label_map
from samft.data.readers.image_bytes import as_file
from samft.data.readers.json_files import read_json_object
from samft.data.readers.limits import unreadable
from samft.data.records import Record, Split
from samft.data.sources import Source
from samft.data.truth import Truth
from samft.errors import ConfigError, DatasetError, did_you_mean

_NAMES = "id2label.json"
_IMAGE_COLUMNS = ("image", "img", "images", "pixel_values", "input", "input_image", "jpg", "png")
_MASK_COLUMNS = (
    *("mask", "masks", "segmentation_mask", "semantic_mask", "instance_mask", "segmentation"),
    *("annotation", "annotations", "ground_truth", "gt", "label_map", "target", "label", "labels"),
)
_CASE_COLUMNS = ("patient_id", "patient", "case_id", "case", "subject_id", "subject")
_LOOKED_AT = 8  # masks that are looked into to find out what their values mean


class HfDatasetLayout(TableLayout):
    """Rows with an image and a mask, in Arrow or Parquet files; or `metadata.csv` beside images.

    Splits are those of the files' and folders' names. The mask is a column of images, or of lists
    of images with one object each. Where an `id2label.json` lies there, it names the values. In
    Arrow and Parquet `data.images` and `data.labels` are names of columns. Rows are read when they
    are asked for; of Parquet a whole group of rows at a time, so shuffled training is faster from
    what `save_to_disk` wrote.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "hf_dataset"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._columns: tuple[str, str] | None = None
        self._values: LabelValues | None = None

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in listing.matching("*dataset_info.json"):
            content = listing.parsed(name)
            if isinstance(content, dict) and has_image_features(content.get("features")):
                return f"{name} is of a Hugging Face data set with columns of images"
        parquet = listing.ending(".parquet")
        # Where the pictures are files, what lies beside them in Parquet is about something else.
        if parquet and len(listing.ending(*SUFFIXES)) <= len(parquet):
            return f"{len(parquet)} Parquet files such as {parquet[0]}"
        tables = metadata_in(listing)
        return f"{tables[0]} names images and masks, as in an image folder" if tables else None

    def records(self) -> list[Record]:
        """See `Layout`."""
        listing = Listing.of(self.root)
        files = row_files(listing)
        if not files:
            return self.records_of(self._metadata(listing))
        refuse_several_configs(self.root, files)
        splits = splits_of(files)
        self._columns = self._find_columns(open_rows(self.root / files[0]))
        records = [
            record for name in files if name in splits for record in self._rows(name, splits[name])
        ]
        if not records:
            raise DatasetError("the data set has no rows", where=self.root / files[0])
        self._name_values(records)
        return records

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return super().class_names if self._values is None else self._values.names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        if self._columns is None:
            return super().truth(record)
        image, mask = self._columns
        with ExitStack() as stack:
            paths = [stack.enter_context(item) for item in self._cell(record, mask)]
            if open_rows(record.labels[0]).image_columns().get(mask):
                return self._objects(record, image, paths)
            if not paths:
                return LayeredMask(size=self._size(record, image))
            if self._values is not None:
                return self._values.read(paths, threshold=self.settings.threshold)
            return super().truth(replace(record, labels=tuple(paths), entry=None))

    def source(self, record: Record, preprocessing: Preprocessing) -> Source:
        """See `Layout`."""
        if self._columns is None:
            return super().source(record, preprocessing)
        image = partial(self.image_file, record, self._columns[0])
        return RowSource(record.sample_id, record.images, image, preprocessing)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        if self._columns is None:
            super().check(records, check_affine=check_affine, every_channel=every_channel)
            return
        for record in records:
            self._size(record, self._columns[0])

    def _metadata(self, listing: Listing) -> list[Path]:
        tables = [self.root / name for name in metadata_in(listing)]
        if not tables:
            raise DatasetError(
                "there are no rows of a Hugging Face data set",
                where=self.root,
                expected="Arrow files with a state.json, Parquet files, or a metadata.csv with "
                "file_name and mask_file_name",
                fix="set data.root to what save_to_disk wrote, or to a snapshot of the hub",
            )
        return tables

    def image_file(self, record: Record, column: str) -> AbstractContextManager[Path]:
        """Return the image of a row as a file, for a `with` block.

        Raises:
            DatasetError: if the row has none.
        """
        found = list(self._cell(record, column))
        if len(found) != 1:
            raise unreadable(
                Path(f"{record.images[0]}: row {record.entry}"),
                f"{len(found)} images in {column!r}",
                "one",
            )
        return found[0]

    def _size(self, record: Record, column: str) -> tuple[int, int]:
        with self.image_file(record, column) as path:
            return probe_image(path, every_channel=True)

    def _objects(self, record: Record, image: str, paths: Sequence[Path]) -> LayeredMask:
        size, threshold = self._size(record, image), self.settings.threshold or 1

        def masks() -> Iterator[tuple[NDArray[np.bool_], int]]:
            for path in paths:
                mask = read_label_map(path)
                if mask.shape != size:
                    raise unreadable(path, f"a mask of {mask.shape}", f"the image's size {size}")
                yield mask >= threshold, 0

        return pack_objects(masks(), size, count=len(paths))

    def _cell(self, record: Record, column: str) -> Iterator[AbstractContextManager[Path]]:
        file = record.images[0]
        cell = open_rows(file).row(int(record.entry or 0), [column])[column]
        place = f"row {record.entry}, {column}"
        for item in cell if isinstance(cell, list) else [cell]:
            data, name = _bytes_and_path(item)
            if data is not None:
                yield as_file(data, file, place)
            elif name is not None:
                yield nullcontext(self._named(name, file, place))

    def _named(self, name: str, file: Path, place: str) -> Path:
        files = NamedFiles(self.root, "error")
        found = files.find(name, [file.parent, self.root], f"{file.name}: {place}")
        files.report_missing()
        assert found is not None  # or else it was reported
        return found

    def _find_columns(self, rows: RowFile) -> tuple[str, str]:
        present = rows.image_columns()
        images, labels = self.settings.images, self.settings.labels
        for wanted, setting in ((images[0] if images else None, "images"), (labels, "labels")):
            if wanted is not None and wanted not in present:
                raise ConfigError(
                    "the data set has no column of images of this name",
                    where=f"data.{setting}",
                    found=wanted,
                    fix=did_you_mean(wanted, present),
                )
        left = [name for name, listed in present.items() if name != labels and not listed]
        image = images[0] if images else _best(left, _IMAGE_COLUMNS)
        label = labels or _best([name for name in present if name != image], _MASK_COLUMNS)
        if image is None or label is None or image == label:
            raise DatasetError(
                "it is not plain which columns are the image and the mask",
                where=rows.path,
                found=", ".join(present) or "no columns of images",
                expected="two columns of images, such as image and mask",
                fix="name them in data.images and data.labels",
            )
        return image, label

    def _rows(self, name: str, split: Split | None) -> Iterator[Record]:
        path = self.root / name
        rows = open_rows(path)
        assert self._columns is not None  # found before
        lacking = [column for column in self._columns if column not in rows.schema.names]
        if lacking:
            raise DatasetError(
                "a file of the data set lacks a column",
                where=path,
                found=", ".join(rows.schema.names[:12]),
                expected=lacking[0],
            )
        case_column = next((c for c in _CASE_COLUMNS if c in rows.schema.names), None)
        cases = rows.texts(case_column) if case_column is not None else None
        for index in range(rows.num_rows):
            sample = f"{name}/{index:06d}"
            yield Record(
                sample_id=sample,
                case_id=sample if cases is None else next(cases, sample),
                images=(path,),
                labels=(path,),
                split=split,
                entry=str(index),
            )

    def _name_values(self, records: Sequence[Record]) -> None:
        names = self.root / _NAMES
        assert self._columns is not None  # found before
        if open_rows(records[0].labels[0]).image_columns().get(self._columns[1]):
            self._table = self._class_table([])
            self._names = (UNNAMED,)
            return
        if names.is_file() and self.settings.palette is None:
            content = read_json_object(names, "the names of the mask values by number")
            self._values = label_values(content, self.settings, _NAMES)
            return
        self._table = self._class_table([])
        open_question = self.settings.objects == "auto" and self.settings.classes is None
        chosen = records[:: max(1, len(records) // _LOOKED_AT)] if open_question else []
        with ExitStack() as stack:
            looked_at = [
                stack.enter_context(item)
                for record in chosen[:_LOOKED_AT]
                for item in self._cell(record, self._columns[1])
            ]
            self._kind = self._find_kind(looked_at)


def _best(names: Sequence[str], words: Sequence[str]) -> str | None:
    """Return the only name, or else the first that is one of the words."""
    if len(names) == 1:
        return names[0]
    return next((name for word in words for name in names if name.lower() == word), None)


def _bytes_and_path(item: Any) -> tuple[bytes | None, str | None]:  # Any: a cell
    if isinstance(item, bytes):
        return item, None
    if isinstance(item, str):
        return None, item
    if isinstance(item, dict):
        data, path = item.get("bytes"), item.get("path")
        return (data if isinstance(data, bytes) else None), (
            path if isinstance(path, str) and path else None
        )
    return None, None
