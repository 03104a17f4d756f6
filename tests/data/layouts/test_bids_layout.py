"""BIDS data sets with masks in derivatives, as people name them."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.bids import BidsLayout
from samft.data.layouts.listing import Listing
from samft.data.preprocessing import Preprocessing
from samft.errors import ConfigError, DatasetError


def layout(root: Path, **settings: object) -> BidsLayout:
    return BidsLayout(root, LayoutSettings(**settings))


def image(root: Path, name: str) -> None:
    write_nifti(root / f"{name}.nii.gz", ct_volume(0)[0])


def mask(root: Path, name: str, value: int | None = None) -> None:
    labels = ct_volume(0)[1]
    write_nifti(
        root / f"{name}.nii.gz", labels if value is None else (labels == value).astype("u1")
    )


@pytest.fixture
def cord(tmp_path: Path) -> Path:
    """Two subjects with two contrasts, a mask of the cord and one of lesions for each."""
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for subject in ("sub-01", "sub-02"):
        for contrast in ("T1w", "T2w"):
            image(tmp_path, f"{subject}/anat/{subject}_{contrast}")
            stem = f"derivatives/labels/{subject}/anat/{subject}_{contrast}"
            mask(tmp_path, f"{stem}_seg-manual", 1)
            mask(tmp_path, f"{stem}_lesion-manual", 2)
    return tmp_path


def test_masks_named_after_their_image(cord: Path) -> None:
    assert "as in BIDS" in str(BidsLayout.recognise(Listing.of(cord)))
    found = layout(cord)
    records = found.records()
    assert [(r.sample_id, r.case_id, len(r.labels)) for r in records][:2] == [
        ("sub-01/anat/sub-01_T1w", "sub-01", 2),
        ("sub-01/anat/sub-01_T2w", "sub-01", 2),
    ]
    assert found.class_names == ("lesion", "object")
    objects = found.truth(records[0]).objects("class", at=(0, 2))
    assert objects.object_class.tolist() == [0, 1]
    labels = ct_volume(0)[1][2]
    areas = [(objects.layers[layer] == k + 1).sum() for k, layer in enumerate(objects.object_layer)]
    assert areas == [(labels == 2).sum(), (labels == 1).sum()]
    found.check(records)
    only = layout(cord, classes=["lesion"], images=("**/*_T2w.nii.gz",), on_missing="skip")
    assert [len(r.labels) for r in only.records()] == [1, 1]
    with pytest.raises(ConfigError, match="no mask is of this structure") as caught:
        layout(cord, classes=["lesions"]).records()
    assert "did you mean 'lesion'" in str(caught.value)


def test_contrasts_as_channels(cord: Path) -> None:
    patterns = ("**/*_T2w.nii.gz", "**/*_T1w.nii.gz")
    found = layout(cord, images=patterns, labels="derivatives/labels/**/*T2w_seg-manual.nii.gz")
    records = found.records()
    assert [[p.name for p in r.images] for r in records] == [
        [f"{s}_T2w.nii.gz", f"{s}_T1w.nii.gz"] for s in ("sub-01", "sub-02")
    ]
    (cord / "sub-02/anat/sub-02_T1w.nii.gz").unlink()
    with pytest.raises(DatasetError, match="not exactly one file for a channel") as caught:
        found.records()
    assert "sub-02_T2w" in str(caught.value)
    assert "found: none" in str(caught.value)


def test_official_names(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}")
    stem = "ses-1/anat/sub-01_ses-1"
    image(tmp_path, f"sub-01/{stem}_run-1_T1w")
    image(tmp_path, f"sub-01/{stem}_run-2_T1w")
    top = tmp_path / "derivatives" / "prep"
    mask(top, f"sub-01/{stem}_run-1_desc-brain_mask", 1)
    mask(top, f"sub-01/{stem}_run-1_hemi-L_label-hippocampus_mask", 2)
    mask(top, f"sub-01/{stem}_run-2_desc-brain_mask", 1)
    mask(top, f"sub-01/{stem}_run-2_label-GM_probseg", 1)
    found = layout(tmp_path)
    assert [len(r.labels) for r in found.records()] == [2, 1]
    assert found.class_names == ("brain", "hippocampus_L")


def test_a_mask_belongs_to_the_image_in_its_space(tmp_path: Path) -> None:
    stem = "sub-01/anat/sub-01"
    image(tmp_path, f"{stem}_T1w")
    top = tmp_path / "derivatives" / "fmriprep"
    image(top, f"{stem}_space-MNI_desc-preproc_T1w")
    image(top, f"{stem}_desc-preproc_T1w")
    mask(top, f"{stem}_space-MNI_desc-brain_mask")
    mask(top, f"{stem}_desc-brain_mask")
    records = layout(tmp_path, images=("derivatives/**/*_T1w.nii.gz",)).records()
    assert {r.images[0].name: r.labels[0].name for r in records} == {
        "sub-01_space-MNI_desc-preproc_T1w.nii.gz": "sub-01_space-MNI_desc-brain_mask.nii.gz",
        "sub-01_desc-preproc_T1w.nii.gz": "sub-01_desc-brain_mask.nii.gz",
    }


def test_values_named_by_a_table(tmp_path: Path) -> None:
    image(tmp_path, "sub-01/anat/sub-01_T1w")
    top = tmp_path / "derivatives" / "seg"
    mask(top, "sub-01/anat/sub-01_dseg")
    (top / "dseg.tsv").write_text(
        "index\tname\tcolor\n0\tbackground\t\n1\tgrey\t#f00\n2\twhite\t\n"
    )
    found = layout(tmp_path)
    (record,) = found.records()
    assert found.class_names == ("grey", "white")
    assert found.truth(record).objects("component", at=(0, 2)).object_class.tolist() == [0, 1]
    (top / "sub-01" / "anat" / "sub-01_dseg.tsv").write_text("index\tname\n1\tA\n2\tB\n")
    assert layout(tmp_path, classes=["B"]).records()
    (top / "sub-01" / "anat" / "sub-01_dseg.tsv").write_text("index\tname\n1\tA\n")
    found = layout(tmp_path)
    (record,) = found.records()
    with pytest.raises(DatasetError, match="values that have no class name"):
        found.truth(record)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("value\tname\n1\ta\n", "has not the columns of BIDS"),
        ("index\tname\nx\ta\n", "makes no sense"),
        ("index\tname\n-1\ta\n", "makes no sense"),
        ("index\tname\n99999999999999\ta\n", "makes no sense"),
        ("index\tname\n1\t\n", "makes no sense"),
        ("index\tname\n\xff", "makes no sense"),
    ],
)
def test_bad_tables_of_labels(tmp_path: Path, text: str, what: str) -> None:
    image(tmp_path, "sub-01/anat/sub-01_T1w")
    mask(tmp_path / "derivatives/seg", "sub-01/anat/sub-01_dseg")
    (tmp_path / "derivatives/seg/dseg.tsv").write_text(text)
    with pytest.raises(DatasetError, match=what) as caught:
        layout(tmp_path).records()
    assert "dseg.tsv" in str(caught.value)


def test_several_pipelines(cord: Path) -> None:
    mask(cord, "derivatives/auto/sub-01/anat/sub-01_T1w_seg-manual", 1)
    with pytest.raises(DatasetError, match="several pipelines") as caught:
        layout(cord).records()
    assert "found: auto, labels" in str(caught.value)
    assert "set data.layout: bids, and choose with data.labels" in str(caught.value)
    assert str(caught.value).endswith("'derivatives/auto/**/*_seg-manual.nii.gz'")
    (record,) = layout(
        cord, labels="derivatives/auto/**/*_seg-manual.nii.gz", on_missing="skip"
    ).records()
    assert record.sample_id == "sub-01/anat/sub-01_T1w"
    assert len(layout(cord, labels="derivatives/labels/**/*.nii.gz").records()) == 4


def test_several_raters(cord: Path) -> None:
    for rater in ("1", "2"):
        mask(cord, f"derivatives/labels/sub-01/anat/sub-01_T2w_label-gm_desc-rater{rater}_mask", 1)
    with pytest.raises(DatasetError, match="several masks of one image show") as caught:
        layout(cord).records()
    assert "data.labels" in str(caught.value)


def test_a_mask_that_fits_two_images(tmp_path: Path) -> None:
    for contrast in ("T1w", "T2w"):
        image(tmp_path, f"sub-01/anat/sub-01_{contrast}")
    label = "derivatives/seg/sub-01/anat/sub-01_dseg"
    mask(tmp_path, label)
    with pytest.raises(DatasetError, match="several images fit one mask") as caught:
        layout(tmp_path).records()
    assert "sub-01_T1w.nii.gz, sub-01/anat/sub-01_T2w.nii.gz" in str(caught.value)
    sidecar = {"Sources": ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]}
    (tmp_path / f"{label}.json").write_text(json.dumps(sidecar))
    (record,) = layout(tmp_path, on_missing="skip").records()
    assert record.sample_id == "sub-01/anat/sub-01_T2w"


def test_images_and_masks_alone(cord: Path, caplog) -> None:
    image(cord, "sub-03/anat/sub-03_T1w")
    with pytest.raises(DatasetError, match="1 image has no mask") as caught:
        layout(cord).records()
    assert "sub-03_T1w" in str(caught.value)
    mask(cord, "derivatives/labels/sub-03/anat/sub-03_T1w_lesion-manual", 2)
    assert len(layout(cord).records()) == 5
    assert "1 of 5 images have no mask of 'object'" in caplog.text
    mask(cord, "derivatives/labels/sub-04/anat/sub-04_T1w_lesion-manual", 2)
    with pytest.raises(DatasetError, match="1 mask has no image"):
        layout(cord).records()


@pytest.fixture
def sem(tmp_path: Path) -> Path:
    """A microscope image with its structures in files of their own and in one."""
    labels = discs(0, count=2)
    stem = "sub-rat1/micr/sub-rat1_sample-a_SEM"
    save(tmp_path / f"{stem}.png", picture(labels, 0))
    binary = (labels == 1).astype(np.uint8) * 255
    binary[0, 0] = 130  # a trace of interpolation
    save(tmp_path / f"derivatives/labels/{stem}_seg-axon-manual.png", binary)
    save(
        tmp_path / f"derivatives/labels/{stem}_seg-myelin-manual.png", (labels == 2) * np.uint8(255)
    )
    both = np.choose(labels, (0, 255, 127)).astype(np.uint8)
    save(tmp_path / f"derivatives/labels/{stem}_seg-axonmyelin-manual.png", both)
    (tmp_path / "sub-rat1/micr/sub-rat1_SEM.json").write_text(
        '{"PixelSize": [0.1, 0.2], "PixelSizeUnits": "um"}'
    )
    return tmp_path


def test_microscopy(sem: Path) -> None:
    found = layout(sem)
    (record,) = found.records()
    assert record.sample_id == "sub-rat1/micr/sub-rat1_sample-a_SEM.png"
    assert found.class_names == ("axon", "axonmyelin", "myelin")
    objects = found.truth(record).objects("component")
    assert objects.object_class.tolist() == [0, 0, 1, 1, 2]  # the trace is a piece of its own
    assert found.source(record, Preprocessing()).spacing_mm == pytest.approx((2e-4, 1e-4))
    assert found.source(record, Preprocessing()).size(0) == (48, 64)
    by_value = layout(sem, labels="**/*axonmyelin*.png", classes={127: "myelin", 255: "axon"})
    (record,) = by_value.records()
    assert by_value.class_names == ("myelin", "axon")
    assert sorted(by_value.truth(record).objects("component").object_class) == [0, 1]


@pytest.mark.parametrize(
    "sidecar",
    [
        '{"PixelSize": 3}',
        '{"PixelSize": [1]}',
        '{"PixelSize": [1, "x"]}',
        '{"PixelSize": [0, 1]}',
        '{"PixelSize": [NaN, 1]}',
        '{"PixelSize": [1, 1], "PixelSizeUnits": "inch"}',
        '{"PixelSize": [1, 1], "PixelSizeUnits": []}',
    ],
)
def test_pixel_sizes_that_make_no_sense(sem: Path, sidecar: str) -> None:
    (sem / "sub-rat1/micr/sub-rat1_SEM.json").write_text(sidecar)
    found = layout(sem)
    with pytest.raises(DatasetError, match="the pixel size makes no sense") as caught:
        found.source(found.records()[0], Preprocessing())
    assert "sub-rat1_SEM.json" in str(caught.value)


def test_other_folders_are_none(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", picture(discs(0), 0))
    save(tmp_path / "masks" / "a.png", picture(discs(0), 0))
    assert BidsLayout.recognise(Listing.of(tmp_path)) is None
    image(tmp_path, "sub-01/anat/sub-01_T1w")
    with pytest.raises(DatasetError, match="1 image has no mask"):
        layout(tmp_path).records()
    with pytest.raises(DatasetError, match="no image of the BIDS data set has a mask"):
        layout(tmp_path, on_missing="skip").records()


def test_real_axons(real_data: Path) -> None:
    root = real_data / "microscopy" / "data_axondeepseg_sem"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    found = layout(root, classes=["axon", "myelin"])
    records = found.records()
    assert len(records) == 6
    assert {r.case_id for r in records} == {"sub-rat2", "sub-rat3", "sub-rat4", "sub-rat8"}
    for record in records[:1]:
        objects = found.truth(record).objects("class")
        areas = [int((objects.layers[n] == n + 1).sum()) for n in (0, 1)]
        assert sum(areas) == 354544 + 9 + 488611 + 9 or len(objects.layers) == 1


def test_real_cords(real_data: Path) -> None:
    root = real_data / "medical" / "ivadomed_data-testing"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    pattern = "derivatives/labels/**/*_seg-manual.nii.gz"
    records = layout(root, labels=pattern, on_missing="skip").records()
    assert [(r.case_id, len(r.labels)) for r in records] == [("sub-unf01", 1)] * 3
    spleen = layout(root / "ct_scan")
    (record,) = spleen.records()
    truth = spleen.truth(record)
    voxels = sum(int((truth.objects("class", at=(0, z)).layers > 0).sum()) for z in range(26))
    assert voxels == 96_672
