"""JSON maps of SAM-Med2D with a file per object."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import discs, picture, save

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.sammed2d import SamMed2dLayout
from samft.errors import ConfigError, DatasetError


def layout(root: Path, **settings: object) -> SamMed2dLayout:
    return SamMed2dLayout(root, LayoutSettings(**settings))


def write_set(root: Path, stem: str, names: list[str], *, sep: str = "_") -> dict[str, list[str]]:
    labels = discs(0, count=len(names))
    save(root / "images" / f"{stem}.png", picture(labels, 0))
    masks = []
    for value, name in enumerate(names, start=1):
        path = f"masks/{stem}{sep}{name}.png"
        save(root / path, (labels == value).astype(np.uint8) * 255)
        masks.append(path)
    return {f"images/{stem}.png": masks}


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A training and a test image with three masks each, the JSON files above the images."""
    root = tmp_path / "demo"
    names = ["liver_000", "rib_left_9_000", "liver_001"]
    train = write_set(root, "amos_0006_90", names)
    test = write_set(root, "s0114_111", names)
    (root / "image2label_train.json").write_text(
        json.dumps({f"demo/{k}": [f"demo/{m}" for m in v] for k, v in train.items()})
    )
    inverse = {f"demo/{mask}": f"demo/{k}" for k, v in test.items() for mask in v}
    (root / "label2image_test.json").write_text(json.dumps(inverse))
    return root


@pytest.mark.parametrize("above", [False, True])
def test_the_demo(demo: Path, above: bool) -> None:
    root = demo.parent if above else demo
    assert "image2label_train.json" in str(SamMed2dLayout.recognise(Listing.of(root)))
    found = layout(root)
    records = found.records()
    assert [(r.sample_id.removeprefix("demo/"), r.case_id, r.split) for r in records] == [
        ("images/amos_0006_90.png", "amos_0006", "train"),
        ("images/s0114_111.png", "s0114", "test"),
    ]
    assert found.class_names == ("liver", "rib_left_9")
    for record in records:
        truth = found.truth(record)
        assert truth.objects("component").object_class.tolist() == [0, 1, 0]
        assert truth.objects("class").object_class.tolist() == [0, 1]
    found.check(records)
    assert layout(root, classes=["rib_left_9"]).records()[0].labels[0].name.endswith("9_000.png")


def test_a_file_is_one_object_however_many_pieces(demo: Path) -> None:
    save(demo / "masks/s0114_111_liver_000.png", (discs(0, count=4) > 0).astype(np.uint8) * 255)
    found = layout(demo)
    objects = found.truth(found.records()[1]).objects("component")
    assert objects.object_class.size == 3
    assert objects.layers.shape[0] == 2  # they overlap


def test_the_names_of_the_large_set(tmp_path: Path) -> None:
    stem = "ct_00--AbdomenCT1K--Case_00011--x_0041"
    entries = write_set(tmp_path, stem, ["0001_000", "0003_001"], sep="--")
    entries |= write_set(tmp_path, stem.replace("0041", "0042"), ["0001_000"], sep="--")
    (tmp_path / "SAMed2D_v1.json").write_text(json.dumps(entries))
    mapping = tmp_path / "SAMed2D_v1_class_mapping_id.json"
    found = layout(tmp_path)
    assert {r.case_id for r in found.records()} == {"ct_00--AbdomenCT1K--Case_00011"}
    assert found.class_names == ("0001", "0003")
    mapping.write_text(json.dumps({"AbdomenCT1K": {"liver": "0001", "spleen": 3}, "X": {"a": 1}}))
    named = layout(tmp_path)
    assert [r.split for r in named.records()] == [None, None]
    assert named.class_names == ("liver", "spleen")
    mapping.write_text(json.dumps({"AbdomenCT1K": {"liver": [1]}}))
    with pytest.raises(DatasetError, match="an entry makes no sense") as caught:
        layout(tmp_path).records()
    assert "AbdomenCT1K" in str(caught.value)


def test_images_that_no_file_names(demo: Path) -> None:
    save(demo / "images" / "amos_0507_31.png", picture(discs(1), 1))
    with pytest.raises(DatasetError, match="1 image has no mask") as caught:
        layout(demo).records()
    assert "amos_0507_31" in str(caught.value)
    assert len(layout(demo, on_missing="skip").records()) == 2


def test_an_image_listed_without_masks(demo: Path) -> None:
    save(demo / "images" / "a.png", picture(discs(1), 1))
    (demo / "image2label_val.json").write_text('{"images/a.png": []}')
    found = layout(demo)
    empty = next(r for r in found.records() if r.split == "val")
    assert found.truth(empty).objects("component").layers.shape == (1, 48, 64)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"demo/images/amos_0006_90.png": 7}', "an entry makes no sense"),
        ('{"demo/images/amos_0006_90.png": [7]}', "a file name is no text"),
        ('{"demo/images/amos_0006_90.png": ["../../x.png"]}', "outside the data root"),
        ('{"/etc/passwd": []}', "outside the data root"),
        ('{"images/gone.png": []}', "1 named file does not exist"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ('{"images/s0114_111.png": []}', "one image lies in two splits"),
    ],
)
def test_bad_maps(demo: Path, content: str, what: str) -> None:
    (demo / "image2label_train.json").write_text(content)
    with pytest.raises(DatasetError, match=what) as caught:
        layout(demo).records()
    assert len(str(caught.value).splitlines()) <= 3


def test_a_mask_of_another_size(demo: Path) -> None:
    save(demo / "masks/s0114_111_liver_000.png", np.full((5, 5), 255, np.uint8))
    found = layout(demo)
    record = found.records()[1]
    with pytest.raises(DatasetError, match="sizes differ") as caught:
        found.truth(record)
    assert "s0114_111_liver_000.png" in str(caught.value)


def test_settings_that_do_not_fit(demo: Path) -> None:
    with pytest.raises(ConfigError, match="images are chosen by the JSON files"):
        layout(demo, images=("*.png",)).records()
    with pytest.raises(ConfigError, match="no mask has this class in its name") as caught:
        layout(demo, classes=["livr"]).records()
    assert "did you mean 'liver'" in str(caught.value)
    (demo / "image2label_train.json").unlink()
    assert len(layout(demo, labels="label2image_test.json", on_missing="skip").records()) == 1
    (demo / "label2image_test.json").unlink()
    with pytest.raises(DatasetError, match="no JSON file that maps images"):
        layout(demo).records()


def test_the_real_demo(real_data: Path) -> None:
    root = real_data / "medical" / "SAM-Med2D_demo"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    found = layout(root, on_missing="skip")
    records = found.records()
    objects = [found.truth(r).objects("component").object_class.size for r in records]
    assert (len(records), sum(objects)) == (4, 30)
    assert {"liver", "aorta", "rib_left_9", "vertebrae_T9"} <= set(found.class_names)
