"""Where the images lie that a label file names without saying where."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from samft.data.files import SUFFIXES, match_files, relative_name
from samft.data.pairing import looks_like_label
from samft.data.records import Split
from samft.data.roots import stays_inside
from samft.errors import ConfigError, DatasetError

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_WORDS = re.compile(r"[a-z]+")
_Rank = tuple[bool, int, int]


class ImageFolders:
    """The images below a root, by name.

    A name such as `a/7.png` may be relative to any folder. Of the folders below which most names of
    a label file exist the best is taken: one that is not of masks, of the same split (`train2017/`
    for `instances_train2017.json`), nearest to the label file. Two that are equally good are an
    error, never a guess.

    Args:
        root: The absolute data root.
        patterns: Glob pattern of the images, if the user gave one.
    """

    def __init__(self, root: Path, patterns: Sequence[str] | None) -> None:
        self.root = root
        self._folders: dict[str, list[str]] = defaultdict(list)
        for name in _image_names(root, patterns):
            folder, _, base = name.rpartition("/")
            self._folders[base].append(folder)

    def find(self, names: Sequence[str], label: Path) -> dict[str, str | None]:
        """Return the path below the root of each name; `None` for what is not there.

        Args:
            names: Names as in a label file, with forward slashes or backslashes.
            label: The label file.

        Raises:
            DatasetError: if a name leads out of the root, or several images fit it equally well.
        """
        bases = {name: self._bases(_checked(name, label)) for name in names}
        votes = Counter(base for found in bases.values() for base in found)
        most = max(votes.values(), default=0)
        ranks = {base: self._rank(base, label) for base in votes}
        best = sorted((base for base in votes if votes[base] == most), key=ranks.__getitem__)
        if len(best) > 1 and ranks[best[0]] == ranks[best[1]]:
            raise _ambiguous(label, names[0], best[:2])
        chosen = best[:1]
        return {
            name: self._path(name, found, chosen, ranks, label) for name, found in bases.items()
        }

    def others(self, found: Iterable[str]) -> list[Path]:
        """Return the images in the folders of `found` that are not among them."""
        listed = set(found)
        folders = {name.rpartition("/")[0] for name in listed}
        names = (
            f"{folder}/{base}".lstrip("/")
            for base, places in self._folders.items()
            for folder in places
            if folder in folders
        )
        return sorted(self.root / name for name in names if name not in listed)

    def named(self, base: str) -> list[str]:
        """Return the paths below the root of all images with a bare name."""
        return [f"{folder}/{base}".lstrip("/") for folder in self._folders.get(base, ())]

    def _bases(self, name: str) -> list[str]:
        """Return the folders below which a relative name exists."""
        folder, _, base = name.rpartition("/")
        places = self._folders.get(base, [])
        if not folder:
            return places
        return [
            place[: -len(folder)].rstrip("/")
            for place in places
            if place == folder or place.endswith(f"/{folder}")
        ]

    def _rank(self, base: str, label: Path) -> _Rank:
        """Return how ill a folder fits: of masks, of another split, far away."""
        folder = self.root / base
        masks = looks_like_label(self.root, folder / "x.png")
        theirs, ours = split_of_path(base), split_of_path(relative_name(self.root, label))
        wrong = 0 if theirs == ours else 1 if theirs is None or ours is None else 2
        return masks, wrong, len(Path(os.path.relpath(folder, label.parent)).parts)

    def _path(
        self,
        name: str,
        bases: Sequence[str],
        chosen: Sequence[str],
        ranks: dict[str, _Rank],
        label: Path,
    ) -> str | None:
        if not bases:
            return None
        if chosen and chosen[0] in bases:
            base = chosen[0]
        else:  # the images are spread over several folders
            ordered = sorted(bases, key=ranks.__getitem__)
            if len(ordered) > 1 and ranks[ordered[0]] == ranks[ordered[1]]:
                raise _ambiguous(label, name, ordered[:2])
            base = ordered[0]
        return f"{base}/{_checked(name, label)}".lstrip("/")


def split_of_path(name: str) -> Split | None:
    """Return the split that a relative path names: `train` of `instances_train2017.json`.

    The name itself counts first, then its folders from the last on. One that names two
    (`train_val`) names none.
    """
    parts = PurePosixPath(name).parts
    for part in reversed(parts):
        found = {_SPLITS[word] for word in _WORDS.findall(part.lower()) if word in _SPLITS}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _image_names(root: Path, patterns: Sequence[str] | None) -> Iterator[str]:
    if patterns is not None:
        if len(patterns) > 1:
            raise ConfigError(
                "one file per image is expected, not several channels",
                where="data.images",
                found=f"{len(patterns)} patterns",
                expected="one pattern",
                fix="put the channels into one file, such as a TIFF",
            )
        found = match_files(root, patterns[0], setting="data.images")
        yield from (relative_name(root, path) for path in found)
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                _refuse_link(root, Path(folder, name))
                yield prefix + name


def _refuse_link(root: Path, path: Path) -> None:
    if path.is_symlink() and not stays_inside(root, path):
        raise DatasetError(
            "a symbolic link leads out of the data folder",
            where=path,
            found=f"it points to {path.resolve()}",
            expected=f"a file below {root}",
            fix="copy the file, or set data.root to a folder that holds both",
        )


def _checked(name: str, label: Path) -> str:
    """Return a name with forward slashes; refuse one that is absolute or climbs."""
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or ":" in parts[0] or parts[0] == "" or ".." in parts:
        raise DatasetError(
            "a label file names an image outside the data folder",
            where=label,
            found=f"{name!r:.120}",
            expected="a name relative to a folder of images, such as train/7.jpg",
            fix="write the names without drive, leading slash and '..'",
        )
    return "/".join(part for part in parts if part not in ("", "."))


def _ambiguous(label: Path, name: str, bases: Sequence[str]) -> DatasetError:
    shown = " and ".join(f"{base}/{name}".lstrip("/") for base in bases)
    return DatasetError(
        "several images fit one name of a label file",
        where=label,
        found=shown,
        expected="one image",
        fix=f"choose with data.images, a pattern such as '{bases[0] or '.'}/*.jpg'",
    )
