"""The JSON files of nnU-Net: `dataset.json` of both versions and `splits_final.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.data.readers.json_files import kind_of, read_json, read_json_object, text_of
from samft.errors import DatasetError

_EXPECTED = "a dataset.json of nnU-Net"
_EXPECTED_SPLITS = "a splits_final.json of nnU-Net"


@dataclass(frozen=True, kw_only=True, slots=True)
class NnunetCase:
    """A case whose files `dataset.json` names.

    Args:
        images: One file per channel.
        label: The mask, or `None`.
    """

    images: tuple[str, ...]
    label: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NnunetDescription:
    """What a `dataset.json` says.

    Args:
        labels: As in the file, see `samft.data.layouts.label_values`.
        num_channels: How many channels an image has.
        file_ending: Ending of every image and mask; `None` where the file does not say.
        cases: The cases, where the file names their files.
        num_training: How many cases there should be, where the file says.
    """

    labels: object
    num_channels: int
    file_ending: str | None
    cases: dict[str, NnunetCase] | None
    num_training: int | None


def is_description(content: object) -> bool:
    """Tell whether parsed JSON is a `dataset.json` that only nnU-Net from version 2 on writes."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("labels"), dict)
        and isinstance(content.get("channel_names"), dict)
        and ("file_ending" in content or "dataset" in content)
    )


def read_description(path: Path) -> NnunetDescription:
    """Read a `dataset.json`.

    Raises:
        DatasetError: if it is none.
    """
    content = read_json_object(path, _EXPECTED)
    channels = content.get("channel_names", content.get("modality"))
    if not isinstance(channels, dict) or not channels or "labels" not in content:
        raise DatasetError(
            "the file is no dataset.json of nnU-Net",
            where=path,
            found=f"the keys {', '.join(map(str, list(content)[:8]))}",
            expected="labels, and channel_names (version 2) or modality (version 1)",
        )
    ending = content.get("file_ending")
    if ending is not None:
        ending = text_of(ending, f"{path}: file_ending", "the ending of the files")
    count = content.get("numTraining")
    return NnunetDescription(
        labels=content["labels"],
        num_channels=len(channels),
        file_ending=ending,
        cases=_cases(content["dataset"], f"{path}: dataset") if "dataset" in content else None,
        num_training=count if isinstance(count, int) else None,
    )


def read_splits(path: Path) -> list[dict[str, list[str]]]:
    """Read a `splits_final.json`: for every fold the cases for training and validation.

    Raises:
        DatasetError: if it is none.
    """
    content = read_json(path, _EXPECTED_SPLITS)
    if not isinstance(content, list) or not content:
        raise _no_splits(path, kind_of(content))
    return [_fold(fold, f"{path}: fold {number}") for number, fold in enumerate(content)]


def _fold(fold: object, where: str) -> dict[str, list[str]]:
    if not isinstance(fold, dict):
        raise _no_splits(where, kind_of(fold))
    found: dict[str, list[str]] = {}
    for key in ("train", "val"):
        names = fold.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _no_splits(f"{where}, {key}", kind_of(names))
        found[key] = names
    return found


def _no_splits(where: object, found: str) -> DatasetError:
    return DatasetError(
        "the file does not say which cases are for training and validation",
        where=where,
        found=found,
        expected='a list of folds such as {"train": ["case_1"], "val": ["case_2"]}',
    )


def _cases(content: Any, where: str) -> dict[str, NnunetCase]:  # Any: JSON
    if not isinstance(content, dict):
        raise _no_case(where, kind_of(content))
    return {name: _case(case, f"{where}: {name!r}") for name, case in content.items()}


def _case(case: Any, where: str) -> NnunetCase:  # Any: JSON
    images = case.get("images") if isinstance(case, dict) else None
    if not isinstance(images, list) or not images:
        raise _no_case(where, kind_of(case) if images is None else kind_of(images))
    label = case.get("label")
    return NnunetCase(
        images=tuple(text_of(image, where, "the name of an image") for image in images),
        label=None if label is None else text_of(label, where, "the name of a mask"),
    )


def _no_case(where: str, found: str) -> DatasetError:
    return DatasetError(
        "a case does not say where its files are",
        where=where,
        found=found,
        expected='{"images": ["a_0000.nii.gz"], "label": "a.nii.gz"}',
    )
