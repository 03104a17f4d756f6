"""Pictures and masks as PNG, JPEG, BMP, GIF, WebP (Pillow) or TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from samft.data.readers.limits import check_declared_size, reading, unreadable
from samft.data.readers.tiff import TIFF_SUFFIXES, probe_tiff, read_tiff
from samft.errors import DatasetError

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
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I") or upright.mode == "F":
            return np.asarray(upright)
        grey = upright.mode in ("1", "L", "LA", "La")
        return np.asarray(upright.convert("L" if grey else "RGB"))


def read_mask(path: Path, *, palette: Literal["index", "colour"] = "index") -> NDArray[Any]:
    """Read a mask: the numbers that are stored, not what they look like.

    JPEG cannot hold label values, so a grey JPEG is read as binary: 255 from 128 on.

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
            array = _mask_values(ImageOps.exif_transpose(opened), palette)
    if palette == "index" and array.ndim == 3 and bool((array == array[..., :1]).all()):
        array = array[..., 0]
    if array.ndim == 3:
        if array.shape[-1] != 3 or array.dtype != np.uint8:
            raise unreadable(
                path, f"{array.shape[-1]} channels of {array.dtype}", "a mask: grey, or 8-bit RGB"
            )
        return array
    if path.suffix.lower() in LOSSY_SUFFIXES:
        return np.where(array >= _BINARY_THRESHOLD, 255, 0).astype(np.int32)
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
            fix="save it as a grey label image, or read colours with samft.UnderwaterDataModule "
            "and its data.palette",
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
    if wrong or (array.size and int(rounded.max()) > np.iinfo(np.int32).max):
        raise DatasetError(
            "the mask holds values that are no labels",
            where=path,
            found=f"{array.dtype} values from {array.min():.6g} to {array.max():.6g}",
            expected="whole numbers",
            fix="save label values (0 background, 1, 2, ...), not probabilities",
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
    check_declared_size(path, (height, width, len(opened.getbands())), 1)
    return opened


def _mask_values(image: Image.Image, palette: str) -> NDArray[Any]:
    if image.mode in ("P", "PA"):
        if palette == "colour":
            return np.asarray(image.convert("RGB"))
        return np.asarray(image if image.mode == "P" else image.getchannel(0))
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)
    grey = image.mode in ("1", "L", "LA", "La")
    return np.asarray(image.convert("L" if grey else "RGB"))


def _ends_well(path: Path, file_format: str) -> bool:
    ending = _ENDINGS.get(file_format)
    if ending is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return ending in file.read()
