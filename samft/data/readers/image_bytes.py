"""Image files that are stored inside other files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from samft.data.readers.limits import unreadable
from samft.errors import DatasetError

_BEGINNINGS: Final = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
}


@contextmanager
def as_file(data: bytes, container: Path, place: str) -> Iterator[Path]:
    """Give the bytes of an image a file for as long as it is read.

    What goes wrong in the block is said of the place the bytes come from.

    Args:
        data: The image file's content.
        container: The file that holds it.
        place: Where in it, such as `row 7, image`.

    Raises:
        DatasetError: if the bytes begin like no image, or reading fails.
    """
    ending = next((e for start, e in _BEGINNINGS.items() if data.startswith(start)), None)
    where = Path(f"{container}: {place}")
    if ending is None:
        found = f"{len(data)} bytes that begin with {data[:4]!r}"
        raise unreadable(where, found, "a PNG, JPEG, BMP, GIF, WebP or TIFF image")
    with NamedTemporaryFile(suffix=ending, delete=False) as file:
        file.write(data)
    try:
        yield Path(file.name)
    except DatasetError as error:
        raise DatasetError(
            error.what,
            where=str(error.where).replace(file.name, str(where)),
            found=error.found,
            expected=error.expected,
            fix=error.fix,
        ) from error
    finally:
        os.unlink(file.name)  # noqa: PTH108  # named by tempfile
