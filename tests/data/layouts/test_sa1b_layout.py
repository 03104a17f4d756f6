"""SA-1B: indexed by names alone, read one by one, and what samft itself writes."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from samft.data.layouts import sa1b as layout_module
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.sa1b import Sa1bLayout
from samft.data.readers.sa1b import is_sa1b, read_sa1b
from samft.errors import ConfigError, DatasetError
from samft.inference.formats.sa1b import Sa1bJson
from samft.inference.output_folder import OutputFolder
from samft.inference.predictions import ImagePrediction, ObjectPrediction, encode_rle

SIZE = (20, 30)


def masks() -> np.ndarray:
    found = np.zeros((3, *SIZE), bool)
    found[0, :9, :9], found[1, 5:15, 5:15], found[2, 14:, 20:] = True, True, True
    return found


def picture(root: Path, *names: str, size=SIZE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / name)


def annotation(mask: np.ndarray, number: int = 1) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "bbox": [float(v) for v in coco_mask.toBbox(rle)],
        "area": int(mask.sum()),
        "segmentation": {"size": list(SIZE), "counts": rle["counts"].decode()},
        "predicted_iou": 0.97,
        "point_coords": [[4.5, 4.5]],
        "crop_box": [0.0, 0.0, 30, 20],
        "id": number,
        "stability_score": 0.98,
    }


def document(name="sa_1.jpg", annotations=None, **image) -> dict:
    entries = [annotation(m, n) for n, m in enumerate(masks())]
    base = {"image_id": 1, "width": SIZE[1], "height": SIZE[0], "file_name": name}
    return {"image": base | image, "annotations": entries if annotations is None else annotations}


def write(root: Path, name: str, content: object = None) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document() if content is None else content))
    return path


def layout(root: Path, **settings) -> Sa1bLayout:
    return Sa1bLayout(root, LayoutSettings(**settings))


def pairs(root: Path, **settings) -> dict[str, str]:
    return {r.sample_id: r.labels[0].relative_to(root).as_posix()
            for r in layout(root, **settings).records()}  # fmt: skip


def refused(root: Path, kind=DatasetError, **settings) -> str:
    with pytest.raises(kind) as error:
        layout(root, **settings).records()
    assert len(str(error.value).splitlines()) <= 3
    return str(error.value)


def same_masks(objects) -> bool:
    found = [objects.layers[la] == k + 1 for k, la in enumerate(objects.object_layer)]
    return len(found) == 3 and all(np.array_equal(*p) for p in zip(found, masks(), strict=True))


def test_side_by_side(tmp_path) -> None:
    for n in (223750, 9):
        picture(tmp_path, f"sa_000020/sa_{n}.jpg")
        write(tmp_path, f"sa_000020/sa_{n}.json")
    assert "holds SA-1B's image and annotations" in Sa1bLayout.recognise(Listing.of(tmp_path))
    one = layout(tmp_path)
    records = one.records()
    assert [record.sample_id for record in records] == [
        "sa_000020/sa_223750.jpg", "sa_000020/sa_9.jpg",
    ]  # fmt: skip
    assert one.class_names == ("object",)
    known = one.truth(records[0])
    assert known.size == SIZE
    assert same_masks(known.objects("component"))
    assert known.objects("component").object_layer.tolist() == [0, 1, 0]
    (window,) = known.objects("component", window=(14, 20, 6, 10)).layers
    assert (window == 1).all()


def test_the_index_opens_no_file(tmp_path, monkeypatch) -> None:
    for n in range(30):
        picture(tmp_path, f"a/sa_{n}.png")
        (tmp_path / f"a/sa_{n}.json").write_text("{ not JSON at all")

    def opened(*_: object) -> None:
        pytest.fail("a label file was opened for the index")

    monkeypatch.setattr(layout_module, "read_sa1b", opened)
    monkeypatch.setattr(layout_module, "looks_like_sa1b", opened)
    monkeypatch.setattr(Path, "open", opened)
    assert len(layout(tmp_path).records()) == 30


def test_what_samft_writes(tmp_path) -> None:
    picture(tmp_path, "images/a/7.png", "images/b/7.png")
    folder = OutputFolder(tmp_path / "out")
    for name in ("a/7.png", "b/7.png"):
        found = [
            ObjectPrediction(
                rle=encode_rle(mask), class_name=None, score=0.9, prompt={"box": [1, 2, 3, 4]},
                prompt_id="p", measures={},
            )
            for mask in masks()
        ]  # fmt: skip
        Sa1bJson(folder).write_image(ImagePrediction(sample_id=name, size=SIZE, objects=found))
    one = layout(tmp_path)
    records = one.records()
    assert [(r.sample_id, r.labels[0].name, r.labels[0].parent.name) for r in records] == [
        ("images/a/7.png", "7.png.json", "a"), ("images/b/7.png", "7.png.json", "b"),
    ]  # fmt: skip
    assert same_masks(one.truth(records[1]).objects("value"))


def test_two_trees(tmp_path) -> None:
    picture(tmp_path, "images/train/1.jpg", "images/val/1.jpg", "images/val/2.jpg")
    for name in ("train/1", "val/1", "val/2"):
        write(tmp_path, f"annotations/{name}.json")
    assert pairs(tmp_path) == {
        f"images/{name}.jpg": f"annotations/{name}.json" for name in ("train/1", "val/1", "val/2")
    }
    assert [record.split for record in layout(tmp_path).records()] == ["train", "val", "val"]


def test_other_json_is_left_alone(tmp_path, caplog) -> None:
    picture(tmp_path, "1.jpg")
    write(tmp_path, "1.json")
    write(tmp_path, "meta.json", {"licence": "none"})
    with caplog.at_level(logging.INFO):
        assert pairs(tmp_path) == {"1.jpg": "1.json"}
    assert "1 JSON files" in caplog.text


def test_lonely(tmp_path) -> None:
    picture(tmp_path, "1.jpg", "2.jpg")
    write(tmp_path, "1.json")
    assert "1 image has no SA-1B file" in refused(tmp_path)
    assert pairs(tmp_path, on_missing="skip") == {"1.jpg": "1.json"}
    write(tmp_path, "2.json")
    write(tmp_path, "3.json")
    assert "1 SA-1B file has no image" in refused(tmp_path)
    assert pairs(tmp_path, images=("1.*",), labels="1.json") == {"1.jpg": "1.json"}


def test_ambiguous(tmp_path) -> None:
    picture(tmp_path, "1.jpg", "1.png")
    write(tmp_path, "1.json")
    text = refused(tmp_path)
    assert "several files fit one name" in text
    assert "1.jpg and 1.png" in text
    assert "fix: choose with data.images" in text


def test_no_pairs(tmp_path) -> None:
    picture(tmp_path, "1.jpg")
    assert Sa1bLayout.recognise(Listing.of(tmp_path)) is None
    assert "no image has a file of SA-1B" in refused(tmp_path)


def test_no_classes(tmp_path) -> None:
    picture(tmp_path, "1.jpg")
    write(tmp_path, "1.json")
    assert "masks have no classes" in refused(tmp_path, ConfigError, classes=["cat"])


def test_sizes_that_differ(tmp_path) -> None:
    picture(tmp_path, "1.jpg", size=(10, 30))
    write(tmp_path, "1.json")
    one = layout(tmp_path)
    with pytest.raises(DatasetError, match=r"sizes differ\n.*20 x 30.*10 x 30"):
        one.truth(one.records()[0])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (document(annotations=[3]), "annotation 1 is no object"),
        (document(annotations=[{"segmentation": 3}]), "annotation 1: int as segmentation"),
        (document(annotations=[{"segmentation": {"size": [3, 3], "counts": "x"}}]), "[3, 3]"),
        (document(annotations=[{"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}]), "no number"),
        (document(height=-4), "an image of -4 x 30"),
        (document(height=2**50), "an image of"),
        ({"image": 3, "annotations": []}, "no image and annotations"),
        ([1], "no image and annotations"),
        ({"image": {}, "annotations": {}}, "no image and annotations"),
    ],
)
def test_damaged(tmp_path, content, found) -> None:
    path = write(tmp_path, "1.json", content)
    with pytest.raises(DatasetError) as error:
        read_sa1b(path)
    assert found in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_a_truncated_mask(tmp_path) -> None:
    entry = annotation(masks()[0])
    entry["segmentation"]["counts"] = entry["segmentation"]["counts"][:-2]
    picture(tmp_path, "1.jpg")
    write(tmp_path, "1.json", document(annotations=[entry]))
    one = layout(tmp_path)
    with pytest.raises(DatasetError, match="run lengths of a mask are damaged"):
        one.truth(one.records()[0]).objects("component")


def test_annotations_without_mask_are_counted(tmp_path) -> None:
    content = document(annotations=[annotation(masks()[0]), {"bbox": [1, 2, 3, 4]}])
    labelled = read_sa1b(write(tmp_path, "1.json", content))
    assert len(labelled.shapes) == 1
    assert labelled.left_out == {"annotations without a mask": 1}


def test_is_sa1b() -> None:
    assert is_sa1b(document())
    assert not is_sa1b({"images": [], "annotations": [], "categories": []})
    assert not is_sa1b([])


def test_masklets_without_video(tmp_path) -> None:
    write(tmp_path, "sav_000001_manual.json", {"video_id": "sav_000001", "masklet": [[]]})
    text = refused(tmp_path)
    assert "masklets of SA-V without the frames" in text
    assert "sav_000001_manual.json; no frames and no videos" in text
    assert "fix: save the annotated frames" in text
    (tmp_path / "sav_000001.mp4").write_bytes(b"")
    assert "1 videos, which are not read" in refused(tmp_path)


def test_real_masklets(real_data) -> None:
    root = real_data / "general/SA-V_example_json/example"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    assert "holds SA-V's masklets" in Sa1bLayout.recognise(Listing.of(root))
    assert "sav_000001_auto.json, sav_000001_manual.json" in refused(root)


def test_links_that_lead_out(tmp_path) -> None:
    picture(tmp_path, "out/1.jpg")
    write(tmp_path, "in/1.json")
    (tmp_path / "in/1.jpg").symlink_to(tmp_path / "out/1.jpg")
    assert "a symbolic link leads out" in refused(tmp_path / "in")
