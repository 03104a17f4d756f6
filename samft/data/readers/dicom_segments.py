"""The segments that a DICOM segmentation describes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.data.readers.dicom_file import first_item, items
from samft.data.readers.limits import unreadable

_BACKGROUND = ("DCM", "125040")
"""Source: DICOM PS3.16, code 125040 (Background)."""
_OWN = re.compile(r"samft (\d+)")
"""What `samft predict` writes as tracking identifier: the number it also ends the label with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSegment:
    """One segment.

    Args:
        number: Its number; numbers need not be consecutive.
        name: Its label, or else what its codes mean.
        is_background: Whether it says where nothing is.
    """

    number: int
    name: str
    is_background: bool


def read_segments(path: Path, data: Any) -> dict[int, DicomSegment]:  # Any: pydicom
    """Return the segments by number, in their order.

    Args:
        path: The file, for messages.
        data: Its header, inside `reading_dicom`.

    Raises:
        DatasetError: if there are none, or two of one number.
    """
    found: dict[int, DicomSegment] = {}
    for item in items(data, "SegmentSequence"):
        number = int(item.SegmentNumber)
        if number in found or not 0 <= number <= 65535:
            raise unreadable(path, f"segment number {number} twice or too large", "numbered once")
        found[number] = DicomSegment(
            number=number, name=_name(item, number), is_background=_is_background(item, number)
        )
    if not found:
        raise unreadable(path, "no segments", "a DICOM segmentation that lists its segments")
    return dict(sorted(found.items()))


def _name(item: Any, number: int) -> str:  # Any: pydicom
    label = " ".join(str(item.get("SegmentLabel") or "").split())
    own = _OWN.fullmatch(str(item.get("TrackingID") or ""))
    if own is not None:  # one segment per object there
        label = label.removesuffix(f" {own[1]}")
    return label or _meaning(item) or f"segment {number}"


def _meaning(item: Any) -> str:  # Any: pydicom
    """Return what the codes mean: the type with its side, or else the category."""
    kind = first_item(item, "SegmentedPropertyTypeCodeSequence")
    sides = items(kind, "SegmentedPropertyTypeModifierCodeSequence") or items(
        item, "SegmentedPropertyTypeModifierCodeSequence"
    )
    words = [str(code.get("CodeMeaning") or "").strip() for code in (kind, *sides)]
    if words[0]:
        return ", ".join(word for word in words if word)
    category = first_item(item, "SegmentedPropertyCategoryCodeSequence")
    return str(category.get("CodeMeaning") or "").strip()


def _is_background(item: Any, number: int) -> bool:  # Any: pydicom
    kind = first_item(item, "SegmentedPropertyTypeCodeSequence")
    code = str(kind.get("CodingSchemeDesignator")), str(kind.get("CodeValue"))
    return number == 0 or code == _BACKGROUND
