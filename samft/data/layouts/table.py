"""Images and masks that a table pairs: CSV, TSV or JSON lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from samft.data.files import match_files, relative_name
from samft.data.labels import read_class_mask, read_label_layers, values_in
from samft.data.layered_mask import LayeredMask, MaskLayer, layers_of
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.named_files import NamedFiles, sample_name, size_of
from samft.data.layouts.pairs import PairsLayout, chosen_classes, subject_of
from samft.data.readers.pairs_csv import TABLE_SUFFIXES, PairRow, read_pairs
from samft.data.records import Record, Split
from samft.data.splits import split_of_folder
from samft.data.truth import Truth
from samft.errors import ConfigError, DatasetError, SamftError

_log = logging.getLogger(__name__)
_LOOKED_AT = 50  # tables that are opened to find out whether they are of this layout
_SPLITS: Final[dict[str, Split]] = {
    "tr": "train",
    "trainval": "train",
    "va": "val",
    "dev": "val",
    "eval": "val",
    "ts": "test",
    "te": "test",
    "holdout": "test",
}


@dataclass(slots=True)
class _Entry:
    """What the rows of one image say."""

    where: str
    images: tuple[Path, ...]
    split: Split | None
    case: str | None
    labels: dict[tuple[Path, str | None], None] = field(default_factory=dict)


class TableLayout(PairsLayout):
    """A table with the columns image and mask, and optionally split, case and class.

    Paths are relative to the table. Several rows of one image are several masks of it; with a
    column of classes every mask shows the class that stands beside it, in whatever value. Further
    columns `image_2`, `image_3` are further channels. Tables named train, val and test are splits.
    An image without a mask is an image without objects. Images that no table names are no part of
    the data set. `data.labels` chooses among several tables.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "table"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] | None = None

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        found = _tables_in(listing)
        if not found:
            return None
        return f"{', '.join(found[:3])}: a table of images and masks"

    def records(self) -> list[Record]:
        """See `Layout`."""
        return self.records_of(self._tables())

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        if record.entry is None and len(record.labels) == 1:
            return super().truth(record)
        layers: list[MaskLayer] = []
        if record.entry is None:
            for path in record.labels:
                mask = read_class_mask(path, self._known_table(), threshold=self.settings.threshold)
                layers += layers_of(mask)
        else:
            numbers = [int(text) for text in record.entry.split(",") if text]
            for path, index in zip(record.labels, numbers, strict=True):
                layers += self._named_layers(path, index)
        return LayeredMask(
            size=layers[0].values.shape if layers else size_of(record.images[0]),
            layers=tuple(layers),
            ignore_value=self.settings.ignore_value,
        )

    def _named_layers(self, path: Path, index: int) -> Iterator[MaskLayer]:
        settings = self.settings
        layers, _ = read_label_layers(path, threshold=settings.threshold)
        for layer in layers:
            nothing = (settings.background, settings.ignore_value)
            shown = [v for v in values_in(layer) if v >= 0 and v not in nothing]
            yield MaskLayer(values=layer, class_of=dict.fromkeys(shown, index))

    def _tables(self) -> list[Path]:
        if self.settings.images is not None:
            raise ConfigError(
                "images are chosen by the table here",
                where="data.images",
                found=", ".join(self.settings.images),
                fix="remove data.images, take the rows out of the table, or set data.layout: pairs",
            )
        if self.settings.labels is not None:
            return match_files(self.root, self.settings.labels, setting="data.labels")
        listing = Listing.of(self.root)
        # A table whose first row is wrong is one too, so that it is said what is wrong with it.
        names = _tables_in(listing) or _tables_in(listing, strictly=False)
        if not names:
            raise DatasetError(
                "no table of images and masks was found",
                where=self.root,
                expected=f"a file ({', '.join(TABLE_SUFFIXES)}) with the columns image and mask",
                fix="name it in data.labels",
            )
        return [self.root / name for name in names]

    def records_of(self, tables: Sequence[Path]) -> list[Record]:
        """Return the images that tables name.

        Args:
            tables: The tables, below the root.

        Raises:
            DatasetError: for what is missing or damaged.
        """
        files = NamedFiles(self.root, self.settings.on_missing)
        found: dict[tuple[Path, ...], _Entry] = {}
        repeated, first_repeated = 0, ""
        for table in tables:
            name, split = relative_name(self.root, table), _split_of_table(self.root, table)
            for row in read_pairs(table):
                where = f"{name}: line {row.line}"
                pair = self._look_up(files, [table.parent], row, where)
                if pair is not None:  # or else it is remembered, and reported once
                    read = _Entry(where, pair[0], _split_of(row.split, where) or split, row.case)
                    known = _add(found, read, pair[1], row.class_name)
                    repeated += known
                    first_repeated = first_repeated or (where if known else "")
        files.report_missing()
        if repeated:
            _log.warning(
                "%d rows say what another row says already and are left out, the first: %s",
                repeated,
                first_repeated,
            )
        if not found:
            raise DatasetError(
                "the table names no image",
                where=", ".join(relative_name(self.root, path) for path in tables[:3]),
                fix="add rows, or choose another table with data.labels",
            )
        return self._as_records(list(found.values()))

    def _look_up(
        self, files: NamedFiles, bases: Sequence[Path], row: PairRow, where: str
    ) -> tuple[tuple[Path, ...], list[Path]] | None:
        images = [files.find(name, bases, where) for name in row.images]
        labels = [files.find(name, bases, where) for name in row.labels]
        if None in images or None in labels:
            return None
        there = tuple(path for path in images if path is not None)
        return there, [path for path in labels if path is not None]

    def _as_records(self, entries: Sequence[_Entry]) -> list[Record]:
        every = [label for entry in entries for label in entry.labels]
        present = {name for _, name in every if name is not None}
        if not present:
            paths = list(dict.fromkeys(path for path, _ in every))
            self._table = self._class_table(paths)
            self._kind = self._find_kind(paths)
            return [self._entry_record(entry, None) for entry in entries]
        _refuse_unnamed(entries)
        names = chosen_classes(
            self.settings, sorted(present), "no row of the table has a class of this name"
        )
        self._names = names
        return [self._entry_record(entry, names) for entry in entries]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return super().class_names if self._names is None else self._names

    def _entry_record(self, entry: _Entry, names: Sequence[str] | None) -> Record:
        labels = [(path, name) for path, name in entry.labels if names is None or name in names]
        name = sample_name(self.root, entry.images[0])
        numbers = None
        if names is not None:
            numbers = ",".join(str(names.index(label)) for _, label in labels if label is not None)
        return Record(
            sample_id=name,
            case_id=entry.case or subject_of(name) or name,
            images=entry.images,
            labels=tuple(path for path, _ in labels),
            split=entry.split,
            entry=numbers,
        )


def _tables_in(listing: Listing, *, strictly: bool = True) -> list[str]:
    names = [name for name in listing.ending(*TABLE_SUFFIXES) if name.count("/") <= 1]
    return [
        name for name in names[:_LOOKED_AT] if is_pair_table(listing.root, name, strictly=strictly)
    ]


def is_pair_table(root: Path, name: str, *, strictly: bool = True) -> bool:
    """Tell whether a file is a table of images and masks.

    Args:
        root: The data root.
        name: The file, relative to it.
        strictly: Whether the image and the mask in its first row must be there.
    """
    table = root / name
    try:
        row = next(read_pairs(table), None)
        if row is None or not strictly:
            return row is not None
        files = NamedFiles(root, "skip")
        return None not in [files.find(n, [table.parent], name) for n in (*row.images, *row.labels)]
    except SamftError:
        return False


def _add(
    found: dict[tuple[Path, ...], _Entry],
    read: _Entry,
    labels: Sequence[Path],
    class_name: str | None,
) -> int:
    """Add a row to what is known of its image; return how much of it was known already."""
    entry = found.setdefault(read.images, read)
    if (entry.split, entry.case) != (read.split, read.case):
        raise _contradiction(entry, read)
    known = sum((path, class_name) in entry.labels for path in labels)
    entry.labels |= dict.fromkeys((path, class_name) for path in labels)
    return known if labels or entry is read else 1


def _split_of(word: str | None, where: str) -> Split | None:
    if word is None:
        return None
    split = _SPLITS.get(word.lower()) or split_of_folder(f"{word}/x")
    if split is None:
        raise DatasetError(
            "the table has a word for a split that is not known",
            where=where,
            found=repr(word),
            expected="train, val or test",
        )
    return split


def _split_of_table(root: Path, table: Path) -> Split | None:
    return split_of_folder(f"{relative_name(root, table.with_name(table.stem))}/x")


def _contradiction(entry: _Entry, second: _Entry) -> DatasetError:
    return DatasetError(
        "two rows say different things about one image",
        where=second.where,
        found=f"split {second.split}, case {second.case}",
        expected=f"split {entry.split}, case {entry.case} as in {entry.where}",
        fix="correct one of them, or choose one table with data.labels",
    )


def _refuse_unnamed(entries: Sequence[_Entry]) -> None:
    for entry in entries:
        lonely = next((path for path, name in entry.labels if name is None), None)
        if lonely is not None:
            raise DatasetError(
                "a row of the table has no class, others have one",
                where=entry.where,
                found=lonely.name,
                fix="fill the column of classes in, or remove it",
            )
