"""`samft predict` as people use it: every kind of source and prompt, bad files, kills."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from dicom_files import PATIENT, write_series
from fixtures_data import ct_volume, discs, picture, save, write_nifti
from PIL import Image

from samft import SamModule
from samft.cli.entry import main

EVERYTHING = [
    *("--automatic", "points_per_side=4", "pred_iou_thresh=-10"),
    *("stability_score_thresh=0", "max_mask_area_fraction=1"),
]


def make_run(folder: Path, *, data: dict | None = None, prompts: dict | None = None) -> Path:
    """Write a run folder of a model that was never trained."""
    torch.manual_seed(0)
    module = SamModule("vit_nano", image_size=64, prompts=prompts)
    (folder / "checkpoints").mkdir(parents=True)
    stored = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    torch.save(stored, folder / "checkpoints" / "best.ckpt")
    config = {"model": {"class_path": "samft.SamModule", "init_args": {"arch": "vit_nano"}}}
    config["model"]["init_args"]["image_size"] = 64
    (folder / "config.fit.yaml").write_text(
        yaml.safe_dump(config | ({"data": data} if data else {}))
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    window = {"class_path": "samft.MedicalDataModule", "init_args": {"window": [40, 400]}}
    return make_run(tmp_path_factory.mktemp("run") / "0", data=window)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "sub/b.png", "c.tif")):
        save(tmp_path / "photos" / name, picture(discs(number), number))
    return tmp_path / "photos"


def predict(run: Path, source: Path, out: Path, *words: str) -> int:
    given = ["predict", str(run), "--source", str(source), "--out", str(out), "--device", "cpu"]
    return main([*given, *words])


def coco(out: Path) -> dict:
    return json.loads((out / "coco.json").read_text())


def plan(out: Path) -> dict:
    return yaml.safe_load((out / "config.predict.yaml").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_everything_automatically(run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    formats = ("--format", "png", "coco", "sa1b", "overlay")
    assert predict(run, photos, tmp_path / "out", *EVERYTHING, *formats) == 0
    assert "3 predicted" in capsys.readouterr().out
    document = json.loads((tmp_path / "out/sa1b/sub/b.png.json").read_text())
    assert document["annotations"]
    assert {"stability_score", "crop_box", "point_coords"} <= set(document["annotations"][0])
    assert predict(run, photos, tmp_path / "out", *EVERYTHING, *formats) == 0
    assert "0 predicted, 3 finished before" in capsys.readouterr().out


def test_auto_asks_as_finely_as_the_model_sees(run: Path, photos: Path, tmp_path: Path) -> None:
    for kind, side in (("auto", 4), ("grid", 32)):
        out = tmp_path / kind
        assert predict(run, photos / "a.png", out, "--prompts", kind) == 0
        settings = plan(out)["prompts"]["automatic"]
        assert settings["points_per_side"] == side
        assert settings["pred_iou_thresh"] == {"auto": 0.6, "grid": 0.88}[kind]


def test_label_images_as_prompts(run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    for number, name in ((0, "a.png"), (1, "sub/b.png")):
        save(tmp_path / "rough" / name, discs(number).astype(np.uint8))
    rough = str(tmp_path / "rough")
    assert predict(run, photos, tmp_path / "out", "--prompts", rough) == 0
    assert "2 of 3 images have prompts" in capsys.readouterr().err
    found = coco(tmp_path / "out")
    assert [image["file_name"] for image in found["images"]] == ["a.png", "sub/b.png"]
    assert [item["prompt_id"] for item in found["annotations"]] == [1, 2, 3, 4] * 2
    rows, columns = np.nonzero(discs(0) == 1)
    box = [columns.min(), rows.min(), columns.max(), rows.max()]
    assert found["annotations"][0]["prompt"]["box"] == pytest.approx(box, abs=0.01)
    words = ("--prompts", rough, "--mask-prompts")
    assert predict(run, photos, tmp_path / "masks", *words) == 0
    with_masks = [item["segmentation"] for item in coco(tmp_path / "masks")["annotations"]]
    assert with_masks != [item["segmentation"] for item in found["annotations"]]


def test_labels_that_fit_nothing(run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    save(tmp_path / "rough/x.png", discs(0).astype(np.uint8))
    assert predict(run, photos, tmp_path / "out", "--prompts", str(tmp_path / "rough")) == 2
    assert "no image of the source has prompts" in capsys.readouterr().err


def test_bad_files_are_listed(run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    write_series(photos / "scan", PhotometricInterpretation="PALETTE COLOR")
    prompts = {"a.png": [{"box": [1, 1, 9, 9]}], "bad.png": [{"box": [1, 1, 9, 9]}]}
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    for words in (("--prompts", str(tmp_path / "p.json")), tuple(EVERYTHING)):
        out = tmp_path / words[0]
        assert predict(run, photos, out, *words) == 1
        said = capsys.readouterr()
        assert "failed" in said.out
        assert "failed       bad.png\n  DatasetError: the file cannot be read" in said.err
        assert "scan/im001.dcm" in said.err
        assert "Traceback" not in said.err
        assert (out / "labels/a.png.png").is_file()


def test_a_mistake_in_the_prompts_ends_it_before_anything(
    run: Path, photos: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"a.png": [{"box": [1, 1, 900, 9]}]}))
    assert predict(run, photos, tmp_path / "out", "--prompts", str(tmp_path / "p.json")) == 2
    assert "the box lies outside the image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_volume_with_the_window_of_the_run(run: Path, tmp_path: Path) -> None:
    scan, labels = ct_volume(0)
    write_nifti(tmp_path / "in/ct.nii.gz", scan, codes="LPS")
    write_nifti(tmp_path / "rough/ct.nii.gz", labels, codes="RAS")
    out = tmp_path / "out"
    words = ("--prompts", str(tmp_path / "rough"), "--format", "nifti", "coco")
    assert predict(run, tmp_path / "in", out, *words) == 0
    assert plan(out)["preprocessing"]["limits"] == [-160.0, 240.0]
    result = nibabel.load(out / "nifti/ct.nii.gz")
    assert result.shape == nibabel.load(tmp_path / "in/ct.nii.gz").shape
    assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2}  # the values of the prompts
    assert coco(out)["images"][2]["file_name"] == "ct.nii.gz/z002"
    words = ("--prompts", str(tmp_path / "rough"), "--window", "100,50", "--axis", "coronal")
    assert predict(run, tmp_path / "in", tmp_path / "other", *words) == 0
    assert plan(tmp_path / "other")["preprocessing"]["limits"] == [75.0, 125.0]
    assert coco(tmp_path / "other")["images"][0]["file_name"] == "ct.nii.gz/y000"


def test_prompts_for_slices(run: Path, tmp_path: Path) -> None:
    write_nifti(tmp_path / "in/ct.nii.gz", ct_volume(0)[0])
    rows = "image,x1,y1,x2,y2,object\nct.nii.gz/z001,2,2,9,9,a\nct.nii.gz/z002,2,2,9,9,a\n"
    (tmp_path / "p.csv").write_text(rows)
    words = ("--prompts", str(tmp_path / "p.csv"), "--format", "nifti", "png")
    assert predict(run, tmp_path / "in", tmp_path / "out", *words) == 0
    labels = np.asarray(nibabel.load(tmp_path / "out/nifti/ct.nii.gz").dataobj)
    assert labels.max() <= 1  # one object in both slices
    written = sorted(path.name for path in (tmp_path / "out/labels/ct.nii.gz").iterdir())
    assert written == ["z001.png", "z002.png"]


def test_a_dicom_series_keeps_the_patient_private(run: Path, tmp_path: Path, capsys) -> None:
    write_series(tmp_path / "in/ct")
    codes = {"classes": {}, "series_description": "trial"}
    (tmp_path / "codes.yaml").write_text(yaml.safe_dump(codes))
    words = (*EVERYTHING, "--format", "dicom_seg", "png", "coco", "--link")
    words += ("--dicom-codes", str(tmp_path / "codes.yaml"))
    assert predict(run, tmp_path / "in", tmp_path / "out", *words) == 0
    said = capsys.readouterr()
    files = contents(tmp_path / "out")
    assert PATIENT.encode() in files.pop("dicom_seg/ct.dcm")  # it belongs to the study
    everything = b"".join(files.values()) + " ".join(files).encode()
    assert PATIENT.encode() not in everything + (said.out + said.err).encode()
    assert b"4711" not in everything


def test_large_images_in_tiles(run: Path, tmp_path: Path) -> None:
    save(tmp_path / "large.png", np.tile(picture(discs(0), 0), (3, 3)))
    words = (*EVERYTHING, "--tile", "64", "--format", "tiff", "coco")
    assert predict(run, tmp_path / "large.png", tmp_path / "out", *words) == 0
    assert plan(tmp_path / "out")["tiles"]["tile_side"] == 64
    assert coco(tmp_path / "out")["annotations"]
    assert not list((tmp_path / "out/.samft/tiles").iterdir())
    prompts = {"large.png": [{"box": [10, 10, 30, 30]}, {"points": [[100, 50]]}]}
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    words = ("--prompts", str(tmp_path / "p.json"), "--tile", "64", "--format", "coco")
    assert predict(run, tmp_path / "large.png", tmp_path / "asked", *words) == 0
    assert [a["prompt_id"] for a in coco(tmp_path / "asked")["annotations"]] == [1, 2]


def test_what_the_model_was_not_trained_for_is_warned_of(
    photos: Path, tmp_path: Path, capsys
) -> None:
    boxes_only = make_run(tmp_path / "run/0", prompts={"point_probability": 0.0, "rounds": 0})
    assert predict(boxes_only, photos, tmp_path / "auto", *EVERYTHING) == 0
    said = capsys.readouterr().err
    assert "never trained with a point alone" in said
    assert "boxes as prompts" in said
    (tmp_path / "p.csv").write_text("image,x1,y1,x2,y2\na.png,2,2,9,9\n")
    words = ("--prompts", str(tmp_path / "p.csv"))
    assert predict(boxes_only, photos, tmp_path / "boxes", *words) == 0
    assert "never trained" not in capsys.readouterr().err
    (tmp_path / "p.csv").write_text("image,x,y\na.png,5,5\n")
    assert predict(boxes_only, photos, tmp_path / "points", *words) == 0
    assert "never trained with a point alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompts", "gt"], "no truth to take prompts from"),
        (["--data.root", "x"], "data.root"),
        (["--prompts", "p.txt"], "neither JSON nor CSV"),
        (["--prompts", "boxes.json"], "there are no such prompts"),
        (["--automatic", "points_per_side"], "has no value"),
        (["--automatic", "points_per_sid=4"], "points_per_side"),
        (["--window", "ct_brian"], "the window does not make sense"),
        (["--device", "gpu"], "there is no such device"),
        (["--dicom-codes", "none.yaml"], "the file of DICOM codes cannot be read"),
        (["--format", "nifti"], "NIfTI is written for volumes"),
    ],
)
def test_mistakes(
    run: Path, photos: Path, tmp_path: Path, capsys, monkeypatch, words, said
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").touch()
    assert predict(run, photos, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 4
    assert not (tmp_path / "out").exists()


def test_truth_in_parts(dsb_folder: Path, tmp_path: Path, capsys) -> None:
    data = {"root": str(dsb_folder), "val_fraction": 0.3, "test_fraction": 0.5}
    data = {"class_path": "samft.MicroscopyDataModule", "init_args": data}
    run = make_run(tmp_path / "run/0", data=data)
    words = ["predict", str(run), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    assert "3 predicted" in capsys.readouterr().out
    assert main(words) == 0
    assert "0 predicted, 3 finished before" in capsys.readouterr().out
    assert main([*words, "--data.test_fraction", "0.3"]) == 2
    assert "data.init_args.test_fraction was 0.5, is 0.3 now" in capsys.readouterr().err


def test_truth_of_volumes(ct_folder: Path, tmp_path: Path) -> None:
    data = {"root": str(ct_folder), "val_fraction": 0.3, "test_fraction": 0.3}
    data = {"class_path": "samft.MedicalDataModule", "init_args": data}
    run = make_run(tmp_path / "run/0", data=data)
    out = tmp_path / "out"
    words = ["predict", str(run), "--out", str(out), "--format", "nifti", "coco"]
    assert main([*words, "--device", "cpu"]) == 0
    (path,) = (out / "nifti").rglob("*.nii.gz")
    source = nibabel.load(ct_folder / "images" / path.name)
    assert np.allclose(nibabel.load(path).affine, source.affine)
    assert nibabel.load(path).shape == source.shape


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_processes_leave_what_one_run_makes(run: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(8):
        save(photos / f"more/{number}.png", picture(discs(number), number))
    write_nifti(photos / "ct.nii.gz", ct_volume(0)[0])
    words = [*EVERYTHING, "--format", "png", "masks", "coco", "geojson", "ome_zarr", "overlay"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert predict(run, photos, whole, *words) == 0
    entries = len(list((whole / ".samft").rglob("*.json")))
    left = []
    for share in (0.1, 0.4, 0.8):  # the volume is the second, its slices are entries
        _killed_when(
            lambda wanted=share * entries: len(list(out.glob(".samft/**/*.json"))) >= wanted,
            lambda: predict(run, photos, out, *words),
        )
        left.append(len(contents(out)))
    assert 0 < left[0] < left[1] < left[2] < len(contents(whole))
    assert predict(run, photos, out, *words) == 0
    assert contents(out) == contents(whole)


def _killed_when(reached: Callable[[], bool], work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    latest = time.monotonic() + 60
    while not reached() and time.monotonic() < latest:
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_one_mask_for_a_picture_as_before(run: Path, photos: Path, tmp_path: Path) -> None:
    """The loop answers as `Predictor` does."""
    from samft import Predictor, load_run

    (tmp_path / "p.json").write_text(json.dumps({"a.png": [{"box": [10, 5, 40, 30]}]}))
    words = ("--prompts", str(tmp_path / "p.json"), "--format", "png")
    assert predict(run, photos, tmp_path / "out", *words) == 0
    predictor = Predictor(load_run(run).load().sam)
    predictor.set_image(Image.open(photos / "a.png").convert("RGB"))
    expected = predictor.predict(box=[10, 5, 40, 30], multimask=False).masks[0].numpy()
    labels = np.asarray(Image.open(tmp_path / "out/labels/a.png.png"))
    assert np.array_equal(labels > 0, expected)
