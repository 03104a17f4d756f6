"""Files of checkpoints: whole or not at all, and told from damaged ones."""

import errno
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from samft import safe_checkpoint
from samft.callbacks.checkpoint_files import SafeCheckpointIO
from samft.errors import CheckpointError
from samft.safe_checkpoint import check_archive, first_readable, remove_leftovers, save_safely

CONTENT = {"state_dict": {"w": torch.arange(10_000.0)}, "step": 3}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    save_safely({"step": 1}, path)
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    save_safely(CONTENT, path)
    found = torch.load(path, weights_only=True)
    assert torch.equal(found["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]


def test_the_order_is_file_then_name_then_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = safe_checkpoint.os.fsync, Path.replace
    monkeypatch.setattr(
        safe_checkpoint.os, "fsync", lambda number: done.append("fsync") or fsync(number)
    )
    monkeypatch.setattr(
        Path, "replace", lambda self, to: done.append("rename") or replace(self, to)
    )
    save_safely(CONTENT, tmp_path / "last.ckpt")
    assert done == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("place", ["fsync", "write"])
def test_a_full_disk_leaves_the_old_file(
    place: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    if place == "fsync":
        monkeypatch.setattr(safe_checkpoint.os, "fsync", fail)
    else:
        opened = Path.open

        def broken(self: Path, *mode: str):
            file = opened(self, *mode)
            return file if "r" in mode[0] else _Full(file, fail)

        monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(OSError, match="No space left") as caught:
        save_safely(CONTENT, kept)
    assert caught.value.errno == errno.ENOSPC
    assert torch.load(kept, weights_only=True) == {"step": 1}
    assert [one.name for one in kept.parent.iterdir()] == ["last.ckpt"]


class _Full:
    def __init__(self, file, fail) -> None:
        self._file, self.write = file, fail

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


LIMITED = """
import resource, signal, sys, torch
from pathlib import Path
from samft.safe_checkpoint import save_safely
path = Path(sys.argv[1])
save_safely({"step": 1}, path)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_safely({"w": torch.zeros(100_000)}, path)
except OSError as error:
    print(error.errno, torch.load(path, weights_only=True), [p.name for p in path.parent.iterdir()])
"""


def test_a_limit_of_the_system_leaves_the_old_file(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE >= 0
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "last.ckpt")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == f"{errno.EFBIG} {{'step': 1}} ['last.ckpt']", done.stderr


def test_a_file_cut_short_or_flipped_is_told(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_safely(CONTENT, path)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut short or damaged") as caught:
            check_archive(path)
        assert str(path) in str(caught.value)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(CheckpointError, match="damaged"):
        check_archive(path)


def test_a_damaged_write_never_gets_the_name(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        safe_checkpoint, "_write", lambda content, part: part.write_bytes(b"PK not a checkpoint")
    )
    files = SafeCheckpointIO()
    files.save_checkpoint({"step": 2}, kept)
    assert files.failed(kept)
    assert files.failures == 1
    assert torch.load(kept, weights_only=True) == {"step": 1}


def test_the_first_whole_one_is_taken(kept: Path) -> None:
    other = kept.with_name("best.ckpt")
    save_safely({"step": 0}, other)
    paths = [kept, kept.with_name("none.ckpt"), other]
    assert first_readable(paths) == (kept, [])
    kept.write_bytes(b"")
    found, problems = first_readable(paths)
    assert found == other
    assert [problem.where for problem in problems] == [kept]
    other.unlink()
    assert first_readable(paths)[0] is None


def test_only_leftovers_go(kept: Path) -> None:
    kept.with_name(".best.ckpt.part").write_bytes(b"x")
    assert remove_leftovers(kept.parent) == 1
    assert remove_leftovers(kept.parent / "none") == 0
    assert kept.is_file()


def test_reading_is_weights_only_whatever_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": print}, path)
    for asked in (None, False, True):
        with pytest.raises(CheckpointError, match="could run code"):
            SafeCheckpointIO().load_checkpoint(path, weights_only=asked)


def test_what_is_read_does_not_hang_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_safely(CONTENT, path)
    loaded = SafeCheckpointIO().load_checkpoint(path)
    path.write_bytes(b"")
    assert float(loaded["state_dict"]["w"][9_999]) == 9_999


def test_parts_that_are_packed_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(CheckpointError) as error:
        check_archive(path)
    assert str(error.value).splitlines() == [
        "the checkpoint is cut short or damaged",
        f"  where: {path}, found: parts that are packed, or larger than the file",
    ]
