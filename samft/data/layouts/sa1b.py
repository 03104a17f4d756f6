"""SA-1B: a JSON file with masks beside each image; indexed by names alone."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from samft.data.checks import check_same_size
from samft.data.classes import UNNAMED
from samft.data.files import SUFFIXES, describe_contents, match_files, name_some, relative_name
from samft.data.layouts.base import Layout
from samft.data.layouts.image_folders import split_of_path
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.pairing import report_lonely
from samft.data.readers.image import probe_image
from samft.data.readers.sa1b import is_masklets, is_sa1b, looks_like_sa1b, read_sa1b
from samft.data.records import Record
from samft.data.roots import stays_inside
from samft.data.shapes import ShapeTruth
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_LOOKED_AT = 5
_JSON = ".json"
_VIDEOS = (".mp4", ".mov", ".avi", ".mkv")


class Sa1bLayout(Layout):
    """`sa_1.jpg` and `sa_1.json`, side by side or in two trees, as SA-1B has them.

    What `samft predict` writes as SA-1B is of this layout too (`a.png` and `a.png.json`). A JSON
    file is opened when its image is read, not before: millions of them are indexed by name.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "sa1b"

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        names = listing.ending(_JSON)[:_LOOKED_AT]
        for name in names:
            if is_sa1b(listing.parsed(name)):
                return f"{name} holds SA-1B's image and annotations"
        for name in names:
            if is_masklets(listing.root / name):
                return f"{name} holds SA-V's masklets"
        return None

    def records(self) -> list[Record]:
        """See `Layout`."""
        chosen_classes(self.settings, (UNNAMED,), "SA-1B's masks have no classes")
        single = _Single()
        pairs = [
            pair for folder in self._folders() for pair in _pairs_in(self.root, folder, single)
        ]
        pairs += _pairs_across(self.root, single)
        self._report(single, found=bool(pairs))
        records = [self._record(image, label) for image, label in pairs]
        return sorted(records, key=lambda record: record.sample_id)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (UNNAMED,)

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        label, image = record.labels[0], record.images[0]
        labelled = read_sa1b(label)
        size = probe_image(image, every_channel=True)
        if labelled.size is not None:
            check_same_size(label, labelled.size, image, size)
        for kind, count in labelled.left_out.items():
            _log.warning("%s: left out are %d %s", label, count, kind)
        return ShapeTruth(labelled.shapes, size, {UNNAMED: 0}, where=label)

    def _record(self, image: str, label: str) -> Record:
        return Record(
            sample_id=image,
            case_id=image,
            images=(self.root / image,),
            labels=(self.root / label,),
            split=split_of_path(image.rpartition("/")[0]),
        )

    def _folders(self) -> Iterator[_Folder]:
        """Return what lies in each folder, images and JSON files by the patterns if there are."""
        settings = self.settings
        if settings.images is None and settings.labels is None:
            yield from _walk(self.root)
            return
        found: dict[str, _Folder] = {}
        every = {folder.name: folder for folder in _walk(self.root)}
        images = [(f.name, base) for f in every.values() for base in f.images]
        labels = [(f.name, base) for f in every.values() for base in f.labels]
        if settings.images is not None:
            images = [
                _split(self.root, path)
                for pattern in settings.images
                for path in match_files(self.root, pattern, setting="data.images")
                if path.name.lower().endswith(SUFFIXES)
            ]
        if settings.labels is not None:
            files = match_files(self.root, settings.labels, setting="data.labels")
            labels = [_split(self.root, path) for path in files]
        for name, base in images:
            found.setdefault(name, _Folder(name)).images.append(base)
        for name, base in labels:
            found.setdefault(name, _Folder(name)).labels.append(base)
        yield from found.values()

    def _report(self, single: _Single, *, found: bool) -> None:
        labels = [self.root / name for name in single.labels]
        ours = [path for path in labels if looks_like_sa1b(path)]
        masklets = [path for path in labels if path not in ours and is_masklets(path)]
        if masklets and not found:
            raise self._no_videos(masklets)
        foreign = len(labels) - len(ours)
        if foreign and (found or ours):
            _log.info("%d JSON files in %s are not of SA-1B and are not read", foreign, self.root)
        on_missing = self.settings.on_missing
        report_lonely(self.root, ours, "SA-1B file", "image", on_missing=on_missing)
        images = [self.root / name for name in single.images]
        if found:
            report_lonely(self.root, images, "image", "SA-1B file", on_missing=on_missing)
            return
        raise DatasetError(
            "no image has a file of SA-1B",
            where=self.root,
            found=describe_contents(self.root),
            expected="sa_1.json beside sa_1.jpg",
            fix="set data.root to the folder that holds both",
        )

    def _no_videos(self, masklets: list[Path]) -> DatasetError:
        videos = [path for path in self.root.rglob("*") if path.suffix.lower() in _VIDEOS]
        lying = f"{len(videos)} videos, which are not read" if videos else "no frames and no videos"
        return DatasetError(
            "the folder holds masklets of SA-V without the frames of their videos",
            where=self.root,
            found=f"{name_some(self.root, masklets)}; {lying}",
            expected="images with one JSON file each",
            fix="save the annotated frames (every fourth) as images, and the masks of each frame "
            "as a JSON file of SA-1B with the same name",
        )


@dataclass(slots=True)
class _Folder:
    """The bare names of the images and JSON files of one folder."""

    name: str
    images: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Single:
    """Images and JSON files that have no partner in their folder."""

    images: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def _walk(root: Path) -> Iterator[_Folder]:
    waiting = [""]
    while waiting:
        found = _Folder(waiting.pop())
        with os.scandir(root / found.name) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        prefix = f"{found.name}/" if found.name else ""
        for entry in listed:
            lower = entry.name.lower()
            if lower.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(prefix + entry.name)
            elif lower.endswith((_JSON, *SUFFIXES)):
                _refuse_link(root, entry)
                (found.labels if lower.endswith(_JSON) else found.images).append(entry.name)
        yield found


def _refuse_link(root: Path, entry: os.DirEntry[str]) -> None:
    if entry.is_symlink() and not stays_inside(root, Path(entry.path)):
        raise DatasetError(
            "a symbolic link leads out of the data folder",
            where=entry.path,
            expected=f"a file below {root}",
            fix="copy the file, or set data.root to a folder that holds both",
        )


def _split(root: Path, path: Path) -> tuple[str, str]:
    folder, _, base = relative_name(root, path).rpartition("/")
    return folder, base


def _pairs_in(root: Path, folder: _Folder, single: _Single) -> Iterator[tuple[str, str]]:
    """Pair by name within a folder: `sa_1.json` and `a.png.json` go with `sa_1.jpg`, `a.png`."""
    prefix = f"{folder.name}/" if folder.name else ""
    by_name = _by_name(folder.images)
    taken: set[str] = set()
    for label in folder.labels:
        fitting = by_name.get(label[: -len(_JSON)], ())
        if len(fitting) > 1:
            raise _ambiguous(root / f"{prefix}{label}", [f"{prefix}{base}" for base in fitting])
        if not fitting:
            single.labels.append(f"{prefix}{label}")
            continue
        taken.add(fitting[0])
        yield f"{prefix}{fitting[0]}", f"{prefix}{label}"
    single.images += [f"{prefix}{base}" for base in folder.images if base not in taken]


def _pairs_across(root: Path, single: _Single) -> list[tuple[str, str]]:
    """Pair what lies in two trees, such as `images/a/7.png` and `sa1b/a/7.png.json`."""
    by_name = _by_name(single.images)
    found: dict[str, str] = {}
    for label in single.labels:
        fitting = by_name.get(label.rpartition("/")[2][: -len(_JSON)], ())
        scores = [_shared_tail(image, label) for image in fitting]
        best = [i for i, s in zip(fitting, scores, strict=True) if s == max(scores)]
        if len(best) > 1:
            raise _ambiguous(root / label, best)
        if best and best[0] in found:
            raise _ambiguous(root / best[0], [found[best[0]], label])
        if best:
            found[best[0]] = label
    taken = set(found.values())
    single.images = [name for name in single.images if name not in found]
    single.labels = [name for name in single.labels if name not in taken]
    return list(found.items())


def _by_name(images: Sequence[str]) -> dict[str, list[str]]:
    """Return images by their bare names with and without ending."""
    found: dict[str, list[str]] = defaultdict(list)
    for image in images:
        base = image.rpartition("/")[2]
        found[base].append(image)
        found[base.rpartition(".")[0]].append(image)
    return found


def _shared_tail(image: str, label: str) -> int:
    folders = zip(reversed(image.split("/")[:-1]), reversed(label.split("/")[:-1]), strict=False)
    count = 0
    for one, other in folders:
        if one != other:
            break
        count += 1
    return count


def _ambiguous(where: Path, names: Sequence[str]) -> DatasetError:
    return DatasetError(
        "several files fit one name",
        where=where,
        found=" and ".join(names[:2]),
        expected="one image and one JSON file of a name",
        fix="choose with data.images and data.labels, patterns such as 'images/*.jpg'",
    )
