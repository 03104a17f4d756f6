"""Which mask of a BIDS data set belongs to which image, by the entities in their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.data.files import name_some, relative_name
from samft.data.readers.bids import BidsName, find_sources, parse_name
from samft.errors import DatasetError

_ABOUT_LABELS = frozenset({"label", "desc", "seg", "atlas", "hemi", "space"})
_OWN_SPACE = frozenset({"orig", "individual", "native", "scanner", "self"})


@dataclass(frozen=True, kw_only=True, slots=True)
class BidsFile:
    """A file of the data set.

    Args:
        path: Where it lies.
        name: The parts of its name.
        pipeline: The folder below `derivatives/`; `None` of files in the data set itself.
    """

    path: Path
    name: BidsName
    pipeline: str | None

    @property
    def unit(self) -> tuple[str | None, str | None]:
        """Subject and session."""
        return self.name.entities.get("sub"), self.name.entities.get("ses")


def sort_files(root: Path, paths: Sequence[Path]) -> list[BidsFile]:
    """Return the files that belong to the data set: of subjects, raw or in a pipeline's folder.

    Args:
        root: The data root.
        paths: Images and masks below it.
    """
    found: list[BidsFile] = []
    for path in paths:
        folders = list(path.relative_to(root).parts[:-1])
        pipeline: str | None = None
        if folders and folders[0] == "derivatives":
            below = folders[1:]
            start = next((i for i, f in enumerate(below) if f.startswith("sub-")), None)
            pipeline = "/".join(below[:start]) if start is not None else None
            folders = [] if start is None else below[start:]
        elif folders and folders[0] == "rawdata":
            folders = folders[1:]
        if folders and folders[0].startswith("sub-") and path.name.startswith("sub-"):
            found.append(BidsFile(path=path, name=parse_name(path), pipeline=pipeline))
    return found


def match_labels(
    root: Path, images: Sequence[BidsFile], labels: Sequence[BidsFile]
) -> dict[Path, list[BidsFile]]:
    """Return the masks of every image that has one.

    Args:
        root: The data root.
        images: The images.
        labels: The masks.

    Raises:
        DatasetError: if several images fit one mask.
    """
    by_unit: dict[tuple[str | None, str | None], list[BidsFile]] = defaultdict(list)
    for image in images:
        by_unit[image.unit].append(image)
    found: dict[Path, list[BidsFile]] = defaultdict(list)
    for label in labels:
        fitting = _fitting(root, label, by_unit[label.unit])
        if len(fitting) > 1:
            raise DatasetError(
                "several images fit one mask",
                where=label.path,
                found=name_some(root, [image.path for image in fitting]),
                expected="one image",
                fix="choose with data.images, a pattern such as '**/*_T1w.nii.gz'",
            )
        for image in fitting:
            found[image.path].append(label)
    return dict(found)


def join_channels(root: Path, groups: Sequence[Sequence[BidsFile]]) -> dict[Path, tuple[Path, ...]]:
    """Return the channels of every image of the first group, by what their names have in common.

    Args:
        root: The data root.
        groups: The images of every channel.

    Raises:
        DatasetError: if an image lacks a channel, or several files fit.
    """
    first, *others = groups
    by_key = [_by_key(group) for group in others]
    found: dict[Path, tuple[Path, ...]] = {}
    for image in first:
        key = _channel_key(image)
        fitting = [group.get(key, []) for group in by_key]
        wrong = next((number for number, files in enumerate(fitting, 1) if len(files) != 1), None)
        if wrong is not None:
            files = fitting[wrong - 1]
            raise DatasetError(
                "an image has not exactly one file for a channel",
                where=relative_name(root, image.path),
                found=name_some(root, [file.path for file in files]) or "none",
                expected=f"one file of data.images[{wrong}] with the same subject, session, run",
                fix="narrow the patterns in data.images",
            )
        found[image.path] = (image.path, *(files[0].path for files in fitting))
    return found


def _fitting(root: Path, label: BidsFile, images: Sequence[BidsFile]) -> list[BidsFile]:
    """Return the images that fit a mask equally well; one, if all is well."""
    fitting = [image for image in images if _fits(label.name, image.name)]
    beside = [image for image in fitting if image.pipeline == label.pipeline]
    fitting = beside or [i for i in fitting if i.pipeline is None] or fitting
    if len(fitting) < 2:
        return fitting
    extra = [len(_binding(i.name) - _binding(label.name)) for i in fitting]
    best = [image for image, count in zip(fitting, extra, strict=True) if count == min(extra)]
    if len(best) > 1:
        sources = find_sources(label.path, root)
        best = [image for image in best if image.path.name in sources] or best
    return best


def _fits(label: BidsName, image: BidsName) -> bool:
    if label.tail and label.suffix != image.suffix:
        return False
    spaces = []
    for name in (label, image):
        space = name.entities.get("space")
        spaces.append(None if space in _OWN_SPACE or space == image.suffix else space)
    return spaces[0] == spaces[1] and _binding(label) <= _binding(image)


def _binding(name: BidsName) -> set[tuple[str, str]]:
    return {(key, value) for key, value in name.entities.items() if key not in _ABOUT_LABELS}


def _channel_key(file: BidsFile) -> tuple[object, ...]:
    kept = ("sub", "ses", "sample", "run", "chunk", "space", "res")
    values: Mapping[str, str] = file.name.entities
    return file.pipeline, *(values.get(key) for key in kept)


def _by_key(files: Sequence[BidsFile]) -> dict[tuple[object, ...], list[BidsFile]]:
    found: dict[tuple[object, ...], list[BidsFile]] = defaultdict(list)
    for file in files:
        found[_channel_key(file)].append(file)
    return found
