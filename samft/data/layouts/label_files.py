"""Which label file belongs to which image, where there is one of each, by their names.

`7.xml` and `7_data.xml` belong to `7.tif`, and so does `7.tif.geojson`. Where several images have
the name, the one in the label file's folder is meant, or else the one whose folders' names it has
most of: `train/labels/7.json` goes with `train/images/7.png`, not with `test/images/7.png`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from samft.data.files import describe_contents, list_files, match_files, name_some, stem_of
from samft.data.layouts.base import LayoutSettings
from samft.data.readers.volumes import is_volume
from samft.data.roots import stays_inside
from samft.errors import ConfigError, DatasetError

_SEPARATOR = re.compile(r"[_\-. ]")


def find_label_files(root: Path, suffixes: tuple[str, ...], settings: LayoutSettings) -> list[Path]:
    """Return the label files: those of a pattern, or all with one of the endings.

    Args:
        root: The data root.
        suffixes: Endings in lower case, such as `.xml`.
        settings: With the pattern, if the user gave one.

    Raises:
        DatasetError: if there are none, or a link leads out of `root`.
    """
    if settings.labels is not None:
        return match_files(root, settings.labels, setting="data.labels")
    found = sorted(_below(root, suffixes))
    outside = [path for path in found if not stays_inside(root, path)]
    if outside:
        raise DatasetError(
            "a symbolic link leads out of the data folder",
            where=outside[0],
            found=f"it points to {outside[0].resolve()}",
            expected=f"a file below {root}",
            fix="copy the file, or set data.root to a folder that holds both",
        )
    if not found:
        raise DatasetError(
            "no label files found",
            where=root,
            found=describe_contents(root),
            expected=" or ".join(suffixes) + " files",
            fix="set data.root to the folder that holds them, or data.labels to a pattern",
        )
    return found


def find_image_files(root: Path, settings: LayoutSettings) -> list[Path]:
    """Return the flat images: those of the pattern, or all.

    Raises:
        ConfigError: if there are several patterns.
        DatasetError: if there are none, or a link leads out of `root`.
    """
    if settings.images is not None and len(settings.images) > 1:
        raise ConfigError(
            "one image per label file is expected, not several channels",
            where="data.images",
            found=f"{len(settings.images)} patterns",
            expected="one pattern",
            fix="put the channels into one file, such as a TIFF",
        )
    if settings.images is not None:
        found = match_files(root, settings.images[0], setting="data.images")
    else:
        found = list_files(root)
    flat = [path for path in found if not is_volume(path)]
    if not flat:
        raise DatasetError(
            "no images found",
            where=root,
            found=describe_contents(root),
            expected="PNG, JPEG, BMP, GIF, WebP or TIFF files",
            fix="set data.root to the folder that holds images and labels",
        )
    return flat


def match_by_stem(root: Path, labels: Iterable[Path], images: Iterable[Path]) -> dict[Path, Path]:
    """Return the image of each label file that has one.

    Args:
        root: The data root.
        labels: The label files.
        images: The images.

    Raises:
        DatasetError: if several images fit one label file equally well.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[stem_of(image)].append(image)
    found = {label: _best(root, label, by_stem) for label in labels}
    return {label: image for label, image in found.items() if image is not None}


def refuse_shared(root: Path, image_of: Mapping[Path, Path]) -> None:
    """Refuse two label files for the same image.

    Raises:
        DatasetError: if there are any.
    """
    owner: dict[Path, Path] = {}
    for label, image in image_of.items():
        if image in owner:
            raise DatasetError(
                "several label files are about one image",
                where=image,
                found=name_some(root, [owner[image], label]),
                expected="one label file",
                fix="choose with data.labels, a pattern such as 'final/*.xml'",
            )
        owner[image] = label


def label_stem(path: Path) -> str:
    """Return a label file's name without its ending, and without that of its image."""
    return stem_of(path.with_suffix(""))


def _best(root: Path, label: Path, by_stem: Mapping[str, Sequence[Path]]) -> Path | None:
    stems = (stem for stem in _beginnings(label_stem(label)) if stem in by_stem)
    fitting = next((by_stem[stem] for stem in stems), ())
    if not fitting:
        return None
    scores = [_closeness(root, label, image) for image in fitting]
    best = [image for image, score in zip(fitting, scores, strict=True) if score == max(scores)]
    exact = [image for image in best if image.name == label.with_suffix("").name]
    best = exact or best
    if len(best) > 1:
        raise DatasetError(
            "several images fit one label file",
            where=label,
            found=name_some(root, best),
            expected="one image",
            fix="choose with data.images, a pattern such as 'images/*.tif'",
        )
    return best[0]


def _beginnings(stem: str) -> list[str]:
    """Return a name and all that it begins with up to a separator, the longest first."""
    cuts = [match.start() for match in _SEPARATOR.finditer(stem) if match.start()]
    return [stem, *(stem[:cut] for cut in reversed(cuts))]


def _closeness(root: Path, label: Path, image: Path) -> tuple[bool, int, int]:
    here, there = (path.relative_to(root).parts[:-1] for path in (label, image))
    shared = len(set(here) & set(there))
    return here == there, shared, -len(set(here) ^ set(there))


def _below(root: Path, suffixes: tuple[str, ...]) -> Iterable[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield Path(folder, name)
