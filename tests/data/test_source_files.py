"""What `--source` may name."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from dicom_files import OBLIQUE, values, write_series
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.preprocessing import Preprocessing
from samft.data.source_files import find_sources
from samft.data.sources import PictureSource, SeriesSource, StackSource, VolumeSource
from samft.errors import DatasetError, SamftError


def found(source: Path | str):
    return find_sources(str(source), Preprocessing())


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """One of everything."""
    root = tmp_path / "everything"
    save(root / "a.png", picture(discs(0), 0))
    tifffile.imwrite(root / "stack.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack")
    write_nifti(root / "sub" / "ct.nii.gz", ct_volume(0)[0])
    write_series(root / "scan", suffix="")
    (root / "notes.txt").write_text("not an image")
    return root


def test_a_folder_of_everything(mixed: Path) -> None:
    sources = found(mixed).sources
    kinds = [(source.name, type(source)) for source in sources]
    assert kinds == [
        ("a.png", PictureSource),
        ("scan", SeriesSource),
        ("stack.tif", StackSource),
        ("sub/ct.nii.gz", VolumeSource),
    ]
    assert [len(source.planes) for source in sources] == [1, 5, 3, 6]
    assert sources[0].planes == ("a.png",)
    assert sources[1].planes[0] == "scan/z000"
    assert sources[2].planes[2] == "stack.tif/z002"
    for source in sources:
        height, width = source.size(0)
        assert source.picture(0).shape == (3, height, width)


def test_a_folder_that_is_a_series(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (source,) = found(tmp_path / "ct").sources
    assert source.name == "ct"


def test_several_series_in_a_folder_are_told(tmp_path: Path, caplog) -> None:
    write_series(tmp_path / "ct", suffix=".dcm")
    write_series(tmp_path / "ct", values()[:1], suffix=".ima", orientation=OBLIQUE)
    names = [source.name for source in found(tmp_path).sources]
    assert names == ["ct/series1", "ct/series2"]
    assert "holds 2 DICOM series" in caplog.text


def test_the_acquired_slices_are_the_planes(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", orientation=([0.0, 1.0, 0.0], [0.0, 0.0, -1.0]))
    (source,) = found(tmp_path / "ct").sources
    assert source.planes[0] == "ct/x000"
    assert len(source.planes) == len(paths)
    (axial,) = find_sources(str(tmp_path / "ct"), Preprocessing(axis="axial")).sources
    assert axial.planes[0] == "ct/z000"


def test_a_glob(mixed: Path) -> None:
    assert [source.name for source in found(f"{mixed}/*.*").sources] == ["a.png", "stack.tif"]


def test_several_as_a_shell_makes_of_a_pattern(mixed: Path, tmp_path: Path) -> None:
    words = [str(path) for path in sorted(mixed.iterdir())]
    several = find_sources(words, Preprocessing())
    assert [source.name for source in several.sources] == [
        source.name for source in found(mixed).sources
    ]
    assert several.root == mixed
    assert "of no kind that can be read" in str(several.failures["notes.txt"])
    with pytest.raises(DatasetError, match="the file or folder does not exist") as caught:
        find_sources([*words, str(tmp_path / "gone.png")], Preprocessing())
    assert "gone.png" in str(caught.value)


def test_a_path_with_a_slip(mixed: Path) -> None:
    with pytest.raises(DatasetError, match="the file or folder does not exist") as caught:
        found(mixed / "stak.tif")
    assert "did you mean 'stack.tif'?" in str(caught.value)
    with pytest.raises(DatasetError, match="the file or folder does not exist") as caught:
        found(mixed / "no" / "folder")
    assert f"nothing in {mixed / 'no'}" in str(caught.value)


def test_one_file(mixed: Path) -> None:
    (source,) = found(mixed / "sub" / "ct.nii.gz").sources
    assert source.name == "ct.nii.gz"
    notes = found(mixed / "notes.txt")
    assert "of no kind that can be read" in str(notes.failures["notes.txt"])


def test_a_table(mixed: Path) -> None:
    table = mixed / "list.csv"
    absolute = mixed / "a.png"
    table.write_text(f"case,image\n1,sub/ct.nii.gz\n2,{absolute}\n3,gone.png\n4,\n")
    result = found(table)
    assert [source.name for source in result.sources] == ["a.png", "sub/ct.nii.gz"]
    assert "does not exist" in str(result.failures["gone.png"])
    assert "line 4" in str(result.failures["gone.png"])


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", "sub/../../outside.png"])
def test_a_table_cannot_lead_elsewhere(mixed: Path, name: str) -> None:
    save(mixed.parent / "outside.png", picture(discs(0), 0))
    (mixed / "list.csv").write_text(f"image\n{name}\n")
    with pytest.raises(DatasetError, match="a file outside its folder") as caught:
        found(mixed / "list.csv")
    assert "line 2" in str(caught.value)


def test_a_table_without_the_column(mixed: Path) -> None:
    (mixed / "list.csv").write_text("name,size\n1,2\n")
    with pytest.raises(DatasetError, match="no column of images") as caught:
        found(mixed / "list.csv")
    assert "name, size" in str(caught.value)


def test_nothing_to_predict(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match="nothing to predict") as caught:
        found(tmp_path)
    assert "notes.txt" in str(caught.value)
    with pytest.raises(SamftError, match="does not exist"):
        found(tmp_path / "missing")


def test_the_digest_is_that_of_the_bytes(mixed: Path) -> None:
    before = {source.name: source.digest() for source in found(mixed).sources}
    save(mixed / "a.png", picture(discs(1), 1))
    after = {source.name: source.digest() for source in found(mixed).sources}
    assert [name for name in before if before[name] != after[name]] == ["a.png"]
