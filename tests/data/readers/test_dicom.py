"""DICOM series: order, geometry, values, and what must not be said about the patient."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import (
    COLUMNS,
    OBLIQUE,
    PATIENT,
    ROWS,
    SLICES,
    STEP,
    bright_centre,
    values,
    write_series,
)
from pydicom.uid import generate_uid

from samft.data.readers.dicom import find_series, is_dicom, read_series
from samft.errors import DatasetError


@pytest.mark.parametrize("orientation", [None, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("reverse", [False, True])
def test_geometry(tmp_path: Path, orientation, reverse: bool) -> None:
    changes = {} if orientation is None else {"orientation": orientation}
    paths = write_series(tmp_path, reverse=reverse, **changes)
    (series,) = find_series(paths).series
    assert series.paths == tuple(paths[::-1] if reverse else paths)
    assert series.evenly_spaced
    array = read_series(series)
    z, y, x = (axis.mean() for axis in np.nonzero(array[0] > 100))
    ras = series.geometry.affine @ [x, y, z, 1]
    assert np.allclose(ras[:3] * [-1, -1, 1], bright_centre(paths), atol=1e-4)


def test_values_are_hounsfield_units_and_padding_is_dark(tmp_path: Path) -> None:
    (series,) = find_series(write_series(tmp_path)).series
    array = read_series(series)
    assert array.shape == (1, SLICES, ROWS, COLUMNS)
    native = series.geometry.to_native(array[0]).transpose(2, 1, 0)
    expected = values().astype(np.float32)
    assert np.array_equal(native[:, 1:], expected[:, 1:])
    assert (native[:, 0, :3] == 0).all()  # the lowest of what was measured, not -3024


def test_white_that_is_stored_as_zero_is_turned_round(tmp_path: Path) -> None:
    paths = write_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
    array = read_series(find_series(paths).series[0])
    native = find_series(paths).series[0].geometry.to_native(array[0]).transpose(2, 1, 0)
    assert native[1, 5, 16] == 0
    assert native[1, 15, 2] == 200


def test_radiograph_without_a_position(tmp_path: Path) -> None:
    lost = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    paths = write_series(tmp_path, values()[:2], **lost)
    found = find_series(paths).series
    assert [series.geometry for series in found] == [None, None]
    assert read_series(found[0]).shape == (1, 1, ROWS, COLUMNS)


def test_one_series_per_direction_and_size(tmp_path: Path) -> None:
    uid = generate_uid()
    first = write_series(tmp_path / "a", series=uid)
    second = write_series(tmp_path / "b", values()[:1], series=uid, orientation=OBLIQUE)
    third = write_series(tmp_path / "c", values()[:2, :10], series=uid)
    found = find_series([*first, *second, *third])
    assert [len(series.paths) for series in found.series] == [SLICES, 1, 2]
    assert not found.failures


def test_a_missing_slice_is_noticed(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    (series,) = find_series([*paths[:2], *paths[3:]]).series
    assert not series.evenly_spaced
    (complete,) = find_series(paths).series
    assert complete.geometry.spacing_mm == pytest.approx((STEP, 0.7, 0.9))


def test_two_images_at_one_place(tmp_path: Path) -> None:
    uid = generate_uid()
    paths = write_series(tmp_path / "a", series=uid) + write_series(tmp_path / "b", series=uid)
    found = find_series(paths)
    assert not found.series
    ((_, error),) = found.failures
    assert "two images of a DICOM series lie at the same place" in str(error)
    assert "a folder of its own" in str(error)


def test_what_is_no_image_and_what_cannot_be_used(tmp_path: Path) -> None:
    good = write_series(tmp_path / "good")
    structure = write_series(tmp_path / "rt", values()[:1], Modality="RTSTRUCT")
    several = write_series(tmp_path / "mf", values()[:1], NumberOfFrames=7)
    colour = write_series(tmp_path / "p", values()[:1], PhotometricInterpretation="PALETTE COLOR")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00")
    found = find_series([*good, *structure, *several, *colour, broken])
    assert len(found.series) == 1
    assert found.without_image == 1
    said = {path.name + path.parent.name: str(error) for path, error in found.failures}
    assert "holds several frames" in said["im001.dcmmf"]
    assert "7 frames" in said["im001.dcmmf"]
    assert "PALETTE COLOR" in said["im001.dcmp"]
    assert "cannot be read" in said[f"broken.dcm{tmp_path.name}"]


def test_a_cut_off_file(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    (series,) = find_series(paths).series
    paths[2].write_bytes(paths[2].read_bytes()[:-200])
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_series(series)
    assert "im003.dcm" in str(caught.value)


def test_a_header_that_asks_for_too_much(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", "900")
    found = find_series(write_series(tmp_path))
    assert not found.series
    assert "more memory than allowed" in str(found.failures[0][1])


def test_messages_say_nothing_about_the_patient(tmp_path: Path, caplog, recwarn) -> None:
    paths = write_series(tmp_path)
    for place, path in enumerate(paths):
        content = path.read_bytes()
        # Neither pydicom's own complaint about a number nor ours about a kind may repeat it.
        planted = (b"0.7\\0.9 ", b"MONOCHROME2 ")[place % 2]
        assert planted in content
        path.write_bytes(content.replace(planted, b"Doe^Jane".ljust(len(planted))))
    found = find_series(paths)
    said = " ".join(str(error) for _, error in found.failures) + caplog.text
    said += " ".join(str(warning.message) for warning in recwarn)
    assert len(found.failures) == len(paths)
    assert PATIENT not in said
    assert "4711" not in said


def test_files_without_an_ending(tmp_path: Path) -> None:
    path = write_series(tmp_path, suffix="")[0]
    (tmp_path / "notes").write_text("no image")
    assert is_dicom(path)
    assert not is_dicom(tmp_path / "notes")
    assert not is_dicom(tmp_path / "missing")


def test_real_ct(real_data: Path) -> None:
    folder = real_data / "medical/dcmqi_ct_seg/ct-3slice"
    (series,) = find_series(sorted(folder.glob("*.dcm"))).series
    places = [pydicom.dcmread(path).ImagePositionPatient[2] for path in series.paths]
    assert places == sorted(places)
    array = read_series(series)
    assert array.shape == (1, 3, 512, 512)
    assert -3100 < array.min() < -1000
    assert array.max() > 1000
