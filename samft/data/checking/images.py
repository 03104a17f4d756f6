"""What is odd about one image, before anything is scaled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from samft.data.checking.findings import Finding
from samft.data.intensity import VOLUME_PERCENTILES, percentile_range
from samft.data.readers.limits import reading
from samft.data.readers.tiff import TIFF_SUFFIXES

_WHOLE_TYPES: Final = ("int16", "uint16", "int32")
_AIR: Final = -1100.0  # Hounsfield units, with room for noise: nothing is less dense than air
_SATURATED = 0.4
_LEAST = 256  # pixels; icons may have two colours
_ORIENTATION = 0x0112
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a flat image file says of itself.

    Args:
        stored_size: (H, W) as stored, before EXIF turns it.
        turned: Whether EXIF exchanges height and width.
        printing: Whether its colours are those of printing.
        alpha: none, constant or used.
    """

    stored_size: tuple[int, int]
    turned: bool = False
    printing: bool = False
    alpha: str = "none"


def read_header(path: Path) -> Header:
    """Look at the header of a flat image that `read_image` could read, and at its alpha channel.

    Raises:
        DatasetError: if it cannot be read.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        with reading(path, "a TIFF image"), tifffile.TiffFile(path) as file:
            page = file.series[0].keyframe
            printing = page.photometric == tifffile.PHOTOMETRIC.SEPARATED
            return Header(stored_size=(page.imagelength, page.imagewidth), printing=printing)
    bomb = (Image.DecompressionBombError,)
    with reading(path, "an image", also=bomb), Image.open(path, formats=_FORMATS) as image:
        alpha = "none"
        if "A" in image.getbands():
            low, high = np.ravel(image.getchannel("A").getextrema())
            alpha = "constant" if low == high else "used"
        return Header(
            stored_size=(image.height, image.width),
            turned=image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8),
            printing=image.mode == "CMYK",
            alpha=alpha,
        )


def check_header(header: Header, name: str) -> list[Finding]:
    """Find what the header of an image tells."""
    if not header.printing:
        return []
    return [
        Finding(
            code="image-cmyk",
            file=name,
            found="four channels: cyan, magenta, yellow, black",
            expected="grey or RGB",
            fix="convert it to RGB with its colour profile, such as magick in.jpg -profile "
            "sRGB.icc out.png",
        )
    ]


def check_values(values: NDArray[Any], name: str, *, flat: bool, windowed: bool) -> list[Finding]:
    """Find values of an image that make it useless, or its grey levels poor.

    Args:
        values: All of them, any shape.
        name: The file's name below the data root.
        flat: Whether it is a flat image rather than a volume.
        windowed: Whether a window says which values become black and white.
    """
    if values.dtype.kind == "f":
        wrong = ~np.isfinite(values)
        if wrong.any():
            return [_not_finite(int(wrong.sum()), values.size, name)]
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        return [
            Finding(
                code="image-constant",
                file=name,
                found=f"every pixel is {lowest:g}",
                expected="a picture",
                fix="take image and mask out of the data set, or export the image again",
            )
        ]
    if flat and values.dtype == np.uint8 and values.size >= _LEAST:
        return _check_eight_bit(values, name)
    if not flat and not windowed and lowest < _AIR:
        return _check_padding(values, name)
    return []


def depth_of(values: NDArray[Any]) -> str:
    """Return the type that holds grey values of DICOM, which are decoded as floats.

    Args:
        values: Any shape, not empty.
    """
    lowest, highest = values.min(), values.max()
    whole = bool((values == np.rint(values)).all())
    for kind in _WHOLE_TYPES:
        limits = np.iinfo(kind)
        if whole and limits.min <= lowest and highest <= limits.max:
            return kind
    return str(values.dtype)


def _check_eight_bit(values: NDArray[Any], name: str) -> list[Finding]:
    counts = np.bincount(values.reshape(-1), minlength=256)
    present = np.flatnonzero(counts)
    if present.size <= 2:
        return [
            Finding(
                code="image-is-mask",
                file=name,
                found=f"only the values {' and '.join(map(str, present))}",
                expected="a picture with many grey levels",
                fix="check that data.images and data.labels are not exchanged",
            )
        ]
    share = counts[255] / values.size
    if share <= _SATURATED:
        return []
    return [
        Finding(
            code="image-saturated",
            file=name,
            found=f"{share:.0%} of the values are 255",
            expected=f"less than {_SATURATED:.0%}",
            fix="export it again with less gain, if there is detail in the white parts",
        )
    ]


def _check_padding(values: NDArray[Any], name: str) -> list[Finding]:
    low, high = percentile_range(values, *VOLUME_PERCENTILES)
    if low >= _AIR or high <= 0:
        return []
    return [
        Finding(
            code="ct-padding",
            file=name,
            found=f"values from {values.min():g}, which percentiles show as {low:g} to {high:g}",
            expected="Hounsfield units from -1024 on",
            fix="set data.window: ct_soft (or ct_lung, ct_bone, [level, width])",
        )
    ]


def _not_finite(count: int, total: int, name: str) -> Finding:
    return Finding(
        code="image-not-finite",
        file=name,
        found=f"{count} of {total} values are not a number or infinite",
        expected="finite values",
        fix="fill them in the file; when it is read they become black",
    )
