"""Frames of one DICOM file: by their places, as a loop, as several stacks; lying headers."""

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import OBLIQUE, PATIENT, ROWS, SLICES, bright_centre, values, write_series
from dicom_objects import item, write_multiframe
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless, generate_uid

from samft.data.readers.dicom import find_series, is_dicom, read_series
from samft.errors import DatasetError


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2]])
def test_frames_are_sorted_by_their_places(tmp_path: Path, order, oblique: bool) -> None:
    changes = {"orientation": OBLIQUE} if oblique else {}
    images = write_series(tmp_path / "ct", **changes)
    path = write_multiframe(tmp_path / "mf.dcm", images, order)
    (single,) = find_series(images).series
    (several,) = find_series([path]).series
    assert several.paths == (path,)
    assert several.images == SLICES
    assert [order[frame] for _, frame in several.frames] == list(range(SLICES))
    assert np.array_equal(read_series(several), read_series(single))
    assert np.allclose(several.geometry.affine, single.geometry.affine)
    z, y, x = (axis.mean() for axis in np.nonzero(read_series(several)[0] > 100))
    ras = several.geometry.affine @ [x, y, z, 1]
    assert np.allclose(ras[:3] * [-1, -1, 1], bright_centre(images), atol=1e-4)


def test_each_frame_has_its_own_scale(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    for number, path in enumerate(images):
        data = pydicom.dcmread(path)
        data.RescaleIntercept = -1024 + 100 * number
        data.save_as(path)
    path = write_multiframe(tmp_path / "mf.dcm", images, [2, 0, 1, 4, 3])
    (series,) = find_series([path]).series
    native = series.geometry.to_native(read_series(series)[0]).transpose(2, 1, 0)
    assert [plane[10, 2] for plane in native] == [0, 100, 200, 300, 400]


def test_compressed_frames(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    path = write_multiframe(tmp_path / "mf.dcm", images, [2, 0, 1, 4, 3])
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)
    (series,) = find_series([path]).series
    (single,) = find_series(images).series
    assert np.array_equal(read_series(series), read_series(single))


def test_frames_without_places_stay_in_order(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    lost = dict.fromkeys(("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"))
    loop = write_multiframe(tmp_path / "mf.dcm", images, **lost)
    data = pydicom.dcmread(loop)
    data.RescaleIntercept, data.PixelSpacing = -1024, [0.7, 0.9]
    data.save_as(loop)
    (series,) = find_series([loop]).series
    assert series.positions is None
    assert series.geometry.spacing_mm == pytest.approx((1.0, 0.7, 0.9))
    assert np.array_equal(read_series(series)[0][:, 1:], values()[:, 1:])


def test_colour_frames(tmp_path: Path) -> None:
    images = write_series(tmp_path / "us", values()[:1])
    path = write_multiframe(tmp_path / "mf.dcm", images)
    data = pydicom.dcmread(path)
    colours = np.random.default_rng(0).integers(0, 256, (4, ROWS, 26, 3), np.uint8)
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.NumberOfFrames = 7, 0, 4
    del data.PerFrameFunctionalGroupsSequence, data.PixelPaddingValue
    data.PixelData = colours.tobytes()
    data.save_as(path)
    (series,) = find_series([path]).series
    assert np.array_equal(read_series(series), colours.transpose(3, 0, 1, 2))


@pytest.mark.parametrize(
    "phase",
    [
        lambda number: {"FrameContentSequence": [item(TemporalPositionIndex=number + 1)]},
        lambda number: {"MREchoSequence": [item(EffectiveEchoTime=10.0 * number)]},
        lambda number: {"FrameContentSequence": [item(StackID=str(number))]},
    ],
)
def test_several_stacks_in_one_file(tmp_path: Path, phase) -> None:
    images = write_series(tmp_path / "ct")
    path = write_multiframe(tmp_path / "mf.dcm", images, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0])
    data = pydicom.dcmread(path)
    for index, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        for keyword, value in phase(index // 5).items():
            setattr(group, keyword, value)
    data.save_as(path)
    found = find_series([path])
    assert found.mixed == 1
    frames = [[frame for _, frame in series.frames] for series in found.series]
    assert frames == [[0, 1, 2, 3, 4], [9, 8, 7, 6, 5]]
    first, second = (read_series(series) for series in found.series)
    assert np.array_equal(first, second)


def test_one_image_in_several_files(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    shared = {"SeriesInstanceUID": generate_uid(), "ConcatenationUID": generate_uid()}
    parts = [
        write_multiframe(tmp_path / "b.dcm", images, [0, 3], **shared),
        write_multiframe(tmp_path / "a.dcm", images, [4, 1, 2], **shared),
    ]
    (series,) = find_series(parts).series
    assert series.paths == tuple(parts)
    assert series.frames == ((0, 0), (1, 1), (1, 2), (0, 1), (1, 0))
    (single,) = find_series(images).series
    assert np.array_equal(read_series(series), read_series(single))


def test_echoes_of_single_images(tmp_path: Path) -> None:
    uid = generate_uid()
    paths = [
        path
        for echo in (1, 2)
        for path in write_series(
            tmp_path / str(echo), values() + echo, series=uid, EchoNumbers=echo
        )
    ]
    found = find_series(paths)
    assert [series.images for series in found.series] == [SLICES, SLICES]
    assert found.mixed == 1
    assert [read_series(series).max() for series in found.series] == [201, 202]


def test_times_that_differ_from_image_to_image_tell_nothing_apart(tmp_path: Path) -> None:
    uid = generate_uid()
    paths = [*write_series(tmp_path / "a", series=uid), *write_series(tmp_path / "b", series=uid)]
    for number, path in enumerate(paths):
        data = pydicom.dcmread(path)
        data.TriggerTime = number
        data.save_as(path)
    ((_, error),) = find_series(paths).failures
    assert "two images of a DICOM series lie at the same place" in str(error)


def test_the_same_patient_has_the_same_key(tmp_path: Path) -> None:
    series = [
        find_series(write_series(tmp_path / str(index), PatientID=patient)).series[0]
        for index, patient in enumerate(["one", "one", "two", None, ""])
    ]
    keys = [found.keys.case for found in series]
    assert keys[0] == keys[1] != keys[2]
    assert len(set(keys)) == 4  # without an identifier every study is a case
    assert all(keys)
    shown = repr(series)
    data = pydicom.dcmread(series[0].paths[0])
    for secret in ("one", PATIENT, data.SOPInstanceUID, data.SeriesInstanceUID):
        assert f"'{secret}'" not in shown


def _deflate(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)


def test_a_file_that_is_packed_as_a_whole(tmp_path: Path, monkeypatch) -> None:
    images = write_series(tmp_path / "ct")
    (before,) = find_series(images).series
    expected = read_series(before)
    for path in images:
        _deflate(path)
    (series,) = find_series(images).series
    assert np.array_equal(read_series(series), expected)
    monkeypatch.setenv("SAMFT_MAX_BYTES", "100000")
    content = images[0].read_bytes()
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(b"\x09\x00\x10\x00OB\0\0" + b"\0" * 10_000_000) + packer.flush()
    images[0].write_bytes(content[:start] + bomb)
    failures = dict(find_series(images).failures)
    assert "more data than is allowed" in str(failures[images[0]])


def test_a_file_without_preamble(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    (before,) = find_series(images).series
    expected = read_series(before)
    for path in images:
        content = path.read_bytes()
        path.write_bytes(content[132 + 12 + int.from_bytes(content[140:144], "little") :])
        assert is_dicom(path)  # by its name
    (series,) = find_series(images).series
    assert np.array_equal(read_series(series), expected)
    (tmp_path / "text.dcm").write_text("no image at all, for what it is worth" * 10)
    assert "cannot be read" in str(find_series([tmp_path / "text.dcm"]).failures[0][1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NumberOfFrames": 2_000_000_000}, "more memory than allowed"),
        ({"NumberOfFrames": 500_000, "Rows": 1, "Columns": 1}, "not all that its header states"),
        ({"NumberOfFrames": 4}, "4 frames, 5 described"),
        ({"NumberOfFrames": 0, "Rows": 0}, "impossible size"),
        ({"NumberOfFrames": "Doe^Jane"}, "ValueError"),
        ({"TotalPixelMatrixColumns": 40}, "whole slide"),
    ],
)
def test_lying_headers(tmp_path: Path, changes, said: str) -> None:
    images = write_series(tmp_path / "ct")
    planted = "Doe^Jane" in changes.values()
    path = write_multiframe(tmp_path / "mf.dcm", images, **({} if planted else changes))
    if planted:
        content = path.read_bytes()
        tag = b"\x28\x00\x08\x00IS"
        assert tag in content
        path.write_bytes(content.replace(tag + b"\x02\x005 ", tag + b"\x08\x00Doe^Jane"))
    found = find_series([path])
    assert not found.series
    ((_, error),) = found.failures
    assert isinstance(error, DatasetError)
    assert said in str(error)
    assert str(path) in str(error)
    assert PATIENT not in str(error)


def test_a_header_of_an_impossible_length(tmp_path: Path) -> None:
    path = write_series(tmp_path / "ct", values()[:1])[0]
    content = bytearray(path.read_bytes())
    content[138] = 3  # bytes of a number of four
    path.write_bytes(content)
    ((_, error),) = find_series([path]).failures
    assert "cannot be read" in str(error)
    assert str(path) in str(error)


def test_a_cut_off_multiframe_file(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    path = write_multiframe(tmp_path / "mf.dcm", images)
    (series,) = find_series([path]).series
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DatasetError, match="cannot be read"):
        read_series(series)


def test_real_multiframe_ct_equals_its_single_images(real_data: Path) -> None:
    for size in ("24x38x3", "23x38x3"):
        folder = real_data / "medical/dcmqi_ct_seg" / size
        (single,) = find_series(sorted((folder / "image").iterdir())).series
        (several,) = find_series([folder / "multiframe/mf.dcm"]).series
        assert several.geometry.shape == (3, 38, int(size[:2]))
        assert np.array_equal(read_series(several), read_series(single))
        assert several.geometry.distance_mm(single.geometry) < 1e-6
