"""Which files of a shard belong together, and what each is for."""

from __future__ import annotations

from typing import Final, Literal

FileKind = Literal["image", "label", "class", "text"]

IMAGE_ENDINGS: Final = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
_LOSSY: Final = ("jpg", "jpeg", "webp")
_MASK_WORDS: Final = ("mask", "masks", "seg", "label", "labels", "instances")
_MASK_ENDINGS: Final = tuple(
    f"{word}.{ending}" for word in _MASK_WORDS for ending in ("png", "tif", "tiff", "bmp")
)
ENDINGS: Final[tuple[str, ...]] = (*_MASK_ENDINGS, *IMAGE_ENDINGS, "json", "cls", "txt")
"""What names end in; the number of an ending is its place here, and of two the longer comes first.
"""


def split_member(name: str) -> tuple[str, str] | None:
    """Return the key and the ending of a file: `a/sa_1` and `jpg` of `a/sa_1.jpg`.

    webdataset cuts at the first dot; here names with dots keep what does not belong to an ending.

    Args:
        name: The relative name.

    Returns:
        `None` for a file that is no part of a sample: hidden, or with another ending.
    """
    file = name.rpartition("/")[2]
    if file.startswith((".", "__")):
        return None
    lower = name.lower()
    for ending in ENDINGS:
        if lower.endswith("." + ending) and len(file) > len(ending) + 1:
            return name[: -len(ending) - 1], ending
    return None


def kinds_of(endings: tuple[str, ...]) -> dict[str, FileKind]:
    """Return what the files of one sample are for, by ending.

    Of a JPEG or WebP and a PNG or TIFF without a word for masks, the second is the mask.

    Args:
        endings: Those of the sample.
    """
    kinds: dict[str, FileKind] = {}
    pictures = [ending for ending in endings if ending in IMAGE_ENDINGS]
    lossy = [ending for ending in pictures if ending in _LOSSY]
    for ending in endings:
        if ending in pictures:
            is_image = ending in lossy or not lossy
            kinds[ending] = "image" if is_image else "label"
        else:
            kinds[ending] = {"cls": "class", "txt": "text"}.get(ending, "label")  # type: ignore[assignment]  # the values are of FileKind
    return kinds
