"""Caching, processes and bounded lists of `samft.data.checking`."""

import os
import sys
import zlib
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dicom_files import values, write_series
from dicom_objects import segment, write_seg
from fixtures_data import ct_volume, discs, picture, save, write_nifti
from PIL import Image

from samft.data.checking import cache, inspection, survey
from samft.data.checking.codes import CODES, SEVERITIES
from samft.data.checking.facts import Facts, MaskFacts
from samft.data.checking.findings import MAX_PER_CODE, Finding, FindingLog
from samft.data.checking.runner import Report, check_folder
from samft.data.checking.settings import CheckSettings
from samft.data.layouts.base import LayoutSettings
from samft.data.preprocessing import Preprocessing
from samft.errors import ConfigError, MachineError


@pytest.fixture
def old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five pairs that count as settled at once."""
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    for number in range(5):
        save(root / "images" / f"p{number}q.png", picture(discs(number), number))
        save(root / "masks" / f"p{number}q.png", (discs(number) > 0).astype(np.uint8))
    return root


def check(root: Path, **changes: object) -> Report:
    return check_folder(root, CheckSettings(image_size=256, **changes))  # type: ignore[arg-type]


def plain(report: Report) -> tuple[object, ...]:
    return [item.to_dict() for item in report.findings], report.summary.to_dict()


def test_a_second_check_reads_nothing_and_says_the_same(
    old_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(old_set / "images" / "p3q.png")
    first = check(old_set)
    assert first.remembered == 0
    monkeypatch.setattr(inspection.Inspector, "__call__", lambda *_: pytest.fail("a file was read"))
    second = check(old_set)
    assert second.remembered == 5
    assert plain(second) == plain(first)
    assert [item.code for item in second.findings] == ["image-constant"]


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_changed_file_is_read_again(old_set: Path, keep_time: bool) -> None:
    check(old_set)
    path = old_set / "images" / "p2q.png"
    before = path.stat()
    size = before.st_size
    content = bytearray(path.read_bytes())
    content[-20] ^= 0xFF  # as long as before, but damaged
    path.write_bytes(content)
    if keep_time:  # no program can set back the time of the last change of the inode
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == size
    report = check(old_set)
    assert report.remembered == 4
    assert [(item.code, item.file) for item in report.findings] == [
        ("file-unreadable", "images/p2q.png")
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"tiny": 9},
        {"layout": LayoutSettings(threshold=1)},
        {"check_affine": False},
    ],
)
def test_other_settings_remember_nothing(old_set: Path, changes: dict[str, object]) -> None:
    check(old_set)
    assert check(old_set, **changes).remembered == 0


def test_fresh_files_are_not_remembered(old_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SETTLED_NS", 3600 * 10**9)
    check(old_set)
    assert check(old_set).remembered == 0


def test_a_damaged_or_forbidden_cache_costs_time_only(old_set: Path) -> None:
    first = check(old_set)
    (database,) = cache.checks_dir().iterdir()
    database.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    assert plain(check(old_set)) == plain(first)
    assert check(old_set).remembered == 5  # made anew
    for path in cache.checks_dir().iterdir():
        path.unlink()
    cache.checks_dir().rmdir()
    cache.checks_dir().write_text("a file where the folder should be")
    assert plain(check(old_set)) == plain(first)


def test_a_table_beside_the_images_that_changes_is_noticed(old_set: Path) -> None:
    check(old_set)
    assert check(old_set).remembered == 5
    (old_set / "classes.json").write_text("{}")
    assert check(old_set).remembered == 0


def test_without_cache_nothing_is_written(old_set: Path) -> None:
    check_folder(old_set, CheckSettings(), use_cache=False)
    assert not cache.checks_dir().exists()


def test_facts_survive_the_way_through_the_cache(tmp_path: Path) -> None:
    finding = Finding(code="mask-full", file="a", found="b", expected="c", fix="d", files=3)
    facts = Facts(
        findings=[finding],
        size=(3, 4, 5),
        digest=2**64 - 1,
        likeness=2**63,
        classes={0: 7},
        mask=MaskFacts(values={-1: 3, 255: 4}, pieces=2),
        fit=(1.5, 0.5),
    )
    store = cache.FactsCache(tmp_path / "c.sqlite", "s")
    store.put("r", "state", facts)
    assert store.get("r", "state") == facts
    assert store.get("r", "other state") is None
    store.close()


def test_processes_give_the_same_in_the_same_order(old_set: Path) -> None:
    (old_set / "images" / "p1q.png").write_bytes(b"GIF89a")
    (old_set / "masks" / "p4q.png").unlink()
    settings, seen = CheckSettings(image_size=256), []
    alone = check_folder(old_set, settings, use_cache=False)
    several = check_folder(
        old_set, settings, use_cache=False, workers=1, progress=lambda *now: seen.append(now)
    )
    assert plain(several) == plain(alone)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def die(record: object) -> None:
    os._exit(9)


def test_a_killed_process_is_the_machines_trouble(
    old_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_inspect", die)
    if sys.platform == "linux":  # no import of everything before it dies
        monkeypatch.setattr(survey, "get_context", lambda _: get_context("fork"))
    with pytest.raises(MachineError, match="was killed") as caught:
        check_folder(old_set, CheckSettings(), use_cache=False, workers=1)
    assert "--workers 0" in str(caught.value)


def test_lists_stay_bounded_and_counts_do_not() -> None:
    log = FindingLog()
    log.add(
        Finding(code="mask-empty", file=str(row), found="", expected="", fix="")
        for row in range(MAX_PER_CODE + 5)
    )
    log.add([Finding(code="file-empty", file="z", found="", expected="", fix="")])
    assert len(log.sorted()) == MAX_PER_CODE + 1
    assert log.sorted()[0].file == "z"
    assert log.by_severity() == {"error": 1, "warning": MAX_PER_CODE + 5, "note": 0}


def test_every_code_has_a_severity_and_a_meaning() -> None:
    for name, code in CODES.items():
        assert name == name.lower()
        assert code.severity in SEVERITIES
        assert code.meaning
        assert not code.meaning.endswith(".")


def test_a_setting_that_is_wrong_is_no_finding(old_set: Path) -> None:
    settings = CheckSettings(layout=LayoutSettings(classes=["a", "a"]))
    with pytest.raises(ConfigError, match="class names do not make sense"):
        check_folder(old_set, settings, use_cache=False)


def test_channels_are_chosen_as_in_training(tmp_path: Path) -> None:
    for number in range(2):
        values, labels = ct_volume(number)
        write_nifti(tmp_path / f"images/v{number}q.nii.gz", np.stack([values] * 4, axis=-1))
        write_nifti(tmp_path / f"labels/v{number}q.nii.gz", labels)
        flat = np.stack([picture(discs(number), number)[..., 0]] * 5)
        tifffile.imwrite(tmp_path / f"images/f{number}q.tif", flat, photometric="minisblack")
        save(tmp_path / f"labels/f{number}q.png", discs(number).astype(np.uint8))
    refused = check(tmp_path)
    assert refused.log.counts["file-unreadable"] == 2  # five planes without a choice are a stack
    assert "too many channels" in refused.findings[0].found
    for chosen, count in (((0, 3), 0), ((0, 4), 2)):
        found = check(tmp_path, preprocessing=Preprocessing(channels=chosen))
        assert found.log.counts["file-unreadable"] == count
    assert check(tmp_path, preprocessing=Preprocessing(channels=(0,), axis="coronal")).summary


def test_dicom_is_described_as_it_is_stored(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    frames = [(1, k, mask) for k, mask in enumerate(values() > 100) if mask.any()]
    write_seg(tmp_path / "seg.dcm", images, frames, [segment(1, "liver")])
    report = check(tmp_path)
    assert report.findings == []
    assert (report.summary.channels, report.summary.depths) == ({1: 1}, {"int16": 1})


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing else")
    report = check_folder(tmp_path, CheckSettings(), use_cache=False)
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("layout", "error")
    assert "no images found" in finding.found


def test_a_set_that_cannot_be_indexed_is_opened_all_the_same(old_set: Path) -> None:
    source = old_set / "masks" / "p1q.png"
    (old_set / "masks" / "p1q_mask.png").write_bytes(source.read_bytes())
    (old_set / "images" / "p3q.png").write_bytes(b"\x89PNG")
    report = check(old_set)
    assert [item.code for item in report.findings] == ["file-unreadable", "layout"]
    assert report.summary.images == 11


def test_many_lonely_names_are_all_counted(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", picture(discs(0), 0))
    save(tmp_path / "masks" / "a.png", (discs(0) > 0).astype(np.uint8))
    for row in range(1500):
        os.link(tmp_path / "images" / "a.png", tmp_path / "images" / f"x{row:05d}_y.png")
    report = check_folder(tmp_path, CheckSettings(), use_cache=False)
    assert report.log.counts["image-without-mask"] == 1500


def test_names_that_are_no_text_and_pipes(old_set: Path) -> None:
    folder = os.fsencode(old_set)
    for kind in (b"images", b"masks"):
        place = old_set / kind.decode()
        (place / "p0q.png").rename(place / os.fsdecode(b"caf\xe9.png"))
    (old_set / "images" / "p1q.png").unlink()
    os.mkfifo(old_set / "images" / "p1q.png")
    (old_set / "images" / "loose.png").symlink_to(old_set / "images" / "gone.png")
    for _ in range(2):  # also when remembered
        found = {(item.code, item.file) for item in check(old_set).findings}
        assert found == {
            ("file-unreadable", "images/p1q.png"),
            ("image-without-mask", "images/loose.png"),
        }
    os.truncate(folder + b"/images/caf\xe9.png", 30)
    report = check(old_set)
    assert "images/caf\\udce9.png" in [item.file for item in report.findings]


def test_a_closed_folder_is_reported(old_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("images"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = [(item.code, item.file) for item in check(old_set).findings]
    assert ("file-unreadable", "images") in found


def test_a_bomb_is_refused(old_set: Path) -> None:
    head = bytearray((old_set / "images" / "p1q.png").read_bytes())
    head[16:24] = (60_000).to_bytes(4, "big") * 2  # a header that claims 3.6 gigapixels
    head[29:33] = zlib.crc32(head[12:29]).to_bytes(4, "big")
    (old_set / "images" / "p1q.png").write_bytes(head)
    (finding,) = check(old_set).findings
    assert finding.code == "file-unreadable"
    assert "too large to be opened safely" in finding.found
