"""The Cell Tracking Challenge's folders: gold and silver truth, sparse frames, sequences."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_data import discs, picture, save

from samft.data.layouts.registry import recognise
from samft.data.microscopy import MicroscopyDataModule
from samft.errors import DatasetError


def challenge(root: Path, *, gold: tuple[int, ...] = (0, 2), sequences: int = 2) -> Path:
    for number in range(1, sequences + 1):
        name = f"{number:02d}"
        for frame in range(4):
            labels = discs(frame + number).astype(np.uint16)
            save(root / name / f"t{frame:03d}.tif", picture(labels, frame))
            save(root / f"{name}_GT" / "TRA" / f"man_track{frame:03d}.tif", labels)
            save(root / f"{name}_ST" / "SEG" / f"man_seg{frame:03d}.tif", np.minimum(labels, 2))
            if frame in gold:
                save(root / f"{name}_GT" / "SEG" / f"man_seg{frame:03d}.tif", labels)
    return root


def module(root: Path, **settings) -> MicroscopyDataModule:
    return MicroscopyDataModule(root=str(root), **({"val_fraction": 0} | settings))


def names_of(data: MicroscopyDataModule, split="train") -> list[str]:
    return [record.sample_id for record in data.records(split)]


def test_gold_truth(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert recognise(challenge(tmp_path))[0].name == "cell_tracking"
    with caplog.at_level("INFO", "samft"):
        data = module(tmp_path)
        dataset = data.dataset("train")
    assert names_of(data) == ["01/t000.tif", "01/t002.tif", "02/t000.tif", "02/t002.tif"]
    assert [dataset[n].num_objects for n in range(4)] == [4] * 4
    assert "4 of 8 frames have a mask, the others are left out" in caplog.text
    expected = discs(3)
    found = {mask.numpy().tobytes() for mask in dataset[1].masks()}
    assert found == {(expected == v).tobytes() for v in range(1, 5)}


def test_silver_truth(tmp_path: Path) -> None:
    challenge(tmp_path / "set")
    data = module(tmp_path, layout="cell_tracking", labels="**/*_ST/SEG/*.tif")
    assert len(names_of(data)) == 8
    assert data.dataset("train")[0].num_objects == 2
    assert len(names_of(module(challenge(tmp_path / "silver", gold=())))) == 8


def test_a_sequence_is_a_case(tmp_path: Path) -> None:
    data = module(challenge(tmp_path / "a"), val_fraction=0.5)
    folders = [{name[:2] for name in names_of(data, split)} for split in ("train", "val")]
    assert sorted(map(sorted, folders)) == [["01"], ["02"]]
    single = module(challenge(tmp_path / "b", sequences=1, gold=(0, 1, 2, 3)), val_fraction=0.25)
    assert [len(names_of(single, split)) for split in ("train", "val")] == [3, 1]


def test_volumes_and_masks_of_single_slices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.stack([discs(0)] * 5).astype(np.uint16)
    save(tmp_path / "01" / "t000.tif", (labels * 40).astype(np.uint8))
    save(tmp_path / "01_GT" / "SEG" / "man_seg000.tif", labels)
    save(tmp_path / "01_GT" / "SEG" / "man_seg_001_002.tif", labels[0])
    with caplog.at_level("WARNING", "samft"):
        data = module(tmp_path)
        assert [data.dataset("train")[n].num_objects for n in range(5)] == [4] * 5
    assert "1 masks of single slices of volumes left out: 01_GT/SEG/man_seg_001" in caplog.text


def test_what_is_missing(tmp_path: Path) -> None:
    challenge(tmp_path)
    (tmp_path / "01" / "t002.tif").unlink()
    with pytest.raises(DatasetError, match="1 mask has no frame") as caught:
        module(tmp_path).prepare_index()
    assert "01_GT/SEG/man_seg002.tif" in str(caught.value)
    assert len(names_of(module(tmp_path, on_missing="skip"))) == 3
    for path in tmp_path.glob("0?/*.tif"):
        path.rename(path.with_name(path.name.replace("t00", "t10")))
    with pytest.raises(DatasetError, match="no frame has a mask") as caught:
        module(tmp_path, on_missing="skip").prepare_index()
    assert "data.layout: cell_tracking" in str(caught.value)
