"""metrics.json that something has changed since `samft test` wrote it."""

import json
from pathlib import Path

import pytest

from samft.errors import DatasetError
from samft.evaluation.report.privacy import Privacy
from samft.evaluation.report.results import read_results
from samft.evaluation.report.training import read_training

MODELS = [{"name": name, "kind": "sam"} for name in ("tuned", "zero-shot")]


def write(folder, **content):
    text = json.dumps({"format": "samft-test", "version": 1, "models": MODELS} | content)
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    return folder


def test_a_reference_that_is_no_model_is_refused(tmp_path):
    assert read_results(write(tmp_path, reference="zero-shot"), Privacy()).main == "tuned"
    with pytest.raises(DatasetError, match="compare with a model that they do not list") as caught:
        read_results(write(tmp_path, reference="nobody"), Privacy())
    assert caught.value.where == f"{tmp_path / 'metrics.json'}, reference"
    assert caught.value.found == "'nobody'"
    assert caught.value.expected == "tuned, zero-shot"
    assert "run samft test again" in caught.value.fix


def test_values_too_deep_to_walk_are_refused(tmp_path):
    deep: list = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(DatasetError, match="the file cannot be read") as caught:
        read_results(write(tmp_path, environment={"a": deep}), Privacy())
    assert caught.value.found == "values deep in each other"
    assert caught.value.where == tmp_path / "metrics.json"


@pytest.mark.parametrize(
    ("losses", "mean"),
    [(("inf", "-inf"), "nan"), (("1e308", "1e308"), "inf"), (("1.5", "nan", "0.5"), "1.0")],
)
def test_losses_that_left_all_bounds(tmp_path: Path, losses, mean) -> None:
    table = tmp_path / "metrics.csv"
    rows = "".join(f"0,{loss}\n" for loss in losses)
    table.write_text(f"epoch,train/loss\n{rows}")
    found = read_training(tmp_path, tmp_path / "none.ckpt").losses
    assert str(found[0]) == mean
