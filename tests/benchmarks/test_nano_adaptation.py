"""The comparison of adaptation presets on nano weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.nano import adaptation
from benchmarks.nano.adaptation import BEFORE, PRESETS, SETS, settings_for
from samft.errors import SamftError
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam
from samft.module import SamModule


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_state_dict(build_sam("vit_nano"), path)
    return str(path)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_trained_as_its_name_says(name: str, preset: str) -> None:
    given = settings_for(name, preset, 2e-4)["model"]["init_args"]
    module = SamModule(**{**given, "arch": "vit_nano", "weights": None})
    assert module.adapted.settings.preset == preset
    assert module.optimizer_settings.method == "adamw"
    assert module.optimizer_settings.lr == 2e-4
    assert module.loss_settings.balanced_bce == 0
    assert not module.hparams["checkpoint_blocks"]
    assert module.prompt_settings.max_objects_per_image == 8  # the nano size's


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: another one takes seconds to import everything once more."""

    def worker(module: str, arguments: list[str], *, threads: int) -> dict:
        assert (module, threads) == ("benchmarks.nano.adaptation", 1)
        options = adaptation.parse(arguments)
        name, preset = options.worker.split(":")
        try:
            return json.loads(json.dumps(adaptation.measure(name, preset, options)))
        except SamftError as error:
            return {"failed": str(error)}

    monkeypatch.setattr(adaptation, "run_worker", worker)


def iou(box: float, point: float) -> dict:
    return {"box": box, "point": point, "oracle": 0.0, "box_point": 0.0}


RESULTS = {
    "dsb2018:before": {
        "iou": iou(0.7, 0.6), "images": 9, "objects": 80, "baselines": {"ellipse": 0.798},
    },
    "dsb2018:lora": {"iou": iou(0.75, 0.55), "trained": 123_456, "steps": 78, "peak_mb": 432.1},
}  # fmt: skip


def test_table() -> None:
    head, *rows = adaptation.table(RESULTS)
    assert head.split() == ["set", "trained", "numbers", "steps", "box", "point", "peak", "MB"]
    assert [row.split() for row in rows] == [
        ["DSB2018", "nothing", "0", "0", "0.700", "0.600", "-"],
        ["DSB2018", "lora", "123,456", "78", "0.750", "+0.050", "0.550", "-0.050", "432"],
    ]
    lines = list(adaptation.table(RESULTS, markdown=True))
    assert len({line.count("|") for line in lines}) == 1


def test_notes() -> None:
    first, second = adaptation.notes(RESULTS, adaptation.parse(["--seconds", "20"]))
    assert "20 s of training each, AdamW 0.0003" in first
    assert second == "DSB2018: 9 other images, 80 objects; with a box and no model: ellipse 0.798."


def test_ct_is_tested_on_other_slices() -> None:
    pytest.importorskip("slicerio")
    make_data = SETS["ct_chest"].data(adaptation.parse([]), settings_for("ct_chest", "full", 1e-4))
    data = make_data()
    slices = {
        split: {record.slice_index for record in data.records(split)} for split in ("train", "test")
    }
    assert min(len(found) for found in slices.values()) > 5
    gaps = [abs(one - other) for one in slices["train"] for other in slices["test"]]
    assert min(gaps) > 2


def test_images_to_score_are_spread_out(dsb_folder: Path) -> None:
    options = adaptation.parse(["--images", "3"])
    options.data = dsb_folder
    settings = settings_for("dsb2018", "full", 1e-4)
    make_data = adaptation.partial(
        adaptation.fine_tune.datamodule, dsb_folder, options.images, settings
    )
    every = adaptation.test_images(make_data, 100)
    some = adaptation.test_images(make_data, 2)
    assert len(every) == 3
    assert [image.sample.sample_id for image in some] == [
        every[index].sample.sample_id for index in (0, 1)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_rows_of_generated_nuclei(
    data_folder: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "results.json"
    given = ["--weights", weights, "--data", str(data_folder), "--images", "4", "--threads", "1"]
    given += ["--sets", "dsb2018", "--presets", "late_lora", "--seconds", "0.3", "--workers", "0"]
    given += ["--results", str(kept), "--markdown"]
    assert adaptation.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| DSB2018 | ")
    assert [line.split("|")[2].strip() for line in lines[2:4]] == ["nothing", "late_lora"]
    results = json.loads(kept.read_text())["results"]
    assert results[f"dsb2018:{BEFORE}"]["objects"] == 8
    assert results["dsb2018:late_lora"]["steps"] >= 1
    assert results["dsb2018:late_lora"]["peak_mb"] >= 0  # this process may have taken more before
    assert adaptation.main(given) == 0  # all is there: nothing is measured again
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.usefixtures("one_process")
def test_missing_data_is_said(weights: str, tmp_path: Path) -> None:
    given = ["--weights", weights, "--data", str(tmp_path), "--sets", "dsb2018", "--threads", "1"]
    with pytest.raises(SystemExit, match="dsb2018:before: the data folder does not exist"):
        adaptation.main(given)
