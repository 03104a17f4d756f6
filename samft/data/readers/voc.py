"""Pascal VOC's masks, boxes and lists, and what labelme and CVAT export in their manner.

In the class mask 0 is background, 255 "void" (borders and what is hard to tell, ignored), the rest
classes; in the object mask every object of the image has a value. A palette gives the values their
colours; masks that were saved again as RGB are read by these colours.

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Development
    Kit", sections 3 and 4.2; the colours are those of VOClabelcolormap.m in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.data.checks import check_same_size
from samft.data.objects import decode_colours
from samft.data.readers.image import read_mask, whole_numbers
from samft.data.readers.limits import check_declared_size, check_file_size, reading, unreadable
from samft.data.readers.xml_files import number, read_xml
from samft.errors import DatasetError

VOID: Final = 255
"""Value of both masks where nothing is known."""
VOC_NAMES: Final = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""VOC's own classes, values 1 to 20."""
_VOID_COLOUR: Final = (224, 224, 192)
_BACKGROUNDS: Final = frozenset({"_background_", "background", "__background__"})
_IGNORED: Final = frozenset({"__ignore__", "_ignore_", "ignore", "void"})


@dataclass(frozen=True, kw_only=True, slots=True)
class VocNames:
    """The classes of a data set.

    Args:
        by_value: Their names by their values in the class mask.
        colours: The colours of the values, where the file gives them.
    """

    by_value: Mapping[int, str]
    colours: Mapping[tuple[int, int, int], int] | None = None


def read_class_names(path: Path) -> VocNames:
    """Read the names of the classes, one a line.

    labelme's `class_names.txt` begins with `_background_`, value 0; its `labels.txt` has
    `__ignore__` before that; without either, the first name has value 1. In CVAT's `labelmap.txt`
    the colour of a class follows its name and a colon.

    Raises:
        DatasetError: if it is not such a file.
    """
    with reading(path, "class names, one a line"):
        check_file_size(path)
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    if path.name.lower() == "labelmap.txt":
        return _labelmap(kept, path)
    if kept and kept[0].lower() in _IGNORED:
        kept = kept[1:]
    first = 0 if kept and kept[0].lower() in _BACKGROUNDS else 1
    by_value = {value: name for value, name in enumerate(kept, start=first) if value}
    if not by_value or len(set(by_value.values())) < len(by_value):
        raise unreadable(path, f"{len(kept)} names, not all different", "a name in every line")
    return VocNames(by_value=by_value)


def read_image_list(path: Path) -> tuple[str, ...]:
    """Return the images that a list in `ImageSets` names; a number after a name is of no matter.

    Raises:
        DatasetError: if it is not text.
    """
    with reading(path, "names of images, one a line"):
        check_file_size(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    return tuple(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def read_stated_size(path: Path) -> tuple[int, int] | None:
    """Return the (height, width) that a VOC annotation states for its image, if it does.

    Raises:
        DatasetError: if it is no annotation of VOC.
    """
    within: list[str] = []
    sides: dict[str, str] = {}

    def start(name: str, _: Mapping[str, str]) -> None:
        within.append(name)
        if within[0] != "annotation":
            raise unreadable(path, f"<{within[0][:40]}>", "<annotation>, as VOC has it")

    def end(name: str, text: str) -> None:
        within.pop()
        if within == ["annotation", "size"]:
            sides[name] = text

    read_xml(path, start, end, expected="VOC's XML")
    if not {"height", "width"} <= sides.keys():
        return None
    height, width = (int(number(sides, side, path)) for side in ("height", "width"))
    return (height, width) if min(height, width) > 0 else None  # some tools write 0 for unknown


def _labelmap(lines: list[str], path: Path) -> VocNames:
    by_value: dict[int, str] = {}
    colours: dict[tuple[int, int, int], int] = {}
    foregrounds = 0
    for line in lines:
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.partition(":")[0].split(","))
        except ValueError as error:
            raise unreadable(path, repr(line[:60]), "name:red,green,blue::") from error
        if name.lower() in _BACKGROUNDS:
            colours[red, green, blue] = 0
        elif name.lower() in _IGNORED:
            colours[red, green, blue] = VOID
        else:
            foregrounds += 1 + (foregrounds + 1 == VOID)
            colours[red, green, blue] = foregrounds
            by_value[foregrounds] = name
    if len(colours) < len(lines) or not by_value:
        raise unreadable(path, f"{len(colours)} colours", "a class and a colour in every line")
    return VocNames(by_value=by_value, colours=colours)


def read_class_map(path: Path, names: VocNames) -> NDArray[Any]:
    """Read a class mask: PNG with values or colours, or NumPy's .npy as labelme writes it.

    Args:
        path: The file.
        names: The classes, and their colours where the set has its own.

    Returns:
        (H, W) values, `VOID` where nothing is known.

    Raises:
        DatasetError: if it is damaged, or a colour has no class.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    # With colours of its own, a set may have been written with a palette, whose order says nothing.
    mask = read_mask(path, palette="index" if names.colours is None else "colour")
    if mask.ndim == 2:
        return mask.astype(np.min_scalar_type(int(mask.max())))
    palette = names.colours or {**_palette(names), _VOID_COLOUR: VOID}
    index, unexpected = decode_colours(mask, list(palette))
    if unexpected is not None:
        raise DatasetError(
            "the class mask has a colour that no class has",
            where=path,
            found=f"RGB {unexpected}",
            expected=", ".join(str(colour) for colour in list(palette)[:6]),
            fix="put labelmap.txt with lines such as cat:128,0,0:: beside the masks",
        )
    values = np.array(list(palette.values()))
    return values.astype(np.min_scalar_type(int(values.max())))[index]


def _palette(names: VocNames) -> dict[tuple[int, int, int], int]:
    return {voc_colour(value): value for value in (0, *names.by_value) if value < VOID}


def voc_colour(value: int) -> tuple[int, int, int]:
    """Return VOC's colour of a value: the value's bits, three by three, highest bits first."""
    channels = [0, 0, 0]
    for position in range(8):
        for channel in range(3):
            channels[channel] |= (value >> (3 * position + channel) & 1) << (7 - position)
    return channels[0], channels[1], channels[2]


def read_object_map(path: Path, class_path: Path, class_map: NDArray[Any]) -> NDArray[Any]:
    """Read an object mask: values, or any colours.

    Args:
        path: The file.
        class_path: The class mask, for messages.
        class_map: (H, W) its values.

    Returns:
        (H, W), 0 where there is no object or nothing is known.

    Raises:
        DatasetError: if it is damaged, or its size is another.
    """
    if path.suffix.lower() == ".npy":
        ids = _read_npy(path)
    else:
        mask = read_mask(path)
        if mask.ndim == 3:
            codes = mask.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
            void = codes == (_VOID_COLOUR[0] << 16 | _VOID_COLOUR[1] << 8 | _VOID_COLOUR[2])
            # Pure blue has the number of void; it gets one that no colour has.
            ids = np.where(void, VOID, np.where(codes == VOID, 1 << 24, codes))
        else:
            ids = mask
    check_same_size(path, ids.shape, class_path, class_map.shape)
    # Of 255 objects the last one is not void: it lies where the class is known.
    void = (ids == VOID) & ((class_map == VOID) | (class_map == 0))
    ids = np.where(void, 0, ids)
    return ids.astype(np.min_scalar_type(int(ids.max())))


def _read_npy(path: Path) -> NDArray[Any]:
    expected = "a NumPy array of labels"
    # NumPy reads damaged headers with Python's own tokenizer.
    with reading(path, expected, also=(TokenError,)):
        mapped = np.lib.format.open_memmap(path, mode="r")
        check_declared_size(path, mapped.shape, max(4, mapped.dtype.itemsize))
        if mapped.ndim != 2 or mapped.dtype.kind not in "iu":
            raise unreadable(path, f"{mapped.ndim} axes of {mapped.dtype}", expected)
        values = whole_numbers(np.asarray(mapped), path)
    values = np.where(values == -1, VOID, values)  # labelme's __ignore__
    if int(values.min()) < 0:
        raise unreadable(path, f"the value {int(values.min())}", expected)
    return values.astype(np.min_scalar_type(int(values.max())))
