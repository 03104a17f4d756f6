"""Small sets, each broken in one way: the check finds that, says how to mend it, and no more."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from fixtures_data import ct_volume, discs, picture, save, write_nifti
from PIL import Image

from samft.data.checking.codes import CODES
from samft.data.checking.runner import check_folder
from samft.data.checking.settings import CheckSettings
from samft.data.layouts.base import LayoutSettings

Maker = Callable[[Path], object]


def mask(number: int) -> np.ndarray:
    return (discs(number) > 0).astype(np.uint8)


PURE = {"water": [0, 0, 0], "reef": [255, 0, 0], "fish": [0, 255, 0]}


def flat(root: Path, *, count: int = 5, white: int = 1) -> None:
    """Images and masks of one class, in order."""
    for number in range(count):
        save(root / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / "labels" / f"p{number}q.png", mask(number) * white)


def two_classes(number: int) -> np.ndarray:
    labels = discs(number)
    return np.where(labels > 2, 2, labels > 0).astype(np.uint8)


def semantic(root: Path, change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> None:
    for number in range(5):
        save(root / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / "labels" / f"p{number}q.png", change(two_classes(number)).astype(np.uint8))


def instances(root: Path) -> None:
    for number in range(5):
        save(root / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / "labels" / f"p{number}q.png", discs(number).astype(np.uint8))


def splits(root: Path) -> None:
    for number in range(6):
        split = "val" if number > 3 else "train"
        save(root / split / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / split / "labels" / f"p{number}q.png", mask(number))


def volumes(root: Path, *, count: int = 3) -> None:
    for number in range(count):
        values, labels = ct_volume(number)
        write_nifti(root / "images" / f"c{number}q.nii.gz", values)
        write_nifti(root / "labels" / f"c{number}q.nii.gz", labels)


def then(make: Maker, *breaks: Maker) -> Maker:
    def both(root: Path) -> None:
        make(root)
        for step in breaks:
            step(root)

    return both


def truncate(name: str, keep: float = 0.5) -> Maker:
    def cut(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(len(data) * keep)])

    return cut


def rewrite(name: str, change: Callable[[np.ndarray], np.ndarray], **options: Any) -> Maker:
    def write(root: Path) -> None:
        array = change(np.asarray(Image.open(root / name)))
        Image.fromarray(array).save(root / name, **options)

    return write


def rewrite_all(folder: str, change: Callable[[np.ndarray], np.ndarray]) -> Maker:
    def write(root: Path) -> None:
        for path in sorted((root / folder).iterdir()):
            Image.fromarray(change(np.asarray(Image.open(path)))).save(path)

    return write


def rename(old: str, new: str) -> Maker:
    return lambda root: (root / old).rename(root / new)


def copy(old: str, new: str) -> Maker:
    return lambda root: (root / new).write_bytes((root / old).read_bytes())


def convert(name: str, mode: str, new: str) -> Maker:
    def write(root: Path) -> None:
        Image.open(root / name).convert(mode).save(root / new)
        (root / name).unlink()

    return write


def link_out(root: Path) -> None:
    flat(root)
    outside = root.parent / "elsewhere.png"
    (root / "images" / "p0q.png").rename(outside)
    (root / "images" / "p0q.png").symlink_to(outside)


def turned_by_exif(root: Path) -> None:
    flat(root)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(root / "images" / "p0q.png").save(root / "images" / "p0q.jpg", exif=exif, quality=95)
    (root / "images" / "p0q.png").unlink()


def to_jpeg(root: Path) -> None:
    for number in range(5):
        path = root / "labels" / f"p{number}q.png"
        Image.open(path).save(path.with_suffix(".jpg"), quality=60)
        path.unlink()


def blurred(array: np.ndarray) -> np.ndarray:
    small = Image.fromarray(array).resize((32, 24), Image.Resampling.BOX)
    return np.asarray(small.resize(array.shape[::-1], Image.Resampling.BICUBIC))


def coloured(array: np.ndarray) -> np.ndarray:
    return np.array([[10, 20, 30], [200, 90, 40], [60, 180, 70]], np.uint8)[array]


def jpeg_colours(root: Path) -> None:
    colours = np.array(list(PURE.values()), np.uint8)
    for number in range(5):
        save(root / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / "labels" / f"p{number}q.jpg", colours[two_classes(number)])


def strays(array: np.ndarray) -> np.ndarray:
    changed = np.kron(array, np.ones((6, 6), np.uint8))
    changed[0, :3] = 130
    return changed


def enlarged(root: Path) -> None:
    path = root / "images" / "p0q.png"
    save(path, np.kron(np.asarray(Image.open(path)), np.ones((6, 6), np.uint8)))


def specks(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[1, 1:60:4] = 1
    return changed


def moved(root: Path) -> None:
    path = root / "labels" / "c1q.nii.gz"
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 40
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)


def header(change: Callable[[Any], object]) -> Maker:
    def write(root: Path) -> None:
        for folder in ("images", "labels"):
            for path in sorted((root / folder).iterdir()):
                data = np.asarray(nibabel.load(path).dataobj)
                image = nibabel.Nifti1Image(data, None)
                change(image)
                nibabel.save(image, path)

    return write


def unstated(image: Any) -> None:
    image.header["qform_code"] = image.header["sform_code"] = 0


def micrometres(image: Any) -> None:
    image.set_sform(np.diag([800.0, 800.0, 5000.0, 1.0]), 1)


def not_a_number(root: Path) -> None:
    volumes(root)
    for folder in ("images", "labels"):
        path = root / folder / "c1q.nii.gz"
        image = nibabel.load(path)
        data, head = np.asarray(image.dataobj), image.header.copy()
        head["sform_code"], head["srow_x"] = 1, [np.nan] * 4
        raw = head.binaryblock + b"\0" * 4 + data.astype(head.get_data_dtype()).tobytes("F")
        path.unlink()
        (root / folder / "c1q.nii").write_bytes(raw)


def padded(root: Path) -> None:
    for number in range(3):
        values, labels = ct_volume(number)
        noise = np.random.default_rng(number).integers(0, 40, values.shape)
        values[:, :4] = -2000 + noise[:, :4]
        write_nifti(root / "images" / f"c{number}q.nii.gz", values)
        write_nifti(root / "labels" / f"c{number}q.nii.gz", labels)


def deep(scale: int) -> Maker:
    def write(root: Path) -> None:
        for path in sorted((root / "images").iterdir())[: 2 if scale > 1 else 5]:
            array = np.asarray(Image.open(path)).astype(np.uint16) * scale
            path.unlink()
            tifffile.imwrite(path.with_suffix(".tif"), array)

    return write


def one_per_object(root: Path) -> None:
    for number in range(3):
        labels = discs(number)
        case = root / f"case{number}"
        save(case / "images" / f"c{number}.png", picture(labels, number))
        for value in range(1, labels.max() + 1):
            save(case / "masks" / f"{value}.png", (labels == value).astype(np.uint8) * 255)


def overlapping(root: Path) -> None:
    one_per_object(root)
    path = root / "case1" / "masks" / "1.png"
    first = np.asarray(Image.open(path)).copy()
    second = np.asarray(Image.open(root / "case1" / "masks" / "2.png"))
    rows, columns = np.nonzero(second)
    first[rows[:3], columns[:3]] = 255
    save(path, first)


def film(root: Path, *, folders: bool) -> None:
    """Twelve frames of a scene that drifts slowly."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(20, 230, (12, 40))
    wide = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((1600, 480)))
    for number in range(24):
        frame = wide[::10, number * 40 // 10 : number * 40 // 10 + 640 : 10]
        split = ("train" if number < 18 else "val") if folders else ""
        noisy = frame + rng.normal(0, 1, frame.shape)
        save(root / split / "images" / f"film_{number}.png", noisy.clip(0, 255).astype(np.uint8))
        save(root / split / "labels" / f"film_{number}.png", mask(number))


def patients(root: Path) -> None:
    for number, split in enumerate(("train", "train", "train", "val")):
        name = f"pat{min(number, 2)}_{'abcd'[number]}.png"
        save(root / split / "images" / name, picture(discs(number), number))
        save(root / split / "labels" / name, mask(number))


def wrapped(root: Path) -> None:
    """More than 255 cells in an image of 8 bits."""
    for number in range(2):
        cells = np.kron(np.arange(1, 401).reshape(20, 20), np.ones((5, 5), np.int64))
        cells = (cells - 1) % 255 + 1
        cells[::5] = cells[:, ::5] = 0
        noise = np.random.default_rng(number).normal(0, 8, cells.shape)
        grey = (np.where(cells > 0, 180, 60) + noise).clip(0, 255)
        save(root / "images" / f"p{number}q.png", grey.astype(np.uint8))
        save(root / "labels" / f"p{number}q.png", cells.astype(np.uint8))


def many_pieces(root: Path) -> None:
    for number in range(3):
        labels = discs(number, count=9, radius=4)
        save(root / "images" / f"p{number}q.png", picture(labels, number))
        save(
            root / "labels" / f"p{number}q.png",
            np.where(labels > 4, 2, labels > 0).astype(np.uint8),
        )


def torn(root: Path) -> None:
    instances(root)
    path = root / "labels" / "p1q.png"
    labels = np.asarray(Image.open(path)).copy()
    rows = np.flatnonzero((labels == 2).any(axis=1))
    middle = labels[rows[len(rows) // 2]]
    middle[middle == 2] = 0
    save(path, labels)


def field_of_view(root: Path) -> None:
    y, x = np.indices((48, 64))
    for number in range(6):
        view = (y - 24) ** 2 + (x - 32) ** 2 < (22 + number % 2) ** 2
        grey = np.where(view, picture(discs(number), number), 3)
        save(root / "images" / f"p{number}q.png", grey.astype(np.uint8))
        save(root / "mask" / f"p{number}q_mask.png", view.astype(np.uint8) * 255)
        save(root / "vessels" / f"p{number}q_hand.png", mask(number) * 255)


def rare_class(root: Path) -> None:
    for number in range(20):
        save(root / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / "labels" / f"p{number}q.png", mask(number) * (1 + (number == 3)))


def soft(root: Path) -> None:
    flat(root)
    (root / "labels" / "p1q.png").unlink()
    save(root / "labels" / "p1q.tif", (mask(1) * 0.7).astype(np.float32))


def one_hot(root: Path) -> None:
    volumes(root)
    for number in range(3):
        _, labels = ct_volume(number)
        layers = np.stack([labels == value for value in (0, 1, 2)], axis=-1)
        write_nifti(root / "labels" / f"c{number}q.nii.gz", layers.astype(np.uint8))


def four_channels(root: Path) -> None:
    volumes(root)
    values, _ = ct_volume(1)
    write_nifti(root / "images" / "c1q.nii.gz", np.stack([values] * 4, axis=-1))


NAMED = {"classes": ["cell", "vessel"]}
CASES: list[tuple[str, Maker, dict[str, Any], dict[str, int], str]] = [
    (
        "truncated image",
        then(flat, truncate("images/p1q.png"), truncate("images/p3q.png")),
        {},
        {"file-unreadable": 2},
        "take it out of the data set",
    ),
    (
        "truncated mask",
        then(flat, truncate("labels/p1q.png")),
        {},
        {"file-unreadable": 1},
        "copy it again",
    ),
    (
        "not an image",
        then(flat, lambda r: (r / "images/p2q.png").write_text("hello")),
        {},
        {"file-unreadable": 1},
        "copy it again",
    ),
    (
        "empty file",
        then(flat, lambda r: (r / "images/p2q.png").write_bytes(b"")),
        {},
        {"file-empty": 1},
        "copy it again",
    ),
    (
        "empty mask file",
        then(flat, lambda r: (r / "labels/p2q.png").write_bytes(b"")),
        {},
        {"file-empty": 1},
        "copy it again",
    ),
    (
        "truncated volume",
        then(volumes, truncate("images/c1q.nii.gz")),
        {},
        {"file-unreadable": 1},
        "copy it again",
    ),
    ("link out", link_out, {}, {"link-outside": 1}, "copy the file"),
    (
        "no mask",
        then(flat, lambda r: (r / "labels/p2q.png").unlink()),
        {},
        {"image-without-mask": 1},
        "data.on_missing: skip",
    ),
    (
        "no image",
        then(flat, lambda r: (r / "images/p2q.png").unlink()),
        {},
        {"mask-without-image": 1},
        "data.on_missing: skip",
    ),
    (
        "misspelt mask",
        then(flat, rename("labels/p2q.png", "labels/p22q.png")),
        {},
        {"image-without-mask": 1, "mask-without-image": 1},
        "rename one of them",
    ),
    (
        "case of names",
        then(
            flat,
            copy("images/p1q.png", "images/P1Q.png"),
            copy("labels/p1q.png", "labels/P1Q.png"),
            rewrite("images/P1Q.png", lambda a: a[::-1]),
            rewrite("labels/P1Q.png", lambda a: a[::-1]),
        ),
        {},
        {"name-case": 2},
        "rename one",
    ),
    (
        "two masks",
        then(flat, copy("labels/p1q.png", "labels/p1q_mask.png")),
        {},
        {"layout": 1},
        "data.labels",
    ),
    (
        "smaller mask",
        then(flat, rewrite("labels/p1q.png", lambda a: a[:-2])),
        {},
        {"size-mismatch": 1},
        "same size",
    ),
    (
        "transposed mask",
        then(flat, rewrite("labels/p1q.png", lambda a: a.T.copy())),
        {},
        {"size-transposed": 1},
        "rows are columns",
    ),
    ("EXIF", turned_by_exif, {}, {"exif-rotation": 1}, "exiftool"),
    (
        "one mask flipped",
        then(flat, rewrite("labels/p1q.png", lambda a: a[::-1].copy())),
        {},
        {"orientation": 1},
        "--preview",
    ),
    (
        "all masks flipped",
        then(flat, rewrite_all("labels", lambda a: a[:, ::-1].copy())),
        {},
        {"orientation": 1},
        "undo that",
    ),
    (
        "volume of other size",
        then(volumes, lambda r: write_nifti(r / "labels/c1q.nii.gz", ct_volume(1, slices=5)[1])),
        {},
        {"size-mismatch": 1},
        "same size",
    ),
    ("moved mask volume", then(volumes, moved), {}, {"affine-mismatch": 1}, "data.check_affine"),
    ("affine of NaN", not_a_number, {}, {"geometry-nonsense": 1}, "correct its header"),
    ("no spacing", then(volumes, header(unstated)), {}, {"spacing-unknown": 1}, "set the header"),
    ("spacing in um", then(volumes, header(micrometres)), {}, {"spacing-odd": 3}, "micrometres"),
    ("padding of a CT", padded, {}, {"ct-padding": 3}, "data.window: ct_soft"),
    (
        "255 for a class",
        lambda r: flat(r, white=255),
        {"classes": ["cell"]},
        {"mask-255": 1},
        "data.classes: {255: cell}",
    ),
    (
        "255 for two classes",
        lambda r: flat(r, white=255),
        NAMED,
        {"mask-255": 1},
        "leave data.classes out",
    ),
    (
        "foreign value",
        then(lambda r: semantic(r, lambda a: np.where(a == 2, 7, a))),
        NAMED,
        {"value-unknown": 1},
        "data.classes",
    ),
    (
        "one too high",
        lambda r: semantic(r, lambda a: np.where(a > 0, a + 1, 0)),
        NAMED,
        {"labels-off-by-one": 1},
        "data.first_value: 2",
    ),
    (
        "one too low",
        lambda r: semantic(r, lambda a: np.where(a > 0, a - 1, 9)),
        NAMED | {"background": None, "ignore_value": 9},
        {"labels-off-by-one": 1},
        "data.first_value: 0 and data.background: null",
    ),
    (
        "255 is ignore",
        lambda r: semantic(r, lambda a: np.where(np.indices(a.shape)[0] < 4, 255, a)),
        {},
        {"ignore-unset": 1},
        "data.ignore_value: 255",
    ),
    (
        "255 beside classes",
        lambda r: semantic(r, lambda a: np.where(np.indices(a.shape)[0] < 4, 255, a)),
        NAMED,
        {"ignore-unset": 1},
        "data.ignore_value: 255",
    ),
    (
        "trimap",
        lambda r: semantic(r, lambda a: np.choose(a, (0, 128, 255))),
        {},
        {"values-unnamed": 1},
        "data.ignore_value: 128",
    ),
    (
        "nearly white",
        lambda r: flat(r, white=254),
        {},
        {"mask-near-white": 1},
        "data.threshold: 128",
    ),
    (
        "1 and 255",
        then(flat, rewrite("labels/p1q.png", lambda a: a * 255)),
        {},
        {"values-differ": 1},
        "data.threshold: 1",
    ),
    (
        "JPEG masks",
        then(lambda r: flat(r, white=255), to_jpeg),
        {},
        {"mask-jpeg": 1},
        "data.threshold: 128",
    ),
    (
        "resized masks",
        then(lambda r: flat(r, white=255), rewrite_all("labels", blurred)),
        {},
        {"mask-blurred": 5},
        "data.threshold: 128",
    ),
    (
        "stray values",
        then(lambda r: flat(r, white=255), rewrite("labels/p0q.png", strays), enlarged),
        {},
        {"mask-stray-values": 1},
        "data.threshold: 128",
    ),
    (
        "colours",
        lambda r: (semantic(r), rewrite_all("labels", coloured)(r)),
        {},
        {"mask-colours": 5},
        "data.palette: {class0: [10, 20, 30]",
    ),
    (
        "colours the palette lacks",
        lambda r: (semantic(r), rewrite_all("labels", coloured)(r)),
        {"palette": PURE},
        {"mask-colours": 5},
        "where each colour is one object",
    ),
    (
        "JPEG masks of colours",
        jpeg_colours,
        {"palette": PURE, "min_area": 40},
        {"mask-jpeg": 1},
        "data.min_area: 100",
    ),
    (
        "inverted",
        lambda r: flat(r) or rewrite_all("labels", lambda a: 255 * (1 - a))(r),
        {},
        {"mask-inverted": 1},
        "data.background: 255",
    ),
    (
        "empty mask",
        then(flat, rewrite("labels/p1q.png", np.zeros_like)),
        {},
        {"mask-empty": 1},
        "draw what is missing",
    ),
    (
        "all masks empty",
        then(flat, rewrite_all("labels", np.zeros_like)),
        {},
        {"no-objects": 1},
        "data.background",
    ),
    (
        "full mask",
        then(flat, rewrite("labels/p1q.png", np.ones_like)),
        {},
        {"mask-full": 1},
        "data.background",
    ),
    (
        "specks",
        then(flat, rewrite_all("labels", specks)),
        {"image_size": 128},
        {"objects-tiny": 1},
        "data.min_area: 4",
    ),
    (
        "classes read as objects",
        many_pieces,
        {"objects": "value"},
        {"semantic-as-instances": 1},
        "data.objects: component",
    ),
    (
        "field of view",
        field_of_view,
        {},
        {"masks-alike": 1, "image-without-mask": 6},
        "data.labels",
    ),
    ("rare class", rare_class, NAMED, {"class-rare": 1}, "add images"),
    ("one-hot masks", one_hot, {}, {"mask-full": 3}, "leave out the layer of the background"),
    ("too many channels", four_channels, {}, {"file-unreadable": 1}, "data.channels, such as"),
    ("soft masks", soft, {}, {"labels-unreadable": 1}, "not probabilities"),
    ("objects in pieces", torn, {"objects": "value"}, {"ids-in-pieces": 1}, "data.objects"),
    ("wrapped numbers", wrapped, {"objects": "value"}, {"ids-wrapped": 1}, "16 bits"),
    ("objects that overlap", overlapping, {}, {"masks-overlap": 1}, "samft keeps both"),
    (
        "object twice",
        then(one_per_object, copy("case1/masks/1.png", "case1/masks/9.png")),
        {},
        {"object-twice": 1},
        "delete the copies",
    ),
    (
        "class without pixels",
        semantic,
        {"classes": ["cell", "vessel", "nerve"]},
        {"class-without-pixels": 1},
        "data.first_value: 0",
    ),
    (
        "class only in val",
        then(splits, rewrite("val/labels/p4q.png", lambda a: a * 2)),
        NAMED,
        {"class-not-in-train": 1},
        "training folder",
    ),
    (
        "most ignored",
        lambda r: semantic(r, lambda a: np.where(np.indices(a.shape)[0] < 30, 9, a)),
        {"ignore_value": 9},
        {"ignore-most": 1},
        "data.ignore_value",
    ),
    (
        "constant image",
        then(flat, rewrite("images/p1q.png", np.zeros_like)),
        {},
        {"image-constant": 1},
        "export the image again",
    ),
    (
        "exchanged",
        then(flat, copy("labels/p1q.png", "images/p1q.png")),
        {},
        {"image-is-mask": 1},
        "data.images and data.labels",
    ),
    (
        "CMYK",
        then(flat, convert("images/p1q.png", "CMYK", "images/p1q.jpg")),
        {},
        {"image-cmyk": 1},
        "RGB",
    ),
    (
        "NaN",
        then(
            flat,
            lambda r: (r / "images/p1q.png").unlink(),
            lambda r: save(
                r / "images/p1q.tif",
                np.where(discs(1) == 1, np.nan, picture(discs(1), 1)).astype("f4"),
            ),
        ),
        {},
        {"image-not-finite": 1},
        "become black",
    ),
    (
        "white image",
        then(
            flat,
            rewrite(
                "images/p1q.png",
                lambda a: np.where(np.indices(a.shape)[0] < 30, 255, a).astype(np.uint8),
            ),
        ),
        {},
        {"image-saturated": 1},
        "gain",
    ),
    (
        "alpha",
        then(
            flat,
            *(
                rewrite(f"images/p{n}q.png", lambda a: np.dstack([a, a, a, np.full_like(a, 255)]))
                for n in range(5)
            ),
        ),
        {},
        {"alpha-constant": 1},
        "nothing",
    ),
    (
        "transparent",
        then(flat, rewrite("images/p1q.png", lambda a: np.dstack([a, a, a, a]))),
        {},
        {"alpha-used": 1},
        "transparent parts",
    ),
    ("8 and 16 bits", then(flat, deep(200)), {}, {"depth-mixed": 1}, "same depth"),
    ("8 in 16 bits", then(flat, deep(1)), {}, {"depth-unused": 1}, "8 bits"),
    (
        "copied image",
        then(
            flat, copy("images/p1q.png", "images/p9q.png"), copy("labels/p1q.png", "labels/p9q.png")
        ),
        {},
        {"duplicate": 1},
        "delete one",
    ),
    (
        "copy in another split",
        then(
            splits,
            copy("train/images/p1q.png", "val/images/p9q.png"),
            copy("train/labels/p1q.png", "val/labels/p9q.png"),
        ),
        {},
        {"leak-pixels": 1},
        "delete one",
    ),
    (
        "patient in two splits",
        patients,
        {"case_pattern": r"pat\d"},
        {"leak-case": 1},
        "move its files together",
    ),
    (
        "frames in two splits",
        lambda r: film(r, folders=True),
        {},
        {"leak-neighbour": 1},
        "data.case_pattern",
    ),
    ("frames", lambda r: film(r, folders=False), {}, {"sequence": 1}, "data.case_pattern"),
]
_CHECK = {"image_size", "case_pattern", "min_area"}


def settings_of(options: dict[str, Any]) -> CheckSettings:
    check = {name: value for name, value in options.items() if name in _CHECK}
    layout = {name: value for name, value in options.items() if name not in _CHECK}
    return CheckSettings(**({"image_size": 256} | check), layout=LayoutSettings(**layout))


@pytest.mark.parametrize(
    ("make", "options", "expected", "words"),
    [case[1:] for case in CASES],
    ids=[case[0].replace(" ", "-") for case in CASES],
)
def test_finds_what_was_broken_and_nothing_else(
    tmp_path: Path, make: Maker, options: dict[str, Any], expected: dict[str, int], words: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    report = check_folder(root, settings_of(options), use_cache=False)
    assert dict(report.log.counts) == expected, [f.to_dict() for f in report.findings]
    assert any(words in finding.fix for finding in report.findings)
    for finding in report.findings:
        assert finding.found
        assert finding.file == "." or os.path.lexists(root / finding.file)


def test_every_code_has_a_case() -> None:
    assert {code for case in CASES for code in case[3]} == set(CODES)


def test_the_fixes_mend(tmp_path: Path) -> None:
    white = {255: "cell"}
    for name, options in (
        ("255 for a class", {"classes": white}),
        ("nearly white", {"threshold": 128}),
        ("1 and 255", {"threshold": 1}),
        ("JPEG masks", {"threshold": 128}),
        ("resized masks", {"threshold": 128}),
        ("255 is ignore", {"ignore_value": 255}),
        ("trimap", {"ignore_value": 128}),
        ("one too high", NAMED | {"first_value": 2}),
        ("inverted", {"background": 255, "classes": {0: "cell"}}),
        ("classes read as objects", {"objects": "component"}),
        ("specks", {"image_size": 128, "min_area": 4}),
    ):
        root = tmp_path / name
        root.mkdir()
        next(case[1] for case in CASES if case[0] == name)(root)
        report = check_folder(root, settings_of(options), use_cache=False)
        assert report.findings == [], name
        assert report.summary.objects


def test_every_case_is_another_one() -> None:
    names = [case[0] for case in CASES]
    assert len(names) == len(set(names)) >= 40
