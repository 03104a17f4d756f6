"""Nothing outside the folder, nothing by halves."""

from pathlib import Path

import pytest

from samft.errors import MachineError, OutputError
from samft.inference.output_folder import OutputFolder, write_atomically


@pytest.mark.parametrize(
    "name",
    ["../a.png", "/etc/a.png", "x/../../a.png", "..\\..\\a.png", "C:\\a.png", "", "a\0.png"],
)
def test_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="outside the output folder"):
        OutputFolder(tmp_path / "out").place("labels", name, ".png")


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/labels").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(OutputError, match="outside the output folder"):
        OutputFolder(tmp_path / "out").place("labels", "a.png", ".png")


def test_removing_stays_inside(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    folder = OutputFolder(tmp_path / "out")
    place = folder.write(folder.place("labels", "sub/a", ".txt"), lambda p: p.write_text("x"))
    folder.remove("../precious.txt")
    for unusable in ("a\0b", "\ud800", "x" * 300, "y" * 5000 + "/a", ""):
        folder.remove(unusable)
    assert precious.exists()
    assert place.exists()
    folder.remove(folder.relative(place))
    assert not (tmp_path / "out/labels").exists()
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("bad")])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises((MachineError, ValueError), match="No space left|bad"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_folders_are_replaced_as_a_whole(tmp_path: Path) -> None:
    def fill(name: str):
        return lambda path: (path.mkdir(), (path / name).write_text("x"))

    write_atomically(tmp_path / "a.zarr", fill("old"))
    write_atomically(tmp_path / "a.zarr", fill("new"))
    assert [path.name for path in (tmp_path / "a.zarr").iterdir()] == ["new"]


def test_halves_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/.a.png.part").write_text("half")
    (tmp_path / "labels/.b.zarr.part").mkdir()
    (tmp_path / "labels/kept.part").write_text("somebody's")
    OutputFolder(tmp_path).remove_halves()
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["kept.part"]
