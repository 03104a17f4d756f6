"""NRRD and 3D Slicer segmentations: names, layers, orientation, and files that lie."""

import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest
from fixtures_data import ct_volume

from samft.data.readers.nrrd import probe_nrrd, read_nrrd, read_segments
from samft.data.readers.volume import Segment
from samft.errors import DatasetError, DependencyError

LPS = {
    "space": "left-posterior-superior",
    "space directions": np.diag([0.8, 0.7, 5.0]),
    "space origin": np.zeros(3),
}


def message(path: Path, read=read_nrrd) -> str:
    with pytest.raises(DatasetError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 4
    return text


def write(path: Path, zyx: np.ndarray, header: dict | None = None, **options) -> Path:
    nrrd.write(str(path), zyx.transpose(2, 1, 0), header or LPS, **options)
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_type_and_encoding(tmp_path: Path, encoding: str, dtype: str) -> None:
    values = ct_volume(0)[0].clip(0, 100).astype(dtype)
    path = write(tmp_path / "a.nrrd", values, LPS | {"encoding": encoding})
    volume = read_nrrd(path)
    # x runs left and y back in LPS as in the canonical array; only z is turned over.
    assert np.array_equal(volume.array[0], values[::-1])
    assert volume.array.dtype == np.dtype(dtype)
    assert volume.spacing_mm == pytest.approx((5.0, 0.7, 0.8))
    assert probe_nrrd(path).shape == values.shape


def test_big_endian(tmp_path: Path) -> None:
    values = ct_volume(0)[0]
    path = write(tmp_path / "a.nrrd", values, LPS | {"encoding": "raw"})
    data = path.read_bytes().replace(b"endian: little", b"endian: big")
    assert b"endian: big" in data
    start = data.index(b"\n\n") + 2
    body = values.astype(">i2").tobytes()  # x fastest: the order of the (Z, Y, X) array
    path.write_bytes(data[:start] + body)
    assert np.array_equal(read_nrrd(path).array[0], values[::-1])


@pytest.mark.parametrize(
    ("space", "flips"),
    [
        ("right-anterior-superior", (True, True, True)),
        ("RAS", (True, True, True)),
        ("left-anterior-superior", (True, True, False)),
        ("left-posterior-superior", (True, False, False)),
    ],
)
def test_spaces(tmp_path: Path, space: str, flips: tuple[bool, ...]) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0], LPS | {"space": space})
    assert read_nrrd(path).geometry.flips == flips


def test_without_space_the_spacings_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0], {"spacings": [0.5, 0.6, 2.0]})
    assert read_nrrd(path).spacing_mm == pytest.approx((2.0, 0.6, 0.5))
    nrrd.write(str(tmp_path / "b.nrrd"), np.ones((3, 4), np.uint8))
    assert read_nrrd(tmp_path / "b.nrrd").array.shape == (1, 1, 4, 3)


def test_overlapping_layers(tmp_path: Path) -> None:
    layers = np.zeros((2, 20, 24, 6), np.uint8)
    layers[0, 3:6], layers[1, 4:9] = 1, 1
    header = {
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full(3, np.nan), np.eye(3)]),
        "space origin": np.zeros(3),
        "kinds": ["list", "domain", "domain", "domain"],
        "Segment0_Name": "lung",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment1_Name": "nodule",
        "Segment1_LabelValue": "1",
        "Segment1_Layer": "1",
    }
    path = tmp_path / "a.seg.nrrd"
    nrrd.write(str(path), layers, header)
    volume = read_nrrd(path)
    assert volume.array.shape == (2, 6, 24, 20)
    assert np.array_equal(volume.array[1], layers[1].transpose(2, 1, 0)[::-1])
    expected = (Segment(name="lung", value=1), Segment(name="nodule", value=1, layer=1))
    assert volume.segments == expected
    assert read_segments(path) == expected


def test_a_small_file_that_unpacks_to_a_lot(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0], LPS | {"encoding": "gzip"})
    data = path.read_bytes()
    start = data.index(b"\n\n") + 2
    path.write_bytes(data[:start] + gzip.compress(bytes(200_000_000), 1))
    # What the header announces is read, and not a byte more.
    assert read_nrrd(path).array.nbytes == 6 * 24 * 20 * 2


def test_a_header_that_claims_18_gigabytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0])
    path.write_bytes(path.read_bytes().replace(b"sizes: 20 24 6", b"sizes: 2048 2048 2300"))
    for read in (read_nrrd, probe_nrrd):
        assert "2048 x 2048 x 2300 values, 17.97 GB" in message(path, read)


@pytest.mark.parametrize("sizes", [b"0 24 6", b"-20 24 6", b"20 24"])
def test_impossible_sizes(tmp_path: Path, sizes: bytes) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0])
    path.write_bytes(path.read_bytes().replace(b"sizes: 20 24 6", b"sizes: " + sizes))
    message(path)


def test_data_in_another_file_is_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0])
    path.write_bytes(
        path.read_bytes().replace(b"encoding:", b"data file: /etc/passwd\nencoding:", 1)
    )
    for read in (read_nrrd, probe_nrrd):
        assert "data in another file (/etc/passwd)" in message(path, read)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_at_any_place(tmp_path: Path, encoding: str, share: float) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0], LPS | {"encoding": encoding})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for read in (read_nrrd, probe_nrrd):
        assert "the file cannot be read" in message(path, read)


def test_without_pynrrd(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path / "a.nrrd", ct_volume(0)[0])
    monkeypatch.setitem(__import__("sys").modules, "nrrd", None)
    with pytest.raises(DependencyError, match=r'pip install "samft\[medical\]"'):
        read_nrrd(path)


def test_random_bytes_never_escape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write(tmp_path / "o.nrrd", ct_volume(0)[0], LPS | {"encoding": "raw"})
    data = np.frombuffer(path.read_bytes(), np.uint8)
    end = path.read_bytes().index(b"\n\n")
    for number in range(150):
        hit = data.copy()
        hit[rng.integers(0, end, 3)] = rng.integers(0, 256, 3)
        broken = tmp_path / f"{number}.nrrd"
        broken.write_bytes(hit.tobytes())
        for read in (read_nrrd, probe_nrrd):
            try:
                read(broken)
            except DatasetError as error:
                assert len(str(error).splitlines()) <= 4
