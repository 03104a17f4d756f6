"""The gallery of a test, as pictures that fit into one file."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from PIL import Image

from samft.data.roots import inside_root
from samft.errors import DatasetError
from samft.evaluation.report.blocks import Block, Gallery, Picture, Section, Text
from samft.evaluation.report.results import Results
from samft.evaluation.report.wording import count, number, prompt_label

MOST_BYTES: Final = 10_000_000
"""Of all pictures together; base64 makes it a third more."""
_LARGEST_FILE: Final = 64 * 2**20  # bytes; samft writes pictures of less than one million
_MOST_EDGE = 1600  # pixels; wider than a page shows
_QUALITIES: Final = (85, 70, 50, 30)
_MEDIA_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_TITLES: Final = {
    "worst": "Worst answers",
    "worsened": "Most worsened by training",
    "improved": "Most improved by training",
    "best": "Best answers",
}
_OVERLAYS: Final = ("overlays/best.png",)


def gallery(results: Results) -> Section:
    """Return the pictures of a test: the best, the worst, those that training changed most."""
    found: dict[str, list[Picture]] = {}
    missing = 0
    for entry in results.content["gallery"]:
        picture = read_picture(results.folder, entry["picture"], _described(entry, results))
        if picture is None:
            missing += 1
        else:
            found.setdefault(entry["kind"], []).append(picture)
    blocks = _blocks(found)
    if missing:
        noun = "picture is" if missing == 1 else "pictures are"
        blocks.append(
            Text(text=f"{count(missing)} {noun} not there or cannot be read.", tone="warning")
        )
    return Section(key="gallery", title="Pictures", blocks=blocks)


def training_pictures(folder: Path) -> Section:
    """Return the picture that the training drew, for a run without a test."""
    told = "Images of the validation split", "Drawn during training."
    pictures = [
        picture for name in _OVERLAYS if (picture := read_picture(folder, name, told)) is not None
    ]
    blocks = [Gallery(title="Validation images", pictures=_fitting(pictures))] if pictures else []
    return Section(key="gallery", title="Pictures", blocks=blocks)


def read_picture(folder: Path, name: str, told: tuple[str, str]) -> Picture | None:
    """Read a picture below a folder.

    Args:
        folder: Where it must lie.
        name: Its path in there.
        told: Its description and its caption.

    Returns:
        `None` if it is not there, leads out of the folder, or is not a picture that browsers show.
    """
    path = inside_root(folder, name)
    try:
        if path is None or not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            return None
        data = path.read_bytes()
    except OSError:  # a name that is too long among others
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                image.verify()
                media_type = _MEDIA_TYPES.get(image.format or "")
                told_more = bool({"exif", "comment", "xmp"} & set(image.info))
    except Exception:  # noqa: BLE001  (decoders raise anything on damaged files)
        return None
    if media_type is None:
        return None
    alt, caption = told
    picture = Picture(data=data, media_type=media_type, link=name, alt=alt, caption=caption)
    # What a camera or a program wrote beside the pixels has no place in a report.
    return _smaller(picture, _MOST_EDGE, 90) if told_more else picture


def _blocks(found: Mapping[str, list[Picture]]) -> list[Block]:
    order = [*(kind for kind in _TITLES if kind in found), *sorted(set(found) - set(_TITLES))]
    pictures = _fitting([picture for kind in order for picture in found[kind]])
    blocks: list[Block] = []
    for kind in order:
        own, pictures = pictures[: len(found[kind])], pictures[len(found[kind]) :]
        blocks.append(Gallery(title=_TITLES.get(kind, kind), pictures=own))
    return blocks


def _fitting(pictures: list[Picture]) -> list[Picture]:
    """Return pictures that are small enough together, of less quality where they must be."""
    for step, quality in enumerate(_QUALITIES):
        total = sum(len(picture.data) for picture in pictures)
        if total <= MOST_BYTES:
            return pictures
        share = MOST_BYTES / len(pictures)
        edge = _MOST_EDGE // 2**step
        pictures = [
            _smaller(picture, edge, quality) if len(picture.data) > share else picture
            for picture in pictures
        ]
    kept = max(1, int(MOST_BYTES / max(len(picture.data) for picture in pictures)))
    return [
        picture if index < kept else replace(picture, data=b"")
        for index, picture in enumerate(pictures)
    ]


def _smaller(picture: Picture, edge: int, quality: int) -> Picture:
    stream = io.BytesIO()
    try:
        with Image.open(io.BytesIO(picture.data)) as image:
            small = image.convert("RGB")
            small.thumbnail((edge, edge))
            small.save(stream, format="JPEG", quality=quality)
    except OSError as error:
        raise DatasetError(
            "a picture of the gallery cannot be read",
            where=picture.link,
            found=error,
            fix="run samft test again",
        ) from error
    return replace(picture, data=stream.getvalue(), media_type="image/jpeg")


def _described(entry: Mapping[str, Any], results: Results) -> tuple[str, str]:
    # Any: a picture of `Results`
    parts = [entry["sample_id"]]
    if math.isfinite(entry["object_id"]):
        parts.append(f"object {count(entry['object_id'])}")
    parts += [part for part in (entry["class_name"], prompt_label(entry["prompt"])) if part]
    about = ", ".join(part for part in parts if part)
    scores = ", ".join(f"{model} {number(value)}" for model, value in _shown(entry, results))
    said = f"{about}. IoU: {scores}" if scores else about
    title = _TITLES.get(entry["kind"], entry["kind"])
    return f"{title}: {said}", said


def _shown(entry: Mapping[str, Any], results: Results) -> Iterator[tuple[str, float]]:
    # Any: a picture of `Results`
    first = [name for name in (results.reference, results.main) if name in entry["iou"]]
    for name in dict.fromkeys([*first, *entry["iou"]]):
        yield name, entry["iou"][name]
