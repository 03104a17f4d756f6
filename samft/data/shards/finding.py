"""Which tar files a data set of shards consists of, and which split each is for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path, PurePosixPath
from typing import Final

from samft.data.files import match_files, relative_name
from samft.data.records import Split
from samft.data.roots import stays_inside
from samft.data.splits import split_of_folder
from samft.errors import ConfigError, DatasetError

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_SPLIT_NAME: Final = re.compile(r"(train|training|val|valid|validation|test|testing)[-_.]", re.I)
_MOST: Final = 1_000_000


def find_shards(root: Path, pattern: str) -> list[Path]:
    """Return the shards that a pattern names.

    Args:
        root: The data root.
        pattern: Relative to `root`: a glob pattern, sorted by name; or, as webdataset takes them,
            names with `{000000..000999}` or `{train,more}`, in this order. Then each must be there.

    Raises:
        ConfigError: if the pattern leads out of `root`.
        DatasetError: if nothing matches, or a named shard is missing.
    """
    if "{" not in pattern:
        return match_files(root, pattern, setting="data.shards")
    names = expand_braces(pattern)
    paths = [root / name for name in names]
    for name, path in zip(names, paths, strict=True):
        if Path(name).is_absolute() or ".." in Path(name).parts or not stays_inside(root, path):
            raise _leads_out(pattern)
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        raise DatasetError(
            "a shard is missing",
            where=root / missing[0],
            found=f"{len(names) - len(missing)} of {len(names)} shards",
            expected=f"data.shards: {pattern}",
            fix="download it, or narrow data.shards",
        )
    return paths


def expand_braces(pattern: str) -> list[str]:
    """Return the names that `{000..012}` and `{a,b}` in a pattern stand for, in order.

    Raises:
        ConfigError: if a brace holds neither, or there are more than a million.

    Example:
        >>> expand_braces("{a,b}-{8..10}.tar")
        ['a-8.tar', 'a-9.tar', 'a-10.tar', 'b-8.tar', 'b-9.tar', 'b-10.tar']
    """
    pieces = _BRACES.split(pattern)  # text, content of a brace, text, ...
    choices = [
        _choices(piece, pattern) if number % 2 else [piece] for number, piece in enumerate(pieces)
    ]
    names = ["".join(parts) for parts in islice(product(*choices), _MOST + 1)]
    if len(names) > _MOST:
        raise _no_braces(pattern, "more than a million names")
    return names


def split_of_shard(root: Path, path: Path) -> Split | None:
    """Return the split that a folder, or the beginning of the name, gives a shard."""
    name = relative_name(root, path)
    found = split_of_folder(name)
    if found is None and (match := _SPLIT_NAME.match(PurePosixPath(name).name)):
        return split_of_folder(f"{match.group(1)}/name")
    return found


def _choices(content: str, pattern: str) -> Sequence[str]:
    match = _RANGE.fullmatch(content)
    if match is None:
        if "," not in content:
            raise _no_braces(pattern, f"{{{content}}}")
        return content.split(",")
    first, last = match.groups()
    if len(first) > 12 or len(last) > 12 or not 0 <= int(last) - int(first) < _MOST:
        raise _no_braces(pattern, f"{{{content}}}")
    width = len(first) if first.startswith("0") else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]


def _no_braces(pattern: str, found: str) -> ConfigError:
    return ConfigError(
        "the pattern of shards does not make sense",
        where=f"data.shards: {pattern}",
        found=found,
        expected="{000000..000999} with rising numbers, or {a,b}",
    )


def _leads_out(pattern: str) -> ConfigError:
    return ConfigError(
        "the pattern does not stay below the data root",
        where="data.shards",
        found=repr(pattern),
        expected="a relative pattern such as sa_{000000..000999}.tar",
    )
