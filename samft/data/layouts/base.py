"""What every layout of a data set can do: recognise a folder, index it, read its labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from samft.data.layouts.listing import Listing
from samft.data.pairing import OnMissing
from samft.data.preprocessing import Preprocessing
from samft.data.records import Record
from samft.data.source_files import open_source
from samft.data.sources import Source
from samft.data.truth import Truth

ObjectChoice = Literal["auto", "component", "class", "value"]
"""An `ObjectMode`, or auto: as the labels suggest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutSettings:
    """What a user says about a data set, beyond where it lies.

    Args:
        images: Glob patterns of the images relative to the root, one per channel.
        labels: Glob pattern of the label files.
        classes: Names of the mask values, a list from `first_value` on or by value; of labels that
            name their classes, the names to use.
        first_value: Value of the first name of a list.
        background: The mask value that is no object, or `None`.
        ignore_value: The mask value that means "nothing is known here", or `None`.
        threshold: Read masks as binary: foreground from this value on.
        palette: Colours of the classes, for masks of colours.
        objects: What an object is in a mask; `auto` lets the layout find out.
        on_missing: Whether an image without labels, or labels without image, are an error or left
            out.
    """

    images: tuple[str, ...] | None = None
    labels: str | None = None
    classes: Sequence[str] | Mapping[int, str] | None = None
    first_value: int = 1
    background: int | None = 0
    ignore_value: int | None = None
    threshold: float | None = None
    palette: Mapping[str, Sequence[int]] | None = None
    objects: ObjectChoice = "auto"
    on_missing: OnMissing = "error"

    @property
    def chosen_names(self) -> tuple[str, ...] | None:
        """The names of `classes`, for labels that name their classes themselves."""
        if self.classes is None:
            return None
        names = self.classes.values() if isinstance(self.classes, Mapping) else self.classes
        return tuple(names)


class Layout(ABC):
    """One way in which images and labels lie in a folder.

    Travels to the loaders' workers, so it holds plain data and opens files when it is asked.

    Args:
        root: The absolute data root.
        settings: What the user says about the data.
    """

    name: ClassVar[str]
    """What people type in `data.layout`."""

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        self.root = root
        self.settings = settings

    @classmethod
    @abstractmethod
    def recognise(cls, listing: Listing) -> str | None:
        """Say why a folder is of this layout, such as "x.json holds COCO's images, annotations".

        Args:
            listing: What lies there; reads as little of the files as it can.

        Returns:
            The reason, or `None` if it is not of this layout.
        """

    @abstractmethod
    def records(self) -> Sequence[Record]:
        """Index the data: one record per image or whole volume, in a stable order.

        Reads label tables and headers, no pixels. Knows `class_names` afterwards.

        Raises:
            DatasetError: for what is missing or damaged.
        """

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of `Objects.object_class`, once `records` was called."""

    @property
    def concluded(self) -> str:
        """What `records` concluded from some files about how to read all of them."""
        return ""

    @abstractmethod
    def truth(self, record: Record) -> Truth:
        """Read the labels of one image or whole volume, at the size of its image.

        Raises:
            DatasetError: if they are damaged, or do not fit the image.
        """

    def check(
        self, records: Iterable[Record], *, check_affine: bool = True, every_channel: bool = False
    ) -> None:
        """Look at the files from outside, without decoding pixels.

        Args:
            records: Which of `records`.
            check_affine: Whether label volumes must also lie where their images lie.
            every_channel: Whether images may have any number of channels.

        Raises:
            DatasetError: naming the first file that is unreadable or does not fit its image.
        """
        del check_affine, every_channel  # for layouts whose labels are images or volumes too
        done: set[tuple[Path, ...]] = set()
        for record in records:
            if record.images not in done:
                done.add(record.images)
                self.source(record, Preprocessing()).size(0)

    def source(self, record: Record, preprocessing: Preprocessing) -> Source:
        """Return the image or volume of a record; opened when something is asked of it."""
        return open_source(record.sample_id, record.images, preprocessing)
