"""NIfTI: any orientation arrives the same way up, and a lying header allocates nothing."""

import gzip
import itertools
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fixtures_data import SPACING_MM, ct_volume, write_nifti

from samft.data.readers.nifti import probe_nifti, read_nifti
from samft.errors import DatasetError, DependencyError

CODES = [
    "".join(axes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for axes in itertools.product(*order)
]


def message(path: Path, read=read_nifti) -> str:
    with pytest.raises(DatasetError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 4
    return text


@pytest.mark.parametrize("codes", CODES)
def test_all_48_orientations(tmp_path: Path, codes: str) -> None:
    values, _ = ct_volume(0)  # (Z, Y, X) with axes up, front, right
    path = write_nifti(tmp_path / "a.nii", values, codes=codes)
    volume = read_nifti(path)
    # Head to feet, front to back, right to left.
    assert np.array_equal(volume.array[0], values[::-1, ::-1, ::-1])
    assert volume.spacing_mm == pytest.approx(SPACING_MM[::-1])
    native = volume.geometry.to_native(volume.array[0])
    assert np.array_equal(native, np.asarray(nibabel.load(path).dataobj))
    assert probe_nifti(path).shape == volume.array.shape[1:]


@pytest.mark.parametrize("codes", ["RAS", "PSR", "LIP"])
def test_canonical_affine_points_at_the_same_millimetres(tmp_path: Path, codes: str) -> None:
    values, _ = ct_volume(0)
    path = write_nifti(tmp_path / "a.nii", values, codes=codes)
    geometry = read_nifti(path).geometry
    reference = read_nifti(write_nifti(tmp_path / "b.nii", values)).geometry
    assert geometry.distance_mm(reference) < 1e-6
    z, y, x = 2, 5, 7
    place = geometry.affine @ (x, y, z, 1)
    flipped = np.array([*(np.array([19, 23, 5]) - (x, y, z)), 1])
    assert place == pytest.approx(np.diag([*SPACING_MM, 1]) @ flipped)


def test_oblique_volume_keeps_its_spacing(tmp_path: Path) -> None:
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([0.5, 0.7, 3])
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.array.shape == (1, 6, 5, 4)
    assert volume.spacing_mm == pytest.approx((3, 0.7, 0.5), rel=1e-4)


def test_channels_scaling_and_flat_images(tmp_path: Path) -> None:
    four = np.arange(2 * 3 * 4 * 2, dtype=np.float64).reshape(2, 3, 4, 2)
    nibabel.save(nibabel.Nifti1Image(four, np.eye(4)), tmp_path / "c.nii.gz")
    volume = read_nifti(tmp_path / "c.nii.gz")
    assert volume.array.shape == (2, 4, 3, 2)
    assert volume.array.dtype == np.float32
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4), np.uint8), np.eye(4)), tmp_path / "f.nii")
    assert read_nifti(tmp_path / "f.nii").array.shape == (1, 1, 4, 3)
    scaled = nibabel.Nifti1Image(np.full((2, 2, 2), 7, np.int16), np.eye(4))
    scaled.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(scaled, tmp_path / "s.nii")
    raw = bytearray((tmp_path / "s.nii").read_bytes())
    raw[112:120] = struct.pack("<ff", 2.0, -1000.0)
    (tmp_path / "s.nii").write_bytes(raw)
    stored = np.frombuffer(bytes(raw[352:354]), np.int16)[0]
    assert read_nifti(tmp_path / "s.nii").array[0, 0, 0, 0] == 2 * stored - 1000


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_claims_18_gigabytes(tmp_path: Path, ending: str) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((2048, 2048, 2300))
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    path = tmp_path / f"a{ending}"
    data = header.binaryblock + bytes(29)
    path.write_bytes(gzip.compress(data) if ending == ".nii.gz" else data)
    for read in (read_nifti, probe_nifti):
        text = message(path, read)
        assert "more memory than allowed" in text
        assert "2048 x 2048 x 2300 values, 17.97 GB" in text
        assert "at most 2.00 GB" in text


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch) -> None:
    path = write_nifti(tmp_path / "a.nii", ct_volume(0)[0])
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    assert "SAMFT_MAX_BYTES" in message(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.97])
def test_truncated_at_any_place(tmp_path: Path, ending: str, share: float) -> None:
    path = write_nifti(tmp_path / f"a{ending}", ct_volume(0)[0])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for read in (read_nifti, probe_nifti):
        assert "the file cannot be read" in message(path, read)


def test_nonsense_position(tmp_path: Path) -> None:
    affine = np.diag([1.0, 0.0, 1.0, 1.0])
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), None)
    image.header["sform_code"] = 1
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = affine[:3]
    raw = image.header.binaryblock + bytes(4) + bytes(16)
    (tmp_path / "a.nii").write_bytes(raw)
    text = message(tmp_path / "a.nii")
    assert "position in space makes no sense" in text
    assert "affine [[" in text


def test_colour_volume(tmp_path: Path) -> None:
    rgb = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii")
    assert "one number per voxel" in message(tmp_path / "a.nii")


def test_without_nibabel(tmp_path: Path, monkeypatch) -> None:
    path = write_nifti(tmp_path / "a.nii", ct_volume(0)[0])
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(DependencyError, match=r'pip install "samft\[medical\]"'):
        read_nifti(path)


def test_random_bytes_never_escape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = np.frombuffer(write_nifti(tmp_path / "o.nii", ct_volume(0)[0]).read_bytes(), np.uint8)
    for number in range(150):
        hit = data.copy()
        hit[rng.integers(0, 352, 3)] = rng.integers(0, 256, 3)
        path = tmp_path / f"{number}.nii"
        path.write_bytes(hit.tobytes())
        for read in (read_nifti, probe_nifti):
            try:
                read(path)
            except DatasetError as error:
                assert len(str(error).splitlines()) <= 4


@pytest.mark.parametrize(
    ("ending", "packed", "found", "right"),
    [
        (".nii.gz", False, "found: not compressed", "rename it to a.nii"),
        (".nii", True, "found: compressed with gzip", "rename it to a.nii.gz"),
    ],
)
def test_an_ending_that_says_the_opposite(
    tmp_path: Path, ending: str, packed: bool, found: str, right: str
) -> None:
    plain = write_nifti(tmp_path / "b.nii", ct_volume(0)[0]).read_bytes()
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(plain) if packed else plain)
    for read in (read_nifti, probe_nifti):
        text = message(path, read)
        assert found in text
        assert text.endswith(right)
    path = path.rename(tmp_path / right.rpartition(" ")[2])
    assert np.array_equal(read_nifti(path).array, read_nifti(tmp_path / "b.nii").array)
