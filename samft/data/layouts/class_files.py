"""A folder per volume with one mask file for each class, as TotalSegmentator writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_files, check_same_size
from samft.data.files import list_files, relative_name, stem_of
from samft.data.labels import ClassMask, read_label_layers
from samft.data.layouts.base import Layout, LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.pairs import chosen_classes, subject_of
from samft.data.pairing import report_lonely
from samft.data.readers.volumes import VOLUME_SUFFIXES, probe_volume
from samft.data.records import Record
from samft.data.truth import Truth

_FOLDERS: Final = ("segmentations", "segmentation", "segs", "masks", "labels")
_FEWEST: Final = 2  # masks; one alone is a pair


@dataclass(slots=True)
class _Case:
    """The volumes of a folder and the masks in the folder below it."""

    images: list[PurePosixPath] = field(default_factory=list)
    masks: list[PurePosixPath] = field(default_factory=list)


class ClassFilesLayout(Layout):
    """`CASE/ct.nii.gz` beside `CASE/segmentations/liver.nii.gz`, `.../spleen.nii.gz`, ...

    The classes are the names of the mask files; everything above 0 is the class. A class that a
    case has no file of is not in it.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "class_files"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._names: tuple[str, ...] = ()

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        cases = _cases([PurePosixPath(name) for name in listing.ending(*VOLUME_SUFFIXES)])
        full = [case for case in cases.values() if len(case.images) == 1 and case.masks]
        if not full or any(len(case.images) > 1 for case in cases.values() if case.masks):
            return None
        if max(len(case.masks) for case in full) < _FEWEST:
            return None
        return (
            f"{len(full)} folders with a volume and a folder of masks, such as {full[0].masks[0]}"
        )

    def records(self) -> list[Record]:
        """See `Layout`."""
        names = [PurePosixPath(relative_name(self.root, path)) for path in list_files(self.root)]
        volumes = [name for name in names if name.name.lower().endswith(VOLUME_SUFFIXES)]
        cases = list(_cases(volumes).values())
        for kind, partner, lonely in (
            ("image", "mask", [case.images[0] for case in cases if not case.masks]),
            ("mask", "image", [case.masks[0] for case in cases if not case.images]),
        ):
            paths = [self.root / name for name in lonely]
            report_lonely(self.root, paths, kind, partner, on_missing=self.settings.on_missing)
        found = [case for case in cases if case.images and case.masks]
        present = {_class_of(mask) for case in found for mask in case.masks}
        self._names = chosen_classes(
            self.settings, sorted(present), "no mask file has the name of this class"
        )
        return [self._record(case) for case in found]

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Layout`."""
        return self._names

    def truth(self, record: Record) -> Truth:
        """See `Layout`."""
        image = record.images[0]
        size = probe_volume(image).shape
        layers = [np.zeros(size, np.uint16)]
        for path in record.labels:
            if _class_of(path) not in self._names:
                continue
            values, _ = read_label_layers(path, threshold=self.settings.threshold)
            check_same_size(path, values.shape[1:], image, size)
            _lay(layers, values[0] > 0, self._names.index(_class_of(path)) + 1)
        classes = {number + 1: number for number in range(len(self._names))}
        return ClassMask(layers=np.stack(layers), class_of=(classes,) * len(layers))

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """See `Layout`."""
        check_files(records, check_affine=check_affine, every_channel=every_channel)

    def _record(self, case: _Case) -> Record:
        image = self.root / case.images[0]
        name = relative_name(self.root, image.with_name(stem_of(image)))
        masks = tuple(self.root / mask for mask in case.masks if _class_of(mask) in self._names)
        return Record(
            sample_id=name,
            case_id=subject_of(str(case.images[0])) or str(case.images[0].parent),
            images=(image,),
            labels=masks or (self.root / case.masks[0],),  # nothing of it is chosen
        )


def _cases(volumes: Sequence[PurePosixPath]) -> dict[PurePosixPath, _Case]:
    """Return what lies in every folder that has masks below it, or volumes beside such folders."""
    cases: dict[PurePosixPath, _Case] = defaultdict(_Case)
    for path in volumes:
        if path.parent.name.lower() in _FOLDERS and path.parent.parent.name:
            cases[path.parent.parent].masks.append(path)
        else:
            cases[path.parent].images.append(path)
    return dict(sorted(cases.items()))


def _class_of(mask: PurePosixPath | Path) -> str:
    return stem_of(Path(mask))


def _lay(layers: list[NDArray[Any]], inside: NDArray[np.bool_], value: int) -> None:
    """Write a mask into the first layer that is free there; masks hardly ever overlap."""
    for layer in layers:
        if not layer[inside].any():
            layer[inside] = value
            return
    layers.append(np.where(inside, value, 0).astype(layers[0].dtype))
