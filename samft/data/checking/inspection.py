"""Everything that one image with its labels tells by itself; runs in any process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.data.checking import images, likeness, masks, volumes
from samft.data.checking.facts import Facts
from samft.data.checking.findings import Finding
from samft.data.checking.objects import count_objects
from samft.data.checking.settings import CheckSettings
from samft.data.checks import check_same_place
from samft.data.files import SUFFIXES, relative_name
from samft.data.labels import InstanceMask
from samft.data.layouts.base import Layout
from samft.data.readers.dicom import read_series
from samft.data.readers.image import read_image
from samft.data.readers.tiff_stack import read_stack
from samft.data.readers.volumes import is_volume, probe_segments, probe_volume, read_volume
from samft.data.records import Record
from samft.data.sources import PictureSource, SeriesSource, Source, StackSource, VolumeSource
from samft.errors import DependencyError, SamftError

_KINDS: Final = (
    ("sizes differ", "size-mismatch"),
    ("position in space", "geometry-nonsense"),
    ("different places", "affine-mismatch"),
    ("no class name", "value-unknown"),
    ("cannot be read", "file-unreadable"),
    ("does not exist", "file-unreadable"),
    ("larger than allowed", "file-unreadable"),
    ("more memory than allowed", "file-unreadable"),
    ("impossible size", "file-unreadable"),
)
_LONELY = re.compile(r"(\d+) .*\b(?:has|have) no (\w+)")
_MOST_CHANNELS = 3


@dataclass(slots=True)
class Inspector:
    """Looks at records one by one; travels to worker processes.

    Args:
        layout: Knows how the files are to be read; was indexed.
        settings: What training will do with them.
    """

    layout: Layout
    settings: CheckSettings

    def __call__(self, record: Record) -> Facts:
        """Look at one record; what is wrong with it is in the result, never raised."""
        facts = Facts()
        try:
            for path in (*record.images, *record.labels):
                if (empty := self._no_image(path)) is not None:
                    facts.findings.append(empty)
                    return facts
            grey = self._image(record, facts)
        except SamftError as error:
            facts.findings.append(finding_of(error, self.layout.root, record.images[0]))
            return facts
        try:
            labels = self._stored_labels(record, facts)
            if not any(item.severity == "error" for item in facts.findings):
                self._objects(record, facts, labels, grey)
        except SamftError as error:
            path = (*record.labels, *record.images)[0]
            facts.findings.append(
                finding_of(error, self.layout.root, path, default="labels-unreadable")
            )
        return facts

    def _name(self, path: Path) -> str:
        return name_of(path, self.layout.root)

    def _no_image(self, path: Path) -> Finding | None:
        if path.is_file():
            return empty_file(self._name(path)) if path.stat().st_size == 0 else None
        if not path.exists() or path.is_dir():
            return None  # readers say what is missing; a folder may be a store of many files
        return Finding(
            code="file-unreadable",
            file=self._name(path),
            found="neither a file nor a folder, but a pipe or device",
            expected="an image",
            fix="take it out of the data set",
        )

    def _image(self, record: Record, facts: Facts) -> NDArray[Any] | None:
        """Look at the image; return it as (H, W), or nothing if it is no flat image."""
        source = self.layout.source(record, self.settings.preprocessing)
        first = self._name(record.images[0])
        if isinstance(source, PictureSource):
            return self._picture(source, facts)
        if isinstance(source, VolumeSource | StackSource | SeriesSource):
            arrays = (
                [read_series(source.series)]
                if isinstance(source, SeriesSource)
                else [_planes_of(path) for path in record.images]
            )
            facts.size, facts.channels = arrays[0].shape[1:], sum(len(array) for array in arrays)
            self._check_channels(facts.channels, record.images[0])
            facts.depth = str(arrays[0].dtype)
            if isinstance(source, SeriesSource):
                facts.depth = "uint8" if len(arrays[0]) == 3 else images.depth_of(arrays[0])
            facts.digest = _joined([likeness.digest_of(array) for array in arrays])
            for path, array in zip(record.images, arrays, strict=False):  # a series has many files
                facts.findings += images.check_values(
                    array, self._name(path), flat=False, windowed=self.settings.windowed
                )
            if is_volume(record.images[0]):
                facts.findings += volumes.check_space(record.images[0], first)
            return None
        return self._other(source, facts, first)

    def _check_channels(self, count: int, path: Path) -> None:
        """Refuse as many channels as training would; nothing is decoded for it."""
        preprocessing = self.settings.preprocessing
        point = np.zeros((1, 1, 1), np.uint8)
        chosen = preprocessing.planes([point] * count, path, is_volume=True)
        slices = 2 * preprocessing.context + 1
        preprocessing.as_image(np.tile(chosen[:, 0], (slices, 1, 1)), path)

    def _picture(self, source: PictureSource, facts: Facts) -> NDArray[Any]:
        arrays = []
        for path in source.files:
            array = read_image(path, every_channel=len(source.files) == 1)
            header = images.read_header(path)
            facts.findings += images.check_header(header, self._name(path))
            facts.findings += images.check_values(
                array, self._name(path), flat=True, windowed=self.settings.windowed
            )
            facts.alpha = header.alpha if header.alpha != "none" else facts.alpha
            arrays.append(array)
        first = arrays[0]
        facts.channels = sum(1 if array.ndim == 2 else array.shape[-1] for array in arrays)
        if len({array.shape[:2] for array in arrays}) > 1 or facts.channels > _MOST_CHANNELS:
            source.picture(0)  # says what training would say
        facts.size, facts.depth = (first.shape[0], first.shape[1]), str(first.dtype)
        facts.highest = int(first.max()) if first.dtype.kind in "iu" else 0
        facts.digest = _joined([likeness.digest_of(array) for array in arrays])
        grey = likeness.grey_of(first)
        facts.likeness = likeness.likeness_of(grey)
        return grey

    def _other(self, source: Source, facts: Facts, name: str) -> NDArray[Any] | None:
        """Look at an image that only its own source can read, plane by plane."""
        digests = []
        picture: NDArray[Any] | None = None
        varied = False
        for index in range(len(source.planes)):
            picture = source.picture(index)
            varied = varied or picture.min() != picture.max()
            digests.append(likeness.digest_of(picture))
        assert picture is not None  # a source has at least one plane
        space = source.space
        facts.size = picture.shape[1:] if space is None else space.shape
        facts.channels, facts.depth = picture.shape[0], str(picture.dtype)
        facts.digest = _joined(digests)
        source.release()
        if not varied:
            facts.findings += images.check_values(picture, name, flat=True, windowed=True)
        return picture.mean(axis=0, dtype=np.float32) if space is None else None

    def _stored_labels(self, record: Record, facts: Facts) -> NDArray[Any] | None:
        """Look at the numbers of mask files; return those of a lone mask."""
        files = [path for path in record.labels if path.name.lower().endswith(SUFFIXES)]
        if len(files) != len(record.labels) or not files:
            return None
        settings = self.layout.settings
        stored = None
        for path in files:
            stored = masks.read_stored(path)
            name = self._name(path)
            if masks.size_of(stored) != facts.size:
                facts.findings.append(self._misfit(record, path, masks.size_of(stored), facts.size))
            elif is_volume(path) and is_volume(record.images[0]):
                facts.findings += self._misplaced(record.images[0], path)
            if stored.ndim == 3:
                facts.findings += masks.check_colours(stored, name, settings)
                continue
            measured = masks.measure(stored, settings, alone=len(files) == 1)
            facts.findings += masks.check_grey(stored, measured, path, name=name, settings=settings)
            if len(files) == 1:
                named = is_volume(path) and probe_segments(path)
                facts.mask = None if named else measured  # named segments need no numbers
            elif measured.foreground == 0:
                facts.findings.append(_without_object(name))
        return stored if len(files) == 1 else None

    def _objects(
        self, record: Record, facts: Facts, stored: NDArray[Any] | None, grey: NDArray[Any] | None
    ) -> None:
        truth = self.layout.truth(record)
        if truth.size != facts.size:
            path = (*record.labels, *record.images)[0]
            facts.findings.append(self._misfit(record, path, truth.size, facts.size))
            return
        facts.instances = isinstance(truth, InstanceMask)
        source = self.layout.source(record, self.settings.preprocessing)
        chosen = self.layout.settings.objects
        label_map = count_objects(
            facts,
            truth,
            mode="component" if chosen == "auto" else chosen,
            axis=None if source.space is None else source.space.axis,
            settings=self.settings,
            name=self._name((*record.labels, *record.images)[0]),
            one_file_each=self.layout.name == "object_files",
        )
        if grey is not None and label_map is not None:
            facts.fit = likeness.fit_of(grey, label_map)
        if facts.objects == 0 and stored is not None:
            facts.findings += self._nothing(record, facts)

    def _nothing(self, record: Record, facts: Facts) -> list[Finding]:
        if facts.ignored >= 1 or (facts.mask is not None and facts.mask.foreground > 0):
            return []  # the values of the whole set tell why
        return [_without_object(self._name(record.labels[0]))]

    def _misplaced(self, image: Path, mask: Path) -> list[Finding]:
        if not self.settings.check_affine:
            return []
        try:
            check_same_place(mask, probe_volume(mask), image, probe_volume(image))
        except SamftError as error:
            return [finding_of(error, self.layout.root, mask)]
        return []

    def _misfit(
        self, record: Record, path: Path, size: tuple[int, ...], expected: tuple[int, ...]
    ) -> Finding:
        image = record.images[0]
        code, fix = "size-mismatch", "export both at the same size, or take both out of the set"
        flat = len(expected) == len(size) == 2
        if flat and path != image and size == expected[::-1]:
            code, fix = "size-transposed", "save the mask transposed: its rows are columns"
            header = images.read_header(image) if not is_volume(image) else None
            if header is not None and header.turned and header.stored_size == size:
                code = "exif-rotation"
                fix = (
                    "turn the mask as the image's EXIF tag says, or remove the tag "
                    "(exiftool -Orientation= FILE) if the image is upright as stored"
                )
        return Finding(
            code=code,
            file=self._name(path),
            found=" x ".join(map(str, size)),
            expected=f"{' x '.join(map(str, expected))} as {self._name(image)}",
            fix=fix,
        )


def name_of(path: Path, root: Path) -> str:
    """Return a file's name below the data root, or all of it if it lies elsewhere.

    Bytes that are no text are written as numbers, so that the name can be shown.
    """
    name = relative_name(root, path) if path.is_relative_to(root) else str(path)
    return name.encode(errors="backslashreplace").decode()


def empty_file(name: str) -> Finding:
    """Return the finding for a file without bytes."""
    return Finding(
        code="file-empty",
        file=name,
        found="0 bytes",
        expected="an image",
        fix="copy it again from its source, or take it out of the data set",
    )


def finding_of(
    error: SamftError, root: Path, path: Path, *, default: str = "file-unreadable"
) -> Finding:
    """Turn what a reader or layout refused into a finding.

    Args:
        error: What was raised.
        root: The data root.
        path: The file, where the error does not name one.
        default: The code where the error does not tell.
    """
    place = error.where if isinstance(error.where, Path) else path
    lonely = _LONELY.match(error.what)
    code = next((code for text, code in _KINDS if text in error.what), default)
    if lonely is not None:
        code = "mask-without-image" if lonely.group(2) == "image" else "image-without-mask"
    if isinstance(error, DependencyError):
        code = "file-unreadable"
    found = error.what if error.found is None else f"{error.what}: {error.found}"
    return Finding(
        code=code,
        file=name_of(place, root),
        found=found,
        files=1 if lonely is None else int(lonely.group(1)),
        expected="" if error.expected is None else str(error.expected),
        fix=error.fix or "correct the file, or take it out of the data set",
    )


def pieces_of(record: Record) -> Iterator[Path]:
    """Yield the files that a record's facts depend on."""
    yield from record.images
    yield from record.labels


def _without_object(name: str) -> Finding:
    return Finding(
        code="mask-empty",
        file=name,
        found="background everywhere",
        expected="at least one object",
        fix="draw what is missing; if there is nothing in the image, it may stay as an example of "
        "background",
    )


def _planes_of(path: Path) -> NDArray[Any]:
    return read_volume(path).array if is_volume(path) else read_stack(path)


def _joined(digests: list[int]) -> int:
    if len(digests) == 1:
        return digests[0]
    return likeness.digest_of(np.array(digests, np.uint64))
