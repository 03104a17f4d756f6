"""Many sources: bad ones do not end the run, killed runs go on, and the result is the same."""

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bright_segmenter import Bright
from dicom_files import values, write_series
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.preprocessing import Preprocessing
from samft.data.source_files import find_sources
from samft.errors import MachineError, OutputError
from samft.inference.campaign import Outcome, predict_sources
from samft.inference.writers import PredictionFiles

FORMATS = ["png", "tiff", "masks", "coco", "coco_results", "sa1b", "geojson", "ome_zarr", "overlay"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(6):
        folder = root / ("sub" if number % 2 else "")
        save(folder / f"img{number}.png", picture(discs(number), number))
    write_nifti(root / "ct.nii.gz", ct_volume(0)[0])
    return root


def predict(
    photos: Path, out: Path, *, formats=FORMATS, segmenter=None, plan=None, overwrite=False
) -> Outcome:
    found = find_sources(str(photos), Preprocessing())
    files = PredictionFiles(out, formats, plan=plan or {"model": "a"}, overwrite=overwrite)
    chosen = segmenter or Bright()
    return predict_sources(found.sources, chosen, files, failures=found.failures)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_call_has_nothing_to_do(photos: Path, tmp_path: Path) -> None:
    first = predict(photos, tmp_path / "out")
    before = contents(tmp_path / "out")
    segmenter = Bright()
    second = predict(photos, tmp_path / "out", segmenter=segmenter)
    assert (first.done, first.skipped) == (12, 0)
    assert (second.done, second.skipped) == (0, 12)
    assert not segmenter.calls
    assert contents(tmp_path / "out") == before


def test_new_changed_and_lost_files_are_made_again(photos: Path, tmp_path: Path) -> None:
    predict(photos, tmp_path / "out")
    save(photos / "new.png", picture(discs(9), 9))
    save(photos / "img0.png", picture(discs(8), 8))
    (tmp_path / "out/overlays/img2.png.png").unlink()
    segmenter = Bright()
    predict(photos, tmp_path / "out", segmenter=segmenter)
    assert sorted(segmenter.calls) == ["img0.png", "img2.png", "new.png"]


def test_nothing_stays_of_an_earlier_version_of_a_source(photos: Path, tmp_path: Path) -> None:
    write_series(photos / "series")
    narrow = {"formats": ["dicom_seg"], "plan": {"model": "b"}}
    predict(photos / "series", tmp_path / "out", **narrow)
    assert (tmp_path / "out/dicom_seg/series.dcm").is_file()
    write_series(photos / "series", np.zeros_like(values()))
    predict(photos / "series", tmp_path / "out", **narrow)
    assert not (tmp_path / "out/dicom_seg").exists()


def test_other_settings_are_refused(photos: Path, tmp_path: Path) -> None:
    predict(photos, tmp_path / "out", plan={"model": {"arch": "a"}})
    with pytest.raises(OutputError, match="made with other settings") as caught:
        predict(photos, tmp_path / "out", plan={"model": {"arch": "b"}})
    assert "model.arch was 'a', is 'b' now" in str(caught.value)
    assert "--overwrite" in str(caught.value)


def test_overwriting_leaves_nothing_of_before(photos: Path, tmp_path: Path) -> None:
    predict(photos, tmp_path / "out")
    (tmp_path / "out/mine.txt").write_text("precious")
    (photos / "img0.png").unlink()
    predict(photos, tmp_path / "out", formats=["png"], plan={"model": "b"}, overwrite=True)
    predict(photos, tmp_path / "fresh", formats=["png"], plan={"model": "b"})
    assert contents(tmp_path / "out").pop("mine.txt") == b"precious"
    (tmp_path / "out/mine.txt").unlink()
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_somebody_elses_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="the output folder is not empty"):
        predict(photos, tmp_path / "out")


def test_bad_files_do_not_end_the_run(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (photos / "bad.nii.gz").write_bytes(b"nothing at all")
    (photos / "empty.tif").write_bytes(b"")
    write_series(photos / "scan", PhotometricInterpretation="PALETTE COLOR")
    outcome = predict(photos, tmp_path / "out")
    assert outcome.done == 12
    assert {"bad.png", "bad.nii.gz", "empty.tif", "scan/im001.dcm"} <= set(outcome.failures)
    assert all("\n" in str(error) for error in outcome.failures.values())
    assert predict(photos, tmp_path / "out").skipped == 12


def test_a_full_disk_ends_it_and_it_goes_on(photos: Path, tmp_path: Path, monkeypatch) -> None:
    import samft.inference.formats.labels as labels

    calls = iter(range(100))

    def full(path: Path, array: np.ndarray, **settings) -> None:
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        original(path, array, **settings)

    original = labels.tifffile.imwrite
    monkeypatch.setattr(labels.tifffile, "imwrite", full)
    with pytest.raises(MachineError, match="No space left on device"):
        predict(photos, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.part"))
    predict(photos, tmp_path / "out")
    predict(photos, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_anywhere_it_ends_the_same(photos: Path, tmp_path: Path) -> None:
    """SIGKILL at a random file operation, then the same call again: every byte as without."""
    predict(photos, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    out, chance, partial = tmp_path / "out", random.Random(0), set()
    for _ in range(6):
        for _ in range(3):
            _killed_at(chance.randint(1, 60), lambda: predict(photos, out), below=out)
            partial.add(len(contents(out)) if out.exists() else 0)
        predict(photos, out)
        assert contents(out) == whole
        shutil.rmtree(out)
    assert len(partial) > 6  # it was really stopped in many places


def _killed_at(operation: int, work: Callable[[], object], *, below: Path) -> None:
    """Run in a child process that dies when it opens, renames or deletes the n-th file."""
    child = os.fork()
    if child == 0:
        left = operation

        def count(event: str, args: tuple[object, ...]) -> None:
            nonlocal left
            if event in ("open", "os.rename", "os.remove") and str(below) in str(args[0]):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
