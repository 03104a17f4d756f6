"""Which files of a Hugging Face data set hold its rows, and of which split they are."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from samft.data.layouts.listing import Listing
from samft.data.layouts.table import is_pair_table
from samft.data.readers.hf_dataset import ROW_SUFFIXES
from samft.data.records import Split
from samft.data.splits import split_of_folder
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_SHARD = re.compile(r"[-_]\d+[-_]of[-_]\d+.*|-[0-9a-f]{16}$|^\d+$")


def metadata_in(listing: Listing) -> list[str]:
    """Return the tables of image folders that name images and masks."""
    names = ("metadata.csv", "metadata.jsonl")
    found = [n for n in listing.ending(*names) if n.rpartition("/")[2] in names]
    return [name for name in found if name.count("/") <= 2 and is_pair_table(listing.root, name)]


def row_files(listing: Listing) -> list[str]:
    """Return the Arrow files that `state.json` lists, or the Parquet files.

    Raises:
        DatasetError: if a file that is listed is not there.
    """
    found: list[str] = []
    for state in (n for n in listing.names if n.rpartition("/")[2] == "state.json"):
        content = listing.parsed(state)
        listed = content.get("_data_files") if isinstance(content, Mapping) else None
        for item in listed if isinstance(listed, list) else []:
            name = item.get("filename") if isinstance(item, dict) else None
            path = f"{state.rpartition('/')[0]}/{name}".lstrip("/")
            if path not in listing.names:
                raise DatasetError(
                    "a file of the data set is not there",
                    where=listing.root / state,
                    found=str(name)[:100],
                    expected=f"a file in {(listing.root / state).parent}",
                )
            found.append(path)
    if found:
        return found
    return [n for n in listing.ending(*ROW_SUFFIXES) if not n.endswith("indices.arrow")]


def _words(name: str) -> list[str]:
    """Return what the folders and the file are called, without the number of the shard."""
    path = PurePosixPath(name)
    return [word for word in (*path.parts[:-1], _SHARD.sub("", path.stem)) if word]


def _split_of(name: str) -> Split | None:
    return next((s for w in reversed(_words(name)) if (s := split_of_folder(f"{w}/x"))), None)


def splits_of(files: Sequence[str]) -> dict[str, Split | None]:
    """Return the split of every file; those of a split without a meaning are left out."""
    found = {name: _split_of(name) for name in files}
    if not any(found.values()):
        return found
    others = sorted(name for name, split in found.items() if split is None)
    if others:
        _log.warning(
            "%d files are of no training, validation or test split and are left out: %s",
            len(others),
            ", ".join(others[:3]),
        )
    return {name: split for name, split in found.items() if split is not None}


def refuse_several_configs(root: Path, files: Sequence[str]) -> None:
    """Refuse Parquet files of several configurations, which have folders of their own.

    Raises:
        DatasetError: if there are several.
    """
    parquet = [PurePosixPath(name) for name in files if name.lower().endswith(".parquet")]
    configs = {tuple(f for f in path.parts[:-1] if not _says_nothing(f)) for path in parquet}
    if len(configs) > 1:
        names = sorted("/".join(config) or "." for config in configs)
        raise DatasetError(
            "the folder holds several configurations of a data set",
            where=root,
            found=", ".join(names[:5]),
            expected="one",
            fix=f"set data.root to one of them, such as {root / names[-1]}",
        )


def _says_nothing(folder: str) -> bool:
    return folder == "data" or split_of_folder(f"{folder}/x") is not None
