"""Folders of DICOM series with segmentations, contours or label volumes."""

import pickle
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import COLUMNS, PATIENT, ROWS, SLICES, values, write_series
from dicom_objects import segment, write_multiframe, write_rtstruct, write_seg
from pydicom.uid import generate_uid

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.dicom import DicomLayout
from samft.data.layouts.listing import Listing
from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import find_series
from samft.data.sources import SeriesSource
from samft.errors import ConfigError, DatasetError
from samft.inference.formats.dicom_seg import DicomSegmentation
from samft.inference.output_folder import OutputFolder
from samft.inference.volume_result import VolumeObject, VolumeResult

BLOB = values() > 100


def scan(folder: Path, patient: str = "one", **changes: object) -> list[Path]:
    return write_series(folder, suffix="", PatientID=patient, **changes)


def seg(path: Path, images: list[Path], **masks: np.ndarray) -> Path:
    """Write a segment for every named mask (K, rows, columns)."""
    frames = [
        (number, k, mask[k])
        for number, mask in enumerate(masks.values(), start=1)
        for k in range(len(mask))
        if mask[k].any()
    ]
    segments = [segment(number, name) for number, name in enumerate(masks, start=1)]
    return write_seg(path, images, frames, segments)


def layout(root: Path, **settings: object) -> DicomLayout:
    return DicomLayout(root, LayoutSettings(**settings))


def areas(made: DicomLayout, record) -> dict[str, int]:
    """Pixels of every class over all slices."""
    truth, found = made.truth(record), {}
    for z in range(truth.size[0]):
        objects = truth.objects("class", at=(0, z))
        for k, (index, layer) in enumerate(
            zip(objects.object_class, objects.object_layer, strict=True)
        ):
            name = made.class_names[index]
            found[name] = found.get(name, 0) + int((objects.layers[layer] == k + 1).sum())
    return found


def box(*rows: int) -> np.ndarray:
    mask = np.zeros((SLICES, ROWS, COLUMNS), bool)
    mask[1:4, rows[0] : rows[1], 2:10] = True
    return mask


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Two patients, one with two series, names without endings, nested folders."""
    first = scan(tmp_path / "p1/study/ct")
    seg(tmp_path / "p1/study/labels/a.seg", first, liver=BLOB, spine=box(12, 15))
    again = scan(tmp_path / "p1/later/ct", reverse=True)
    seg(tmp_path / "p1/later/x", again[::-1], liver=BLOB)
    other = scan(tmp_path / "p2/IMAGES", "two")
    seg(tmp_path / "p2/1.2.3.dcm", other, tumour=box(2, 6))
    return tmp_path


def test_a_record_per_series(clinic: Path) -> None:
    made = layout(clinic)
    records = made.records()
    assert [r.sample_id for r in records] == ["p1/later/ct", "p1/study/ct", "p2/IMAGES"]
    assert made.class_names == ("liver", "spine", "tumour")
    assert records[0].case_id == records[1].case_id != records[2].case_id
    assert all(len(r.images) == SLICES for r in records)
    made = pickle.loads(pickle.dumps(made))  # as it travels to workers
    sizes = [areas(made, record) for record in records]
    blob, spine = int(BLOB.sum()), int(box(12, 15).sum())
    assert sizes == [{"liver": blob}, {"liver": blob, "spine": spine}, {"tumour": 96}]
    for record in records:
        source = made.source(record, Preprocessing())
        assert isinstance(source, SeriesSource)
        assert source.space.shape == made.truth(record).size
        picture, z = source.picture(2), 2
        objects = made.truth(record).objects("component", at=(0, z))
        if "liver" in areas(made, record):  # the bright blob
            assert np.array_equal(objects.layers[0] == 1, picture[0] == 255)


def test_nothing_about_the_patient_leaves(clinic: Path, caplog) -> None:
    made = layout(clinic)
    records = made.records()
    said = repr(records) + repr(made.__dict__) + caplog.text
    data = pydicom.dcmread(records[0].images[0])
    secrets = (PATIENT, "'one'", data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyDate)
    for secret in secrets:
        assert str(secret) not in said


def test_why_a_folder_is_recognised(clinic: Path, tmp_path: Path) -> None:
    assert DicomLayout.recognise(Listing.of(clinic)) == "18 DICOM files, such as p1/later/ct/im001"
    other = tmp_path / "pictures"
    other.mkdir()
    for name in ("a.png", "b.png", "a_mask.png", "notes.txt"):
        (other / name).write_bytes(b"x" * 200)
    assert DicomLayout.recognise(Listing.of(other)) is None
    (other / "one.dcm").write_bytes(b"x")
    assert DicomLayout.recognise(Listing.of(other)) is None


def test_chosen_classes(clinic: Path) -> None:
    made = layout(clinic, classes=["tumour", "liver"])
    records = made.records()
    assert made.class_names == ("tumour", "liver")
    assert areas(made, records[1]) == {"liver": int(BLOB.sum())}
    assert made.truth(records[1]).objects("component", at=(0, 2)).object_class.tolist() == [1]
    with pytest.raises(ConfigError, match="no segmentation has a segment of this name") as caught:
        layout(clinic, classes=["livre"]).records()
    assert "did you mean 'liver'? choose from liver, spine, tumour" in str(caught.value)


def test_several_objects_of_a_series_are_joined(tmp_path: Path) -> None:
    images = scan(tmp_path / "ct")
    seg(tmp_path / "a.dcm", images, liver=BLOB)
    seg(tmp_path / "b.dcm", images, box=box(4, 8), spine=box(12, 15))
    place = np.array(pydicom.dcmread(images[2]).ImagePositionPatient, float)
    corners = place + np.array([(1.6, 2.6, 0), (5.4, 2.6, 0), (5.4, 6.4, 0)]) * [0.9, 0.7, 1]
    write_rtstruct(
        tmp_path / "c.dcm", images, [("contour", [("CLOSED_PLANAR", 2, corners)]), ("none", [])]
    )
    made = layout(tmp_path)
    (record,) = made.records()
    assert [path.name for path in record.labels] == ["a.dcm", "b.dcm", "c.dcm"]
    assert made.class_names == ("liver", "box", "spine", "contour")
    found = areas(made, record)
    assert {name: found[name] for name in ("liver", "box", "spine")} == {
        "liver": int(BLOB.sum()),
        "box": int(box(4, 8).sum()),
        "spine": int(box(12, 15).sum()),
    }
    assert 5 <= found["contour"] <= 10
    masks = made.truth(record).objects("class", at=(0, 2))
    assert masks.layers.shape[0] == 3  # a layer per file


def test_two_annotators(tmp_path: Path) -> None:
    images = scan(tmp_path / "ct")
    seg(tmp_path / "reader1.dcm", images, liver=BLOB)
    seg(tmp_path / "reader2.dcm", images, liver=box(2, 6), spine=box(12, 15))
    with pytest.raises(DatasetError, match="have a segment of the same name") as caught:
        layout(tmp_path).records()
    for words in ("reader2.dcm", "'liver', also in reader1.dcm", "choose with data.labels"):
        assert words in str(caught.value)
    assert "set data.layout: dicom" in str(caught.value)
    chosen = layout(tmp_path, labels="reader2.dcm")
    (record,) = chosen.records()
    assert areas(chosen, record)["liver"] == box(2, 6).sum()
    harmless = layout(tmp_path, classes=["spine"])
    (record,) = harmless.records()
    assert areas(harmless, record) == {"spine": box(12, 15).sum()}


def test_series_without_labels(clinic: Path, caplog) -> None:
    scan(clinic / "p3", "three")
    with pytest.raises(DatasetError, match="1 scan has no segmentation") as caught:
        layout(clinic).records()
    assert "p3/im001" in str(caught.value)
    assert "data.on_missing: skip" in str(caught.value)
    assert len(layout(clinic, on_missing="skip").records()) == 3
    assert "1 scan has no segmentation, left out: p3/im001" in caplog.text
    assert len(layout(clinic, images=("p[12]/**/*",)).records()) == 3


def test_labels_without_series(clinic: Path, caplog) -> None:
    for path in (clinic / "p2/IMAGES").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="1 segmentation has no DICOM series") as caught:
        layout(clinic).records()
    assert "p2/1.2.3.dcm" in str(caught.value)
    assert len(layout(clinic, on_missing="skip").records()) == 2


def test_no_labels_at_all(tmp_path: Path) -> None:
    scan(tmp_path / "ct")
    with pytest.raises(DatasetError, match="no DICOM series has a label") as caught:
        layout(tmp_path).records()
    assert "found: 1 series, 0 DICOM files of other kinds" in str(caught.value)
    assert "data.labels" in str(caught.value)


def test_images_under_other_identifiers(tmp_path: Path) -> None:
    """After anonymising or converting, the frame of reference and the place still tell."""
    frame = {"FrameOfReferenceUID": generate_uid()}
    old = scan(tmp_path / "old", **frame)
    seg(tmp_path / "new/label.dcm", old, liver=BLOB)
    scan(tmp_path / "new/ct", **frame)
    scan(tmp_path / "new/elsewhere")
    for path in old:
        path.unlink()
    made = layout(tmp_path / "new", on_missing="skip")
    (record,) = made.records()
    assert record.sample_id == "ct"
    assert areas(made, record) == {"liver": BLOB.sum()}
    scan(tmp_path / "new/twin", **frame)
    with pytest.raises(DatasetError, match="several series lie where it lies") as caught:
        layout(tmp_path / "new").records()
    assert "choose with data.images" in str(caught.value)


def test_multiframe_images(tmp_path: Path) -> None:
    images = scan(tmp_path / "ct")
    source = write_multiframe(tmp_path / "mf.dcm", images, [4, 2, 0, 1, 3])
    seg(tmp_path / "label.dcm", images, liver=BLOB)
    for path in images:
        path.unlink()
    made = layout(tmp_path)
    (record,) = made.records()
    assert (record.sample_id, record.images) == ("mf.dcm", (source,))
    assert areas(made, record) == {"liver": BLOB.sum()}
    picture = made.source(record, Preprocessing()).picture(2)
    objects = made.truth(record).objects("component", at=(0, 2))
    assert np.array_equal(objects.layers[0] == 1, picture[0] == 255)


def test_mixed_series_are_reported(tmp_path: Path, caplog) -> None:
    uid = generate_uid()
    images = scan(tmp_path / "ct", series=uid)
    write_series(tmp_path / "ct/scout", values()[:1, :10], series=uid, PatientID="one", suffix="")
    seg(tmp_path / "a.dcm", images, liver=BLOB)
    (record,) = layout(tmp_path, on_missing="skip").records()
    assert record.images == tuple(images)
    assert "different sizes, directions, echoes or times: 1; each stack" in caplog.text


def test_a_gap_is_reported(tmp_path: Path, caplog) -> None:
    images = scan(tmp_path / "ct")
    seg(tmp_path / "a.dcm", images, liver=BLOB)
    images[1].unlink()
    made = layout(tmp_path)
    (record,) = made.records()
    assert "gaps or uneven steps between their images (1): ct/im001" in caplog.text
    with pytest.raises(DatasetError, match="differ in position") as caught:
        made.truth(record)  # one of its frames belongs to the image that is lost
    assert "frame 1 lies" in str(caught.value)


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    first = scan(tmp_path / "all/a")
    second = scan(tmp_path / "all/b")
    for index, path in enumerate([*first, *second]):
        path.rename(tmp_path / f"all/{index}")
    (tmp_path / "all/a").rmdir()
    (tmp_path / "all/b").rmdir()
    seg(tmp_path / "x.dcm", [tmp_path / f"all/{i}" for i in range(5)], liver=BLOB)
    seg(tmp_path / "y.dcm", [tmp_path / f"all/{i}" for i in range(5, 10)], liver=box(2, 6))
    made = layout(tmp_path)
    records = made.records()
    assert [r.sample_id for r in records] == ["all/series1", "all/series2"]
    assert [areas(made, r)["liver"] for r in records] == [BLOB.sum(), box(2, 6).sum()]


def test_dropped_contours_are_said_once(tmp_path: Path, caplog) -> None:
    images = scan(tmp_path / "ct")
    place = np.array(pydicom.dcmread(images[2]).ImagePositionPatient, float)
    corners = place + np.array([(1.6, 2.6, 0), (9.4, 2.6, 0), (9.4, 6.4, 0)])
    contours = [("CLOSED_PLANAR", 2, corners), ("POINT", None, corners[:1])]
    write_rtstruct(tmp_path / "rt.dcm", images, [("organ", contours)])
    made = layout(tmp_path)
    (record,) = made.records()
    made.truth(record)
    made.truth(record)
    assert caplog.text.count("rt.dcm: left out: 1 points and open lines") == 1


def volume(path: Path, images: list[Path], mask: np.ndarray, shift: float = 0) -> Path:
    (series,) = find_series(images).series
    affine = series.geometry.native_affine.copy()
    affine[0, 3] += shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), affine), path)
    return path


def test_label_volumes_beside_the_series(tmp_path: Path) -> None:
    first, second = scan(tmp_path / "p1/dicom"), scan(tmp_path / "p2/dicom", "two")
    volume(tmp_path / "p1/mask.nii.gz", first, BLOB + 2 * box(12, 15))
    volume(tmp_path / "p2/mask.nii.gz", second, BLOB * 2)
    made = layout(tmp_path, classes={1: "liver", 2: "spine"})
    records = made.records()
    assert made.class_names == ("liver", "spine")
    assert [areas(made, r) for r in records] == [
        {"liver": BLOB.sum(), "spine": box(12, 15).sum()},
        {"spine": BLOB.sum()},
    ]
    made.check(records)


def test_label_volumes_by_the_name_of_the_folder(tmp_path: Path) -> None:
    for name, patient, mask in (("p1", "one", BLOB), ("p2", "two", box(2, 6))):
        images = scan(tmp_path / "images" / name, patient)
        volume(tmp_path / f"labels/{name}_seg.nii.gz", images, mask)
    made = layout(tmp_path)
    records = made.records()
    assert made.class_names == ("object",)
    assert [areas(made, r)["object"] for r in records] == [BLOB.sum(), box(2, 6).sum()]


def test_a_volume_per_class(tmp_path: Path) -> None:
    images = scan(tmp_path / "s1/ct")
    volume(tmp_path / "s1/segmentations/liver.nii.gz", images, BLOB)
    volume(tmp_path / "s1/segmentations/spleen.nii.gz", images, box(2, 6))
    made = layout(tmp_path)
    (record,) = made.records()
    assert areas(made, record) == {"liver": BLOB.sum(), "spleen": box(2, 6).sum()}
    only = layout(tmp_path, classes=["spleen"])
    (record,) = only.records()
    assert areas(only, record) == {"spleen": box(2, 6).sum()}


def test_volumes_wait_for_data_labels_where_there_are_segmentations(tmp_path: Path) -> None:
    images = scan(tmp_path / "ct")
    seg(tmp_path / "a.dcm", images, liver=BLOB)
    path = volume(tmp_path / "a.nii.gz", images, box(2, 6))
    (record,) = layout(tmp_path).records()
    assert record.labels == (tmp_path / "a.dcm",)
    made = layout(tmp_path, labels="*.nii.gz", classes=["box"])
    (record,) = made.records()
    assert record.labels == (path,)
    assert areas(made, record) == {"box": box(2, 6).sum()}


def test_label_volumes_that_do_not_fit(tmp_path: Path) -> None:
    images = scan(tmp_path / "ct")
    path = volume(tmp_path / "a.nii.gz", images, BLOB, shift=3)
    made = layout(tmp_path)
    records = made.records()
    for read in (lambda: made.truth(records[0]), lambda: made.check(records)):
        with pytest.raises(DatasetError, match="different places in the patient") as caught:
            read()
        assert str(path) in str(caught.value)
    made.check(records, check_affine=False)
    assert areas(made, records[0])
    volume(path, images, BLOB[:4])
    with pytest.raises(DatasetError, match="sizes differ"):
        made.truth(records[0])


def test_several_series_fit_a_volume(tmp_path: Path) -> None:
    images = scan(tmp_path / "a")
    scan(tmp_path / "b")
    volume(tmp_path / "mask.nii.gz", images, BLOB)
    with pytest.raises(DatasetError, match="several series fit one label volume") as caught:
        layout(tmp_path).records()
    assert "found: a/im001, b/im001" in str(caught.value)
    assert "data.images" in str(caught.value)


def test_the_only_series_that_a_volume_fits(tmp_path: Path) -> None:
    images = scan(tmp_path / "a")
    scan(tmp_path / "b", spacing=(0.5, 0.5))
    volume(tmp_path / "mask.nii.gz", images, BLOB)
    (record,) = layout(tmp_path, on_missing="skip").records()
    assert record.images == tuple(images)


def test_labels_with_and_without_names(tmp_path: Path) -> None:
    images = scan(tmp_path / "p1/ct")
    seg(tmp_path / "p1/a.seg", images, liver=BLOB)
    volume(tmp_path / "p2/a.nii.gz", scan(tmp_path / "p2/ct", "two"), BLOB)
    with pytest.raises(ConfigError, match="some labels name their classes") as caught:
        layout(tmp_path, labels="*/a.*").records()
    assert "data.classes, such as {1: liver" in str(caught.value)
    made = layout(tmp_path, labels="*/a.*", classes={1: "liver"})
    assert [areas(made, r) for r in made.records()] == [{"liver": BLOB.sum()}] * 2


def test_one_pattern_of_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found by one pattern") as caught:
        layout(tmp_path, images=("a/*", "b/*")).records()
    assert "data.images" in str(caught.value)


def test_a_pattern_that_matches_other_files(tmp_path: Path, caplog) -> None:
    images = scan(tmp_path / "ct")
    volume(tmp_path / "ct/mask.nii.gz", images, BLOB)
    (record,) = layout(tmp_path, images=("ct/*",)).records()
    assert len(record.images) == SLICES
    assert "data.images also matches 1 files that are not DICOM" in caplog.text
    with pytest.raises(DatasetError, match="no DICOM file matches the pattern") as caught:
        layout(tmp_path, images=("ct/*.nii.gz",)).records()
    assert "found: 1 files of other kinds" in str(caught.value)
    assert "change data.images" in str(caught.value)


def test_damaged_files(clinic: Path, caplog) -> None:
    broken = clinic / "p1/broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM\x02\x00")
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        layout(clinic).records()
    assert str(broken) in str(caught.value)
    assert len(layout(clinic, on_missing="skip").records()) == 3
    assert "cannot be used (1), left out: p1/broken.dcm" in caplog.text


def test_links_that_lead_out(tmp_path: Path) -> None:
    images = scan(tmp_path / "data/ct")
    seg(tmp_path / "data/a.seg", images, liver=BLOB)
    outside = scan(tmp_path / "outside", "secret")
    (tmp_path / "data/link").symlink_to(outside[0])
    (record,) = layout(tmp_path / "data").records()
    assert record.sample_id == "ct"


@pytest.mark.parametrize("reverse", [False, True])
def test_what_samft_predicts(tmp_path: Path, reverse: bool) -> None:
    images = scan(tmp_path / "ct", reverse=reverse)
    (series,) = find_series(images).series
    source = SeriesSource("ct", series, Preprocessing())
    labels = np.zeros(series.geometry.shape, np.uint8)
    labels[1:3, 2:5, 3:9], labels[2, 6:9, 3:9], labels[3, 1:4, 1:4] = 3, 7, 9
    result = VolumeResult("seg", source.space, lambda _: None)
    result.__dict__["labels"] = labels
    result.__dict__["objects"] = tuple(
        VolumeObject(value=value, class_name=name, score=1.0)
        for value, name in ((3, "cell"), (7, "cell"), (9, None))
    )
    (path,) = DicomSegmentation(OutputFolder(tmp_path)).write_volume(result)
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentLabel == "cell 3"
    made = layout(tmp_path)
    (record,) = made.records()
    assert made.class_names == ("cell", "object")
    truth = made.truth(record)
    found = truth.objects("value", at=(0, 2))
    masks = [found.layers[layer] == k + 1 for k, layer in enumerate(found.object_layer)]
    assert found.object_class.tolist() == [0, 0]
    assert all(
        np.array_equal(mask, labels[2] == value) for mask, value in zip(masks, (3, 7), strict=True)
    )
    (cells,) = truth.objects("class", at=(0, 2)).layers
    assert np.array_equal(cells == 1, np.isin(labels[2], (3, 7)))
    part = truth.objects("class", at=(0, 2), window=(5, 0, 4, 10))
    assert np.array_equal(part.layers[0] == 1, labels[2, 5:9, :10] == 7)


def test_real_segmentations_and_volumes_are_the_same(real_data: Path) -> None:
    root = real_data / "medical/dcmqi_ct_seg"
    here = {"images": ("ct-3slice/*",)}
    by_seg = layout(root, labels="liver.dcm", **here)
    by_volume = layout(root, labels="liver_seg.nrrd", classes=["Liver"], **here)
    (one,), (other,) = by_seg.records(), by_volume.records()
    assert replace(one, labels=()) == replace(other, labels=())
    assert areas(by_seg, one) == areas(by_volume, other) == {"Liver": 107_098}
    for z in range(3):
        first, second = (
            made.truth(record).objects("component", at=(0, z))
            for made, record in ((by_seg, one), (by_volume, other))
        )
        assert np.array_equal(first.layers, second.layers)
    spine = layout(
        root, labels="liver_spine_gapped_seg.nrrd", classes={1: "liver", 5: "spine"}, **here
    )
    (record,) = spine.records()
    assert areas(spine, record) == {"liver": 107_098, "spine": 12_439}
    heart = layout(root, labels="heart_seg.nrrd", classes={3: "heart"}, **here)
    (record,) = heart.records()
    assert areas(heart, record) == {"heart": 41_449}
    overlaps = layout(root, labels="partial_overlaps.dcm", **here)
    (record,) = overlaps.records()
    assert areas(overlaps, record) == {
        "GREEN": 9602, "ORANGE": 11_888, "PURPLE": 10_743, "LIGHT_BLUE": 6693, "DARK_BLUE": 4713,
    }  # fmt: skip


def test_real_annotators_and_real_contours(real_data: Path) -> None:
    root = real_data / "medical/dcmqi_ct_seg"
    with pytest.raises(DatasetError, match="'Liver', also in 24x38x3/seg/label.seg"):
        layout(root, on_missing="skip").records()
    made = layout(root, labels="*/seg/label.seg", on_missing="skip")
    assert [areas(made, r)["Liver"] for r in made.records()] == [322, 315]
    contours = layout(real_data / "medical/rt-utils_ct_rtstruct")
    (record,) = contours.records()
    assert areas(contours, record) == {"ROI-1": 1443}
    parts = layout(real_data / "medical/highdicom_seg", labels="**/*overlap.dcm", on_missing="skip")
    (record,) = parts.records()
    assert areas(parts, record) == {"first segment": 64, "second segment": 16}
