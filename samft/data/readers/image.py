"""Pictures and masks as PNG, JPEG, BMP, GIF, WebP (Pillow) or TIFF."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from samft.data.readers.deep_png import deep_channels, read_deep_png
from samft.data.readers.limits import check_declared_size, reading
from samft.data.readers.orientation import turned
from samft.data.readers.tiff import TIFF_SUFFIXES, probe_tiff, read_tiff
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}) | TIFF_SUFFIXES
"""File name endings of the image formats, lower case."""
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
"""Formats that cannot hold label values exactly."""
_EXPECTED = "a PNG, JPEG, BMP, GIF, WebP or TIFF image"
_EXIF_ORIENTATION = 0x0112
# The last bytes of a complete file; a file without them is decoded to find out.
_ENDINGS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_BINARY_THRESHOLD = 128
_LABEL_SIZE = 4  # bytes of an int32
_GREY = frozenset({"1", "L", "LA", "La"})
_ITEM_SIZES = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I": 4, "F": 4}
_said: set[str] = set()


def read_image(path: Path, *, every_channel: bool = False) -> NDArray[Any]:
    """Read a picture as it is meant to be seen: upright, palette applied, alpha dropped.

    Args:
        path: The file. Of an animation, the first frame.
        every_channel: Read all channels of a TIFF, whatever they are for; see `read_tiff`.

    Returns:
        (H, W) grey or (H, W, C), in the file's own depth: uint8, uint16, or whatever a TIFF holds.

    Raises:
        DatasetError: if the file is missing, damaged, of another format, or too large.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return read_tiff(path, every_channel=every_channel)
    with reading(path, _EXPECTED), _open(path) as opened:
        if opened.format in ("GIF", "WEBP", "PNG") and getattr(opened, "is_animated", False):
            _say_once("animation", "of animations, the first picture is used; such as %s", path)
        if opened.mode == "CMYK":
            _say_once("CMYK", "pictures in printing colours (CMYK) are turned into RGB: %s", path)
        return _colours_and_alpha(path, opened)[0]


def read_mask(path: Path, *, palette: Literal["index", "colour"] = "index") -> NDArray[Any]:
    """Read a mask: the numbers that are stored, not what they look like.

    JPEG cannot hold label values, so a grey JPEG is read as binary: 255 from 128 on. Transparency
    does not count, unless the mask consists of it: one colour, more or less transparent.

    Args:
        path: The file.
        palette: Whether colours count: `index` means the indices of a palette image, and three
            equal channels are one; `colour` means the colours of a palette.

    Returns:
        (H, W) int32 values, or (H, W, 3) uint8 when the mask has colours.

    Raises:
        DatasetError: if the file is unreadable or its values are no whole numbers.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        array = read_tiff(path, keep_codes=palette == "index")
    else:
        with reading(path, _EXPECTED), _open(path) as opened:
            array = _mask_values(path, opened, palette)
    if palette == "index" and array.ndim == 3 and bool((array == array[..., :1]).all()):
        array = array[..., 0]
    if array.ndim == 3:
        if array.shape[-1] != 3 or array.dtype != np.uint8:
            raise DatasetError(
                "the file cannot be read",
                where=path,
                found=f"{array.shape[-1]} channels of {array.dtype}",
                expected="a mask: grey, or 8-bit RGB",
                fix="save one number for each pixel; a stack of 3 or 4 planes with "
                "tifffile.imwrite(..., photometric='minisblack'), or it counts as colours",
            )
        return array
    check_declared_size(path, array.shape, _LABEL_SIZE)
    if path.suffix.lower() in LOSSY_SUFFIXES:
        return (array >= _BINARY_THRESHOLD) * np.int32(255)
    return whole_numbers(array, path)


def read_label_map(path: Path) -> NDArray[np.int32]:
    """Read a mask of which the numbers count: (H, W) int32.

    Raises:
        DatasetError: as `read_mask`, and if the mask has colours.
    """
    mask = read_mask(path)
    if mask.ndim == 3:
        pixel = mask[(mask != mask[..., :1]).any(axis=-1)][0]
        raise DatasetError(
            "the mask has colours",
            where=path,
            found=f"RGB {tuple(int(value) for value in pixel)}",
            expected="one number per pixel: 0 background, 1, 2, ...",
            fix="save it as a grey label image with a number for each class or object, or say "
            "what classes the colours mean in data.palette",
        )
    return mask


def probe_image(path: Path, *, every_channel: bool = False) -> tuple[int, int]:
    """Return (height, width) after a quick look at both ends of the file, without decoding it.

    A file that ends strangely is decoded after all.

    Args:
        path: The file.
        every_channel: See `read_image`.

    Raises:
        DatasetError: if the file is missing, damaged, of another format, or too large.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return probe_tiff(path, every_channel=every_channel)
    with reading(path, _EXPECTED), _open(path) as opened:
        if not _ends_well(path, str(opened.format)):
            opened.load()
        width, height = opened.size
        # A rotation by 90 or 270 degrees; 1 to 4 keep the sides.
        turned = opened.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width)


def whole_numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return label values as int32.

    Raises:
        DatasetError: if a value is fractional, not finite, or outside int32.
    """
    with np.errstate(invalid="ignore"):
        rounded = np.rint(array) if array.dtype.kind == "f" else array
        # Resampled labels such as 2.9999 are fine, probabilities are not.
        wrong = array.dtype.kind == "f" and not bool((np.abs(array - rounded) < 1e-3).all())
    limits = np.iinfo(np.int32)
    outside = not wrong and array.size and not _lies_in(rounded, limits.min, limits.max)
    if wrong or outside:
        raise DatasetError(
            "the mask holds values that are no labels",
            where=path,
            found=f"{array.dtype} values from {array.min():.6g} to {array.max():.6g}",
            expected="whole numbers",
            fix="save label values (0 background, 1, 2, ...), not probabilities, or read them with "
            "data.threshold, such as 0.5",
        )
    return np.asarray(rounded).astype(np.int32)


def _open(path: Path) -> Image.Image:
    # Image.open also refuses more than 179 million pixels (Pillow's bomb check).
    try:
        opened = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise DatasetError(
            "the image is too large to be opened safely",
            where=path,
            found=str(error).partition(" exceeds")[0],
            expected=f"at most {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels",
            fix="cut it into tiles",
        ) from error
    width, height = opened.size
    item = 2 if deep_channels(path) else _ITEM_SIZES.get(opened.mode, 1)
    check_declared_size(path, (height, width, len(opened.getbands())), item)
    return opened


def _lies_in(values: NDArray[Any], lowest: int, highest: int) -> bool:
    return lowest <= int(values.min()) and int(values.max()) <= highest


def _colours_and_alpha(path: Path, opened: Image.Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the upright picture, (H, W) or (H, W, 3), and how opaque it is, where it says so."""
    channels = deep_channels(path)
    if channels is not None:
        return _deep_colours(path, opened, channels)
    upright = opened
    ImageOps.exif_transpose(upright, in_place=True)
    if upright.mode in ("L", "RGB", "F") or upright.mode.startswith("I"):
        return np.asarray(upright), None
    if upright.mode in ("P", "PA"):
        # By way of RGBA, as the colour of transparent places is that of the palette.
        return np.asarray(upright.convert("RGBA").convert("RGB")), None
    colours = np.asarray(upright.convert("L" if upright.mode in _GREY else "RGB"))
    alpha = upright.mode in ("LA", "RGBA")
    return colours, np.asarray(upright.getchannel("A")) if alpha else None


def _deep_colours(
    path: Path, opened: Image.Image, channels: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    orientation = opened.getexif().get(_EXIF_ORIENTATION, 1)
    opened.load()  # finds out whether the file is complete, which the other decoder does not tell
    stored = turned(
        read_deep_png(path, channels, _EXPECTED), orientation if orientation in range(1, 9) else 1
    )
    colours = stored[..., 0] if channels == 2 else stored[..., :3]
    alpha = stored[..., -1] if channels in (2, 4) else None
    return np.ascontiguousarray(colours), alpha


def _mask_values(path: Path, opened: Image.Image, palette: str) -> NDArray[Any]:
    if opened.mode in ("P", "PA") and palette == "index":
        upright = ImageOps.exif_transpose(opened)
        return np.asarray(upright if upright.mode == "P" else upright.getchannel(0))
    colours, alpha = _colours_and_alpha(path, opened)
    if alpha is not None and palette == "index" and np.ptp(alpha) > 0:
        flat = colours.reshape(-1, *colours.shape[2:])
        if bool((flat == flat[0]).all()):
            return alpha
    return colours


def _say_once(kind: str, text: str, path: Path) -> None:
    if kind not in _said:
        _said.add(kind)
        _log.info(text, path)


def _ends_well(path: Path, file_format: str) -> bool:
    ending = _ENDINGS.get(file_format)
    if ending is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return ending in file.read()
