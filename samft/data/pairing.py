"""Which mask belongs to which image, by their names.

From both paths everything that only says "image" or "mask" is taken away: whole folder names
(`images/`, `masks/`) and words at either end of the file name (`img_7`, `7_mask`). Among the files
whose folders are then equal,

1. equal names belong together (`images/7.png` and `masks/7_mask.png`, `img7.tif` and `mask7.tif`);
2. a mask belongs to the image whose name it begins with (`sub-1_T2w.nii` and
   `derivatives/labels/sub-1_T2w_lesion.nii`, the layout of BIDS);
3. one image and one mask alone belong together (a folder per case);
4. where the names of all that is left begin with a number, each with another one, equal numbers
   belong together (`21_training.tif` and `21_manual1.gif`).

What is still single may find its partner by equal names in another folder. More than one partner is
an error, never a guess.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samft.data.files import (
    describe_contents,
    list_files,
    match_files,
    name_some,
    relative_name,
    stem_of,
)
from samft.data.other_files import advice_on_others, without_by_products
from samft.errors import DatasetError

OnMissing = Literal["error", "skip"]
"""What to do with an image without mask, or a mask without image."""

_log = logging.getLogger(__name__)

_LABEL_WORDS = (
    "annotations?|ground_?truth|gt|instances?|labelmaps?|labels?|lbl|manual|masks?|msk|"
    "segmentations?|segs?"
)
_IMAGE_WORDS = "fram|frames?|images?|imgs?|im|raw|scans?"
_ANY_WORD = f"{_LABEL_WORDS}|{_IMAGE_WORDS}"
_SEPARATOR = r"[_\-. ]"
_LABEL_FOLDER = re.compile(
    rf"(?:(?:{_ANY_WORD}){_SEPARATOR})*(?:{_LABEL_WORDS})(?:{_SEPARATOR}(?:{_ANY_WORD}))*"
    "|derivatives|labelst[rs]",
    re.IGNORECASE,
)
_ROLE_FOLDER = re.compile(
    rf"(?:{_ANY_WORD})(?:{_SEPARATOR}(?:{_ANY_WORD}))*|derivatives|(?:labels|images)t[rs]",
    re.IGNORECASE,
)
_LABEL_NAME = re.compile(
    rf"(?:.*{_SEPARATOR})?(?:{_LABEL_WORDS})|(?:{_LABEL_WORDS})(?:{_SEPARATOR}.*|\d.*)",
    re.IGNORECASE,
)
_WORDS_AT_END = re.compile(rf"(?:(?:^|{_SEPARATOR}+)(?:{_ANY_WORD}))+$", re.IGNORECASE)
_WORDS_AT_START = re.compile(rf"^(?:(?:{_ANY_WORD})(?:{_SEPARATOR}+|(?=\d)))+", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,18}")
_NNUNET_FOLDER = re.compile(r"imagest[rs]", re.IGNORECASE)
_NNUNET_CHANNEL = re.compile(r"_\d{4}$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One image with its mask.

    Args:
        image: The image file.
        label: The mask file.
    """

    image: Path
    label: Path


@dataclass(frozen=True, slots=True)
class _Key:
    """What is left of a path when the words for image and mask are gone."""

    folder: tuple[str, ...]
    stem: str


def find_pairs(
    root: Path,
    *,
    images: str | None = None,
    labels: str | None = None,
    on_missing: OnMissing = "error",
) -> list[Pair]:
    """Find the images below `root` and the mask of each.

    Args:
        root: The data root.
        images: Glob pattern of the images; default: every file that does not look like a mask.
        labels: Glob pattern of the masks; default: every file whose name or folder says so.
        on_missing: Whether a file without its partner is an error or left out.

    Returns:
        Pairs in the order of the image files.

    Raises:
        DatasetError: if there is nothing to pair, a partner is missing, or several would fit.
    """
    image_files, label_files = _candidates(root, images, labels)
    # What a pattern spells out is the same for all files, and says nothing about the pairing.
    spelled_out = {part for p in (images, labels) if p is not None for part in Path(p).parts[:-1]}
    image_keys = {path: _key(root, path, spelled_out) for path in image_files}
    label_keys = {path: _key(root, path, spelled_out) for path in label_files}
    found = _match_in_folders(image_keys, label_keys)
    _match_numbers(image_keys, label_keys, found)
    _match_across_folders(image_keys, label_keys, found)
    taken = {label for fitting in found.values() for label in fitting}
    _refuse_ambiguous(root, found)
    lonely_images = [path for path in image_files if path not in found]
    lonely_labels = [path for path in label_files if path not in taken]
    report_lonely(root, lonely_images, "image", "mask", on_missing=on_missing)
    report_lonely(root, lonely_labels, "mask", "image", on_missing=on_missing)
    if not found:
        raise DatasetError(
            "no image has a mask",
            where=root,
            found=f"{len(image_files)} images, {len(label_files)} masks, no names that agree",
            fix="set data.images and data.labels to patterns such as scans/*.png and truth/*.png",
        )
    return [Pair(image=path, label=found[path][0]) for path in image_files if path in found]


def find_channels(
    root: Path,
    *,
    images: Sequence[str | None],
    labels: str | None = None,
    on_missing: OnMissing = "error",
) -> list[tuple[tuple[Path, ...], Path]]:
    """Find images that consist of one file per channel, and the mask of each.

    Args:
        root: The data root.
        images: One glob pattern per channel; `[None]` finds single-channel images by name.
        labels: Glob pattern of the masks, or `None`.
        on_missing: Whether a file without its partner is an error or left out.

    Returns:
        The channels, in the order of the patterns, and the mask of every image.

    Raises:
        DatasetError: as `find_pairs`, and if an image lacks a channel.
    """
    channels = [
        {
            pair.label: pair.image
            for pair in find_pairs(root, images=pattern, labels=labels, on_missing=on_missing)
        }
        for pattern in images
    ]
    complete = [label for label in channels[0] if all(label in channel for channel in channels)]
    incomplete = {label for channel in channels for label in channel} - set(complete)
    report_lonely(root, sorted(incomplete), "mask", "image in every channel", on_missing=on_missing)
    return [(tuple(channel[label] for channel in channels), label) for label in complete]


def looks_like_label(root: Path, path: Path) -> bool:
    """Tell by its name and folders whether a file is a mask."""
    folders = path.relative_to(root).parts[:-1]
    return (
        any(_LABEL_FOLDER.fullmatch(name) for name in folders)
        or path.name.lower().endswith(".seg.nrrd")
        or _LABEL_NAME.fullmatch(stem_of(path)) is not None
    )


def _list_partners(root: Path) -> list[Path]:
    files = list_files(root)
    kept = without_by_products(files)
    dropped = sorted(set(files) - set(kept))
    if dropped:
        _log.info("%d flows or outlines left out: %s", len(dropped), name_some(root, dropped))
    return kept


def _candidates(
    root: Path, images: str | None, labels: str | None
) -> tuple[list[Path], list[Path]]:
    every = _list_partners(root) if images is None or labels is None else []
    if labels is not None:
        label_files = match_files(root, labels, setting="data.labels")
    else:
        label_files = [path for path in every if looks_like_label(root, path)]
    taken = set(label_files)
    if images is None:
        image_files = [p for p in every if p not in taken and not looks_like_label(root, p)]
    else:
        image_files = match_files(root, images, setting="data.images")
        chosen = set(image_files)
        if labels is None:  # the explicit pattern wins over the look of a name
            label_files = [path for path in label_files if path not in chosen]
        else:
            image_files = [path for path in image_files if path not in taken]
    _refuse_empty(root, image_files, label_files)
    return image_files, label_files


def _refuse_empty(root: Path, image_files: Sequence[Path], label_files: Sequence[Path]) -> None:
    if not image_files:
        raise DatasetError(
            "no images found",
            where=root,
            found=describe_contents(root),
            expected="PNG, JPEG, BMP, GIF, WebP, TIFF, NIfTI or NRRD files",
            fix=advice_on_others(root, "images")
            or "set data.root to the folder that holds them, or data.images to a pattern",
        )
    if not label_files:
        raise DatasetError(
            "no masks found",
            where=root,
            found=f"{len(image_files)} images such as {relative_name(root, image_files[0])}",
            expected="masks/ or labels/ beside images/, or names such as x_mask, x_seg, x_label",
            fix=advice_on_others(root, "masks")
            or "set data.labels to a pattern such as truth/*.png",
        )


def _key(root: Path, path: Path, spelled_out: Collection[str]) -> _Key:
    folders = path.relative_to(root).parts[:-1]
    kept = tuple(f for f in folders if f not in spelled_out and not _ROLE_FOLDER.fullmatch(f))
    stem = stem_of(path)
    if folders and _NNUNET_FOLDER.fullmatch(folders[-1]):
        stem = _NNUNET_CHANNEL.sub("", stem)
    return _Key(kept, _WORDS_AT_START.sub("", _WORDS_AT_END.sub("", stem)))


def _match_in_folders(
    image_keys: Mapping[Path, _Key], label_keys: Mapping[Path, _Key]
) -> dict[Path, list[Path]]:
    by_folder: dict[tuple[str, ...], dict[str, list[Path]]] = defaultdict(dict)
    count: dict[tuple[str, ...], int] = defaultdict(int)
    for path, key in image_keys.items():
        by_folder[key.folder].setdefault(key.stem, []).append(path)
    for key in label_keys.values():
        count[key.folder] += 1
    found: dict[Path, list[Path]] = {}
    for label, key in label_keys.items():
        stems = by_folder.get(key.folder, {})
        fitting = stems.get(key.stem) or _begun_by(key.stem, stems)
        if not fitting and count[key.folder] == 1 and len(stems) == 1:
            fitting = next(iter(stems.values()))
        for image in fitting:
            found.setdefault(image, []).append(label)
    return found


def _begun_by(stem: str, stems: Mapping[str, list[Path]]) -> list[Path]:
    """Return the images with the longest name that `stem` begins with."""
    cuts = [match.start() for match in re.finditer(_SEPARATOR, stem)]
    begun = (stem[:cut] for cut in reversed(cuts))
    return next((stems[start] for start in begun if start in stems), [])


def _match_numbers(
    image_keys: Mapping[Path, _Key],
    label_keys: Mapping[Path, _Key],
    found: dict[Path, list[Path]],
) -> None:
    taken = {label for fitting in found.values() for label in fitting}
    free_images = {path: key for path, key in image_keys.items() if path not in found}
    free_labels = {path: key for path, key in label_keys.items() if path not in taken}
    for folder in {key.folder for key in free_images.values()}:
        images = _by_number(path for path, key in free_images.items() if key.folder == folder)
        labels = _by_number(path for path, key in free_labels.items() if key.folder == folder)
        for number in images.keys() & labels.keys():
            found[images[number]] = [labels[number]]


def _by_number(paths: Iterable[Path]) -> dict[int, Path]:
    """Return files by the number their names begin with; none if one has no number of its own."""
    files = list(paths)
    starts = [_NUMBER.match(path.name) for path in files]
    numbers = {int(start[0]): path for start, path in zip(starts, files, strict=True) if start}
    return numbers if len(numbers) == len(files) else {}


def _match_across_folders(
    image_keys: Mapping[Path, _Key],
    label_keys: Mapping[Path, _Key],
    found: dict[Path, list[Path]],
) -> None:
    taken = {label for fitting in found.values() for label in fitting}
    free_images = _by_stem((p, k) for p, k in image_keys.items() if p not in found)
    free_labels = _by_stem((p, k) for p, k in label_keys.items() if p not in taken)
    for stem, labels in free_labels.items():
        images = free_images.get(stem, [])
        if len(labels) == len(images) == 1:
            found[images[0]] = labels


def _by_stem(keys: Iterable[tuple[Path, _Key]]) -> dict[str, list[Path]]:
    grouped: dict[str, list[Path]] = defaultdict(list)
    for path, key in keys:
        grouped[key.stem].append(path)
    return grouped


def _refuse_ambiguous(root: Path, found: Mapping[Path, Sequence[Path]]) -> None:
    owner: dict[Path, Path] = {}
    for image, labels in found.items():
        if len(labels) > 1:
            raise DatasetError(
                "several masks fit one image",
                where=image,
                found=name_some(root, labels),
                expected="one mask",
                fix="choose with data.labels, a pattern such as '**/*_seg.nii.gz'",
            )
        if labels[0] in owner:
            other = owner[labels[0]]
            copies = image.parent == other.parent and stem_of(image) == stem_of(other)
            raise DatasetError(
                "several images fit one mask",
                where=labels[0],
                found=name_some(root, [other, image]),
                expected="one image",
                fix="keep one of the two, whose names differ only in their endings"
                if copies
                else "choose with data.images, a pattern such as '**/*_T2w.nii.gz'",
            )
        owner[labels[0]] = image


def report_lonely(
    root: Path, paths: Sequence[Path], kind: str, partner: str, *, on_missing: OnMissing
) -> None:
    """Report files without a partner.

    Args:
        root: The data root.
        paths: The files, possibly none.
        kind: What they are: image or mask.
        partner: What they lack.
        on_missing: Whether that is an error, or they are left out with a warning.

    Raises:
        DatasetError: if there are such files and that is an error.
    """
    if not paths:
        return
    text = f"{len(paths)} {kind}{'s have' if len(paths) > 1 else ' has'} no {partner}"
    if on_missing == "skip":
        _log.warning("%s, left out: %s", text, name_some(root, paths))
        return
    raise DatasetError(
        text,
        where=root,
        found=name_some(root, paths),
        fix="add what is missing, choose with patterns in data.images and data.labels, or leave "
        "them out with data.on_missing: skip",
    )
