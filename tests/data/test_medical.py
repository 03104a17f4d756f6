"""Volumes as slices and flat images with class masks."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.medical import MedicalDataModule
from samft.errors import ConfigError, DatasetError


def make(root: Path | str, **settings) -> MedicalDataModule:
    return MedicalDataModule(root=str(root), **({"val_fraction": 0, "image_size": 32} | settings))


def samples(root: Path, **settings) -> list:
    dataset = make(root, **settings).dataset("train")
    return [dataset[i] for i in range(len(dataset))]


def message(root: Path, **settings) -> str:
    with pytest.raises((DatasetError, ConfigError)) as caught:
        make(root, **settings).prepare_index()
    text = str(caught.value)
    assert len(text.splitlines()) <= 4
    return text


def test_slices_of_nifti(ct_folder: Path) -> None:
    found = samples(ct_folder, classes=["liver", "spleen"], window="ct_soft")
    assert len(found) == 24
    _, labels = ct_volume(0)
    for index, sample in enumerate(found[:6]):
        truth = labels[::-1, ::-1, ::-1][index]  # head to feet, front to back, right to left
        assert sample.sample_id == f"images/case_000/z{index:03d}"
        assert sample.case_id == "images/case_000"
        assert sample.spacing_mm == pytest.approx((0.8, 0.8))
        assert sample.image.shape == (3, 24, 20)
        assert np.array_equal((sample.layers[0] > 0).numpy(), truth > 0)
        for mask, kind in zip(sample.masks(), sample.object_class.tolist(), strict=True):
            assert np.array_equal(mask.numpy(), truth == kind + 1)
    assert [sample.num_objects for sample in found[:6]] == [0, 2, 2, 2, 2, 0]


def test_image_and_mask_may_be_stored_in_different_orientations(ct_folder: Path) -> None:
    # The last case's image is LPS, its mask RAS.
    found = samples(ct_folder, window="ct_soft")
    sample = found[3 * 6 + 2]
    inside = sample.layers[0] > 0
    assert sample.image[0][inside].float().mean() > 170
    assert sample.image[0][~inside].float().mean() < 90


@pytest.mark.parametrize(
    ("axis", "letter", "count", "size", "spacing"),
    [
        ("axial", "z", 6, (24, 20), (0.8, 0.8)),
        ("coronal", "y", 24, (6, 20), (5.0, 0.8)),
        ("sagittal", "x", 20, (6, 24), (5.0, 0.8)),
        ("auto", "z", 6, (24, 20), (0.8, 0.8)),
    ],
)
def test_axes(ct_folder: Path, axis: str, letter: str, count: int, size, spacing) -> None:
    found = samples(ct_folder, axis=axis)
    assert len(found) == 4 * count
    assert found[0].size == size
    assert found[0].spacing_mm == pytest.approx(spacing)
    assert found[1].sample_id == f"images/case_000/{letter}001"


def test_slices_put_together_are_the_volume(ct_folder: Path) -> None:
    volume = np.stack(
        [s.layers[0].numpy() > 0 for s in samples(ct_folder, axis="coronal", min_area=1)[:24]]
    )
    _, labels = ct_volume(0)
    assert np.array_equal(volume.transpose(1, 0, 2), labels[::-1, ::-1, ::-1] > 0)


def test_cases_are_never_torn_apart(ct_folder: Path) -> None:
    data = make(ct_folder, val_fraction=0.25, test_fraction=0.25)
    cases = [{r.case_id for r in data.records(s)} for s in ("train", "val", "test")]
    assert [len(c) for c in cases] == [2, 1, 1]
    assert len(set.union(*cases)) == 4


def test_slabs(seg_nrrd_folder: Path) -> None:
    data = make(seg_nrrd_folder, split_by="block", val_fraction=0.25)
    numbers = {s: [r.slice_index for r in data.records(s)] for s in ("train", "val")}
    assert numbers["val"] == [4, 5, 6]
    assert numbers["train"] == [0, 1, 9, 10, 11]
    assert "data.split_by: block" in message(seg_nrrd_folder, val_fraction=0.25)


def test_slabs_need_a_volume(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(discs(0), 0))
    save(tmp_path / "a_mask.png", discs(0).astype(np.uint8))
    assert "cannot be cut into slabs" in message(tmp_path, split_by="block")


def test_names_from_the_segmentation(seg_nrrd_folder: Path) -> None:
    data = make(seg_nrrd_folder)
    assert tuple(data.class_names) == ("liver", "spleen")
    classes = {c for i in range(12) for c in data.dataset("train")[i].object_class.tolist()}
    assert classes == {0, 1}
    only = make(seg_nrrd_folder, classes=["spleen"])
    assert tuple(only.class_names) == ("spleen",)
    assert sum(only.dataset("train")[i].num_objects for i in range(12)) == 10
    text = message(seg_nrrd_folder, classes=["splen"])
    assert "no mask has a segment of this name" in text
    assert "did you mean 'spleen'?" in text


def test_component_or_class(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(discs(0), 0))
    save(tmp_path / "a_mask.png", (discs(0) > 0).astype(np.uint8))
    assert samples(tmp_path)[0].num_objects == 4
    (one,) = samples(tmp_path, objects="class", classes=["cell"])
    assert one.num_objects == 1
    assert one.masks().sum() == (discs(0) > 0).sum()


@pytest.mark.parametrize(
    ("window", "air", "tissue"),
    [("ct_soft", 0, 128), ("ct_lung", 60, 236), ([40, 80], 0, 128), ("ct_bone", 0, 83)],
)
def test_windows(tmp_path: Path, window, air: int, tissue: int) -> None:
    values = np.full((1, 8, 8), -1000, np.int16)
    values[0, 4:] = 40
    write_nifti(tmp_path / "images" / "a.nii", values)
    write_nifti(tmp_path / "labels" / "a.nii", (values > 0).astype(np.uint8))
    (sample,) = samples(tmp_path, window=window)
    assert sorted(sample.image.unique().tolist()) == [air, tissue]


def test_auto_window_of_z_scored_floats(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.full((3, 30, 30), -5, np.float32)
    values[:, 5:25, 5:25] = rng.normal(size=(3, 20, 20))
    write_nifti(tmp_path / "images" / "a.nii.gz", values)
    write_nifti(tmp_path / "labels" / "a.nii.gz", (values > 1).astype(np.float32))
    sample = samples(tmp_path, min_area=1)[1]
    inside = sample.image[0, 5:25, 5:25].float()
    assert 100 < inside.mean() < 155
    assert inside.std() > 35
    assert sample.image[0, 0, 0] == 0


@pytest.mark.parametrize("window", [[40], [40, 0], [40, -3], [1, 2, 3]])
def test_windows_that_make_no_sense(tmp_path: Path, window) -> None:
    with pytest.raises(ConfigError, match="data.window"):
        make(tmp_path, window=window)


def test_channels_of_several_files(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        values, labels = ct_volume(0)
        write_nifti(tmp_path / case / "flair.nii.gz", values)
        write_nifti(tmp_path / case / "t1.nii.gz", -values)
        write_nifti(tmp_path / case / "truth.nii.gz", labels)
    patterns = {"images": ["*/flair.nii.gz", "*/t1.nii.gz"], "labels": "*/truth.nii.gz"}
    sample = samples(tmp_path, **patterns)[2]
    first, second, third = sample.image.int()
    assert ((first + second) - 255).abs().max() <= 1
    assert torch.equal(third, (first + second) // 2)


def test_case_ids_of_bids(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    for subject in ("sub-01", "sub-02"):
        for scan in ("T1w", "T2w"):
            name = f"{subject}/anat/{subject}_{scan}"
            write_nifti(tmp_path / f"{name}.nii.gz", values)
            write_nifti(tmp_path / "derivatives/labels" / f"{name}_seg.nii.gz", labels)
    data = make(tmp_path, val_fraction=0.5)
    assert {r.case_id for r in data.records("train")} in ({"sub-01"}, {"sub-02"})
    assert len(data.records("train")) == 12


def test_volumes_are_decoded_once(ct_folder: Path, monkeypatch) -> None:
    from samft.data import labels, sources

    read: list[str] = []
    original = sources.read_volume

    def counting(path: Path):
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(sources, "read_volume", counting)
    monkeypatch.setattr(labels, "read_volume", lambda path: original(path))
    data = make(ct_folder, check_files=False)
    dataset = data.dataset("train")
    for index in (0, 6, 12, 18, 1, 7, 13, 19):
        dataset[index]
    assert sorted(read) == [f"case_{i:03d}.nii.gz" for i in range(4)]
    tiny = make(ct_folder, cache_gb=1e-9).dataset("train")
    read.clear()
    for index in (0, 6, 0, 6):
        tiny[index]
    assert len(read) == 3  # the first one was read while preparing


def test_soft_masks_with_a_threshold(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    write_nifti(tmp_path / "images" / "a.nii.gz", values)
    write_nifti(tmp_path / "labels" / "a.nii.gz", (labels > 0).astype(np.float32) * 0.7)
    text = message(tmp_path)
    assert "values that are no labels" in text
    assert "data.threshold, such as 0.5" in text
    found = samples(tmp_path, threshold=0.5)
    assert sum(s.num_objects for s in found) == 8


def test_ignored_values(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    labels[2, :4] = 255
    write_nifti(tmp_path / "images" / "a.nii.gz", values)
    write_nifti(tmp_path / "labels" / "a.nii.gz", labels)
    found = samples(tmp_path, ignore_value=255, classes=["a", "b"])
    assert sum(int((s.layers == -1).sum()) for s in found) == 4 * 20
    text = message(tmp_path, classes=["a", "b"])
    assert "values that have no class name" in text
    assert "found: 255, expected: 1 a, 2 b" in text


def test_overlapping_segments_are_read_in_layers(tmp_path: Path) -> None:
    import nrrd

    values, labels = ct_volume(0)
    geometry = {"space": "left-posterior-superior", "space origin": np.zeros(3)}
    names = {
        f"Segment{i}_{k}": v
        for i, (name, layer) in enumerate([("a", 0), ("all", 1)])
        for k, v in (("Name", name), ("LabelValue", "1"), ("Layer", str(layer)))
    }
    steps = np.diag([0.8, 0.8, 5.0])
    layers = np.stack([labels == 1, labels > 0]).astype(np.uint8)
    nrrd.write(
        str(tmp_path / "ct.nrrd"), values.transpose(2, 1, 0), geometry | {"space directions": steps}
    )
    nrrd.write(
        str(tmp_path / "ct.seg.nrrd"),
        layers.transpose(0, 3, 2, 1),
        geometry
        | names
        | {
            "space directions": np.vstack([np.full(3, np.nan), steps]),
            "kinds": ["list", "domain", "domain", "domain"],
        },
    )
    sample = samples(tmp_path, objects="class")[2]
    assert sample.layers.shape[0] == 2
    first, both = sample.masks()
    assert (first & both).sum() == first.sum() > 0
    assert both.sum() > first.sum()


def test_a_mask_elsewhere_in_the_patient(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    write_nifti(tmp_path / "images" / "a.nii.gz", values)
    affine = np.diag([0.8, 0.8, 5.0, 1.0])
    affine[2, 3] = 30
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), affine), path)
    text = message(tmp_path)
    assert "affines differ" in text
    assert str(path) in text
    assert "up to 30 mm away" in text
    assert "data.check_affine: false" in text
    assert len(samples(tmp_path, check_affine=False)) == 6


def test_a_mask_volume_of_another_shape(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    image = write_nifti(tmp_path / "images" / "a.nii.gz", values)
    path = write_nifti(tmp_path / "labels" / "a.nii.gz", labels[:5])
    for settings in ({}, {"check_files": False}):
        text = message(tmp_path, **settings)
        assert "mask and image sizes differ" in text
        assert str(path) in text
        assert str(image) in text
        assert "5 x 24 x 20" in text
        assert "6 x 24 x 20" in text
