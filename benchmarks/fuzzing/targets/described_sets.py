"""Targets: lists, descriptions and tables that say what lies in a data set."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_array

from benchmarks.fuzzing.mutation import mutate_json, mutate_json_lines
from benchmarks.fuzzing.target import Mutate, Target
from benchmarks.fuzzing.text_mutation import mutate_csv, mutate_lines, mutate_numbers
from benchmarks.fuzzing.whole_sets import SIZE, all_of, png, use_any, use_set
from samft.data.readers.bids import find_class_names, find_pixel_size_mm, find_sources
from samft.data.readers.mat import read_boundaries

_PAIR: Final = {"images/a.png": png(), "masks/a.png": png(mask=True)}
_PAIRS: Final = _PAIR | {"images/b.png": png(), "masks/b.png": png(mask=True)}
_NNUNET: Final = {
    f"{folder}/{name}.png": png(mask=folder == "labelsTr")
    for folder, names in (
        ("imagesTr", ("a_0000", "b_0000")),
        ("labelsTr", ("a", "b")),
    )
    for name in names
}
_DESCRIPTION: Final = {
    "labels": {"background": 0, "cell": 1, "edge": [1, 2], "ignore": 3},
    "channel_names": {"0": "red"},
    "numTraining": 2,
    "file_ending": ".png",
    "regions_class_order": [1, 2],
}
_SPLITS: Final = [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]
_VOC: Final = {
    "JPEGImages/a.png": png(),
    "JPEGImages/b.png": png(),
    "SegmentationClass/a.png": png(mask=True),
    "SegmentationClass/b.png": png(mask=True),
}
_LISTS: Final = "ImageSets/Segmentation/"
_CLASSES: Final = (
    b"_background_\ncell\nedge\n",
    b"__ignore__\n_background_\ncell\nedge\n",
    b"# names\ncell\nedge",
)
_COLOURS: Final = b"background:0,0,0::\ncell:1,1,1::\nedge:2,2,2:a,b:x\n"
_MAT_AT: Final = 128


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (*_in_json(), *_tables(), *_lists(), *_bids(), _mat())


def _in_json() -> Sequence[Target]:
    around = {"splits_final.json": json.dumps(_SPLITS).encode()}
    described = {"dataset.json": json.dumps(_DESCRIPTION).encode()}
    sam = {name: png(mask="_" in name) for name in ("a.png", "a_liver_000.png", "a_rib_9_000.png")}
    mapping = {"SAMed2D_v1_class_mapping_id.json": b'{"mr_x": {"liver": "0001"}}'}
    return (
        _json("datalist", "dataset.json", partial(_set, "decathlon"), _datalists(), _PAIRS),
        _json("nnunet", "dataset.json", partial(_set, "nnunet"), _descriptions(), _NNUNET | around),
        _json(
            "nnunet_splits",
            "splits_final.json",
            partial(_set, "nnunet"),
            [json.dumps(_SPLITS).encode(), json.dumps(_SPLITS[:1]).encode()],
            _NNUNET | described,
        ),
        _json(
            "sammed2d",
            "image2label_train.json",
            partial(_set, "sammed2d"),
            [json.dumps({"a.png": ["a_liver_000.png", "a_rib_9_000.png"]}).encode()],
            sam | mapping,
        ),
        _json(
            "sammed2d_classes",
            "SAMed2D_v1_class_mapping_id.json",
            partial(_set, "sammed2d"),
            [b'{"mr_x": {"liver": "0001", "rib": 2}}', b'{"ct": {"liver": "1"}}'],
            {
                "images/mr_x--a--x_0001.png": png(),
                "masks/mr_x--a--x_0001--0001_000.png": png(mask=True),
                "SAMed2D_v1.json": json.dumps(
                    {"images/mr_x--a--x_0001.png": ["masks/mr_x--a--x_0001--0001_000.png"]}
                ).encode(),
            },
        ),
    )


def _json(
    name: str,
    file_name: str,
    read: Callable[[Path], object],
    seeds: Sequence[bytes],
    around: Mapping[str, bytes],
) -> Target:
    return Target(name, file_name, read, lambda _: seeds, mutate_json, around=around)


def _set(layout: str, path: Path) -> None:
    use_set(layout, path.parent, on_missing="skip")


def _datalists() -> Sequence[bytes]:
    entries = [
        {"image": f"images/{name}.png", "label": f"masks/{name}.png", "fold": fold,
         "patient": name}
        for fold, name in enumerate("ab")
    ]  # fmt: skip
    documents = [
        {"name": "x", "labels": {"0": "background", "1": "cell", "2": "edge"}, "numTraining": 2,
         "training": entries, "test": ["images/b.png"]},
        {"labels": ["background", "cell", "edge"], "training": entries[:1],
         "validation": [{"image": ["images/b.png"], "label": ["masks/b.png"], "case_id": 7}]},
        {"train": entries[:1], "val": entries[1:]},
    ]  # fmt: skip
    return [json.dumps(document).encode() for document in documents]


def _descriptions() -> Sequence[bytes]:
    old = {
        "labels": {"0": "background", "1": "cell", "2": "edge"},
        "modality": {"0": "red"},
        "training": [{"image": "./imagesTr/a.png", "label": "./labelsTr/a.png"}],
    }
    dataset = {
        name: {"images": [f"imagesTr/{name}_0000.png"], "label": f"labelsTr/{name}.png"}
        for name in "ab"
    }
    named = {**_DESCRIPTION, "dataset": dataset}
    return [json.dumps(document).encode() for document in (_DESCRIPTION, old, named)]


def _tables() -> Sequence[Target]:
    rows = "images/a.png,masks/a.png,train,7,cell\nimages/b.png,masks/b.png,val,8,cell\n"
    head = "image,mask,split,case,class\n"
    lines = [
        {"image": "images/a.png", "mask": ["masks/a.png"], "split": "train", "case": 1},
        {"image": "images/b.png", "mask": None, "split": "val", "case": 2.5},
    ]
    short = b"images/a.png;masks/a.png\nimages/b.png;masks/b.png\n"
    read = partial(_set, "table")
    return (
        Target(
            "pairs_csv",
            "pairs.csv",
            read,
            lambda _: [(head + rows).encode(), (head + rows).encode("utf-16")],
            mutate_csv(","),
            around=_PAIRS,
        ),
        Target(
            "pairs_semicolon",
            "pairs.csv",
            read,
            lambda _: [b"sep=;\nimg;mask\n" + short, b"\xef\xbb\xbffilename;label_path\n" + short],
            mutate_csv(";"),
            around=_PAIRS,
        ),
        Target(
            "pairs_jsonl",
            "metadata.jsonl",
            read,
            lambda _: ["\n".join(map(json.dumps, lines)).encode()],
            mutate_json_lines,
            around=_PAIRS,
        ),
        Target(
            "recognised_csv",
            "pairs.csv",
            lambda path: use_any(path.parent),
            lambda _: [(head + rows).encode(), b"image;mask\n" + short],
            mutate_csv(","),
            around=_PAIRS,
        ),
    )


def _lists() -> Sequence[Target]:
    train, val = {f"{_LISTS}train.txt": b"a\n"}, {f"{_LISTS}val.txt": b"b\n"}

    def voc(name: str, file_name: str, seeds: Sequence[bytes]) -> Target:
        depth = file_name.count("/")
        return Target(
            name,
            file_name,
            lambda path: use_set("voc", path.parents[depth], on_missing="skip"),
            lambda _: seeds,
            mutate_lines,
            around=_VOC | train | val,
        )

    return (
        voc("voc_list", f"{_LISTS}train.txt", [b"a\n", b"\xef\xbb\xbfa  1\r\n\r\n"]),
        voc("voc_names", "class_names.txt", _CLASSES),
        voc("voc_labelmap", "labelmap.txt", [_COLOURS]),
    )


def _bids() -> Sequence[Target]:
    image, mask = "sub-01/micr/sub-01_SEM", "derivatives/labels/sub-01/micr/sub-01_SEM_dseg"
    files = {
        "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.8.0"}',
        f"{image}.png": png(),
        f"{mask}.png": png(mask=True),
    }
    sizes = [
        {"PixelSize": [0.5, 0.4], "PixelSizeUnits": "um"},
        {"PixelSize": [1, 2, 3], "PixelSizeUnits": "nm", "Other": {"a": [1]}},
        {"PixelSize": [0.5, 0.5]},
    ]
    sources = [
        {"Sources": ["bids:raw:sub-01/micr/sub-01_SEM.png"]},
        {"RawSources": f"{image}.png", "Sources": None},
    ]

    def target(
        name: str,
        file_name: str,
        read: Callable[[Path, Path], object],
        seeds: Sequence[bytes],
        mutate: Mutate,
    ) -> Target:
        def both(path: Path) -> None:
            root = path.parents[file_name.count("/")]
            all_of(partial(read, path, root), partial(use_set, "bids", root))

        return Target(name, file_name, both, lambda _: seeds, mutate, around=files)

    tables = [b"index\tname\tabbr\n1\tcell\tc\n2\tedge\te\n", b"name\tindex\ncell\t1\nedge\t2\n"]
    return (
        target(
            "bids_tsv",
            f"{mask}.tsv",
            lambda path, root: find_class_names(path.with_suffix(".png"), root),
            tables,
            mutate_csv("\t"),
        ),
        target(
            "bids_size",
            f"{image}.json",
            lambda path, root: find_pixel_size_mm(path.with_suffix(".png"), root),
            [json.dumps(one).encode() for one in sizes],
            mutate_json,
        ),
        target(
            "bids_sources",
            f"{mask}.json",
            lambda path, root: find_sources(path.with_suffix(".png"), root),
            [json.dumps(one).encode() for one in sources],
            mutate_json,
        ),
    )


def _mat() -> Target:
    def read(path: Path) -> None:
        root = path.parents[2]
        all_of(
            lambda: read_boundaries(path),
            lambda: use_set("bsds", root),
            lambda: use_set("bsds_all", root),
        )

    return Target(
        "mat",
        "groundTruth/train/a.mat",
        read,
        lambda _: _mat_seeds(),
        _mutate_mat,
        around={"images/train/a.png": png()},
    )


def _mat_seeds() -> Sequence[bytes]:
    segments = np.ones(SIZE, np.uint16)
    segments[3:, 4:] = 2
    edges = np.zeros(SIZE, np.uint8)
    edges[3, 4:] = 1
    kinds = ((segments, edges), (segments.astype(np.float64), csc_array(edges.astype(np.float64))))
    found = []
    for compressed in (False, True):
        for first, second in kinds:
            cells = np.empty((1, 2), object)
            for number in range(2):
                cells[0, number] = {"Segmentation": first, "Boundaries": second}
            buffer = io.BytesIO()
            savemat(buffer, {"groundTruth": cells}, do_compression=compressed)
            found.append(buffer.getvalue())
    return found


def _mutate_mat(data: bytes, seed: int) -> bytes:
    """Change numbers in tags and values, also inside of what is compressed."""
    head, body = data[:_MAT_AT], data[_MAT_AT:]
    if body[:4] != b"\x0f\0\0\0":
        return head + mutate_numbers(body, seed)
    try:
        inner = zlib.decompressobj().decompress(body[8:], 1 << 20)
    except zlib.error:
        return data
    packed = zlib.compress(mutate_numbers(inner, seed))
    return head + body[:4] + len(packed).to_bytes(4, "little") + packed
