"""nnU-Net raw folders of both versions."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.nnunet import NnunetLayout
from samft.errors import ConfigError, DatasetError

LABELS = {"background": 0, "liver": 1, "tumour": 2}


def describe(root: Path, **changes: object) -> None:
    content = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": 3,
        "file_ending": ".nii.gz",
    } | changes
    root.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in content.items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(kept))


def write_case(root: Path, name: str, *, which: str = "Tr", channels: int = 1) -> None:
    values, labels = ct_volume(len(name))
    for channel in range(channels):
        write_nifti(root / f"images{which}" / f"{name}_{channel:04d}.nii.gz", values)
    write_nifti(root / f"labels{which}" / f"{name}.nii.gz", labels)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three training cases and a test case of version 2."""
    describe(tmp_path)
    for number in range(3):
        write_case(tmp_path, f"liver_{number:03d}")
    write_case(tmp_path, "liver_100", which="Ts")
    return tmp_path


def layout(root: Path, **settings: object) -> NnunetLayout:
    return NnunetLayout(root, LayoutSettings(**settings))


def test_version_2(raw: Path) -> None:
    assert NnunetLayout.recognise(Listing.of(raw)) == "dataset.json is one of nnU-Net"
    found = layout(raw)
    records = found.records()
    assert [(r.sample_id, r.case_id, r.split) for r in records] == [
        ("imagesTr/liver_000", "liver_000", "train"),
        ("imagesTr/liver_001", "liver_001", "train"),
        ("imagesTr/liver_002", "liver_002", "train"),
        ("imagesTs/liver_100", "liver_100", "test"),
    ]
    assert found.class_names == ("liver", "tumour")
    found.check(records)
    truth = pickle.loads(pickle.dumps(found)).truth(records[0])
    assert truth.size == (6, 24, 20)
    assert truth.objects("component", at=(0, 2)).object_class.tolist() == [0, 1]
    assert truth.objects("component", at=(0, 0)).object_class.tolist() == []


def test_the_only_data_set_in_a_folder(raw: Path) -> None:
    folder = raw / "Dataset001_Liver"
    folder.mkdir()
    for path in list(raw.iterdir()):
        if path != folder:
            path.rename(folder / path.name)
    assert NnunetLayout.recognise(Listing.of(raw)) is not None
    assert len(layout(raw).records()) == 4
    describe(raw / "Dataset002_Other")
    assert NnunetLayout.recognise(Listing.of(raw)) is None
    with pytest.raises(DatasetError, match="not exactly one dataset.json") as caught:
        layout(raw).records()
    assert "data.labels" in str(caught.value)
    assert len(layout(raw, labels="Dataset001_Liver/dataset.json").records()) == 4


def test_regions_overlap(raw: Path) -> None:
    describe(
        raw, labels={"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2]
    )
    found = layout(raw)
    record = found.records()[0]
    objects = found.truth(record).objects("class", at=(0, 2))
    assert found.class_names == ("whole", "core")
    areas = [(objects.layers[layer] == k + 1).sum() for k, layer in enumerate(objects.object_layer)]
    labels = ct_volume(len("liver_000"))[1][2]
    assert objects.object_class.tolist() == [0, 1]
    assert sorted(areas) == sorted([(labels > 0).sum(), (labels == 2).sum()])
    only = layout(raw, classes=["core"])
    assert only.truth(only.records()[0]).objects("class", at=(0, 2)).object_class.tolist() == [0]


def test_what_is_ignored(raw: Path) -> None:
    describe(raw, labels={"background": 0, "liver": 1, "ignore": 2})
    found = layout(raw)
    objects = found.truth(found.records()[0]).objects("component", at=(0, 2))
    labels = ct_volume(len("liver_000"))[1][2]
    assert found.class_names == ("liver",)
    # The order of rows is that of the canonical orientation.
    assert (objects.layers == -1).sum() == (labels == 2).sum()


def test_version_1(raw: Path) -> None:
    describe(
        raw,
        channel_names=None,
        file_ending=None,
        modality={"0": "CT"},
        labels={"0": "background", "1": "liver", "2": "tumour"},
        training=[{"image": "./imagesTr/liver_000.nii.gz", "label": "./labelsTr/liver_000.nii.gz"}],
    )
    assert "named as in nnU-Net" in str(NnunetLayout.recognise(Listing.of(raw)))
    found = layout(raw)
    assert len(found.records()) == 4
    assert found.class_names == ("liver", "tumour")


def test_a_decathlon_folder_is_not_taken(raw: Path) -> None:
    describe(raw, channel_names=None, file_ending=None, modality={"0": "CT"})
    for path in (raw / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace("_0000", "")))
    assert NnunetLayout.recognise(Listing.of(raw)) is None


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures(tmp_path: Path, ending: str) -> None:
    describe(
        tmp_path,
        channel_names={"0": "R", "1": "G", "2": "B"},
        file_ending=ending,
        labels={"background": 0, "cell": 1},
        numTraining=1,
    )
    labels = (discs(0) > 0).astype(np.uint8)
    save(tmp_path / "imagesTr" / f"a_0000{ending}", np.dstack([picture(labels, 0)] * 3))
    save(tmp_path / "labelsTr" / f"a{ending}", labels)
    found = layout(tmp_path)
    (record,) = found.records()
    assert (record.sample_id, record.split) == (f"imagesTr/a_0000{ending}", None)
    assert found.truth(record).objects("component").object_class.size == 4


def test_splits(raw: Path, caplog) -> None:
    caplog.set_level("INFO", logger="samft")
    names = [f"liver_{number:03d}" for number in range(3)]
    folds = [{"train": names[1:], "val": names[:1]}, {"train": names[:2], "val": names[2:]}]
    (raw / "splits_final.json").write_text(json.dumps(folds))
    assert [r.split for r in layout(raw).records()] == ["val", "train", "train", "test"]
    assert "fold 0 of 2 is the validation split" in caplog.text
    folds[0]["train"] = names[:1]
    (raw / "splits_final.json").write_text(json.dumps(folds))
    with pytest.raises(DatasetError, match="does not give every case one split") as caught:
        layout(raw).records()
    assert "twice: liver_000; missing: liver_001, liver_002" in str(caught.value)


def test_files_that_dataset_json_names(raw: Path) -> None:
    case = {"images": ["imagesTr/liver_001_0000.nii.gz"], "label": "labelsTr/liver_001.nii.gz"}
    describe(raw, dataset={"a": case})
    (record,) = layout(raw).records()
    assert (record.sample_id, record.case_id) == ("imagesTr/liver_001", "a")
    for wrong in ("../../x.nii.gz", "/etc/x.nii.gz"):
        describe(raw, dataset={"a": case | {"label": wrong}})
        with pytest.raises(DatasetError, match="outside the data root is named") as caught:
            layout(raw).records()
        assert "'a'" in str(caught.value)


def test_images_without_labels(raw: Path) -> None:
    (raw / "labelsTr" / "liver_001.nii.gz").unlink()
    with pytest.raises(DatasetError, match="1 image has no mask") as caught:
        layout(raw).records()
    assert "liver_001_0000" in str(caught.value)
    kept = layout(raw, on_missing="skip").records()
    assert [r.case_id for r in kept] == ["liver_000", "liver_002", "liver_100"]


def test_a_channel_that_is_missing(raw: Path) -> None:
    describe(raw, channel_names={"0": "CT", "1": "PET"})
    with pytest.raises(DatasetError, match="does not have the channels") as caught:
        layout(raw).records()
    assert "found: _0000, expected: _0000, _0001" in str(caught.value)
    for path in list((raw / "imagesTr").iterdir()) + list((raw / "imagesTs").iterdir()):
        second = path.with_name(path.name.replace("_0000", "_0001"))
        second.write_bytes(path.read_bytes())
    assert {len(r.images) for r in layout(raw).records()} == {2}


def test_chosen_cases_and_classes(raw: Path) -> None:
    assert len(layout(raw, images=("imagesTr/liver_00[01]*",)).records()) == 2
    with pytest.raises(ConfigError, match="names no such class") as caught:
        layout(raw, classes=["livr"]).records()
    assert "did you mean 'liver'" in str(caught.value)


def test_values_that_have_no_name(raw: Path) -> None:
    describe(raw, labels={"background": 0, "liver": 1})
    found = layout(raw)
    with pytest.raises(DatasetError, match="values that have no class name") as caught:
        found.truth(found.records()[0])
    assert "found: 2, expected: 1 liver" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"labels": [1, 2]}, "labels make no sense"),
        ({"labels": {"background": 0, "a": -1}}, "labels make no sense"),
        ({"labels": {"background": 0, "a": 1.5}}, "labels make no sense"),
        ({"labels": {"background": 0, "a": True}}, "labels make no sense"),
        ({"labels": {"background": 0, "a": 2**40}}, "labels make no sense"),
        ({"labels": {"background": 0, "a": float("nan")}}, "labels make no sense"),
        ({"labels": {"background": 0, "a": []}}, "labels make no sense"),
        ({"labels": {"background": 0}}, "labels make no sense"),
        ({"labels": None}, "is no dataset.json of nnU-Net"),
        ({"channel_names": "CT"}, "is no dataset.json of nnU-Net"),
        ({"file_ending": 7}, "no text"),
        ({"file_ending": ".b2nd"}, "cannot be read"),
        ({"dataset": []}, "where its files are"),
        ({"dataset": {"a": {"images": "x"}}}, "where its files are"),
        ({"dataset": {"a": {"images": [{}]}}}, "is no text"),
    ],
)
def test_bad_descriptions(raw: Path, changes: dict[str, object], what: str) -> None:
    describe(raw, **changes)
    with pytest.raises(DatasetError, match=what) as caught:
        layout(raw).records()
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '[{"train": 1}]', "[[]]", "[" * 9999])
def test_bad_splits_and_json(raw: Path, text: str) -> None:
    (raw / "splits_final.json").write_text(text)
    with pytest.raises(DatasetError) as caught:
        layout(raw).records()
    assert "splits_final.json" in str(caught.value)
    (raw / "dataset.json").write_text(text)
    with pytest.raises(DatasetError) as caught:
        layout(raw).records()
    assert "dataset.json" in str(caught.value)


def test_a_description_that_is_too_large(raw: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", "80")
    with pytest.raises(DatasetError, match="more memory than allowed") as caught:
        layout(raw).records()
    assert "SAMFT_MAX_BYTES" in str(caught.value)
