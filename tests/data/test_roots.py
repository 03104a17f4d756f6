"""Where the data lies, and that no name leads out of it."""

import os
from pathlib import Path

import pytest

from samft.data.roots import inside_root, resolve_root
from samft.errors import ConfigError, DatasetError, DependencyError


def message(kind: type[Exception], root: str) -> str:
    with pytest.raises(kind) as caught:
        resolve_root(root)
    assert len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


def test_paths(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for root in ("data", "./data", "~/data", str(tmp_path / "data"), "data/../data"):
        assert resolve_root(root) == (tmp_path / "data").resolve()


def test_missing_folder_suggests_a_neighbour(tmp_path: Path) -> None:
    for name in ("spleen", "liver"):
        (tmp_path / name).mkdir()
    text = message(DatasetError, str(tmp_path / "splen"))
    assert "the data folder does not exist" in text
    assert str(tmp_path / "splen") in text
    assert "liver, spleen" in text
    assert "did you mean 'spleen'?" in text


def test_missing_parents_and_relative_paths(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = message(DatasetError, "a/b/c")
    assert str(tmp_path / "a/b/c") in text  # absolute, so that one sees what it was relative to
    assert f"{tmp_path} is the last part that exists" in text


def test_file_instead_of_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    text = message(DatasetError, str(tmp_path / "a.png"))
    assert "is a file, not a folder" in text
    assert f"set data.root to {tmp_path}" in text


def test_package_data() -> None:
    assert (resolve_root("package:slicerio/data") / "CTChest4.nrrd").is_file()
    assert "no such folder" in message(DatasetError, "package:slicerio/../numpy")
    assert "data" in message(DatasetError, "package:slicerio/dta")
    text = message(DependencyError, "package:not_installed_here/data")
    assert 'pip install "samft[examples]"' in text
    assert "names no package" in message(ConfigError, "package:../x")


NAMES = [
    "../a.png",
    "x/../../a.png",
    "/etc/passwd",
    "\\\\server\\a.png",
    "..\\a.png",
    "C:\\a.png",
    "c:a.png",
    "a.png::$DATA",
    "a\0.png",
    "",
    "link/secret.png",
    "\ud800.png",  # no file can have this name
    "circle/a.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.png").touch()
    os.symlink(tmp_path, tmp_path / "root" / "link")
    os.symlink("circle", tmp_path / "root" / "circle")
    assert inside_root(tmp_path / "root", name) is None


def test_names_that_stay(tmp_path: Path) -> None:
    assert inside_root(tmp_path, "a/b.png") == tmp_path / "a/b.png"
    assert inside_root(tmp_path, "a\\b.png") == tmp_path / "a/b.png"
    assert inside_root(tmp_path, "a..b.png") == tmp_path / "a..b.png"
