"""Label Studio's exports, and the images that they name by URL or by path."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from samft.data.checks import check_same_size
from samft.data.files import describe_contents, match_files, relative_name
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.image_folders import ImageFolders, split_of_path
from samft.data.layouts.label_files import find_label_files
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes
from samft.data.layouts.per_image import log_left_out
from samft.data.pairing import report_lonely
from samft.data.readers.image import probe_image
from samft.data.readers.label_studio import (
    LabelStudioImage,
    looks_like_label_studio,
    read_label_studio,
)
from samft.data.readers.label_studio_regions import shape_of
from samft.data.records import Record
from samft.data.shapes import ShapeTruth
from samft.data.truth import Truth
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_LOOKED_AT = 20
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)", re.IGNORECASE)


class LabelStudioLayout(Layout):
    """JSON or JSON-MIN exports of Label Studio beside the images, in whatever folders.

    An image is found by the end of its path or URL, also without the eight letters that Label
    Studio puts in front of uploaded files. Of several annotations of an image the newest that is
    not cancelled counts. Splits come from the folders of the images.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "label_studio"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._images: dict[Path, LabelStudioImage] = {}
        self._names: tuple[str, ...] = ()

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in listing.ending(".json")[:_LOOKED_AT]:
            if looks_like_label_studio(listing.root / name):
                return f"{name} is an export of Label Studio"
        return None

    def records(self) -> list[Record]:
        """See `Layout`."""
        found, label_of = self._read_all()
        self._images = found
        records = [self._record(path, label_of[path]) for path in sorted(found)]
        labels = [region.labels for image in found.values() for region in image.regions]
        wanted = self.settings.chosen_names
        present = {name for names in labels for name in (names if wanted else names[:1])}
        self._names = chosen_classes(self.settings, sorted(present), "no region has this label")
        turned = sum(region.turned for image in found.values() for region in image.regions)
        if turned:
            _log.warning(
                "%d regions were drawn on a rotated view; their positions are taken as those in "
                "the image as it is stored: look at some",
                turned,
            )
        return records

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        if not self._images:
            self.records()
        label, size = record.labels[0], self._checked_size(record, every_channel=True)
        index = {name: number for number, name in enumerate(self._names)}
        regions = self._images[record.images[0]].regions
        shapes = [shape_of(region, size, index, label) for region in regions]
        return ShapeTruth([s for s in shapes if s is not None], size, index, where=label)

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        del check_affine
        for record in records:
            self._checked_size(record, every_channel=every_channel)

    def _checked_size(self, record: Record, *, every_channel: bool) -> tuple[int, int]:
        image = record.images[0]
        size = probe_image(image, every_channel=every_channel)
        for region in self._images[image].regions:
            if region.size is not None:
                check_same_size(record.labels[0], region.size, image, size)
        return size

    def _record(self, image: Path, label: Path) -> Record:
        name = relative_name(self.root, image)
        return Record(
            sample_id=name,
            case_id=name,
            images=(image,),
            labels=(label,),
            split=split_of_path(name.rpartition("/")[0]),
            entry=self._images[image].name,
        )

    def _label_files(self) -> list[Path]:
        if self.settings.labels is not None:
            return match_files(self.root, self.settings.labels, setting="data.labels")
        files = find_label_files(self.root, (".json",), self.settings)
        found = [path for path in files if looks_like_label_studio(path)]
        if not found:
            raise DatasetError(
                "no export of Label Studio found",
                where=self.root,
                found=describe_contents(self.root),
                expected="a JSON or JSON-MIN export",
                fix="set data.labels to a pattern such as project-*.json",
            )
        return found

    def _read_all(self) -> tuple[dict[Path, LabelStudioImage], dict[Path, Path]]:
        """Return the annotation of each image, and the file that it comes from."""
        folders = ImageFolders(self.root, self.settings.images)
        found: dict[Path, LabelStudioImage] = {}
        label_of: dict[Path, Path] = {}
        unlabelled: dict[Path, LabelStudioImage] = {}
        missing: list[Path] = []
        left_out: Counter[str] = Counter()
        several: set[Path] = set()
        for label in self._label_files():
            export = read_label_studio(label)
            left_out.update(export.left_out)
            for image in export.images:
                place = _place(self.root, image.name, folders, label)
                if place is None:
                    missing.append(self.root / (_parts(image.name) or [image.name])[-1])
                elif not image.annotated:
                    unlabelled.setdefault(place, image)
                else:
                    if place in found or image.several:
                        several.add(place)
                    if place not in found or image.newest >= found[place].newest:
                        found[place], label_of[place] = image, label
        self._report(folders, found, unlabelled, missing)
        _log_choices(several, left_out)
        return found, label_of

    def _report(
        self,
        folders: ImageFolders,
        found: dict[Path, LabelStudioImage],
        unlabelled: dict[Path, LabelStudioImage],
        missing: list[Path],
    ) -> None:
        on_missing = self.settings.on_missing
        report_lonely(self.root, missing, "image of a task", "file", on_missing=on_missing)
        open_tasks = {p: image for p, image in unlabelled.items() if p not in found}
        skipped = [path for path, image in open_tasks.items() if image.skipped]
        if skipped:
            _log.warning("%d images whose annotations are all cancelled are left out", len(skipped))
        waiting = [path for path, image in open_tasks.items() if not image.skipped]
        report_lonely(self.root, waiting, "image", "annotation", on_missing=on_missing)
        known = [relative_name(self.root, path) for path in (*found, *unlabelled)]
        report_lonely(self.root, folders.others(known), "image", "task", on_missing=on_missing)
        if not found:
            raise DatasetError(
                "no image of the export is annotated",
                where=self.root,
                found=f"{len(unlabelled)} images without annotation, {len(missing)} missing",
                fix="export again once tasks are submitted",
            )


def _log_choices(several: set[Path], left_out: Counter[str]) -> None:
    if several:
        _log.warning(
            "%d images have several annotations; the newest that is not cancelled is used",
            len(several),
        )
    log_left_out(left_out)


def _place(root: Path, name: str, folders: ImageFolders, label: Path) -> Path | None:
    """Return the image that a path or URL means: by its bare name, and then by its folders."""
    parts = _parts(name)
    if parts is None:
        raise DatasetError(
            "a task names an image outside the data folder",
            where=label,
            found=f"{name!r:.120}",
            expected="a path or URL without '..'",
            fix="correct the task, and export again",
        )
    uploaded = _UPLOADED.fullmatch(parts[-1])
    bases = [parts[-1], *([uploaded[1]] if uploaded else [])]
    fitting = next((places for base in bases if (places := folders.named(base))), [])
    scores = [_shared_end(place, parts) for place in fitting]
    best = [place for place, s in zip(fitting, scores, strict=True) if s == max(scores)]
    if len(best) > 1:
        raise DatasetError(
            "several images fit the name of a task",
            where=label,
            found=f"{name!r:.80}: {' and '.join(best[:2])}",
            expected="one image",
            fix="choose with data.images, a pattern such as 'images/*.png'",
        )
    return root / best[0] if best else None


def _parts(name: str) -> list[str] | None:
    """Return folders and bare name of a path or URL; `None` if it climbs."""
    address = urlsplit(name)
    text = address.path or name
    local = parse_qs(address.query).get("d") if "local-files" in address.path else None
    if local:
        text = local[0]
    elif address.scheme or name.startswith("/"):
        text = unquote(text)
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    return None if ".." in parts or "\0" in text or not parts else parts


def _shared_end(place: str, parts: Sequence[str]) -> int:
    pairs = zip(reversed(place.split("/")[:-1]), reversed(parts[:-1]), strict=False)
    count = 0
    for ours, theirs in pairs:
        if ours != theirs:
            break
        count += 1
    return count
