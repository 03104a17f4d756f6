"""DICOM segmentations: every storage, frames by reference or place, other grids, hostile files."""

import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import OBLIQUE, PATIENT, values, write_series
from dicom_objects import item, segment, write_multiframe, write_seg
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless, generate_uid

from samft.data.readers.dicom import DicomSeries, find_series
from samft.data.readers.dicom_labels import LabelLayers
from samft.data.readers.dicom_seg import probe_dicom_seg, read_dicom_seg
from samft.data.readers.volumes import read_volume
from samft.errors import ConfigError, DatasetError, SamftError

SHAPE = 5, 19, 26  # a frame of 494 bits: none but the first begins with a byte


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "ct", np.zeros(SHAPE, np.int16))


def series_of(paths: list[Path]) -> DicomSeries:
    (series,) = find_series(paths).series
    return series


def random_masks(segments: int, seed: int = 0, share: float = 0.3) -> np.ndarray:
    """(segments, K, rows, columns) bool."""
    return np.random.default_rng(seed).random((segments, *SHAPE)) < share


def canonical(series: DicomSeries, images: list[Path], mask: np.ndarray) -> np.ndarray:
    """Turn (K, rows, columns) in the order of `images` as the series is turned."""
    order = [images.index(path) for path in series.paths]
    return series.geometry.to_canonical(mask[order].transpose(2, 1, 0))[0]


def mask_of(found: LabelLayers, name: str) -> np.ndarray:
    masks = [found.layers[s.layer] == s.value for s in found.segments if s.name == name]
    return np.logical_or.reduce(masks)


def frames_of(masks: np.ndarray, numbers: list[int], order: int = 1) -> list:
    frames = [
        (number, k, masks[s][k])
        for s, number in enumerate(numbers)
        for k in range(masks.shape[1])
        if masks[s][k].any()
    ]
    return frames[::order]


@pytest.mark.parametrize("turn", ["", "x", "y", "xy", "t", "xt", "xyt"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("oblique", [False, True])
def test_bits_lie_where_their_images_lie(tmp_path, turn, reverse, oblique) -> None:
    changes = {"orientation": OBLIQUE} if oblique else {}
    paths = write_series(tmp_path / "ct", np.zeros(SHAPE, np.int16), reverse=reverse, **changes)
    series = series_of(paths)
    masks = random_masks(2)
    masks[0, 3] = False  # empty, so left out
    frames = frames_of(masks, [4, 9], order=-1)
    path = write_seg(
        tmp_path / "x.seg", paths, frames, [segment(4, "a"), segment(9, "b")], turn=turn
    )
    found = read_dicom_seg(path, series)
    assert found.layers.shape == (2, *series.geometry.shape)
    assert [(s.name, s.value) for s in found.segments] == [("a", 4), ("b", 9)]
    for index, name in enumerate("ab"):
        assert np.array_equal(mask_of(found, name), canonical(series, paths, masks[index]))


@pytest.mark.parametrize(
    "known", [{"references": True, "positions": False}, {"references": False, "positions": True}]
)
def test_reference_or_position_is_enough(tmp_path, images, known) -> None:
    masks = random_masks(1)
    frames = frames_of(masks, [1])
    frames = [frames[i] for i in (3, 0, 4, 1, 2)]
    path = write_seg(tmp_path / "x.dcm", images, frames, [segment(1, "a")], **known)
    series = series_of(images)
    assert np.array_equal(
        read_dicom_seg(path, series).layers[0] == 1, canonical(series, images, masks[0])
    )


def test_segments_share_a_layer_until_they_overlap(tmp_path, images) -> None:
    masks = np.zeros((3, *SHAPE), bool)
    masks[0, 1, :5], masks[1, 1, 5:9], masks[2, 1, 3:7] = True, True, True
    segments = [segment(number, f"s{number}") for number in (1, 2, 3)]
    path = write_seg(tmp_path / "x.dcm", images, frames_of(masks, [1, 2, 3]), segments)
    series = series_of(images)
    found = read_dicom_seg(path, series)
    assert [s.layer for s in found.segments] == [0, 0, 1]
    for index in range(3):
        expected = canonical(series, images, masks[index])
        assert np.array_equal(mask_of(found, f"s{index + 1}"), expected)


@pytest.mark.parametrize(("threshold", "least"), [(0.5, 50), (0.25, 25), (1.0, 100)])
def test_fractions(tmp_path, images, threshold: float, least: int) -> None:
    shares = np.random.default_rng(1).integers(0, 101, SHAPE).astype(np.uint8)
    frames = [(1, k, shares[k]) for k in range(SHAPE[0])]
    path = write_seg(
        tmp_path / "x.dcm",
        images,
        frames,
        [segment(1, "a")],
        kind="FRACTIONAL",
        MaximumFractionalValue=100,
        SegmentationFractionalType="OCCUPANCY",
    )
    series = series_of(images)
    found = read_dicom_seg(path, series, threshold=threshold)
    assert np.array_equal(found.layers[0] == 1, canonical(series, images, shares >= least))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "PALETTE COLOR"])
def test_label_map(tmp_path, images, dtype, photometric: str) -> None:
    numbers = [0, 7, 200 if dtype is np.uint8 else 3000]
    labels = np.random.default_rng(2).choice(numbers, SHAPE).astype(dtype)
    labels[2, :3] = 5  # padding
    frames = [(None, k, labels[k]) for k in (4, 2, 0)]
    background = segment(0, "Background")
    path = write_seg(
        tmp_path / "x.dcm",
        images,
        frames,
        [background, segment(7, "liver"), segment(numbers[2], "spleen")],
        kind="LABELMAP",
        PixelPaddingValue=5,
        PhotometricInterpretation=photometric,
    )
    series = series_of(images)
    found = read_dicom_seg(path, series)
    assert probe_dicom_seg(path).names == ("Background", "liver", "spleen")
    assert {s.name for s in found.segments} == {"liver", "spleen"}
    labels[[1, 3]] = 0  # frames that are not there
    labels[labels == 5] = 0
    assert np.array_equal(found.layers[0], canonical(series, images, labels))


def test_compressed_frames(tmp_path, images) -> None:
    labels = np.random.default_rng(3).integers(0, 3, SHAPE).astype(np.uint8)
    frames = [(None, k, labels[k]) for k in range(5)]
    segments = [segment(1, "a"), segment(2, "b")]
    path = write_seg(tmp_path / "x.dcm", images, frames, segments, kind="LABELMAP")
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)
    series = series_of(images)
    assert np.array_equal(read_dicom_seg(path, series).layers[0], canonical(series, images, labels))


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_what_highdicom_writes(tmp_path, images, kind: str) -> None:
    masks = random_masks(2, seed=5)
    if kind == "LABELMAP":
        masks[1] &= ~masks[0]
    series = series_of(images)
    path = tmp_path / "x.dcm"
    _by_highdicom(images, masks, kind).save_as(path)
    found = read_dicom_seg(path, series)
    seg = highdicom.seg.segread(path)
    uids = [str(pydicom.dcmread(image).SOPInstanceUID) for image in images]
    read = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for index, name in enumerate(("first", "second")):
        expected = canonical(series, images, read[..., index] >= 0.5)
        assert expected.any()
        assert np.array_equal(mask_of(found, name), expected)


def test_frames_of_a_multiframe_image(tmp_path, images) -> None:
    source = write_multiframe(tmp_path / "mf.dcm", images, order=[2, 0, 4, 1, 3])
    masks = random_masks(1, seed=6)
    path = tmp_path / "seg.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(source)
        for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
            setattr(data, keyword, None)
        data.AccessionNumber = data.ReferringPhysicianName = None
        _segmentation([data], masks[0][[2, 0, 4, 1, 3]].astype(np.uint8), "BINARY").save_as(path)
    (series,) = find_series([source]).series
    expected = series.geometry.to_canonical(masks[0].transpose(2, 1, 0))[0]
    assert np.array_equal(read_dicom_seg(path, series).layers[0] == 1, expected)


def test_a_frame_number_for_an_image_of_one_frame(tmp_path, images) -> None:
    path = _plain(tmp_path, images, positions=False)
    data = pydicom.dcmread(path)
    group = data.PerFrameFunctionalGroupsSequence[0]
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = 1
    data.save_as(path)
    assert read_dicom_seg(path, series_of(images)).layers[0, -1].all()


def test_names_of_segments(tmp_path, images) -> None:
    masks = random_masks(5)
    side = item(CodeMeaning="Left")
    sided = segment(2, None, "Kidney")
    sided.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    segments = [
        segment(1, "Liver "),
        sided,
        segment(3, "", ""),
        segment(4, "liver 12", TrackingID="samft 12"),
        segment(8, "lesion 3", TrackingID="other 3"),
    ]
    path = write_seg(tmp_path / "x.dcm", images, frames_of(masks, [1, 2, 3, 4, 8]), segments)
    names = ["Liver", "Kidney, Left", "Anatomy", "liver", "lesion 3"]
    assert list(probe_dicom_seg(path).names) == names
    assert [s.name for s in read_dicom_seg(path, series_of(images)).segments] == names


def test_a_flat_image(tmp_path) -> None:
    lost = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"))
    paths = write_series(tmp_path / "cr", values()[:1], **lost)
    mask = values()[2] > 100
    image = write_series(tmp_path / "whole", values()[:1])  # to copy places from
    whole = pydicom.dcmread(image[0])
    whole.SOPInstanceUID = pydicom.dcmread(paths[0]).SOPInstanceUID
    whole.save_as(image[0])
    path = write_seg(tmp_path / "x.dcm", image, [(1, 0, mask)], [segment(1, "a")], positions=False)
    found = read_dicom_seg(path, series_of(paths))
    assert np.array_equal(found.layers, mask[None, None])


def _moved(**changes: object):
    def move(tmp_path: Path, uid: str) -> list[Path]:
        return write_series(
            tmp_path / "other",
            np.zeros(SHAPE, np.int16),
            series=uid,
            FrameOfReferenceUID=generate_uid(entropy_srcs=["same"]),
            **changes,
        )

    return move


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (_moved(orientation=OBLIQUE), ("orientation", "(0.8, 0.6, 0)", "rows (1, 0, 0)")),
        (_moved(spacing=(0.7, 0.8)), ("pixel spacing", "0.7 x 0.8 mm", "0.7 x 0.9 mm")),
        (_moved(ImagePositionPatient=[-30.0, 15.0, 50.0]), ("position", "3 mm", "at most 0.35 mm")),
        (_moved(ImagePositionPatient=[-30.0, 12.0, 80.0]), ("position", "14 mm", "nearest image")),
    ],
)
def test_another_grid(tmp_path, move, said) -> None:
    uid = generate_uid()
    shared = {"FrameOfReferenceUID": generate_uid(entropy_srcs=["same"])}
    images = write_series(tmp_path / "ct", np.zeros(SHAPE, np.int16), **shared)
    other = move(tmp_path, uid)
    frames = [(1, 0, np.ones(SHAPE[1:], bool))]
    path = write_seg(tmp_path / "x.dcm", other, frames, [segment(1, "a")])
    with pytest.raises(DatasetError, match="the segmentation and the images differ in") as caught:
        read_dicom_seg(path, series_of(images))
    for words in (*said, "x.dcm", "resample it", "data.labels"):
        assert words in str(caught.value)


def test_another_size(tmp_path, images) -> None:
    frames = [(1, 0, np.ones((19, 20), bool))]
    path = write_seg(tmp_path / "x.dcm", images, frames, [segment(1, "a")])
    with pytest.raises(DatasetError, match=r"differ in size\n.*19 x 20.*19 x 26"):
        read_dicom_seg(path, series_of(images))


def test_another_frame_of_reference(tmp_path, images) -> None:
    path = _plain(tmp_path, images, FrameOfReferenceUID=generate_uid())
    with pytest.raises(DatasetError, match="different frames of reference") as caught:
        read_dicom_seg(path, series_of(images))
    assert "choose the segmentation of this series with data.labels" in str(caught.value)


def test_a_segmentation_that_refers_to_nothing(tmp_path, images) -> None:
    path = _plain(tmp_path, images, references=False, positions=False)
    with pytest.raises(DatasetError, match="frame 1 refers to no image, and has no position"):
        read_dicom_seg(path, series_of(images))
    references = probe_dicom_seg(path).references
    assert not references.series
    assert not references.instances


def test_an_image_far_from_its_reference(tmp_path, images) -> None:
    path = _plain(tmp_path, images)
    data = pydicom.dcmread(path)
    group = data.PerFrameFunctionalGroupsSequence[0]
    other = pydicom.dcmread(images[3]).SOPInstanceUID
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = other
    data.save_as(path)
    with pytest.raises(DatasetError, match="frame 1 lies 12 mm from the image it refers to"):
        read_dicom_seg(path, series_of(images))
    source.SpatialLocationsPreserved = "NO"  # so it says nothing about the place
    data.save_as(path)
    assert read_dicom_seg(path, series_of(images)).layers.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NumberOfFrames": 2_000_000_000}, "more memory than allowed"),
        ({"Rows": 65535, "Columns": 65535}, "more memory than allowed"),
        ({"Rows": 0}, "impossible size"),
        ({"NumberOfFrames": 2}, "bytes of pixels"),
        ({"PixelData": None}, "0 bytes of pixels"),
        ({"PerFrameFunctionalGroupsSequence": None}, "1 frames, 0 described"),
        ({"SegmentSequence": None}, "no segments"),
        ({"SegmentSequence": [segment(1, "a"), segment(1, "b")]}, "number 1 twice"),
        ({"SegmentSequence": [segment(2, "b")]}, "frame 1 of no segment"),
        ({"SegmentSequence": [item(SegmentLabel="a")]}, "AttributeError"),
        ({"SegmentationType": "Doe^Jane"}, "another type"),
        ({"BitsAllocated": 32}, "32 bits"),
        ({"Rows": None}, "AttributeError"),
        ({"SOPClassUID": "1.2", "Modality": "SR"}, "another kind"),
        ({"TotalPixelMatrixColumns": 5}, "whole slide"),
        ({"PerFrameFunctionalGroupsSequence": [item()]}, "frame 1 of no segment"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_hostile_files(tmp_path, images, changes, said: str) -> None:
    path = _plain(tmp_path, images, **changes)
    with pytest.raises(DatasetError) as caught:
        read_dicom_seg(path, series_of(images))
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert PATIENT not in message
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize("kept", [0.99, 0.9, 0.6, 0.3, 0.02])
def test_cut_off_files(tmp_path, images, kept: float) -> None:
    path = _plain(tmp_path, images)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DatasetError):
        read_dicom_seg(path, series_of(images))


def test_any_damaged_byte_is_an_error_of_ours_or_none(tmp_path, images) -> None:
    path = _plain(tmp_path, images)
    series = series_of(images)
    content = bytearray(path.read_bytes())
    for place in range(132, len(content), 37):
        broken = bytearray(content)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            read_dicom_seg(path, series)
        except SamftError as error:
            assert PATIENT not in str(error)


def test_values_of_no_segment(tmp_path, images) -> None:
    labels = np.full(SHAPE[1:], 9, np.uint8)
    frames = [(None, 0, labels)]
    path = write_seg(tmp_path / "x.dcm", images, frames, [segment(1, "a")], kind="LABELMAP")
    with pytest.raises(DatasetError, match="1 values of no segment"):
        read_dicom_seg(path, series_of(images))


def test_layers_without_end(tmp_path, images, monkeypatch) -> None:
    masks = np.ones((6, *SHAPE), bool)
    segments = [segment(number, f"s{number}") for number in range(1, 7)]
    path = write_seg(tmp_path / "x.dcm", images, frames_of(masks, list(range(1, 7))), segments)
    series = series_of(images)
    assert read_dicom_seg(path, series).layers.shape[0] == 6
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(4 * np.prod(SHAPE)))
    with pytest.raises(DatasetError, match="more memory than allowed"):
        read_dicom_seg(path, series)


def test_a_threshold_that_is_no_share(tmp_path, images) -> None:
    path = _plain(tmp_path, images)
    with pytest.raises(ConfigError, match=r"found: 128, expected: above 0, at most 1") as caught:
        read_dicom_seg(path, series_of(images), threshold=128)
    assert "data.threshold" in str(caught.value)


CASES = {
    "liver.dcm": ("ct-3slice", {"Liver": ("liver_seg.nrrd", 1)}),
    "partial_overlaps.dcm": (
        "ct-3slice",
        {
            "GREEN": ("partial_overlaps-1.nrrd", 1),
            "ORANGE": ("partial_overlaps-2.nrrd", 2),
            "PURPLE": ("partial_overlaps-3.nrrd", 3),
            "LIGHT_BLUE": ("partial_overlaps-1.nrrd", 4),
            "DARK_BLUE": ("partial_overlaps-1.nrrd", 5),
        },
    ),
    "24x38x3/seg/label.seg": ("24x38x3/image", {"Liver": ("24x38x3/nrrd/label.nrrd", 1)}),
    "23x38x3/seg/label.seg": ("23x38x3/multiframe", {"Liver": ("23x38x3/nrrd/label.nrrd", 1)}),
    "sparse-labelmap-noppv.dcm": (
        "24x38x3/image",
        {"Liver": ("sparse_labelmap_noppv_seg.nrrd", 1)},
    ),
    "sparse-labelmap-ppv5.dcm": ("24x38x3/image", {"Liver": ("sparse_labelmap_ppv5_seg.nrrd", 1)}),
}


@pytest.mark.parametrize("name", CASES)
def test_dcmqi_agrees_with_its_nrrd(real_data: Path, name: str) -> None:
    folder = real_data / "medical/dcmqi_ct_seg"
    images, expected = CASES[name]
    series = series_of(sorted((folder / images).glob("*")))
    found = read_dicom_seg(folder / name, series)
    assert {s.name for s in found.segments} == set(expected)
    for segment_name, (nrrd, value) in expected.items():
        volume = read_volume(folder / nrrd)
        assert np.array_equal(mask_of(found, segment_name), volume.array[0] == value)
    if name == "liver.dcm":
        assert int((found.layers > 0).sum()) == 107_098


def _plain(
    tmp_path: Path,
    images: list[Path],
    *,
    references: bool = True,
    positions: bool = True,
    **changes: object,
) -> Path:
    frames = [(1, 0, np.ones(SHAPE[1:], bool))]
    return write_seg(
        tmp_path / "plain.dcm",
        images,
        frames,
        [segment(1, "a")],
        references=references,
        positions=positions,
        **changes,
    )


def _by_highdicom(images: list[Path], masks: np.ndarray, kind: str) -> Segmentation:
    pixels = masks.transpose(1, 2, 3, 0).astype(np.uint8)
    if kind == "FRACTIONAL":
        pixels = pixels.astype(np.float32) * 0.8
    return _segmentation([pydicom.dcmread(path) for path in images], pixels, kind)


def _segmentation(sources: list, pixels: np.ndarray, kind: str) -> Segmentation:
    family = codes.DCM.ArtificialIntelligence
    algorithm = highdicom.AlgorithmIdentificationSequence(name="x", version="1", family=family)
    labels = ("first", "second")[: 1 if pixels.ndim == 3 else pixels.shape[-1]]
    described = [
        SegmentDescription(number, label, codes.SCT.Organ, codes.SCT.Liver, "AUTOMATIC", algorithm)
        for number, label in enumerate(labels, start=1)
    ]
    return Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="maker",
        manufacturer_model_name="model",
        software_versions="1",
        device_serial_number="1",
    )
