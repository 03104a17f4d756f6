"""The script that writes the nano weights, or refuses to."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors import safe_open

from benchmarks.nano import build, sets
from samft.models.registry import build_sam
from samft.runs import load_run


@pytest.fixture
def two_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: sets.SETS[name] for name in ("dsb2018", "suim")}
    monkeypatch.setattr("benchmarks.nano.build.SETS", few)
    monkeypatch.setattr("benchmarks.nano.gate.SETS", few)


@pytest.fixture(scope="module")
def scores() -> list:
    """What the file reached, once a test has asked."""
    return []


@pytest.fixture
def scored_once(scores: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score the file with the first test only; the others have the same file and images."""
    real = build.score_sets

    def remembered(sam, entries, data):
        if not scores:
            scores.extend(real(sam, entries, data))
        return list(scores)

    monkeypatch.setattr(build, "score_sets", remembered)


@pytest.fixture
def given(nano_checkpoint, data_folder, tmp_path, two_sets) -> list[str]:
    out = str(tmp_path / "out")
    return [
        str(nano_checkpoint), "--out", out, "--machine", "a test machine",
        "--data", str(data_folder),
    ]  # fmt: skip


@pytest.mark.usefixtures("scored_once")
def test_refuses_what_loses_and_writes_nothing(given, tmp_path, capsys):
    assert build.main(given) == 1
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if not line.endswith(" s")]
    assert len(lines) == 3
    assert "lose to answers that need no training" in lines[0]
    assert "best.ckpt" in lines[1]
    for comparison in ("dsb2018 box 0.", "filled box 0.", "ellipse 0.", "Otsu 1.", "disc 0."):
        assert comparison in lines[1]
    assert "suim" not in lines[1]
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("scored_once")
def test_refuses_a_large_file(given, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "check", lambda scores: [])
    monkeypatch.setattr(build, "MAX_BYTES", 1000)
    assert build.main(given) == 1
    assert "more than 1000" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_writes_what_wins(given, nano_checkpoint, tmp_path, monkeypatch, capsys):
    measured = []

    def spy(sam, entries, data):
        measured.append({key: value.clone() for key, value in sam.state_dict().items()})
        return real(sam, entries, data)

    real = build.score_sets
    monkeypatch.setattr(build, "score_sets", spy)
    monkeypatch.setattr(build, "check", lambda scores: [])
    assert build.main(given) == 0
    path = tmp_path / "out" / "vit_nano.safetensors"
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    shown = capsys.readouterr().out
    assert f'sha256="{sha256}"' in shown
    assert f"num_bytes={len(content):_}," in shown
    assert len(content) <= 10_000_000
    assert sorted(p.name for p in path.parent.iterdir()) == ["vit_nano.md", path.name]

    trained = load_run(nano_checkpoint).load().sam.state_dict()
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(trained)
        assert all(
            file.get_tensor(key).dtype == (torch.float16 if v.is_floating_point() else v.dtype)
            for key, v in trained.items()
        )
        assert file.metadata()["licence"] == "Apache-2.0"
    loaded = build_sam("vit_nano", weights=path).state_dict()
    for key, value in trained.items():
        assert torch.equal(
            loaded[key], value.half().float() if value.is_floating_point() else value
        )
        assert torch.equal(measured[0][key], loaded[key])  # the file was judged, not the checkpoint


@pytest.mark.usefixtures("scored_once")
def test_card_tells_where_the_weights_come_from(given, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "check", lambda scores: [])
    assert build.main([*given, "--recipe", "recipes/some.yaml"]) == 0
    card = (tmp_path / "out" / "vit_nano.md").read_text()
    content = (tmp_path / "out" / "vit_nano.safetensors").read_bytes()
    for part in (
        hashlib.sha256(content).hexdigest(),
        f"{len(content)} bytes",
        "`recipes/some.yaml`, seed 11",
        "4 epochs, 1234 optimiser steps, on: a test machine",
        "arch: vit_nano",
        "class_path: Generated",
        "Licence: Apache-2.0",
        "| DSB2018 | 6 | 24 |",
        "| SUIM |",
        "commit",
    ):
        assert part in card
    assert str(tmp_path) not in card


@pytest.mark.usefixtures("scored_once")
def test_nothing_is_overwritten_unasked(given, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "check", lambda scores: [])
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "vit_nano.md"
    old.write_text("old")
    assert build.main(given) == 2
    assert "the file exists already" in capsys.readouterr().err
    assert old.read_text() == "old"
    assert build.main([*given, "--overwrite"]) == 0
    assert old.read_text() != "old"


def test_not_a_checkpoint(given, tmp_path, capsys):
    wrong = tmp_path / "wrong.ckpt"
    torch.save({"weights": 1}, wrong)
    assert build.main([str(wrong), *given[1:]]) == 2
    assert "not a training checkpoint" in capsys.readouterr().err
