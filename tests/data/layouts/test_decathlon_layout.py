"""JSON lists of images and masks, as the Decathlon and MONAI write them."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fixtures_data import ct_volume, write_nifti

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.decathlon import DecathlonLayout
from samft.data.layouts.listing import Listing
from samft.errors import ConfigError, DatasetError


def layout(root: Path, **settings: object) -> DecathlonLayout:
    return DecathlonLayout(root, LayoutSettings(**settings))


def entry(number: int, **more: object) -> dict[str, object]:
    return {
        "image": f"./imagesTr/spleen_{number}.nii.gz",
        "label": f"./labelsTr/spleen_{number}.nii.gz",
        **more,
    }


def write_list(root: Path, name: str = "dataset.json", **content: object) -> None:
    (root / name).write_text(json.dumps(content))


@pytest.fixture
def spleen(tmp_path: Path) -> Path:
    """Four volumes, one of them with two channels, and a test image."""
    for number in range(4):
        values, labels = ct_volume(number)
        write_nifti(tmp_path / "imagesTr" / f"spleen_{number}.nii.gz", values)
        write_nifti(tmp_path / "labelsTr" / f"spleen_{number}.nii.gz", labels)
    stacked = np.stack([ct_volume(3)[0].transpose(2, 1, 0)] * 2, axis=-1)
    nibabel.save(
        nibabel.Nifti1Image(stacked, np.diag([0.8, 0.8, 5.0, 1.0])),
        tmp_path / "imagesTr" / "spleen_3.nii.gz",
    )
    write_nifti(tmp_path / "imagesTs" / "spleen_9.nii.gz", ct_volume(9)[0])
    return tmp_path


LABELS = {"0": "background", "1": "spleen", "2": "lesion"}


def test_the_decathlon(spleen: Path, caplog) -> None:
    caplog.set_level("INFO", logger="samft")
    write_list(
        spleen,
        modality={"0": "CT"},
        labels=LABELS,
        numTraining=4,
        training=[entry(number) for number in range(4)],
        test=["./imagesTs/spleen_9.nii.gz"],
    )
    reason = DecathlonLayout.recognise(Listing.of(spleen))
    assert reason == "dataset.json lists images and labels for training"
    found = layout(spleen)
    records = found.records()
    assert [(r.sample_id, r.split) for r in records] == [
        (f"imagesTr/spleen_{number}", None) for number in range(4)
    ]
    assert found.class_names == ("spleen", "lesion")
    assert "1 test images have no label" in caplog.text
    found.check(records)
    truth = found.truth(records[3])
    assert truth.size == (6, 24, 20)
    assert truth.objects("component", at=(0, 3)).object_class.tolist() == [0, 1]
    only = layout(spleen, classes=["lesion"])
    assert only.truth(only.records()[0]).objects("class", at=(0, 3)).object_class.tolist() == [0]


def test_folds_and_lists_of_files(spleen: Path, caplog) -> None:
    caplog.set_level("INFO", logger="samft")
    training = [entry(number, fold=number % 2) for number in range(3)]
    training[1]["image"] = [training[1]["image"], training[1]["image"]]
    write_list(spleen, "datalist.json", training=training, testing=[{"image": "imagesTs/x.nii.gz"}])
    records = layout(spleen).records()
    assert [r.split for r in records] == ["val", "train", "val"]
    assert len(records[1].images) == 2
    assert "fold 0 of 2 is the validation split" in caplog.text
    assert layout(spleen, classes=["a", "b"]).records() == records


def test_lists_for_validation_and_test(spleen: Path) -> None:
    write_list(
        spleen, training=[entry(0), entry(1, fold=0)], validation=[entry(2)], test=[entry(3)]
    )
    assert [r.split for r in layout(spleen).records()] == ["train", "train", "val", "test"]


def test_names_relative_to_the_root_or_absolute(spleen: Path) -> None:
    (spleen / "lists").mkdir()
    absolute = entry(1) | {"image": f"{spleen}/imagesTr/spleen_1.nii.gz"}
    write_list(spleen, "lists/fold0.json", training=[entry(0, patient_id=7), absolute])
    assert [r.case_id for r in layout(spleen).records()] == ["7", "imagesTr/spleen_1"]


def test_several_lists(spleen: Path) -> None:
    for name in ("a.json", "b.json"):
        write_list(spleen, name, labels=LABELS, training=[entry(0)])
    with pytest.raises(DatasetError, match="not exactly one JSON file") as caught:
        layout(spleen).records()
    assert "a.json, b.json" in str(caught.value)
    assert "choose one with data.labels" in str(caught.value)
    assert len(layout(spleen, labels="b.json").records()) == 1
    with pytest.raises(ConfigError, match="images are chosen by the JSON file"):
        layout(spleen, images=("*.nii.gz",)).records()


def test_missing_and_unlabelled(spleen: Path) -> None:
    write_list(spleen, training=[entry(0), entry(7)])
    with pytest.raises(DatasetError, match="2 named files do not exist") as caught:
        layout(spleen).records()
    assert "training[1]" in str(caught.value)
    assert len(layout(spleen, on_missing="skip").records()) == 1
    write_list(spleen, training=[entry(0), {"image": "imagesTr/spleen_1.nii.gz"}])
    with pytest.raises(DatasetError, match="1 image has no mask"):
        layout(spleen).records()


def test_repeats(spleen: Path, caplog) -> None:
    write_list(spleen, training=[entry(0), entry(0)])
    assert len(layout(spleen).records()) == 1
    assert "1 entries are there twice" in caplog.text
    write_list(spleen, training=[entry(0)], validation=[entry(0)])
    with pytest.raises(DatasetError, match="an image is listed twice"):
        layout(spleen).records()


@pytest.mark.parametrize("name", ["../x.nii.gz", "/etc/x.nii.gz", "imagesTr/../../x.nii.gz", "\0"])
def test_names_cannot_lead_out_of_a_list(spleen: Path, name: str) -> None:
    write_list(spleen, training=[entry(0) | {"label": name}])
    with pytest.raises(DatasetError, match="outside the data root") as caught:
        layout(spleen).records()
    assert "training[0]" in str(caught.value)


@pytest.mark.parametrize(
    "training",
    [
        [entry(0), 7],
        [entry(0), {}],
        [entry(0), {"image": {}, "label": "a"}],
        [entry(0), {"image": [], "label": "a"}],
        [entry(0), {"image": "a", "label": 3}],
        [entry(0), entry(1, fold="x")],
        [entry(0), entry(1, fold=float("nan"))],
        [entry(0), None],
    ],
)
def test_entries_that_make_no_sense(spleen: Path, training: list[object]) -> None:
    write_list(spleen, labels=LABELS, training=training)
    with pytest.raises(DatasetError, match="makes no sense|is no text") as caught:
        layout(spleen).records()
    assert "training[1]" in str(caught.value)


def test_other_json_is_no_list(spleen: Path) -> None:
    for number, content in enumerate(([1], {"training": 3}, {"training": []}, {"images": []})):
        (spleen / f"{number}.json").write_text(json.dumps(content))
    (spleen / "broken.json").write_text("{")
    assert DecathlonLayout.recognise(Listing.of(spleen)) is None
    with pytest.raises(DatasetError, match="no list of images and masks"):
        layout(spleen, labels="1.json").records()
