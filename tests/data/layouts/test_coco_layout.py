"""COCO folders as they are downloaded and exported: which files belong together, and which not."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.coco import CocoLayout
from samft.data.layouts.image_folders import ImageFolders, split_of_path
from samft.data.layouts.listing import Listing
from samft.errors import ConfigError, DatasetError

SIZE = (20, 30)
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


def picture(root: Path, *names: str, size=SIZE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / name)


def coco(root: Path, name: str, *files: str, size=SIZE, classes=("fish",), **more) -> Path:
    """Write a COCO file with one square of each class in each image."""
    images = [{"id": 10 + n, "file_name": f, "height": size[0], "width": size[1]}
              for n, f in enumerate(files)]  # fmt: skip
    annotations = [
        {"id": 100 * n + k, "image_id": 10 + n, "category_id": 5 * k, "iscrowd": 0,
         "segmentation": [[v + 8 * k * (1 - i % 2) for i, v in enumerate(SQUARE)]]}
        for n in range(len(files)) for k in range(len(classes))
    ]  # fmt: skip
    categories = [{"id": 5 * k, "name": c, "supercategory": "x"} for k, c in enumerate(classes)]
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document | more))
    return path


def layout(root: Path, **settings) -> CocoLayout:
    return CocoLayout(root, LayoutSettings(**settings))


def found(root: Path, **settings) -> dict[str, str | None]:
    return {record.sample_id: record.split for record in layout(root, **settings).records()}


def refused(root: Path, kind=DatasetError, **settings) -> str:
    with pytest.raises(kind) as error:
        layout(root, **settings).records()
    assert len(str(error.value).splitlines()) <= 3
    return str(error.value)


def test_coco_2017(tmp_path) -> None:
    picture(tmp_path, "train2017/01.jpg", "train2017/02.jpg", "val2017/03.jpg")
    coco(tmp_path, "annotations/instances_train2017.json", "01.jpg", "02.jpg")
    coco(tmp_path, "annotations/instances_val2017.json", "03.jpg")
    coco(tmp_path, "annotations/person_keypoints_val2017.json", "03.jpg")
    coco(tmp_path, "annotations/stuff_val2017.json", "03.jpg")
    (tmp_path / "annotations/captions_val2017.json").write_text('{"images": [], "annotations": []}')
    assert found(tmp_path) == {
        "train2017/01.jpg": "train", "train2017/02.jpg": "train", "val2017/03.jpg": "val",
    }  # fmt: skip
    reason = CocoLayout.recognise(Listing.of(tmp_path))
    assert reason == (
        "annotations/instances_train2017.json holds COCO's images, annotations and categories"
    )


def test_uiis(tmp_path) -> None:
    # The same bare names in both folders; the split decides.
    picture(tmp_path, *(f"train/L_{n}.jpg" for n in (1, 2)), *(f"val/L_{n}.jpg" for n in (1, 2)))
    coco(tmp_path, "annotations/train.json", "L_1.jpg", "L_2.jpg")
    coco(tmp_path, "annotations/val.json", "L_1.jpg", "L_2.jpg")
    assert found(tmp_path) == {
        "train/L_1.jpg": "train", "train/L_2.jpg": "train",
        "val/L_1.jpg": "val", "val/L_2.jpg": "val",
    }  # fmt: skip


def test_uiis10k(tmp_path) -> None:
    picture(tmp_path, "img/train_00001.jpg", "img/test_00001.jpg")
    picture(tmp_path, "background_img/background_0001.jpg")
    coco(tmp_path, "annotations/multiclass_train.json", "train_00001.jpg")
    coco(tmp_path, "annotations/multiclass_test.json", "test_00001.jpg")
    assert found(tmp_path) == {"img/train_00001.jpg": "train", "img/test_00001.jpg": "test"}


def test_usis10k_has_two_sets_of_labels(tmp_path) -> None:
    for split in ("train", "val", "test"):
        picture(tmp_path, f"{split}/{split}_00001.jpg")
        for kind in ("foreground", "multi_class"):
            name = f"{kind}_annotations/{kind}_{split}_annotations.json"
            coco(tmp_path, name, f"{split}_00001.jpg")
    text = refused(tmp_path)
    assert "listed twice" in text
    assert "fix: choose with data.labels, such as 'multi_class_annotations/*.json'" in text
    assert found(tmp_path, labels="multi_class_annotations/*.json") == {
        f"{split}/{split}_00001.jpg": split for split in ("train", "val", "test")
    }


def test_trashcan_has_two_versions(tmp_path) -> None:
    for version, classes in (
        ("instance", ["rov", "trash_can"]),
        ("material", ["rov", "trash_metal"]),
    ):
        for split in ("train", "val"):
            names = [f"vid_{split}_frame0000{n}.jpg" for n in range(3)]
            picture(tmp_path, *(f"{version}_version/{split}/{name}" for name in names))
            place = f"{version}_version/instances_{split}_trashcan.json"
            coco(tmp_path, place, *names, classes=classes)
    text = refused(tmp_path)
    assert "two versions of the same images" in text
    assert "fix: choose with data.root" in text
    one = layout(tmp_path / "material_version")
    assert {record.split for record in one.records()} == {"train", "val"}
    assert len(one.records()) == 6
    assert one.class_names == ("rov", "trash_metal")


def test_both_versions_are_told_apart_by_place(tmp_path) -> None:
    # The same names and the same classes in two folders are two videos, not two versions.
    for video in "ab":
        picture(tmp_path, f"{video}/0001.jpg", f"{video}/0002.jpg")
        coco(tmp_path, f"{video}/annotations.json", "0001.jpg", "0002.jpg")
    assert set(found(tmp_path)) == {"a/0001.jpg", "a/0002.jpg", "b/0001.jpg", "b/0002.jpg"}


def test_roboflow(tmp_path) -> None:
    for folder in ("train", "valid", "test"):
        picture(tmp_path, f"{folder}/a_jpg.rf.{folder}.jpg")
        coco(tmp_path, f"{folder}/_annotations.coco.json", f"a_jpg.rf.{folder}.jpg")
    assert found(tmp_path) == {
        "train/a_jpg.rf.train.jpg": "train",
        "valid/a_jpg.rf.valid.jpg": "val",
        "test/a_jpg.rf.test.jpg": "test",
    }


@pytest.mark.parametrize(
    ("names", "place", "label"),
    [
        (["a.png", "b.png"], "", "annotations.json"),
        (["a.png", "b.png"], "images/", "annotations/instances_default.json"),
        (["JPEGImages/a.png", "JPEGImages/b.png"], "", "annotations.json"),
        (["JPEGImages\\a.png", "./JPEGImages/b.png"], "", "annotations.json"),
        (["sub/a.png", "sub/deep/b.png"], "data/images/", "labels/coco.json"),
        (["a.png", "b.png"], "images/left/", "a/b/c.json"),
    ],
)
def test_where_images_lie(tmp_path, names, place, label) -> None:
    plain = [name.replace("\\", "/").removeprefix("./") for name in names]
    picture(tmp_path, *(place + name for name in plain))
    coco(tmp_path, label, *names)
    assert set(found(tmp_path)) == {place + name for name in plain}


def test_images_in_several_folders(tmp_path) -> None:
    picture(tmp_path, "images/left/a.png", "images/right/b.png", "images/right/c.png")
    coco(tmp_path, "annotations.json", "a.png", "b.png", "c.png")
    assert set(found(tmp_path)) == {
        "images/left/a.png", "images/right/b.png", "images/right/c.png",
    }  # fmt: skip


def test_masks_of_the_same_name_are_no_images(tmp_path) -> None:
    picture(tmp_path, "images/a.png", "masks/a.png")
    coco(tmp_path, "annotations.json", "a.png")
    assert set(found(tmp_path)) == {"images/a.png"}


def test_two_folders_that_fit_are_an_error(tmp_path) -> None:
    picture(tmp_path, "left/a.png", "right/a.png")
    coco(tmp_path, "annotations.json", "a.png")
    text = refused(tmp_path)
    assert "several images fit one name" in text
    assert "left/a.png and right/a.png" in text
    assert "fix: choose with data.images" in text
    assert set(found(tmp_path, images=("right/*.png",))) == {"right/a.png"}


@pytest.mark.parametrize(
    "name", ["../out/a.png", "/etc/a.png", "C:\\data\\a.png", "x/../../a.png", "", "a\0.png"]
)
def test_names_that_lead_out(tmp_path, name) -> None:
    picture(tmp_path, "root/a.png", "out/a.png")
    coco(tmp_path / "root", "annotations.json", name)
    text = refused(tmp_path / "root")
    assert "outside the data folder" in text
    assert "annotations.json" in text
    assert "fix: write the names without drive, leading slash and '..'" in text


def test_links_that_lead_out(tmp_path) -> None:
    picture(tmp_path, "out/a.png", "root/b.png")
    (tmp_path / "root/a.png").symlink_to(tmp_path / "out/a.png")
    coco(tmp_path / "root", "annotations.json", "a.png")
    assert "a symbolic link leads out" in refused(tmp_path / "root")


def test_missing_and_unlisted(tmp_path, caplog) -> None:
    picture(tmp_path, "images/a.png", "images/new.png", "elsewhere/x.png")
    coco(tmp_path, "annotations.json", "a.png", "gone.png")
    text = refused(tmp_path)
    assert "1 image of annotations.json has no file" in text
    assert "gone.png" in text
    with caplog.at_level(logging.WARNING):
        assert set(found(tmp_path, on_missing="skip")) == {"images/a.png"}
    assert "1 image has no entry in a COCO file, left out: images/new.png" in caplog.text
    coco(tmp_path, "annotations.json", "a.png")
    assert "1 image has no entry in a COCO file" in refused(tmp_path)


def test_left_out_is_said_once(tmp_path, caplog) -> None:
    picture(tmp_path, "a.png")
    annotations = [{"id": n, "image_id": 10, "category_id": 0, "segmentation": s}
                   for n, s in enumerate([[SQUARE], [], [[1, 2, 3, 4]]])]  # fmt: skip
    path = coco(tmp_path, "a_coco.json", "a.png", annotations=annotations)
    with caplog.at_level(logging.WARNING):
        layout(tmp_path).records()
    (message,) = [record.message for record in caplog.records]
    boxes, points = "1 annotations with a box but no outline", "1 outlines of fewer than 3 points"
    assert message == f"{path}: left out are {boxes}, {points}"


def test_truth_and_classes(tmp_path) -> None:
    picture(tmp_path, "a.png", "b.png")
    coco(tmp_path, "coco.json", "a.png", "b.png", classes=("fish", "crab", "eel"))
    every = layout(tmp_path)
    record = every.records()[1]
    assert every.class_names == ("fish", "crab", "eel")
    objects = every.truth(record).objects("component")
    assert objects.object_class.tolist() == [0, 1, 2]
    assert [int((objects.layers == k).sum()) for k in (1, 2, 3)] == [16, 16, 16]
    some = layout(tmp_path, classes=["eel", "fish"])
    record = some.records()[0]
    objects = some.truth(record).objects("component")
    assert objects.object_class.tolist() == [1, 0]
    text = refused(tmp_path, ConfigError, classes=["eels"])
    assert "no category has this name" in text
    assert "did you mean 'eel'" in text


def test_crowds_of_other_classes_say_nothing(tmp_path) -> None:
    picture(tmp_path, "a.png")
    entry = {"image_id": 10, "iscrowd": 1, "segmentation": {"size": [20, 30], "counts": [0, 600]}}
    annotations = [{**entry, "id": 1, "category_id": 0}]
    coco(tmp_path, "coco.json", "a.png", classes=("fish", "crab"), annotations=annotations)
    for classes, unknown in (({"classes": ["crab"]}, 0), ({"classes": ["fish"]}, 600)):
        one = layout(tmp_path, **classes)
        objects = one.truth(one.records()[0]).objects("component")
        assert int((objects.layers == -1).sum()) == unknown


def test_an_image_without_objects_counts(tmp_path) -> None:
    picture(tmp_path, "a.png")
    coco(tmp_path, "coco.json", "a.png", annotations=[])
    one = layout(tmp_path)
    (record,) = one.records()
    assert one.truth(record).objects("component").object_class.size == 0


def test_sizes_that_differ(tmp_path) -> None:
    picture(tmp_path, "a.png", size=(30, 20))
    path = coco(tmp_path, "coco.json", "a.png")
    one = layout(tmp_path)
    records = one.records()
    for read in (lambda: one.truth(records[0]), lambda: one.check(records)):
        with pytest.raises(DatasetError) as error:
            read()
        assert "mask and image sizes differ" in str(error.value)
        assert str(path) in str(error.value)
        assert "20 x 30" in str(error.value)
        assert "30 x 20" in str(error.value)


def test_travels_to_workers(tmp_path) -> None:
    picture(tmp_path, "a.png")
    coco(tmp_path, "coco.json", "a.png")
    one = layout(tmp_path)
    (record,) = one.records()
    (tmp_path / "coco.json").unlink()
    again = pickle.loads(pickle.dumps(one))
    assert again.truth(record).objects("component").object_class.tolist() == [0]


def test_an_image_listed_twice_in_one_file(tmp_path) -> None:
    picture(tmp_path, "a.png")
    coco(tmp_path, "coco.json", "a.png", "./a.png")
    text = refused(tmp_path)
    assert "listed twice" in text
    assert "fix: join the two entries" in text


def test_nothing_there(tmp_path) -> None:
    picture(tmp_path, "a.png")
    assert CocoLayout.recognise(Listing.of(tmp_path)) is None
    text = refused(tmp_path)
    assert "no COCO file found" in text
    assert "fix: set data.labels" in text


def test_several_channels_are_refused(tmp_path) -> None:
    picture(tmp_path, "a.png")
    coco(tmp_path, "coco.json", "a.png")
    assert "2 patterns" in refused(tmp_path, ConfigError, images=("*.png", "*.jpg"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("annotations/instances_train2017.json", "train"),
        ("val/x.json", "val"),
        ("valid/_annotations.coco.json", "val"),
        ("a/multi_class_test_annotations.json", "test"),
        ("train_val.json", None),
        ("instances_valminusminival2014.json", None),
        ("train/val.json", "val"),
        ("training_set/a.json", "train"),
        ("constraint/a.json", None),
        ("", None),
    ],
)
def test_split_of_path(name, split) -> None:
    assert split_of_path(name) == split


def test_folders_of_many_images(tmp_path) -> None:
    picture(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    folders = ImageFolders(tmp_path, None)
    assert folders.find(["1.png", "2.png", "3.png"], tmp_path / "x.json") == {
        "1.png": "a/1.png", "2.png": "a/2.png", "3.png": None,
    }  # fmt: skip
    assert folders.others(["a/1.png"]) == [tmp_path / "a/2.png"]


def test_labelme_example(real_data) -> None:
    root = real_data / "general/labelme_examples/instance_segmentation/data_dataset_coco"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    assert CocoLayout.recognise(Listing.of(root)) is not None
    one = layout(root)
    records = one.records()
    assert len(records) == 3
    objects = [one.truth(record).objects("component") for record in records]
    assert sum(item.object_class.size for item in objects) == 12
    assert len(one.class_names) == 20  # of 21 categories, without _background_
    used = {one.class_names[c] for item in objects for c in item.object_class.tolist()}
    assert used == {"person", "bottle", "chair", "sofa", "bus", "car"}


def test_annotations_by_their_number_as_livecell_has_them(tmp_path: Path) -> None:
    picture(tmp_path, "a.tif", "b.tif")
    path = coco(tmp_path, "livecell_a172_train.json", "a.tif", "b.tif")
    document = json.loads(path.read_text())
    document["annotations"] = {str(entry["id"]): entry for entry in document["annotations"]}
    path.write_text(json.dumps(document))
    read = layout(tmp_path)
    truths = [read.truth(record) for record in read.records()]
    assert [len(truth.objects("component").object_class) for truth in truths] == [1, 1]
