"""Targets: pictures and masks as PNG, JPEG, GIF, WebP and BMP; masks of Pascal VOC; brush masks."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from benchmarks.fuzzing.png import interlaced_png, mutate_png, png_of
from benchmarks.fuzzing.target import Target
from samft.data.labels import read_label_layers
from samft.data.layouts.voc_truth import read_voc_truth
from samft.data.preprocessing import Preprocessing
from samft.data.readers.image import probe_image, read_image, read_label_map, read_mask
from samft.data.readers.image_window import read_image_window, read_label_window
from samft.data.readers.label_studio import read_label_studio
from samft.data.readers.label_studio_regions import shape_of
from samft.data.readers.voc import read_class_names
from samft.data.sources import PictureSource

_HEIGHT, _WIDTH = 9, 7
_PIXELS: Final = (np.arange(_HEIGHT * _WIDTH) * 3 % 251).astype(np.uint8).reshape(_HEIGHT, _WIDTH)
_LABELS: Final = np.repeat(np.arange(3, dtype=np.uint8), 21).reshape(_HEIGHT, _WIDTH)


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    marks = {"class_names.txt": b"_background_\ncat\ndog\n", "class.png": _png(_palette(_LABELS))}
    return (
        Target("png", "image.png", _see, _png_seeds, mutate_png),
        Target("picture", "image.gif", _see, _picture_seeds),
        Target("png_mask", "mask.png", _read_mask, _mask_seeds, mutate_png),
        Target("voc_objects", "objects.png", _read_objects, _mask_seeds, mutate_png, around=marks),
        Target("voc_npy", "class.npy", _read_npy, _npy_seeds, around=marks),
        Target("brush", "tasks.json", _read_brush, _brush_seeds, wrap=_as_brush),
        Target("bitmask", "tasks.json", _read_brush, _bitmask_seeds, mutate_png, _as_bitmask),
    )


def _see(path: Path) -> object:
    height, width = probe_image(path)
    read_image(path)
    part = (height // 2, 0, height - height // 2, width)
    read_image_window(path, part)
    return PictureSource("a", (path,), Preprocessing()).part(0, part)


def _read_mask(path: Path) -> object:
    read_mask(path, palette="colour")
    size = probe_image(path)
    read_mask(path)
    read_label_map(path)
    read_label_window(path, (0, 0, 1, size[1]))
    return read_label_layers(path)


def _read_objects(path: Path) -> object:
    names = read_class_names(path.parent / "class_names.txt")
    truth = read_voc_truth(path.parent / "class.png", path, names, {"cat": 0, "dog": 1})
    return truth.objects("component")


def _read_npy(path: Path) -> object:
    names = read_class_names(path.parent / "class_names.txt")
    return read_voc_truth(path, None, names, {"cat": 0, "dog": 1}).objects("component")


def _read_brush(path: Path) -> object:
    regions = [region for image in read_label_studio(path).images for region in image.regions]
    return [shape_of(region, (_HEIGHT, _WIDTH), {"cat"}, path) for region in regions]


def _task(value: dict[str, object]) -> bytes:
    result = [{"type": "brushlabels", "value": {"brushlabels": ["cat"], **value},
               "original_height": _HEIGHT, "original_width": _WIDTH}]  # fmt: skip
    task = {"data": {"image": "a.png"}, "annotations": [{"id": 1, "result": result}]}
    return json.dumps([task]).encode()


def _as_brush(data: bytes) -> bytes:
    return _task({"format": "rle", "rle": list(data)})


def _as_bitmask(data: bytes) -> bytes:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return _task({"imageDataURL": url})


def _png(picture: Image.Image, **settings: object) -> bytes:
    return _saved(picture, "PNG", **settings)


def _saved(picture: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def _palette(values: np.ndarray) -> Image.Image:
    picture = Image.fromarray(values, "P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return picture


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _modes() -> list[Image.Image]:
    grey = Image.fromarray(_PIXELS)
    deep = Image.fromarray(_PIXELS.astype(np.uint16) * 257)
    return [grey, deep, _palette(_LABELS), *(grey.convert(m) for m in ("1", "LA", "RGB", "RGBA"))]


def _png_seeds(_: Path) -> Sequence[bytes]:
    seeds = [_png(picture) for picture in _modes()]
    seeds.append(_png(_palette(_LABELS), transparency=b"\x00\x80\xff"))
    seeds.append(_png(Image.fromarray(_PIXELS), exif=_exif(6)))
    seeds.append(_png(Image.fromarray(_PIXELS), save_all=True, append_images=[_modes()[0]]))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("a", "b" * 50, zip=True)
    seeds.append(_png(Image.fromarray(_PIXELS), pnginfo=notes, icc_profile=bytes(40)))
    seeds.append(interlaced_png(_PIXELS))
    colours = np.stack([_PIXELS.astype(np.uint16) * 200] * 4, axis=-1)
    seeds += [cv2.imencode(".png", colours[..., :count])[1].tobytes() for count in (3, 4)]
    pairs = np.stack([_PIXELS.astype(">u2")] * 2, axis=-1)
    rows = b"".join(b"\0" + row.tobytes() for row in pairs)
    seeds.append(png_of([(b"IHDR", struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 16, 4, 0, 0, 0)),
                          (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]))  # fmt: skip
    return seeds


def _picture_seeds(_: Path) -> Sequence[bytes]:
    grey, colour = Image.fromarray(_PIXELS), Image.fromarray(_PIXELS).convert("RGB")
    seeds = [_saved(picture, kind) for kind in ("JPEG", "WEBP", "BMP", "GIF")
             for picture in (grey, colour)]  # fmt: skip
    seeds += [_saved(grey, "JPEG", exif=_exif(turn), quality=30) for turn in (3, 6, 8)]
    seeds.append(_saved(colour, "JPEG", progressive=True))
    seeds.append(_saved(colour.convert("CMYK"), "JPEG"))
    seeds.append(_saved(colour.convert("RGBA"), "WEBP", lossless=True, exif=_exif(5)))
    for kind in ("GIF", "WEBP"):
        seeds.append(_saved(colour, kind, save_all=True, append_images=[grey.convert("RGB")]))
    seeds.append(_saved(_palette(_LABELS), "GIF", transparency=1))
    seeds += [_saved(grey.convert(mode), "BMP") for mode in ("1", "P", "RGBA")]
    return seeds


def _mask_seeds(_: Path) -> Sequence[bytes]:
    grey = Image.fromarray(_LABELS)
    see_through = Image.merge("LA", [Image.new("L", grey.size), grey])
    deep = Image.fromarray(_LABELS.astype(np.uint16) * 300)
    return [_png(picture) for picture in (grey, deep, _palette(_LABELS), see_through)]


def _npy_seeds(_: Path) -> Sequence[bytes]:
    seeds = []
    for dtype in ("u1", "<i4", ">i2", "<i8"):
        buffer = io.BytesIO()
        np.save(buffer, _LABELS.astype(dtype))
        seeds.append(buffer.getvalue())
    return seeds


def _brush_seeds(_: Path) -> Sequence[bytes]:
    """Return run lengths of the two ways there are: a value for a run, a value for each byte."""
    total = 4 * _HEIGHT * _WIDTH
    header = [(total, 32), (7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]
    one_by_one = [((value * 7) % 256, 8) for value in range(total - 8)]
    return [
        _packed(
            [*header, (1, 1), (2, 2), (total - 9, 8), (255, 8), (1, 1), (0, 2), (7, 3), (0, 8)]
        ),
        _packed(
            [*header, (0, 1), (2, 2), (total - 9, 8), *one_by_one, (1, 1), (0, 2), (7, 3), (1, 8)]
        ),
    ]


def _packed(parts: Sequence[tuple[int, int]]) -> bytes:
    """Return (value, bits) pairs one behind the other."""
    text = "".join(format(value, f"0{bits}b") for value, bits in parts)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _bitmask_seeds(_: Path) -> Sequence[bytes]:
    opaque = Image.fromarray(np.where(_LABELS > 0, 255, 0).astype(np.uint8))
    clear = Image.merge("RGBA", [opaque] * 4)
    return [_png(opaque), _png(clear), _png(_palette(_LABELS), transparency=0)]
