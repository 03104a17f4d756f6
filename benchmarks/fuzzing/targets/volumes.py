"""Targets: volumes as NIfTI and NRRD, and what follows from their headers."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import nibabel
import nrrd
import numpy as np

from benchmarks.fuzzing.target import Target
from samft.data.labels import ClassMask, read_label_layers, values_in
from samft.data.preprocessing import Preprocessing
from samft.data.readers.volumes import probe_segments
from samft.data.sources import VolumeSource
from samft.errors import SamftError

_SHAPE: Final = (3, 4, 5)
_LABELS: Final = (np.arange(60).reshape(_SHAPE) // 20).astype(np.uint8)
# Where numbers of a NIfTI-1 header stand, and how each is stored.
_FIELDS: Final = (
    *((0, "i"), (70, "h"), (72, "h"), (108, "f"), (112, "f"), (116, "f"), (123, "B"), (252, "h")),
    *((254, "h"), (344, "4s"), (348, "4s")),
    *((40 + 2 * axis, "h") for axis in range(8)),
    *((76 + 4 * axis, "f") for axis in range(8)),
    *((256 + 4 * number, "f") for number in range(18)),
)
_WHOLE: Final = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 128, 256, 512, 540, 768, 1024, 1792, 2304, -1,
                 348, 32_767, -32_768, 2**31 - 1)  # fmt: skip
_REAL: Final = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 3e38, float("nan"), float("inf"), float("-inf"),
                352.0, 347.5, 2.0**31)  # fmt: skip
_MAGICS: Final = (b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0", b"\1\0\0\0")
_TEXTS: Final = (b"0", b"-1", b"3", b"2 2 2", b"99999999999", b"1e400", b"nan", b"none", b"(1,0,0)",
                 b"(nan,0,0) (0,1,0) (0,0,1)", b"none (1,0,0) (0,1,0) (0,0,1)", b"gzip", b"bzip2",
                 b"ascii", b"hex", b"block", b"float", b"big", b"../../etc/passwd", b"LIST",
                 b"left-posterior-superior", b"", b"x" * 300, b"\xff", b"domain list")  # fmt: skip
_NAMES: Final = (b"sizes", b"type", b"encoding", b"dimension", b"endian", b"space", b"kinds",
                 b"space directions", b"space origin", b"spacings", b"data file", b"line skip",
                 b"byte skip", b"block size", b"thicknesses", b"centers", b"labels", b"units",
                 b"measurement frame", b"Segment0_Name", b"Segment0_LabelValue")  # fmt: skip


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (
        Target("nifti", "volume.nii", _read, _nifti_seeds, mutate_nifti),
        Target("nifti_gz", "volume.nii.gz", _read, _nifti_seeds, mutate_nifti, _packed),
        Target("nifti_gzip", "volume.nii.gz", _read, _gzip_seeds),
        Target("nrrd", "volume.seg.nrrd", _read, _nrrd_seeds, mutate_nrrd),
    )


def mutate_nifti(data: bytes, seed: int) -> bytes:
    """Change numbers of the header."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    changed = bytearray(data)
    order = "<" if data[:2] in (b"\x5c\x01", b"\x1c\x02") else ">"
    for _ in range(chance.choice((1, 1, 2, 4))):
        place, kind = chance.choice(_FIELDS)
        if kind == "4s":
            value: object = chance.choice(_MAGICS)
        elif kind == "f":
            value = chance.choice(_REAL)
        else:
            value = chance.choice(_WHOLE)
            value = max(-(2**15), min(2**15 - 1, value)) if kind == "h" else value
            value = value % 256 if kind == "B" else value
        if place + 4 <= len(changed):
            struct.pack_into(order + kind, changed, place, value)
    return bytes(changed)


def mutate_nrrd(data: bytes, seed: int) -> bytes:
    """Change a line of the header; the data stays."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    header, gap, rest = data.partition(b"\n\n")
    lines = header.split(b"\n")
    place = chance.randrange(len(lines))
    name, colon, value = lines[place].partition(b":")
    choice = chance.randrange(7)
    if choice == 0:
        del lines[place]
    elif choice == 1:
        lines.insert(chance.randrange(len(lines) + 1), lines[place])
    elif choice == 2:
        words = value.split() or [b""]
        words[chance.randrange(len(words))] = chance.choice(_TEXTS)
        lines[place] = name + colon + b" " + b" ".join(words)
    elif choice == 3:
        lines[place] = chance.choice(_NAMES) + b":" + value
    elif choice == 4:
        lines.append(chance.choice(_NAMES) + b": " + chance.choice(_TEXTS))
    else:
        lines[place] = name + b": " + chance.choice(_TEXTS)
    return b"\n".join(lines) + gap + rest


def _read(path: Path) -> object:
    probe_segments(path)
    source = VolumeSource("a", (path,), Preprocessing())
    source.picture(len(source.planes) - 1)
    with suppress(SamftError):  # probabilities
        layers, _ = read_label_layers(path)
        classes = tuple(dict.fromkeys(filter(None, values_in(layer)), 0) for layer in layers)
        mask = ClassMask(layers=layers, class_of=classes)
        mask.objects("value", at=(source.space.axis, 0))
    return source.space.to_file_order(np.zeros(source.space.shape, np.uint8)), source.spacing_mm


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _nifti_seeds(folder: Path) -> Sequence[bytes]:
    seeds = []
    affine = np.array([[0, -1.0, 0, 5], [2, 0, 0, -7], [0, 0.1, 3, 1], [0, 0, 0, 1]])
    images = [nibabel.Nifti1Image(_LABELS.astype(dtype), np.diag([1.0, 2.0, 3.0, 1.0]))
              for dtype in ("u1", "i2", "f4", "f8", ">i2")]  # fmt: skip
    images.append(nibabel.Nifti2Image(_LABELS, affine))
    images.append(nibabel.Nifti1Image(_LABELS[..., 0], affine))
    images.append(nibabel.Nifti1Image(np.stack([_LABELS] * 2, axis=-1), affine))
    turned = nibabel.Nifti1Image(_LABELS, affine)
    turned.set_sform(None)
    turned.header.set_slope_inter(2.0, -1.0)
    for number, image in enumerate([*images, turned]):
        path = folder / f"{number}.nii"
        nibabel.save(image, path)
        seeds.append(path.read_bytes())
    return seeds


def _gzip_seeds(folder: Path) -> Sequence[bytes]:
    seeds = _nifti_seeds(folder)
    whole = _packed(seeds[0])
    parts = _packed(seeds[0][:400]) + _packed(seeds[0][400:])  # members one behind the other
    return [whole, parts, *(_packed(seed) for seed in seeds[5:])]


def _nrrd_seeds(folder: Path) -> Sequence[bytes]:
    seeds = []
    place = {"space": "left-posterior-superior", "space origin": [1.0, 2.0, 3.0]}
    steps = np.diag([1.0, 2.0, 3.0])
    layers = np.stack([_LABELS, _LABELS])
    named = {"Segment0_Name": "cell", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
             "Segment1_Name": "dog", "Segment1_LabelValue": "2", "Segment1_Layer": "1"}  # fmt: skip
    headers: list[tuple[np.ndarray, dict[str, object]]] = [
        *((_LABELS, {**place, "space directions": steps, "encoding": name})
          for name in ("raw", "gzip", "bzip2")),
        (_LABELS.astype("f4"), {"spacings": [1.0, 2.0, 3.0], "encoding": "raw"}),
        (_LABELS.astype(">i2"), {"encoding": "raw", "endian": "big"}),
        (_LABELS[0], {"encoding": "raw"}),
        (layers, {**place, **named, "encoding": "gzip", "kinds": ["list", *["domain"] * 3],
                  "space directions": np.vstack([np.full(3, np.nan), steps])}),
    ]  # fmt: skip
    for number, (array, header) in enumerate(headers):
        path = folder / f"{number}.nrrd"
        nrrd.write(str(path), array, header)
        seeds.append(path.read_bytes())
    return seeds
