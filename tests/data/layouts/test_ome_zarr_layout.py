"""OME-Zarr images with labels as a data set."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_data import discs, picture
from numpy.typing import NDArray
from ome_zarr_files import write_group, write_image, write_labels

from samft.data import zarr_truth
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.ome_zarr import OmeZarrLayout
from samft.data.objects import Objects
from samft.data.preprocessing import Preprocessing
from samft.data.tiling import windows_of
from samft.errors import ConfigError, DatasetError
from samft.types import IGNORE

SIZE = (48, 64)
LABELS = discs(0)  # 1 to 4


def volume(count: int = 3) -> NDArray[np.int32]:
    return np.stack([discs(seed) for seed in range(count)])


def layout(root: Path, **settings: Any) -> OmeZarrLayout:
    return OmeZarrLayout(root, LayoutSettings(**settings))


def flat(root: Path, name: str = "a.zarr", version: str = "0.4", **settings: Any) -> Path:
    return write_image(root / name, picture(LABELS, 0), "yx", version=version, **settings)


def masks(objects: Objects) -> dict[int, list[NDArray[np.bool_]]]:
    """Return the masks of each class."""
    found: dict[int, list[NDArray[np.bool_]]] = {}
    for k, index in enumerate(objects.object_class):
        mask = objects.layers[objects.object_layer[k]] == k + 1
        found.setdefault(int(index), []).append(mask)
    return found


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_one_label_image_is_one_class(tmp_path: Path, version: str) -> None:
    write_labels(flat(tmp_path, version=version), "nuclei", LABELS, "yx", version=version)
    reason = OmeZarrLayout.recognise(Listing.of(tmp_path))
    assert reason == "1 OME-Zarr with label images, such as a.zarr with labels/nuclei"
    data = layout(tmp_path)
    (record,) = data.records()
    assert (record.sample_id, record.case_id) == ("a.zarr", "a.zarr")
    assert data.class_names == ("nuclei",)
    truth, source = data.truth(record), data.source(record, Preprocessing())
    assert truth.size == source.size(0) == SIZE
    objects = truth.objects("component")
    assert sorted(int(m.sum()) for m in masks(objects)[0]) == sorted(
        int((v == LABELS).sum()) for v in range(1, 5)
    )
    assert source.picture(0).shape == (3, *SIZE)
    assert source.spacing_mm == pytest.approx((0.0005, 0.0005))
    assert truth.nbytes == 0
    data.check([record])
    copy = pickle.loads(pickle.dumps(data))
    assert copy.truth(record).objects("component").object_class.size == 4


def test_several_label_images(tmp_path: Path) -> None:
    path = flat(tmp_path)
    write_labels(path, "nuclei", LABELS, "yx")
    ring = np.zeros(SIZE, np.uint8)
    ring[1:-1, 1:-1] = 7
    properties = [{"label-value": 7, "class": "tissue"}]
    write_labels(path, "regions", ring, "yx", properties=properties)
    data = layout(tmp_path)
    (record,) = data.records()
    assert data.class_names == ("nuclei", "tissue")
    found = masks(data.truth(record).objects("component"))
    assert [len(found[index]) for index in (0, 1)] == [4, 1]
    assert np.array_equal(found[1][0], ring > 0)  # though the nuclei lie on it
    only = layout(tmp_path, labels="reg*")
    (record,) = only.records()
    assert only.class_names == ("tissue",)
    assert len(record.labels) == 1
    chosen = layout(tmp_path, classes=["tissue"])
    (record,) = chosen.records()
    assert set(masks(chosen.truth(record).objects("component"))) == {0}
    with pytest.raises(ConfigError, match="no label image has such a class") as caught:
        layout(tmp_path, classes=["nucleii"]).records()
    assert "found: nucleii" in str(caught.value)
    assert "did you mean 'nuclei'?" in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "label_axes"), [("tczyx", "tzyx"), ("tzcyx", "tzyx"), ("czyx", "zyx"), ("tcyx", "tyx")]
)
def test_planes_and_windows(tmp_path: Path, axes: str, label_axes: str) -> None:
    sides = {"t": 2, "z": 3, "c": 2, "y": SIZE[0], "x": SIZE[1]}
    count = int(np.prod([sides[a] for a in label_axes[:-2]]))
    labels = volume(count)
    image = np.random.default_rng(0).integers(0, 9999, [sides[a] for a in axes])
    path = write_image(tmp_path / "a.zarr", image.astype(np.uint16), axes)
    stored = labels.reshape([sides[a] for a in label_axes]).astype(np.uint16)
    write_labels(path, "cells", stored, label_axes, version="0.4")
    data = layout(tmp_path)
    (record,) = data.records()
    truth, source = data.truth(record), data.source(record, Preprocessing())
    assert source.space is not None
    assert source.space.kind == "stack"
    assert truth.size == source.space.shape == (count, *SIZE)
    for index in range(count):
        whole = truth.objects("value", at=(0, index))
        values = np.unique(labels[index])[1:]
        assert np.array_equal(whole.layers[0], np.searchsorted(values, labels[index]) + 1
                              - (labels[index] == 0))  # fmt: skip
        stitched = np.zeros(SIZE, bool)
        for window in windows_of(SIZE, 24, overlap=5):
            top, left, height, width = window
            part = truth.objects("value", at=(0, index), window=window)
            inside = labels[index][top : top + height, left : left + width]
            assert np.array_equal(part.layers[0] > 0, inside > 0)
            stitched[top : top + height, left : left + width] = part.layers[0] > 0
        assert np.array_equal(stitched, labels[index] > 0)
    row = truth.objects("value", at=(1, 20))
    assert np.array_equal(row.layers[0] > 0, labels[:, 20] > 0)
    part = truth.objects("value", at=(2, 30), window=(1, 10, 1, 20))
    assert np.array_equal(part.layers[0] > 0, labels[1:2, 10:30, 30] > 0)


def test_modes(tmp_path: Path) -> None:
    labels = np.zeros(SIZE, np.uint16)
    labels[2:6, 2:6] = labels[20:25, 20:25] = 3  # one object in two pieces
    labels[2:6, 6:9] = 9  # touches it
    labels[40:44, 40:44] = 12
    properties = [
        {"label-value": v, "class": c, "area": 1} for v, c in ((3, "a"), (9, "a"), (12, "b"))
    ]
    write_labels(flat(tmp_path), "cells", labels, "yx", properties=properties)
    counts = {}
    for choice in ("auto", "value", "component", "class"):
        data = layout(tmp_path, objects=choice)
        (record,) = data.records()
        mode = "component" if choice == "auto" else choice
        found = masks(data.truth(record).objects(mode))
        counts[choice] = [len(found[0]), len(found[1])]
    assert counts == {"auto": [2, 1], "value": [2, 1], "component": [3, 1], "class": [1, 1]}


def test_values_that_are_classes_are_cut_into_pieces(tmp_path: Path) -> None:
    properties = [{"label-value": 1, "class": "nucleus"}, {"label-value": 2, "class": "axon"}]
    classes = np.where(LABELS > 2, 2, np.minimum(LABELS, 1))
    write_labels(flat(tmp_path), "tissue", classes, "yx", properties=properties)
    data = layout(tmp_path)
    (record,) = data.records()
    found = masks(data.truth(record).objects("component"))
    assert data.class_names == ("nucleus", "axon")
    assert [len(found[index]) for index in (0, 1)] == [2, 2]


@pytest.mark.parametrize("value", [1, 255])
def test_black_and_white_labels_are_cut_into_pieces(tmp_path: Path, value: int) -> None:
    write_labels(flat(tmp_path), "mask", (LABELS > 0).astype(np.uint8) * value, "yx")
    data = layout(tmp_path)
    (record,) = data.records()
    assert data.truth(record).objects("component").object_class.size == 4
    whole = layout(tmp_path, objects="value")
    assert whole.truth(whole.records()[0]).objects("value").object_class.size == 1


def test_names_by_value_and_thresholds(tmp_path: Path) -> None:
    write_labels(flat(tmp_path), "tissue", np.minimum(LABELS, 3), "yx")
    data = layout(tmp_path, classes={1: "nucleus", 3: "axon"}, ignore_value=2)
    (record,) = data.records()
    assert data.class_names == ("nucleus", "axon")
    objects = data.truth(record).objects("component")
    assert objects.object_class.tolist() == [0, 1, 1]
    assert np.array_equal(objects.layers[0] == IGNORE, LABELS == 2)
    short = layout(tmp_path, classes={1: "nucleus"})
    with pytest.raises(DatasetError, match="values that have no class name") as caught:
        short.truth(short.records()[0]).objects("component")
    assert "found: 2, 3" in str(caught.value)
    above = layout(tmp_path, threshold=3, objects="component")
    objects = above.truth(above.records()[0]).objects("component")
    assert np.array_equal(objects.layers[0] > 0, LABELS >= 3)


def test_values_without_a_class_are_unknown(tmp_path: Path, caplog) -> None:
    properties = [{"label-value": 1, "class": "a", "x": 1}, {"label-value": 2, "class": "b"}]
    write_labels(flat(tmp_path), "cells", LABELS, "yx", properties=properties)
    data = layout(tmp_path, classes=["a"])
    (record,) = data.records()
    zarr_truth._say_unnamed.cache_clear()
    with caplog.at_level(logging.WARNING, logger="samft"):
        for _ in range(2):
            objects = data.truth(record).objects("value")
    assert np.array_equal(objects.layers[0] == 1, LABELS == 1)
    assert np.array_equal(objects.layers[0] == 0, (LABELS == 0) | (LABELS == 2))
    assert np.array_equal(objects.layers[0] == IGNORE, LABELS > 2)
    assert caplog.text.count("of the others nothing is known") == 1


def test_labels_at_a_lower_resolution(tmp_path: Path) -> None:
    path = flat(tmp_path, levels=3)
    write_labels(path, "cells", LABELS[::2, ::2], "yx")
    data = layout(tmp_path)
    (record,) = data.records()
    truth, source = data.truth(record), data.source(record, Preprocessing())
    assert truth.size == source.size(0) == (24, 32)
    assert np.array_equal(source.picture(0)[0], picture(LABELS, 0)[::2, ::2])
    assert source.spacing_mm == pytest.approx((0.001, 0.001))
    write_labels(path, "cells", LABELS[:, :40], "yx")
    with pytest.raises(DatasetError, match="label image and image sizes differ") as caught:
        data.truth(record)
    assert "48 rows, 40 columns" in str(caught.value)
    assert "48 rows, 64 columns as in" in str(caught.value)


def test_plates_and_series(tmp_path: Path) -> None:
    plate = write_group(tmp_path / "p.zarr", {"plate": {"wells": [{"path": "A/1"}]}})
    write_group(plate / "A" / "1", {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
    series = write_group(tmp_path / "s.zarr", {"bioformats2raw.layout": 3})
    for folder in (plate / "A/1/0", plate / "A/1/1", series / "0"):
        write_labels(write_image(folder, picture(LABELS, 0), "yx"), "cells", LABELS, "yx")
    data = layout(tmp_path)
    records = data.records()
    assert [(r.sample_id, r.case_id, r.entry) for r in records] == [
        ("p.zarr/A/1/0", "p.zarr/A/1", "A/1/0"),
        ("p.zarr/A/1/1", "p.zarr/A/1", "A/1/1"),
        ("s.zarr/0", "s.zarr", "0"),
    ]
    for record in records:
        assert data.truth(record).objects("component").object_class.size == 4
    assert len(layout(tmp_path, images=("s*",)).records()) == 1
    (record,) = layout(series).records()  # the root may be a zarr itself
    assert record.sample_id == "0"


def test_the_root_is_an_image_without_the_ending(tmp_path: Path) -> None:
    for version in ("0.4", "0.5"):
        path = flat(tmp_path / version, "img", version)
        write_labels(path, "cells", LABELS, "yx", version=version)
        for root in (path, path.parent):
            assert OmeZarrLayout.recognise(Listing.of(root)) is not None
            (record,) = layout(root).records()
            assert record.sample_id == "img"


def test_images_without_labels(tmp_path: Path, caplog) -> None:
    flat(tmp_path, "lonely.zarr")
    assert OmeZarrLayout.recognise(Listing.of(tmp_path)) is None
    with pytest.raises(DatasetError, match="1 image has no label image") as caught:
        layout(tmp_path).records()
    assert "lonely.zarr" in str(caught.value)
    with pytest.raises(DatasetError, match="no OME-Zarr image has labels") as caught:
        layout(tmp_path, on_missing="skip").records()
    assert str(tmp_path) in str(caught.value)
    assert "fix: set data.root" in str(caught.value)
    write_labels(flat(tmp_path), "cells", LABELS, "yx")
    with caplog.at_level(logging.WARNING, logger="samft"):
        (record,) = layout(tmp_path, on_missing="skip").records()
    assert record.sample_id == "a.zarr"
    assert "left out: lonely.zarr" in caplog.text


def test_what_samft_predicts_can_be_trained_on(tmp_path: Path) -> None:
    import shutil

    from samft.inference.formats.ome_zarr import OmeZarrLabels
    from samft.inference.output_folder import OutputFolder
    from samft.inference.volume_result import VolumeObject

    writer = OmeZarrLabels(OutputFolder(tmp_path / "out"))
    objects = [VolumeObject(value=v, class_name="cell", score=0.5) for v in range(1, 5)]
    (written,) = writer._write("a", LABELS, objects, [0.5, 0.25])
    image = flat(tmp_path / "data", version="0.5")
    shutil.copytree(written / "labels", image / "labels")
    data = layout(tmp_path / "data")
    (record,) = data.records()
    assert data.class_names == ("cell",)
    found = data.truth(record).objects("component")
    assert np.array_equal(found.layers[0], LABELS)
    # By themselves they are labels without an image.
    with pytest.raises(DatasetError, match="1 label image has no image"):
        layout(tmp_path / "out").records()


@pytest.mark.parametrize("dtype", [np.float32, np.uint64, np.int8, np.bool_])
def test_labels_of_other_types(tmp_path: Path, dtype: type) -> None:
    write_labels(flat(tmp_path), "cells", LABELS.astype(dtype), "yx")
    data = layout(tmp_path, objects="value")
    found = data.truth(data.records()[0]).objects("value")
    assert np.array_equal(found.layers[0], LABELS if dtype is not np.bool_ else LABELS > 0)


def test_labels_that_are_none(tmp_path: Path) -> None:
    write_labels(flat(tmp_path), "cells", LABELS / 2.5, "yx")
    data = layout(tmp_path)
    with pytest.raises(DatasetError, match="values that are no labels") as caught:
        data.truth(data.records()[0]).objects("value")
    assert "labels/cells" in str(caught.value)


def test_labels_of_64_bits(tmp_path: Path) -> None:
    large = np.where(LABELS > 0, LABELS.astype(np.uint64) + np.uint64(2**40), np.uint64(0))
    write_labels(flat(tmp_path), "cells", large, "yx")
    data = layout(tmp_path)
    found = data.truth(data.records()[0]).objects("value")
    assert np.array_equal(found.layers[0], LABELS)
