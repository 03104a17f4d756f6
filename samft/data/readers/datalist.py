"""Lists of images and masks in JSON, as the Medical Segmentation Decathlon and MONAI write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from samft.data.readers.json_files import kind_of, read_json_object, text_of
from samft.data.records import Split
from samft.errors import DatasetError

_EXPECTED = "a datalist such as Decathlon's dataset.json"
_KEYS: Final[dict[str, Split]] = {
    "training": "train",
    "train": "train",
    "validation": "val",
    "val": "val",
    "testing": "test",
    "test": "test",
}
_CASE_KEYS = ("case_id", "case", "patient_id", "patient", "subject_id", "subject")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatalistEntry:
    """One image of a datalist.

    Args:
        where: Key and number, for messages.
        split: The list it stands in.
        images: Its file, or its files, one per channel.
        labels: Its mask files.
        fold: Number of the fold in which it is for validation.
        case: The case or patient.
    """

    where: str
    split: Split
    images: tuple[str, ...]
    labels: tuple[str, ...] = ()
    fold: int | None = None
    case: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Datalist:
    """What a datalist says.

    Args:
        labels: The classes as in the file, or `None`.
        entries: The images.
    """

    labels: object
    entries: tuple[DatalistEntry, ...]


def is_datalist(content: object) -> bool:
    """Tell whether parsed JSON is a datalist: lists of training images with their masks."""
    if not isinstance(content, dict):
        return False
    entries = content.get("training", content.get("train"))
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        return False
    return "image" in entries[0] and "label" in entries[0]


def read_datalist(path: Path) -> Datalist:
    """Read a datalist.

    Raises:
        DatasetError: if it is none, or an entry makes no sense.
    """
    content = read_json_object(path, _EXPECTED)
    if not is_datalist(content):
        raise DatasetError(
            "the file is no list of images and masks",
            where=path,
            found=f"the keys {', '.join(map(str, list(content)[:8])) or 'none'}",
            expected='"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]',
        )
    entries = [entry for key in _KEYS for entry in _entries(content.get(key), key, path)]
    return Datalist(labels=content.get("labels"), entries=tuple(entries))


def _entries(items: Any, key: str, path: Path) -> Iterator[DatalistEntry]:  # Any: JSON
    if items is None:
        return
    if not isinstance(items, list):
        raise _wrong(f"{path}: {key}", items)
    for number, item in enumerate(items):
        where = f"{path}: {key}[{number}]"
        if isinstance(item, (str, list)):  # images to be predicted
            yield DatalistEntry(where=where, split=_KEYS[key], images=_names(item, where))
            continue
        if not isinstance(item, dict) or "image" not in item:
            raise _wrong(where, item)
        case = next((item[k] for k in _CASE_KEYS if isinstance(item.get(k), (str, int))), None)
        yield DatalistEntry(
            where=where,
            split=_KEYS[key],
            images=_names(item["image"], where),
            labels=_names(item["label"], where) if item.get("label") is not None else (),
            fold=_fold(item.get("fold"), where),
            case=None if case is None else str(case),
        )


def _names(value: Any, where: str) -> tuple[str, ...]:  # Any: JSON
    values = value if isinstance(value, list) else [value]
    if not values:
        raise _wrong(where, value)
    return tuple(text_of(name, where, "a file name") for name in values)


def _fold(value: Any, where: str) -> int | None:  # Any: JSON
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(f"{where}: fold", value)
    return value


def _wrong(where: str, value: object) -> DatasetError:
    return DatasetError(
        "an entry of the list makes no sense",
        where=where,
        found=kind_of(value),
        expected='{"image": "a.nii.gz", "label": "b.nii.gz", "fold": 0}',
    )
