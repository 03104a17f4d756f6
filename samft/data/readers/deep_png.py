"""PNG files with 16 bits in each of several channels, which Pillow reads as 8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.limits import check_file_size, unreadable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IDAT", b"IEND")
_CHANNELS = {2: 3, 4: 2, 6: 4}  # by colour type: colours, grey with alpha, colours with alpha


def deep_channels(path: Path) -> int | None:
    """Return how many channels of 16 bits a PNG has; `None` if it is grey, or has 8 bits.

    Source:
        PNG specification, section 11.2.1 (IHDR): bit depth and colour type.
    """
    with path.open("rb") as file:
        head = file.read(26)
    if (
        len(head) < 26
        or not head.startswith(_SIGNATURE)
        or head[12:16] != b"IHDR"
        or head[24] != 16
    ):
        return None
    return _CHANNELS.get(head[25])


def read_deep_png(path: Path, channels: int, expected: str) -> NDArray[Any]:
    """Decode a PNG of 16 bits in several channels.

    Args:
        path: The file; complete, which this decoder would not notice.
        channels: See `deep_channels`.
        expected: What the file should be, for messages.

    Returns:
        (H, W, `channels`) uint16: colours or grey, then alpha.

    Raises:
        DatasetError: if it cannot be decoded.
    """
    import cv2

    check_file_size(path)
    stored = np.frombuffer(_pixels_alone(path, expected), np.uint8)
    try:
        # Not by its name: OpenCV cannot open every path. Nor turned by its Exif.
        array = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise unreadable(path, str(error).splitlines()[0], expected) from error
    if array is None or array.dtype != np.uint16 or array.ndim not in (2, 3):
        raise unreadable(path, "damaged pixels", expected)
    planes = array[..., None] if array.ndim == 2 else array
    if channels == 2:  # grey comes as three equal colours
        return np.asarray(planes[..., [0, -1]])
    if planes.shape[-1] < 3:
        raise unreadable(path, f"{planes.shape[-1]} channels", expected)
    return np.asarray(planes[..., [2, 1, 0, 3][: min(channels, planes.shape[-1])]])


def _pixels_alone(path: Path, expected: str) -> bytes:
    """Return a PNG without all that is no pixels: notes, profiles, further pictures.

    OpenCV takes the memory that a chunk says it needs before it looks how much of it is there.
    """
    data = path.read_bytes()
    place, parts = len(_SIGNATURE), [_SIGNATURE]
    while place < len(data) and parts[-1][4:8] != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            raise unreadable(path, f"{len(data)} bytes, a chunk ends at byte {end}", expected)
        if data[place + 4 : place + 8] in _NEEDED or len(parts) == 1:  # the header comes first
            parts.append(data[place:end])
        place = end
    return b"".join(parts)
