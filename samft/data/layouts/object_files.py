"""A folder per image with one mask file per object, as in the Data Science Bowl 2018."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_same_size
from samft.data.classes import UNNAMED
from samft.data.files import SUFFIXES, list_files, relative_name
from samft.data.layouts.base import Layout
from samft.data.layouts.listing import Listing
from samft.data.objects import ObjectMode, Objects, from_class_map, from_masks
from samft.data.pairing import report_lonely
from samft.data.readers.image import probe_image, read_label_map
from samft.data.records import Record, Window
from samft.data.tiling import cut_window
from samft.data.truth import Truth


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFiles:
    """Masks in files of their own, one for each object; what is brighter than half is the object.

    Args:
        masks: The files.
        size: (H, W) of their image.
        image: The image, for messages.
    """

    masks: tuple[Path, ...]
    size: tuple[int, int]
    image: Path

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`; nothing is kept."""
        return 0

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`."""
        assert at is None  # flat images only
        size = self.size if window is None else window[2:]
        masks = (mask if window is None else cut_window(mask, window) for mask in self._read())
        if mode == "class":
            together = np.zeros(size, np.int32)
            for mask in masks:
                together[mask] = 1
            return from_class_map(together, {1: 0}, mode="class")
        kept = masks if window is None else (mask for mask in masks if mask.any())
        return from_masks(kept, size)

    def _read(self) -> Iterator[NDArray[np.bool_]]:
        for path in self.masks:
            mask = read_label_map(path)
            check_same_size(path, mask.shape, self.image, self.size)
            yield 2 * mask > mask.max()


class ObjectFilesLayout(Layout):
    """`CASE/images/X.png` beside `CASE/masks/*.png`, for every case."""

    name: ClassVar[str] = "object_files"

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        found = _case_folders([PurePosixPath(name) for name in listing.ending(*SUFFIXES)])
        if found is None:
            return None
        masks = sum(len(case.masks) for case in found.values())
        return f"{len(found)} folders with images/ and masks/, {masks} mask files in all"

    def records(self) -> list[Record]:
        """See `Layout`."""
        files = list_files(self.root)
        cases = _case_folders([PurePosixPath(relative_name(self.root, path)) for path in files])
        found = list((cases or {}).values())
        for kind, partner, lonely in (
            ("image", "mask", [case.images[0] for case in found if not case.masks]),
            ("mask", "image", [case.masks[0] for case in found if not case.images]),
        ):
            paths = [self.root / name for name in lonely]
            report_lonely(self.root, paths, kind, partner, on_missing=self.settings.on_missing)
        return [
            Record(
                sample_id=str(case.images[0]),
                case_id=str(case.images[0]),
                images=(self.root / case.images[0],),
                labels=tuple(self.root / name for name in case.masks),
            )
            for case in found
            if case.images and case.masks
        ]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (UNNAMED,)

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        image = record.images[0]
        return MaskFiles(
            masks=record.labels, size=probe_image(image, every_channel=True), image=image
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """The files of one folder per image."""

    images: list[PurePosixPath] = field(default_factory=list)
    masks: list[PurePosixPath] = field(default_factory=list)


def _case_folders(files: Sequence[PurePosixPath]) -> dict[PurePosixPath, _Case] | None:
    """Return the folders with one image each in `images/` and its objects in `masks/`, if any."""
    cases: dict[PurePosixPath, _Case] = defaultdict(_Case)
    for path in files:
        if path.parent.name == "images":
            cases[path.parent.parent].images.append(path)
        elif path.parent.name == "masks":
            cases[path.parent.parent].masks.append(path)
    single = all(len(case.images) <= 1 for case in cases.values())
    several = len(cases) > 1 or any(len(case.masks) > 1 for case in cases.values())
    has_both = any(case.images and case.masks for case in cases.values())
    return dict(cases) if single and several and has_both else None
