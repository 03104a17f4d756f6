"""Volumes written with the geometry of their source: compared by coordinates, by other readers."""

from pathlib import Path

import highdicom
import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK
import zarr
from bright_segmenter import Bright
from dicom_files import (
    COLUMNS,
    OBLIQUE,
    PATIENT,
    ROWS,
    bright_centre,
    pixel_places,
    values,
    write_series,
)
from dicom_objects import write_multiframe
from fixtures_data import picture, save
from pydicom.uid import ComputedRadiographyImageStorage

from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import find_series, read_series
from samft.data.readers.dicom_seg import read_dicom_seg
from samft.data.source_files import find_sources
from samft.errors import OutputError
from samft.inference.campaign import predict_sources
from samft.inference.formats.dicom_codes import DicomCode, DicomCodes, SegmentCodes
from samft.inference.formats.registry import FormatOptions
from samft.inference.volume_settings import LinkSettings
from samft.inference.writers import PredictionFiles

LPS = np.array([-1, -1, 1])


def predicted(source: Path, out: Path, formats: list[str], **settings) -> Path:
    """Predict what is bright and return the folder of the results."""
    axis = settings.pop("axis", "auto")
    one = settings.pop("one_object", True)
    window = settings.pop("window", None)
    found = find_sources(str(source), Preprocessing(axis=axis, limits=window))
    assert not found.failures
    files = PredictionFiles(out, formats, sources=found.sources, **settings)
    outcome = predict_sources(found.sources, Bright(one_object=one), files)
    assert not outcome.failures
    return out


def centre_by_simpleitk(path: Path) -> np.ndarray:
    """Return the centre of the labels in patient coordinates (LPS)."""
    image = SimpleITK.ReadImage(str(path))
    voxel = np.argwhere(SimpleITK.GetArrayFromImage(image) > 0)[:, ::-1].mean(axis=0)
    # The way to the patient is affine: the place of the mean is the mean of the places.
    return np.array(image.TransformContinuousIndexToPhysicalPoint(voxel.tolist()))


def oblique_affine() -> np.ndarray:
    tilt, turn = 0.3, -0.5
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ np.array(about_z) @ np.diag([0.7, -1.1, 2.5])
    affine[:3, 3] = [13, -40, 7]
    return affine


AFFINES = {
    "plain": np.diag([1.0, 1.0, 3.0, 1.0]),
    "flipped": np.diag([-0.8, 1.2, -2.0, 1.0]),
    "permuted": np.array([[0, 0, 2.0, 5], [1.0, 0, 0, 6], [0, -1.5, 0, 7], [0, 0, 0, 1]]),
    "oblique": oblique_affine(),
}


def volume() -> np.ndarray:
    """An (i, j, k) volume with one blob that is the same in no direction."""
    array = np.random.default_rng(0).normal(0, 3, (14, 17, 9)).astype(np.float32)
    array[3:8, 9:15, 2:5] = 100
    array[3:5, 9:11, 5:7] = 100
    return array


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("axis", ["auto", "axial", "coronal", "sagittal"])
def test_nifti_keeps_the_place_of_every_voxel(tmp_path: Path, name: str, axis: str) -> None:
    source = tmp_path / "in/sub/scan.nii.gz"
    source.parent.mkdir(parents=True)
    image = nibabel.Nifti1Image(volume(), AFFINES[name])
    image.set_sform(AFFINES[name], 2)
    image.set_qform(AFFINES[name], 3)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, source)
    out = predicted(tmp_path / "in", tmp_path / "out", ["nifti"], axis=axis, window=(0, 100))
    path = out / "nifti/sub/scan.nii.gz"
    result = nibabel.load(path)
    assert np.array_equal(np.asarray(result.dataobj) > 0, volume() > 50)  # voxel by voxel
    assert result.get_data_dtype() == np.uint8
    for form in ("sform", "qform"):
        before, after = (
            getattr(item.header, f"get_{form}")(coded=True) for item in (image, result)
        )
        assert np.allclose(before[0], after[0], atol=1e-6)
        assert before[1] == after[1]
    assert np.allclose(result.header.get_zooms(), image.header.get_zooms())
    assert result.header.get_xyzt_units() == ("mm", "sec")
    world = nibabel.affines.apply_affine(image.affine, np.argwhere(volume() > 50)).mean(axis=0)
    assert np.allclose(centre_by_simpleitk(path), world * LPS, atol=1e-3)


def test_nifti_of_a_source_with_channels_and_scaling(tmp_path: Path) -> None:
    source = tmp_path / "in/scan.nii"
    source.parent.mkdir()
    two = np.stack([volume(), volume()], axis=-1)
    image = nibabel.Nifti1Image(two.astype(np.int16), AFFINES["oblique"])
    image.header.set_slope_inter(2.0, -7.0)
    nibabel.save(image, source)
    out = predicted(tmp_path / "in", tmp_path / "out", ["nifti"])
    result = nibabel.load(out / "nifti/scan.nii.nii.gz")
    assert result.shape == (14, 17, 9)
    assert np.array_equal(np.asarray(result.dataobj) > 0, volume() > 50)


def test_nifti_of_an_nrrd(tmp_path: Path) -> None:
    header = {
        "space": "left-posterior-superior",
        "space directions": (oblique_affine()[:3, :3] * LPS[:, None]).T,
        "space origin": oblique_affine()[:3, 3] * LPS,
    }
    (tmp_path / "in").mkdir()
    nrrd.write(str(tmp_path / "in/scan.nrrd"), volume(), header)
    out = predicted(tmp_path / "in", tmp_path / "out", ["nifti"])
    source = SimpleITK.ReadImage(str(tmp_path / "in/scan.nrrd"))
    voxels = np.argwhere(SimpleITK.GetArrayFromImage(source) > 50)[:, ::-1]
    places = [source.TransformIndexToPhysicalPoint([int(v) for v in voxel]) for voxel in voxels]
    found = centre_by_simpleitk(out / "nifti/scan.nrrd.nii.gz")
    assert np.allclose(found, np.mean(places, axis=0), atol=1e-3)


@pytest.mark.parametrize("orientation", [None, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("axis", ["auto", "coronal"])
def test_dicom_seg_lies_where_the_images_do(
    tmp_path: Path, orientation, reverse: bool, kind: str, axis: str
) -> None:
    changes = {} if orientation is None else {"orientation": orientation}
    paths = write_series(tmp_path / "in/ct", reverse=reverse, **changes)
    options = FormatOptions(dicom_codes=DicomCodes(segmentation_type=kind))
    out = predicted(
        tmp_path / "in", tmp_path / "out", ["dicom_seg", "nifti"], options=options, axis=axis
    )
    place = bright_centre(paths)
    assert np.allclose(centre_by_simpleitk(out / "nifti/ct.nii.gz"), place, atol=1e-3)
    path = out / "dicom_seg/ct.dcm"
    assert np.allclose(_centre_of_frames(pydicom.dcmread(path)), place, atol=1e-3)
    seg = highdicom.seg.segread(path)
    block = seg.get_volume(combine_segments=True)
    indices = np.argwhere(block.array > 0)
    assert np.allclose(block.map_indices_to_reference(indices).mean(axis=0), place, atol=1e-3)
    expected = np.count_nonzero(values() > 100)
    assert len(indices) == expected


def _centre_of_frames(seg: pydicom.Dataset) -> np.ndarray:
    """Return the centre of the segment in patient coordinates, from the frames' own places."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    frames = np.atleast_3d(seg.pixel_array.reshape(-1, seg.Rows, seg.Columns))
    places = []
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        plane = pydicom.Dataset()
        plane.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        plane.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        plane.ImagePositionPatient = groups.PlanePositionSequence[0].ImagePositionPatient
        places.append(pixel_places(plane, *np.nonzero(frame)))
    return np.concatenate(places).mean(axis=0)


def test_what_a_dicom_seg_says(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    paths = write_series(tmp_path / "in/ct")
    liver = SegmentCodes(
        DicomCode("123037004", "SCT", "Anatomical Structure"), DicomCode("10200004", "SCT", "Liver")
    )
    options = FormatOptions(dicom_codes=DicomCodes(default=liver))
    out = predicted(tmp_path / "in", tmp_path / "out", ["dicom_seg"], options=options)
    seg = highdicom.seg.segread(out / "dicom_seg/ct.dcm")
    source = pydicom.dcmread(paths[0])
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[name].value == source[name].value
    assert seg.SegmentationType == "BINARY"
    description = seg.get_segment_description(1)
    assert description.segmented_property_type.meaning == "Liver"
    assert description.algorithm_type.value == "AUTOMATIC"
    assert "esearch" in seg.ContentDescription
    assert "research" in seg.SeriesDescription
    assert seg.ContentDate == "20231114"
    named = {str(path) for _, _, path in seg.get_source_image_uids()}
    assert named <= {str(pydicom.dcmread(path).SOPInstanceUID) for path in paths}
    again = predicted(tmp_path / "in", tmp_path / "again", ["dicom_seg"], options=options)
    assert (out / "dicom_seg/ct.dcm").read_bytes() == (again / "dicom_seg/ct.dcm").read_bytes()


def test_objects_become_segments(tmp_path: Path) -> None:
    stack = values()
    stack[1:4, 14:17, 2:6] = 300
    write_series(tmp_path / "in/ct", stack)
    out = predicted(
        tmp_path / "in",
        tmp_path / "out",
        ["dicom_seg"],
        one_object=False,
        linking=LinkSettings(link_iou=0.1),  # the blob's last slice is small
        window=(0, 200),
    )
    seg = highdicom.seg.segread(out / "dicom_seg/ct.dcm")
    assert seg.number_of_segments == 2
    sizes = [
        np.count_nonzero(seg.get_volume(segment_numbers=[number], combine_segments=True).array)
        for number in (1, 2)
    ]
    assert sorted(sizes) == sorted([np.count_nonzero(stack == 200), np.count_nonzero(stack == 300)])


def test_a_radiograph(tmp_path: Path) -> None:
    lost = ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID")
    kind = {"SOPClassUID": ComputedRadiographyImageStorage, "Modality": "CR"}
    write_series(tmp_path / "in", values()[2:3], **dict.fromkeys(lost), **kind)
    out = predicted(tmp_path / "in", tmp_path / "out", ["dicom_seg", "png"])
    seg = pydicom.dcmread(out / "dicom_seg/im001.dcm.dcm")
    assert (seg.Rows, seg.Columns) == (ROWS, COLUMNS)
    assert np.array_equal(seg.pixel_array > 0, values()[2] > 100)
    assert list((out / "labels/im001.dcm").iterdir())


def test_what_anonymising_took_out(tmp_path: Path) -> None:
    lost = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
    paths = write_series(tmp_path / "in/ct", **dict.fromkeys(lost), SpecificCharacterSet="")
    for path in paths:
        data = pydicom.dcmread(path)
        del data.StudyID, data.AccessionNumber
        data.save_as(path)
    out = predicted(tmp_path / "in", tmp_path / "out", ["dicom_seg"])
    seg = pydicom.dcmread(out / "dicom_seg/ct.dcm")
    assert not seg.PatientID
    assert not seg.StudyDate
    assert np.count_nonzero(seg.pixel_array) == np.count_nonzero(values() > 100)


def test_nothing_found_is_no_segmentation(tmp_path: Path) -> None:
    write_series(tmp_path / "in/ct", np.zeros_like(values()))
    out = predicted(tmp_path / "in", tmp_path / "out", ["dicom_seg"], window=(1000, 2000))
    assert not (out / "dicom_seg").exists()


def test_ome_zarr_of_a_volume(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(volume(), AFFINES["permuted"]), tmp_path / "scan.nii.gz")
    out = predicted(tmp_path / "scan.nii.gz", tmp_path / "out", ["ome_zarr"])
    image = zarr.open_group(out / "ome_zarr/scan.nii.gz.zarr/labels/samft", mode="r")
    assert np.array_equal(image["0"][:] > 0, volume().T > 50)
    (scales,) = image.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in scales["axes"]} == {"millimeter"}
    assert scales["datasets"][0]["coordinateTransformations"][0]["scale"] == [2.0, 1.5, 1.0]
    assert not list((out / "ome_zarr").glob("**/z0*"))  # slices have no arrays of their own


def test_formats_that_a_source_cannot_have(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(np.zeros((9, 9), np.int32), 0))
    write_series(tmp_path / "ct")
    (tmp_path / "ct/im003.dcm").unlink()
    series, flat = find_sources(str(tmp_path), Preprocessing()).sources[::-1]
    with pytest.raises(OutputError, match="NIfTI is written for volumes") as caught:
        PredictionFiles(tmp_path / "out", ["nifti"], sources=[flat])
    assert "a.png" in str(caught.value)
    with pytest.raises(OutputError, match="do not lie at equal distances") as caught:
        PredictionFiles(tmp_path / "out", ["nifti"], sources=[series])
    assert "dicom_seg" in str(caught.value)
    with pytest.raises(OutputError, match="belongs to DICOM images"):
        PredictionFiles(tmp_path / "out", ["dicom_seg"], sources=[series, flat])
    assert not (tmp_path / "out").exists()
    PredictionFiles(tmp_path / "out", ["dicom_seg"], sources=[series])


@pytest.mark.parametrize(
    ("folder", "high"),
    [("dcmqi_ct_seg/ct-3slice", 700), ("rt-utils_ct_rtstruct", 250)],  # bones; whatever there is
)
def test_real_ct_series(real_data: Path, tmp_path: Path, folder: str, high: int) -> None:
    source, low = real_data / "medical" / folder, -100
    out = predicted(
        source, tmp_path / "out", ["dicom_seg", "nifti"], window=(low, high), one_object=True
    )
    (written,) = (out / "dicom_seg").glob("*.dcm")
    images = {}
    for path in [p for p in source.iterdir() if p.suffix == ".dcm"]:
        data = pydicom.dcmread(path)
        if data.Modality == "CT":
            images[float(data.ImagePositionPatient[2])] = data
    places = []
    for data in images.values():
        hounsfield = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        bright = np.rint(np.clip((hounsfield - low) * 255 / (high - low), 0, 255)) > 128
        places.append(pixel_places(data, *np.nonzero(bright)))
    expected = np.concatenate(places).mean(axis=0)
    assert np.allclose(_centre_of_frames(pydicom.dcmread(written)), expected, atol=0.01)
    (volume_file,) = (out / "nifti").glob("*.nii.gz")
    assert np.allclose(centre_by_simpleitk(volume_file), expected, atol=0.01)
    assert PATIENT not in str(list(out.rglob("*")))


def test_real_ct_slices_without_an_ending(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "medical/highdicom_seg/dicomdirtests/77654033/CT2"
    found = find_sources(str(source), Preprocessing())
    assert not found.failures
    out = predicted(source, tmp_path / "out", ["dicom_seg"])
    seg = highdicom.seg.segread(out / "dicom_seg" / f"{found.sources[0].name}.dcm")
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for path in source.iterdir()}
    assert {str(uid) for _, _, uid in seg.get_source_image_uids()} <= uids


def test_real_mr_volume(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "medical/brats2013_deepmedic/validation/brats_2013_pat0004_1"
    source = folder / "Flair_subtrMeanDivStd.nii.gz"
    out = predicted(source, tmp_path / "out", ["nifti"], window=(0, 4), one_object=True)
    image, result = nibabel.load(source), nibabel.load(out / "nifti" / source.name)
    bright = np.rint(np.clip(np.asarray(image.dataobj) * 255 / 4, 0, 255)) > 128
    assert np.array_equal(np.asarray(result.dataobj) > 0, bright)
    assert np.allclose(image.affine, result.affine)
    world = nibabel.affines.apply_affine(image.affine, np.argwhere(bright)).mean(axis=0)
    assert np.allclose(centre_by_simpleitk(out / "nifti" / source.name), world * LPS, atol=0.01)


@pytest.mark.parametrize("order", [None, [3, 0, 4, 1, 2]], ids=["rising", "shuffled"])
def test_dicom_seg_of_an_image_of_several_frames(tmp_path: Path, order) -> None:
    paths = write_series(tmp_path / "single")
    (tmp_path / "in/ct").mkdir(parents=True)
    write_multiframe(tmp_path / "in/ct/mf.dcm", paths, order)
    out = predicted(tmp_path / "in", tmp_path / "out", ["dicom_seg"])
    (path,) = (out / "dicom_seg").rglob("*.dcm")
    assert np.allclose(_centre_of_frames(pydicom.dcmread(path)), bright_centre(paths), atol=1e-3)
    (series,) = find_series([tmp_path / "in/ct/mf.dcm"]).series
    found = read_dicom_seg(path, series).layers.max(axis=0) > 0
    assert np.array_equal(found, read_series(series)[0] > 100)
