"""From the files of a sample in a shard to a `Sample`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from samft.data.classes import UNNAMED, ClassTable
from samft.data.label_maps import values_of
from samft.data.objects import Objects, from_class_map, from_label_map, make_sample
from samft.data.preprocessing import Preprocessing
from samft.data.readers.image import read_label_map
from samft.data.records import Record
from samft.data.shapes import ShapeTruth
from samft.data.shards.annotations import read_annotations
from samft.data.shards.sample_files import FileKind
from samft.data.shards.shard_set import ShardEntry, ShardSet
from samft.errors import DatasetError
from samft.types import Sample

_MEMORY = Path("/dev/shm")  # noqa: S108  # only private folders in it, made by tempfile
_NO_LABELS: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardDecoding:
    """How the files of a sample are to be understood.

    Args:
        class_names: The classes.
        table: The classes of mask values; `None` if every value is an object.
        ignore_value: The mask value that means "nothing is known here".
        preprocessing: Channels and grey levels of the images.
    """

    class_names: tuple[str, ...] = (UNNAMED,)
    table: ClassTable | None = None
    ignore_value: int | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def sample(self, shards: ShardSet, entry: ShardEntry) -> Sample:
        """Read a sample; without a label file it has no objects.

        Raises:
            DatasetError: if a file is damaged, or labels do not fit the image.
        """
        with _as_file(shards, entry, "image") as path:
            image = self.preprocessing.picture((path,))
        height, width = image.shape[1:]
        objects, about = self._labels(shards, entry, (height, width))
        if "class" in entry.files and self.class_names != (UNNAMED,):
            index = self._class_of_image(shards, entry)
            objects = replace(objects, object_class=np.full_like(objects.object_class, index))
        name = shards.name(entry)
        record = Record(
            sample_id=_text(about.get("sample_id"), name),
            case_id=_text(about.get("case_id"), name),
            images=(_place(shards, entry, "image"),),
            labels=(_place(shards, entry, "label" if "label" in entry.files else "image"),),
        )
        return make_sample(record, image, objects, spacing_mm=_spacing(about.get("spacing_mm")))

    def _labels(
        self, shards: ShardSet, entry: ShardEntry, size: tuple[int, int]
    ) -> tuple[Objects, Mapping[str, Any]]:
        if "label" not in entry.files:
            return from_label_map(np.zeros(size, np.int32)), _NO_LABELS
        if entry.files["label"].ending == "json":
            where = _place(shards, entry, "label")
            content = read_annotations(shards.read(entry, "label"), where)
            index = {name: number for number, name in enumerate(self.class_names)}
            truth = ShapeTruth(content.shapes, size, index, where=where)
            return truth.objects("component"), content.about
        with _as_file(shards, entry, "label") as path:
            mask = read_label_map(path)
        if self.table is None:
            return from_label_map(mask, ignore_value=self.ignore_value), _NO_LABELS
        class_of = self.table.of_values(values_of(mask), _place(shards, entry, "label"))
        objects = from_class_map(mask, class_of, mode="component", ignore_value=self.ignore_value)
        return objects, _NO_LABELS

    def _class_of_image(self, shards: ShardSet, entry: ShardEntry) -> int:
        text = shards.read(entry, "class").decode("utf-8", "replace").strip()
        if text in self.class_names:
            return self.class_names.index(text)
        if text.isdecimal() and int(text[:9]) < len(self.class_names):
            return int(text[:9])
        raise DatasetError(
            "the class of an image is not known",
            where=_place(shards, entry, "class"),
            found=repr(text[:40]),
            expected=f"a number below {len(self.class_names)}, or one of "
            f"{', '.join(self.class_names[:10])}",
            fix="name all classes in data.classes, in the order of their numbers",
        )


def _place(shards: ShardSet, entry: ShardEntry, kind: FileKind) -> Path:
    """Return what messages call a file in a shard: the shard, and the name in it."""
    return shards.shards[entry.shard].path / f"{entry.key}.{entry.files[kind].ending}"


@contextmanager
def _as_file(shards: ShardSet, entry: ShardEntry, kind: FileKind) -> Iterator[Path]:
    """Put a file of a shard where the readers find it: in memory, where the system allows that.

    The readers know a dozen ways in which images are written; all of them begin with a path. A
    file of a megabyte is there in a fraction of a millisecond.
    """
    folder = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder, prefix="samft-shard-") as temporary:
        path = Path(temporary, f"file.{entry.files[kind].ending}")
        path.write_bytes(shards.read(entry, kind))
        try:
            yield path
        except DatasetError as error:
            if error.where != path:
                raise
            place = _place(shards, entry, kind)
            found = error.found
            raise DatasetError(
                error.what,
                where=place,
                found=found.replace(str(path), place.name) if isinstance(found, str) else found,
                expected=error.expected,
                fix=error.fix,
            ) from error


def _text(value: object, default: str) -> str:
    return value if isinstance(value, str) and value else default


def _spacing(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    if not all(isinstance(mm, int | float) and 0 < mm < float("inf") for mm in value):
        return None
    return float(value[0]), float(value[1])
