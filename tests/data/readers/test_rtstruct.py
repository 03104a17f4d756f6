"""Structure sets: contours in millimetres onto the grid of their series."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import COLUMNS, OBLIQUE, PATIENT, ROWS, STEP, write_series
from dicom_objects import item, write_multiframe, write_rtstruct
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from samft.data.readers.dicom import DicomSeries, find_series
from samft.data.readers.rtstruct import probe_rtstruct, read_rtstruct
from samft.errors import DatasetError

SQUARE = [(3.6, 2.6), (9.4, 2.6), (9.4, 7.4), (3.6, 7.4)]
"""Columns 4 to 9 and rows 3 to 7, between the centres of pixels."""
HOLE = [(5.6, 3.6), (7.4, 3.6), (7.4, 5.4), (5.6, 5.4)]


def series_of(paths: list[Path]) -> DicomSeries:
    (series,) = find_series(paths).series
    return series


def patient(image: Path, pixels: object, off: float = 0) -> np.ndarray:
    """Return the millimetres (N, 3) of columns and rows, `off` millimetres beside the image."""
    data = pydicom.dcmread(image, stop_before_pixels=True)
    along = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, data.PixelSpacing)
    steps = np.asarray(pixels, float) * [between_columns, between_rows]
    return np.array(data.ImagePositionPatient, float) + steps @ along + off * np.cross(*along)


def closed(images: list[Path], image: int, pixels: object, off: float = 0, named: bool = True):
    number = image if named else None
    return ("CLOSED_PLANAR", number, patient(images[image], pixels, off))


def expected(series: DicomSeries, images: list[Path], masks: dict[int, np.ndarray]) -> np.ndarray:
    stack = np.zeros((len(images), *series.size), bool)
    for image, mask in masks.items():
        stack[series.paths.index(images[image])] = mask
    return series.geometry.to_canonical(stack.transpose(2, 1, 0))[0]


def square(hole: bool = False) -> np.ndarray:
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[3:8, 4:10] = True
    mask[4:6, 6:8] &= not hole
    return mask


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("oblique", [False, True])
def test_contours_lie_where_their_images_lie(tmp_path, named, reverse, oblique) -> None:
    changes = {"orientation": OBLIQUE} if oblique else {}
    images = write_series(tmp_path / "ct", reverse=reverse, **changes)
    series = series_of(images)
    contours = [
        closed(images, 1, SQUARE, named=named),
        closed(images, 3, HOLE, named=named),
        closed(images, 3, SQUARE, named=named),
    ]
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("liver", contours)])
    found = read_rtstruct(path, series)
    assert [(s.name, s.value, s.layer) for s in found.segments] == [("liver", 1, 0)]
    masks = {1: square(), 3: square(hole=True)}
    assert np.array_equal(found.layers[0] == 1, expected(series, images, masks))
    assert not found.dropped


def test_overlapping_structures_and_the_xor_type(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    series = series_of(images)
    ring = [("CLOSEDPLANAR_XOR", 2, patient(images[2], p)) for p in (SQUARE, HOLE)]
    structures = [
        ("ring", ring),
        ("core", [closed(images, 2, HOLE)]),
        ("all", [closed(images, 2, SQUARE)]),
    ]
    path = write_rtstruct(tmp_path / "rt.dcm", images, structures)
    found = read_rtstruct(path, series)
    assert [(s.name, s.layer) for s in found.segments] == [("ring", 0), ("core", 0), ("all", 1)]
    sizes = [int((found.layers[s.layer] == s.value).sum()) for s in found.segments]
    assert sizes == [30 - 4, 4, 30]


def test_what_cannot_be_filled_is_counted(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    point = ("POINT", None, patient(images[0], [(3, 3)]))
    line = ("OPEN_PLANAR", 1, patient(images[1], SQUARE))
    liver = [
        closed(images, 1, SQUARE),
        line,
        closed(images, 1, SQUARE[:2]),
        closed(images, 4, SQUARE, off=0.9 * STEP, named=False),
    ]
    structures = [("isocentre", [point]), ("liver", liver), ("empty", [])]
    path = write_rtstruct(tmp_path / "rt.dcm", images, structures)
    assert probe_rtstruct(path).names == ("liver",)
    found = read_rtstruct(path, series_of(images))
    assert [s.name for s in found.segments] == ["liver"]
    assert int((found.layers > 0).sum()) == 30
    assert found.dropped == {
        "points and open lines": 2,
        "contours of fewer than 3 points": 1,
        "contours between or outside the images": 1,
    }


def test_contours_closer_together_than_images_make_no_holes(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    series = series_of(images)
    contours = [closed(images, 2, SQUARE, off=off, named=False) for off in (-1.5, -0.2, 1.0)]
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("liver", contours)])
    found = read_rtstruct(path, series)
    assert np.array_equal(found.layers[0] == 1, expected(series, images, {2: square()}))
    assert found.dropped == {"contours between or outside the images": 2}


def test_a_wrong_reference_yields_to_the_place(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    series = series_of(images)
    contour = ("CLOSED_PLANAR", 0, patient(images[3], SQUARE))  # names the first image
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("liver", [contour])])
    found = read_rtstruct(path, series)
    assert np.array_equal(found.layers[0] == 1, expected(series, images, {3: square()}))


def test_a_gap_in_the_series(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    structures = [("lost", [closed(images, 2, SQUARE)]), ("liver", [closed(images, 1, SQUARE)])]
    path = write_rtstruct(tmp_path / "rt.dcm", images, structures)
    left = [image for index, image in enumerate(images) if index != 2]
    found = read_rtstruct(path, series_of(left))
    assert int((found.layers > 0).sum()) == 30
    assert found.dropped == {"contours between or outside the images": 1}


def test_frames_of_a_multiframe_image(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    source = write_multiframe(tmp_path / "mf.dcm", images, order=[3, 1, 0, 4, 2])
    contour = closed(images, 3, SQUARE)
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("liver", [contour])])
    data = pydicom.dcmread(path)
    uid = pydicom.dcmread(source).SOPInstanceUID
    named = item(ReferencedSOPInstanceUID=uid, ReferencedFrameNumber=1)
    data.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = [named]
    data.save_as(path)
    (series,) = find_series([source]).series
    found = read_rtstruct(path, series)
    single = series_of(images)
    assert np.array_equal(found.layers[0] == 1, expected(single, images, {3: square()}))


def test_a_million_points(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("a", [closed(images, 0, SQUARE)])])
    text = "\\".join(f"{v:.3f}" for v in patient(images[0], SQUARE).reshape(-1)).encode()
    _set_raw(path, b"\\".join([text] * 250_001))  # round the square an odd number of times
    assert (read_rtstruct(path, series_of(images)).layers > 0).sum() == 30


@pytest.mark.parametrize("bad", ["nan", "inf", "1e999", "Doe^Jane", ""])
def test_numbers_that_are_none(tmp_path, bad: str) -> None:
    images = write_series(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("a", [closed(images, 0, SQUARE)])])
    _set_raw(path, "\\".join(["1", "2", bad, *"345678"]).encode())
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_rtstruct(path, series_of(images))
    assert str(path) in str(caught.value)
    assert PATIENT not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"StructureSetROISequence": None}, "no structures"),
        ({"StructureSetROISequence": [item(ROINumber=99)]}, "structure that is not listed"),
        ({"ROIContourSequence": [item(ContourSequence=[item()])]}, "AttributeError"),
        ({"SOPClassUID": "1.2", "Modality": "SR"}, "another kind"),
    ],
)
def test_hostile_structure_sets(tmp_path, changes, said: str) -> None:
    images = write_series(tmp_path / "ct")
    structures = [("a", [closed(images, 0, SQUARE)])]
    path = write_rtstruct(tmp_path / "rt.dcm", images, structures, **changes)
    for read in (probe_rtstruct, lambda path: read_rtstruct(path, series_of(images))):
        with pytest.raises(DatasetError) as caught:
            read(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)
        assert PATIENT not in str(caught.value)


@pytest.mark.parametrize("kept", [0.95, 0.7, 0.4, 0.1])
def test_cut_off_structure_sets(tmp_path, kept: float) -> None:
    images = write_series(tmp_path / "ct")
    contours = [closed(images, 0, SQUARE)] * 30
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("a", contours)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DatasetError):
        read_rtstruct(path, series_of(images))


def test_contours_of_another_scan(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    other = write_series(tmp_path / "other", orientation=OBLIQUE)
    path = write_rtstruct(tmp_path / "rt.dcm", other, [("a", [closed(other, 0, SQUARE)])])
    with pytest.raises(DatasetError, match="differ in position or orientation") as caught:
        read_rtstruct(path, series_of(images))
    assert "none of 1 contours lies in an image" in str(caught.value)
    assert "data.labels" in str(caught.value)


def test_images_without_a_position(tmp_path) -> None:
    images = write_series(tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rt.dcm", images, [("a", [closed(images, 0, SQUARE)])])
    lost = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    flat = write_series(tmp_path / "cr", np.zeros((1, ROWS, COLUMNS), np.int16), **lost)
    with pytest.raises(DatasetError, match="images whose position is known") as caught:
        read_rtstruct(path, series_of(flat))
    assert "im001.dcm states no position" in str(caught.value)


def test_rt_utils_ring(real_data: Path) -> None:
    folder = real_data / "medical/rt-utils_ct_rtstruct"
    series = series_of([folder / "ct_1.dcm", folder / "ct_2.dcm"])
    found = read_rtstruct(folder / "rt.dcm", series)
    assert probe_rtstruct(folder / "rt.dcm").names == ("ROI-1",)
    # A ring at z = 60, the lower of the two slices.
    inside = np.zeros(series.size, bool)
    rows, columns = np.indices(series.size)
    x, y = -125 + columns * series.spacing[1], -125 + rows * series.spacing[0]
    for contour in pydicom.dcmread(folder / "rt.dcm").ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert set(points[:, 2]) == {60}
        for (ax, ay, _), (bx, by, _) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if ay != by:
                inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    assert inside.sum() == 1443
    assert not found.layers[0, 0].any()
    assert np.array_equal(found.layers[0, 1] == 1, inside)


def _set_raw(path: Path, content: bytes) -> None:
    """Put bytes into the first contour as they are, as programs do that write many points."""
    data = pydicom.dcmread(path)
    contour = data.ROIContourSequence[0].ContourSequence[0]
    tag = Tag("ContourData")
    contour[tag] = RawDataElement(tag, "UN", len(content), content, 0, False, True)
    data.save_as(path)
