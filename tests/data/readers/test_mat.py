"""MATLAB files as scipy and MATLAB write them, and as nobody should."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.sparse import csc_matrix

from samft.data.readers.mat import read_annotations, read_boundaries, read_mat
from samft.errors import DatasetError


def write_truth(path: Path, maps: list[np.ndarray], *, compress: bool = True) -> Path:
    cells = np.empty((1, len(maps)), object)
    for number, label_map in enumerate(maps):
        edges = np.zeros(label_map.shape, np.uint8)
        edges[:, 1:] = label_map[:, 1:] != label_map[:, :-1]
        cells[0, number] = {"Segmentation": label_map.astype(np.uint16), "Boundaries": edges}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"groundTruth": cells}, do_compression=compress)
    return path


def halves(count: int, size: tuple[int, int] = (6, 12)) -> np.ndarray:
    return np.broadcast_to(np.arange(size[1]) * count // size[1] + 1, size).copy()


@pytest.mark.parametrize("compress", [True, False])
def test_annotations(tmp_path: Path, compress: bool) -> None:
    path = write_truth(tmp_path / "a.mat", [halves(2), halves(3)], compress=compress)
    first, second = read_annotations(path)
    np.testing.assert_array_equal(first.segmentation, halves(2))
    assert second.segmentation.max() == 3
    edges = read_boundaries(path)
    assert [e.dtype for e in edges] == [bool, bool]
    assert [int(e.sum()) for e in edges] == [6, 12]


def test_all_that_scipy_writes_is_let_through(tmp_path: Path) -> None:
    cells = np.empty((2, 2), object)
    cells[0, 0], cells[1, 1] = "text", np.eye(3)
    cells[0, 1], cells[1, 0] = np.zeros((0, 0)), np.zeros((0, 0))
    content = {
        "cells": cells,
        "nested": {"a": {"b": [1, 2, 3]}, "c": "x"},
        "structs": np.array([(1, 2.5)], dtype=[("i", object), ("f", object)]),
        "sparse": csc_matrix(np.eye(5)),
        "complex": np.array([1 + 2j]),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "wide": np.zeros((2, 3, 4, 5), np.int8),
        "a_name_that_is_long": np.arange(7, dtype=np.uint64),
    }
    for number, compress in enumerate((True, False)):
        path = tmp_path / f"{number}.mat"
        savemat(path, content, do_compression=compress)
        found = read_mat(path)
        assert set(found) == set(content)
        np.testing.assert_array_equal(found["wide"], content["wide"])
        assert found["cells"][0, 0][0] == "text"


def test_sparse_boundaries(tmp_path: Path) -> None:
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"Boundaries": csc_matrix(np.eye(4)), "Segmentation": halves(2, (4, 4))}
    savemat(tmp_path / "a.mat", {"groundTruth": cells})
    assert read_boundaries(tmp_path / "a.mat")[0].sum() == 4


def test_rows_beyond_a_sparse_matrix(tmp_path: Path) -> None:
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"Boundaries": csc_matrix(np.eye(4)), "Segmentation": halves(2, (4, 4))}
    path = tmp_path / "a.mat"
    savemat(path, {"groundTruth": cells}, do_compression=False)
    rows, beyond = struct.pack("<4i", 0, 1, 2, 3), struct.pack("<4i", 0, 1, 2, 2**30)
    assert read_boundaries(path)[0].sum() == 4
    path.write_bytes(path.read_bytes().replace(rows, beyond, 1))  # where columns begin comes later
    with pytest.raises(DatasetError, match="the file cannot be read") as caught:
        read_boundaries(path)
    assert caught.value.where == path


def test_version_7_3_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "new.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DatasetError, match="the file cannot be read") as caught:
        read_mat(path)
    assert "version 7.3, which is HDF5 (save it with -v7)" in str(caught.value)
    assert str(path) in str(caught.value)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], *rest: bytes) -> bytes:
    flags = element(6, struct.pack("<II", kind, 0))
    sides = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + sides + element(1, b"groundTruth") + b"".join(rest))


def packed(data: bytes) -> bytes:
    data = zlib.compress(data)
    return struct.pack("<II", 15, len(data)) + data


# A cell whose tag says that it is longer than it is: scipy would go on in the middle of it.
LONGER = element(14, matrix(6, (0, 0), element(9, b""))[8:] + b"\0" * 8)
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (matrix(1, (2**16, 2**14)), "cells, 0 bytes are there"),
        (
            matrix(2, (2**16, 2**14), element(5, struct.pack("<i", 8)), element(1, b"a" * 16)),
            "cells",
        ),
        (matrix(6, (2**16, 2**14), element(9, b"\0" * 64)), "65536 x 16384 values, 72 bytes"),
        (matrix(6, (-1, 5)), "-1 x 5"),
        (packed(matrix(1, (2**16, 2**14))), "cells, 0 bytes are there"),
        (packed(b"\0" * 2**22), "unpacked it takes more than"),
        (packed(matrix(6, (1, 1), element(9, b"\0" * 8)))[:-9], "bytes"),
        (element(14, b"\0" * 4), "it ends within an element"),
        (b"\0" * 5, "it ends within an element"),
        (matrix(0, (1, 1)), "the unknown kind 0"),
        (struct.pack("<II", 14, 2**31), "an element of 2147483648 bytes"),
        # What ended the process: scipy looks types up in a table without an end.
        (matrix(6, (1, 1), element(8, b"\0" * 8)), "an element of the type 8"),
        (matrix(6, (1, 1), element(40_000, b"\0" * 8)), "an element of the type 40000"),
        (matrix(1, (1, 1), matrix(6, (1, 1), element(11, b"\0" * 8))), "of the type 11"),
        (matrix(5, (4, 4), element(9, b"\0" * 8)), "an element of the type 9"),
        (matrix(1, (1, 1), element(15, b"\0" * 8)), "an element of the type 15"),
        (matrix(6, (1, 1), struct.pack("<HHI", 9, 500, 0)), "a small element of 500 bytes"),
        (matrix(6, (2, 2), element(9, b"\0" * 24)), "24 bytes for 4 values of 8"),
        (matrix(1, (1, 1), LONGER), "8 too many"),
        (matrix(2, (1, 1), element(5, b"\0" * 4), element(1, b"a" * 16)), "names of 0 letters"),
        (matrix(17, (1, 1)), "of the kind object, which is not read"),
        (matrix(6, (3,), element(9, b"\0" * 24)), "an array of 3 values"),
    ],
)
def test_lies(tmp_path: Path, body: bytes, found: str, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(2**20))
    path = tmp_path / "lie.mat"
    path.write_bytes(HEADER + body)
    with pytest.raises(DatasetError, match="the file cannot be read") as caught:
        read_mat(path)
    assert found in str(caught.value)


def test_cells_in_cells_in_cells(tmp_path: Path) -> None:
    body = matrix(6, (1, 1), element(9, b"\0" * 8))
    for _ in range(40):
        body = matrix(1, (1, 1), body)
    (tmp_path / "deep.mat").write_bytes(HEADER + body)
    with pytest.raises(DatasetError) as caught:
        read_mat(tmp_path / "deep.mat")
    assert "too deep" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"other": 1}, "no groundTruth in it"),
        ({"groundTruth": np.eye(3)}, "no groundTruth in it"),
        ({"groundTruth": np.array([["text"]], object)}, "no annotation"),
        ({"groundTruth": {"Segmentation": np.eye(3)}}, "no groundTruth in it"),
    ],
)
def test_other_content(tmp_path: Path, content: dict[str, object], found: str) -> None:
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_annotations(tmp_path / "a.mat")
    assert found in str(caught.value)


def test_annotations_that_do_not_fit(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "a.mat", [halves(2), halves(2, (7, 12))])
    with pytest.raises(DatasetError) as caught:
        read_annotations(path)
    assert "annotations of sizes [(6, 12), (7, 12)]" in str(caught.value)
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"Segmentation": halves(2)}
    savemat(path, {"groundTruth": cells})
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_boundaries(path)
    assert "without Boundaries" in str(caught.value)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    return write_truth(folder / "a.mat", [halves(3)], compress=False).read_bytes()


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_damage_gives_our_error_or_a_result(good, tmp_path_factory, data) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    path = tmp_path_factory.mktemp("damaged") / "a.mat"
    for content in (bytes(damaged), good[:cut]):
        path.write_bytes(content)
        try:
            read_annotations(path)
        except DatasetError as error:
            assert str(path) in str(error)
