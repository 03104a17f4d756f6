"""What a DICOM segmentation says its segments are: codes from a small YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from samft.data.readers.yaml_files import YAML_ERRORS, read_yaml, unreadable_yaml
from samft.errors import ConfigError, did_you_mean

SegmentationType = Literal["BINARY", "LABELMAP"]
_KEYS = ("segmentation_type", "series_description", "manufacturer", "default", "classes")
_PARTS = ("category", "type")


@dataclass(frozen=True, slots=True)
class DicomCode:
    """A coded concept.

    Args:
        value: Such as 10200004.
        scheme: Who gave it: SCT (SNOMED CT), DCM, or 99 and a name for private ones.
        meaning: In words.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class SegmentCodes:
    """What a segment is.

    Args:
        category: Its broad category.
        type: What exactly.
    """

    category: DicomCode
    type: DicomCode


GENERIC = SegmentCodes(
    category=DicomCode("123037004", "SCT", "Anatomical Structure"),
    type=DicomCode("123037004", "SCT", "Anatomical Structure"),
)
"""What nothing more is known of. Source: DICOM PS3.16, CID 7150, segmentation property category."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomCodes:
    """The settings of DICOM segmentations.

    Args:
        segmentation_type: BINARY, which every viewer reads, or LABELMAP, newer and smaller.
        series_description: Shown by viewers; says that the file is for research.
        manufacturer: Who made the segmentation.
        default: Codes of segments whose class has none.
        classes: Codes by class name.
    """

    segmentation_type: SegmentationType = "BINARY"
    series_description: str = "samft segmentation, research use only"
    manufacturer: str = "samft"
    default: SegmentCodes = GENERIC
    classes: dict[str, SegmentCodes] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file.

        Raises:
            ConfigError: naming the first key that is wrong.
        """
        try:
            content = read_yaml(path)
        except YAML_ERRORS as error:
            raise unreadable_yaml(
                error,
                path,
                "the file of DICOM codes cannot be read",
            ) from error
        if not isinstance(content, dict):
            raise ConfigError(
                "the file of DICOM codes holds no settings", where=path, expected=", ".join(_KEYS)
            )
        for key in content:
            if key not in _KEYS:
                raise ConfigError(
                    f"unknown key {key!r}", where=path, fix=did_you_mean(str(key), _KEYS)
                )
        return cls(**_values(content, path))

    def of(self, class_name: str | None) -> SegmentCodes:
        """Return the codes of a class."""
        return self.default if class_name is None else self.classes.get(class_name, self.default)


def _values(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in ("series_description", "manufacturer"):
        if key in content:
            values[key] = _text(content[key], f"{path}: {key}")
    if "segmentation_type" in content:
        kind = str(content["segmentation_type"]).upper()
        if kind not in get_args(SegmentationType):
            raise ConfigError(
                "there is no such type of segmentation",
                where=f"{path}: segmentation_type",
                found=kind,
                fix=did_you_mean(kind, get_args(SegmentationType)),
            )
        values["segmentation_type"] = kind
    if "default" in content:
        values["default"] = _codes(content["default"], f"{path}: default")
    classes = content.get("classes") or {}
    if not isinstance(classes, dict):
        raise ConfigError("classes is no mapping", where=path, expected="codes by class name")
    values["classes"] = {
        str(name): _codes(codes, f"{path}: classes.{name}") for name, codes in classes.items()
    }
    return values


def _codes(value: object, where: str) -> SegmentCodes:
    if not isinstance(value, dict) or set(value) != set(_PARTS):
        raise ConfigError(
            "the codes of a class are incomplete",
            where=where,
            found=value,
            expected="category and type, each [value, scheme, meaning]",
        )
    return SegmentCodes(*(_code(value[part], f"{where}.{part}") for part in _PARTS))


def _code(value: object, where: str) -> DicomCode:
    if not isinstance(value, list) or len(value) != 3:
        raise ConfigError(
            "a code is incomplete",
            where=where,
            found=value,
            expected="[value, scheme, meaning], such as [10200004, SCT, Liver]",
        )
    return DicomCode(*(_text(part, where) for part in value))


def _text(value: object, where: str) -> str:
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not 0 < len(text) <= 64:  # the length of DICOM's LO
        raise ConfigError("this is no text of 1 to 64 characters", where=where, found=repr(value))
    return text
