"""`samft check`: exit codes, the table, the JSON form, settings out of recipes, the preview."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import discs, picture, save
from PIL import Image

from samft.cli.check_report import histogram
from samft.cli.entry import main
from samft.data.checking.codes import CODES
from samft.data.checking.facts import SIZE_EDGES


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(5):
        labels = discs(number)
        save(root / "images" / f"p{number}q.png", picture(labels, number))
        save(root / "masks" / f"p{number}q.png", (labels > 0).astype(np.uint8) * 255)
    return root


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    code = main(["check", *words, "--json", "--no-cache"])
    return code, json.loads(capsys.readouterr().out)


def test_a_clean_set(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(pairs), "--no-cache", "--image-size", "256"]) == 0
    shown = capsys.readouterr().out
    assert f"{pairs}, read as pairs: 5 images and 5 masks by their names" in shown
    assert "5 images, 20 objects" in shown
    assert "0 errors, 0 warnings, 0 notes" in shown
    assert "severity" not in shown
    assert "  20  ####" in shown  # the bar of the only size there is


def test_errors_and_warnings_decide_the_exit_code(
    pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    save(pairs / "images" / "p1q.png", np.zeros((48, 64), np.uint8))
    assert main(["check", str(pairs), "--no-cache"]) == 0
    shown = capsys.readouterr().out
    assert "0 errors, 1 warning, 0 notes" in shown
    assert "image-constant" in shown
    assert "images/p1q.png" in shown
    (pairs / "masks" / "p2q.png").unlink()
    assert main(["check", str(pairs), "--no-cache"]) == 1
    shown = capsys.readouterr().out
    assert "1 error, 1 warning, 0 notes" in shown
    assert shown.index("image-without-mask") < shown.index("image-constant")


def test_many_of_a_kind_are_counted_unless_all_are_asked_for(
    pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for number in range(8):
        save(pairs / "images" / f"x{number}y.png", picture(discs(number + 9), number))
    assert main(["check", str(pairs), "--no-cache"]) == 1
    shown = capsys.readouterr().out
    assert "images/x4y.png" in shown
    assert "images/x5y.png" not in shown
    assert "and 3 more (--all shows them)" in shown
    assert main(["check", str(pairs), "--no-cache", "--all"]) == 1
    assert "images/x7y.png" in capsys.readouterr().out


def test_json_form(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pairs / "masks" / "p2q.png").unlink()
    code, found = run_json(capsys, str(pairs), "--image-size", "256", "--tiny", "25")
    assert code == 1
    assert list(found) == [
        "schema", "root", "layout", "reason", "image_size", "tiny_px", "counts", "codes",
        "findings", "summary",
    ]  # fmt: skip
    assert (found["schema"], found["root"], found["layout"]) == (1, str(pairs), "pairs")
    assert (found["image_size"], found["tiny_px"]) == (256, 25)
    assert found["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert found["codes"] == {"image-without-mask": 1}
    (finding,) = found["findings"]
    assert set(finding) == {
        "severity", "meaning", "code", "file", "found", "expected", "fix", "files",
    }  # fmt: skip
    assert finding["file"] == "images/p2q.png"
    assert finding["severity"] == CODES[finding["code"]].severity == "error"
    assert found["summary"]["images"] == 4
    assert [row["from_px"] for row in found["summary"]["object_sizes"]] == list(SIZE_EDGES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{data}x"], "the data folder does not exist"),
        ([], "no folder to check"),
        (["{data}", "--domain", "medicine"], "medicine"),
        (["{data}", "--image-size", "0"], "whole number from 1 on"),
        (["{data}", "--workers", "-1"], "workers"),
        (["{data}", "--layout", "pears"], "did you mean 'pairs'"),
        (["{data}", "--config", "none.yaml"], "configuration file not found"),
        (["{data}", "--preview", "sheet.txt"], "the preview is a picture"),
        (["{data}", "--jsn"], "did you mean"),
        (["{data}", "--config", "{recipe}", "--domain", "folder"], "not both"),
        (["{data}", "--config", "recipes/pretrain_nano.yaml"], "only data that lies in files"),
    ],
)
def test_mistakes_exit_with_2_and_a_short_message(
    words: list[str], said: str, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [word.format(data=pairs, recipe="recipes/medical.yaml") for word in words]
    assert main(["check", *filled]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def write_recipe(path: Path, data: str, model: str = "") -> Path:
    path.write_text(
        f"model:\n  class_path: samft.SamModule\n  init_args: {{arch: vit_nano{model}}}\n"
        f"data:\n  class_path: {data}\n"
    )
    return path


def test_a_recipe_gives_the_settings(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(
        tmp_path / "r.yaml",
        f"samft.MedicalDataModule\n  init_args: {{root: {pairs}, classes: [cell]}}",
    )
    code, found = run_json(capsys, "--config", str(recipe))
    assert code == 1
    assert found["image_size"] == 256  # that of the nano size
    assert [item["code"] for item in found["findings"]] == ["mask-255"]
    assert found["findings"][0]["fix"].startswith("set data.classes: {255: cell}")
    recipe.write_text(recipe.read_text().replace("[cell]", "{255: cell}"))
    code, found = run_json(capsys, "--config", str(recipe))
    assert (code, found["findings"]) == (0, [])


def test_a_setting_that_does_not_exist(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"samft.MedicalDataModule\n  init_args: {{root: {pairs}, clases: [cell]}}"
    recipe = write_recipe(tmp_path / "r.yaml", data)
    assert main(["check", "--config", str(recipe)]) == 2
    shown = capsys.readouterr().err
    assert "has a setting that its datamodule does not know" in shown
    assert "clases" in shown


def test_splits_as_training_would_draw_them(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        for folder in ("images", "masks"):
            source = pairs / folder / f"p{number}q.png"
            (pairs / folder / f"copy{number}r.png").write_bytes(source.read_bytes())
    code, found = run_json(capsys, str(pairs))
    assert (code, found["codes"]) == (0, {"duplicate": 5})
    code, found = run_json(capsys, str(pairs), "--split-by", "case")
    assert code == 1
    assert found["codes"]["leak-pixels"] >= 1
    assert found["summary"]["splits"] == {"train": 8, "val": 2}


def test_preview_shows_masks_and_prompts(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    words = ["check", str(pairs), "--no-cache", "--image-size", "128", "--preview", str(sheet)]
    assert main([*words, "--preview-images", "3"]) == 0
    assert "3 images with masks and simulated prompts" in capsys.readouterr().err
    drawn = np.asarray(Image.open(sheet)).astype(int)
    coloured = np.ptp(drawn, axis=-1) > 40  # images are grey, masks are not
    assert coloured.mean() > 0.02
    again = tmp_path / "again.png"
    assert main([*words[:-1], str(again), "--preview-images", "3"]) == 0
    assert again.read_bytes() == sheet.read_bytes()  # nothing about it is left to chance


def test_preview_with_augmentation_is_higher(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for preset in ("none", "flip"):
        data = f"samft.FolderDataModule\n  init_args: {{root: {pairs}, transforms: {preset}}}"
        recipe = write_recipe(tmp_path / f"{preset}.yaml", data, ", prompts: {mix: {box: 1.0}}")
        sheet = tmp_path / f"{preset}.png"
        words = ["--config", str(recipe), "--preview", str(sheet), "--preview-images", "2"]
        assert main(["check", *words, "--no-cache"]) == 0
        heights.append(Image.open(sheet).height)
    assert heights[1] > 1.8 * heights[0]


def test_preview_of_nothing_says_so(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (pairs / "images").iterdir():
        path.write_bytes(b"\x89PNG")
    sheet = tmp_path / "sheet.png"
    assert main(["check", str(pairs), "--no-cache", "--preview", str(sheet)]) == 1
    assert "no image that could be drawn" in capsys.readouterr().err
    assert not sheet.exists()


def test_histogram_shows_every_class_between_the_smallest_and_the_largest() -> None:
    sizes = [0] * len(SIZE_EDGES)
    sizes[2], sizes[4], sizes[-1] = 1, 80, 20
    first, *lines = histogram(sizes, 1024)
    assert "1024" in first
    assert [line.split()[0] for line in lines] == ["4", "8", "16", "32", "64", "128", "256", "512"]
    assert [line.count("#") for line in lines] == [1, 0, 40, 0, 0, 0, 0, 10]
