"""CVAT: one XML file about many images, or about the frames of a video."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from samft.data.checks import check_same_size
from samft.data.files import name_some, relative_name, stem_of
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.label_files import find_image_files, find_label_files
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.layouts.per_image import log_left_out
from samft.data.pairing import looks_like_label, report_lonely
from samft.data.readers.cvat import CvatFile, CvatImage, is_cvat, read_cvat
from samft.data.readers.cvat_parts import EXPECTED
from samft.data.readers.image import probe_image
from samft.data.readers.xml_files import tags_in
from samft.data.records import Record
from samft.data.roots import inside_root
from samft.data.shapes import ShapeTruth
from samft.data.truth import Truth
from samft.errors import DatasetError

_LOOKED_AT = 5
_NUMBER_AT_END = re.compile(r"\d+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """An image of the folder, and what tells about it: `entry` of a label file, if any."""

    image: Path
    label: Path
    entry: int | None


class CvatLayout(Layout):
    """Exports "CVAT for images" and "CVAT for video", unpacked: `annotations.xml` and `images/`.

    Several of them, each in its folder, are one data set.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "cvat"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in listing.ending(".xml")[:_LOOKED_AT]:
            if is_cvat(tags_in(listing.head(name))):
                return f"{name} holds CVAT's annotations"
        return None

    def records(self) -> list[Record]:
        """See `Layout`."""
        images = find_image_files(self.root, self.settings)
        labels: dict[str, None] = {}
        left_out: Counter[str] = Counter()
        found: list[_Found] = []
        files = list(self._files())
        for path, file in files:
            labels |= dict.fromkeys(file.labels)
            left_out.update(file.left_out)
            found += (
                self._frames(path, file, images)
                if file.is_video
                else self._images(path, file, images)
            )
        self._refuse_twice(found)
        self._report_unlisted(images, {item.image for item in found})
        log_left_out(left_out)
        self._names = chosen_classes(
            self.settings, tuple(labels), "no label file has a label of this name"
        )
        return sorted(map(self._record, found), key=lambda record: record.sample_id)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        label, image = record.labels[0], record.images[0]
        listed = self._listed(record)
        size = probe_image(image, every_channel=True)
        if listed is not None and listed.size is not None:
            check_same_size(label, listed.size, image, size)
        index = {name: number for number, name in enumerate(self._names)}
        return ShapeTruth(listed.shapes(label) if listed else (), size, index, where=label)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        del check_affine
        for record in records:
            size = probe_image(record.images[0], every_channel=every_channel)
            listed = self._listed(record)
            if listed is not None and listed.size is not None:
                check_same_size(record.labels[0], listed.size, record.images[0], size)

    def _files(self) -> Iterator[tuple[Path, CvatFile]]:
        """Yield the label files; other XML files are none of ours."""
        paths = find_label_files(self.root, (".xml",), self.settings)
        count = 0
        for path in paths:
            file = read_cvat(path)
            if file is not None:
                count += 1
                yield path, file
            elif self.settings.labels is not None:
                raise self._no_file([path])
        if not count:
            raise self._no_file(paths)

    def _images(self, path: Path, file: CvatFile, images: Sequence[Path]) -> Iterator[_Found]:
        places = _Places(self.root, images)
        missing: list[Path] = []
        for entry, listed in enumerate(file.images):
            image = places.find(path, listed)
            if image is None:
                missing.append(self.root / listed.name.replace("\\", "/"))
            else:
                yield _Found(image=image, label=path, entry=entry)
        report_lonely(
            self.root,
            missing,
            "listed image",
            "file",
            on_missing=self.settings.on_missing,
        )

    def _frames(self, path: Path, file: CvatFile, images: Sequence[Path]) -> Iterator[_Found]:
        below = [image for image in images if image.is_relative_to(path.parent)]
        by_number = _by_number(path, below or images)
        missing = []
        entry_of: dict[int, int] = {}
        for entry, listed in enumerate(file.images):
            assert listed.frame is not None  # a video's
            entry_of[listed.frame] = entry
            if listed.frame not in by_number:
                missing.append(path.parent / listed.name)
        report_lonely(
            self.root,
            missing,
            "annotated frame",
            "image",
            on_missing=self.settings.on_missing,
        )
        for frame, image in by_number.items():
            yield _Found(image=image, label=path, entry=entry_of.get(frame))

    def _record(self, found: _Found) -> Record:
        name = relative_name(self.root, found.image)
        is_frame = found.entry is None or self._is_video(found.label)
        return Record(
            sample_id=name,
            # The frames of a video look alike and stay together.
            case_id=relative_name(self.root, found.label) if is_frame else name,
            images=(found.image,),
            labels=(found.label,),
            entry=None if found.entry is None else str(found.entry),
        )

    def _is_video(self, label: Path) -> bool:
        file = read_cvat(label)
        return file is not None and file.is_video

    def _listed(self, record: Record) -> CvatImage | None:
        if record.entry is None:
            return None
        file = read_cvat(record.labels[0])
        number = int(record.entry)
        if file is None or number >= len(file.images):
            raise self._no_file([record.labels[0]])
        return file.images[number]

    def _refuse_twice(self, found: Sequence[_Found]) -> None:
        label_of: dict[Path, Path] = {}
        for item in found:
            if item.image in label_of:
                raise DatasetError(
                    "an image is annotated twice",
                    where=item.image,
                    found=name_some(self.root, {label_of[item.image], item.label}),
                    expected="one entry in one file",
                    fix="choose with data.labels, a pattern such as 'task_1/annotations.xml'",
                )
            label_of[item.image] = item.label

    def _report_unlisted(self, images: Sequence[Path], listed: set[Path]) -> None:
        chosen = self.settings.images is not None
        lonely = [
            image
            for image in images
            if image not in listed and (chosen or not looks_like_label(self.root, image))
        ]
        report_lonely(
            self.root,
            lonely,
            "image",
            "entry in a label file",
            on_missing=self.settings.on_missing,
        )

    def _no_file(self, paths: Sequence[Path]) -> DatasetError:
        return DatasetError(
            f"no file is {EXPECTED}" if len(paths) != 1 else f"the file is not {EXPECTED}",
            where=self.root if len(paths) != 1 else paths[0],
            found=name_some(self.root, paths),
            expected='an export "CVAT for images 1.1" or "CVAT for video 1.1"',
            fix="set data.layout to what they are, or data.labels to a pattern of the right ones",
        )


class _Places:
    """Where the images that label files name may lie."""

    def __init__(self, root: Path, images: Sequence[Path]) -> None:
        self._root = root
        self._known = set(images)
        self._by_name: Mapping[str, list[Path]] = defaultdict(list)
        for image in images:
            self._by_name[stem_of(image)].append(image)

    def find(self, label: Path, listed: CvatImage) -> Path | None:
        """Return the image of an entry, or `None` if it is not there.

        Raises:
            DatasetError: if the name leads out of the root, or several images have it.
        """
        name = listed.name.replace("\\", "/")
        if inside_root(self._root, name) is None:
            raise DatasetError(
                "a label file names an image outside the data folder",
                where=label,
                found=repr(listed.name[:80]),
                expected=f"a path below {self._root}",
            )
        subset = f"images/{listed.subset}/" if listed.subset else "images/"
        folders = (label.parent, self._root)
        tried = [folder / f"{within}{name}" for folder in folders for within in (subset, *_WITHIN)]
        exact = next((path for path in tried if path in self._known), None)
        return exact or self._elsewhere(label, name)

    def _elsewhere(self, label: Path, name: str) -> Path | None:
        """Return the one image whose path ends with the name, with its ending or without."""
        found = [
            image
            for image in self._by_name.get(stem_of(Path(name)), ())
            if f"/{image.as_posix()}".endswith((f"/{name}", f"/{name}{image.suffix}"))
        ]
        near = [image for image in found if image.is_relative_to(label.parent)]
        best = near or found
        if len(best) > 1:
            raise DatasetError(
                "several images have the name of an entry",
                where=label,
                found=name_some(self._root, best),
                expected=f"one {name[:80]}",
                fix="choose with data.images, a pattern such as 'images/*.png'",
            )
        return best[0] if best else None


_WITHIN = ("images/", "")


def _by_number(label: Path, images: Sequence[Path]) -> dict[int, Path]:
    """Return the frames of a video by the number at the end of their names."""
    found: dict[int, Path] = {}
    for image in images:
        match = _NUMBER_AT_END.search(stem_of(image))
        number = int(match[0]) if match and len(match[0]) < 10 else None
        if number is None or number in found:
            raise DatasetError(
                "the frames of a video cannot be told by their names",
                where=label,
                found=image.name if number is None else f"{found[number].name}, {image.name}",
                expected="frame_000000.png and so on, as CVAT exports them",
                fix="choose with data.images, a pattern such as 'images/frame_*.png'",
            )
        found[number] = image
    return found
