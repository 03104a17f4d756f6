"""Exporting as a whole: what is refused, and that nothing unproven is left."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from export_models import model_of, tiny_vit
from safetensors import safe_open

from samft.cli.commands.export import _EPILOG
from samft.cli.commands.export import TARGETS as NAMES
from samft.errors import CheckpointError, ConfigError, MachineError, OutputError
from samft.export import safetensors
from samft.export.comparison import TOLERANCE
from samft.export.record import record_beside, stored_protocol
from samft.export.registry import TARGETS, export
from samft.export.target import ExportOptions
from samft.models.channels import ChannelSettings
from samft.models.config import config_for
from samft.models.registry import build_from_config


def test_the_command_knows_every_target():
    assert list(NAMES) == list(TARGETS)
    for target in TARGETS.values():
        assert f"{target.name:<13} {target.about}" in _EPILOG


@pytest.mark.parametrize(("to", "programs"), [("official", 2), ("safetensors", 1), ("hf", 1)])
def test_weights_are_read_back_in_the_programs_they_are_for(vit, tmp_path, to, programs):
    out = tmp_path / f"out{TARGETS[to].suffix}"
    done = export(vit, out, to=to)
    assert len(done.comparisons) == programs
    for comparison in done.comparisons:
        assert set(comparison.largest) == {"point", "box", "mask"}
        assert comparison.scale > 0.1
        assert comparison.relative < 3e-4  # its attention magnifies rounding
    assert out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_safetensors_has_the_record_inside_and_a_pth_beside(vit, tmp_path):
    inside, beside = tmp_path / "a.safetensors", tmp_path / "a.pth"
    export(vit, inside, to="safetensors")
    export(vit, beside, to="official")
    with safe_open(inside, framework="pt") as file:
        facts = file.metadata()
    assert facts.items() >= vit.metadata.items()
    assert json.loads(record_beside(beside).read_text()) == vit.metadata
    assert stored_protocol(inside) == stored_protocol(beside) == vit.protocol
    record_beside(beside).unlink()
    assert stored_protocol(beside) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000])
def test_a_record_of_another_program_says_nothing(tmp_path, content):
    weights = tmp_path / "a.pth"
    record_beside(weights).write_bytes(content)
    assert stored_protocol(weights) is None
    (tmp_path / "a.safetensors").write_bytes(content)
    assert stored_protocol(tmp_path / "a.safetensors") is None


def test_a_protocol_that_was_tampered_with_is_refused(tmp_path):
    weights = tmp_path / "a.pth"
    record_beside(weights).write_text('{"prompt_protocol": "{}"}')
    with pytest.raises(CheckpointError, match="prompt protocol of the file cannot be read"):
        stored_protocol(weights)


def test_an_export_that_answers_differently_is_not_left(vit, tmp_path, monkeypatch):
    def spoiled(model, out):
        sam = reloaded(model, out)
        sam.mask_decoder.iou_token.weight.data += 0.05
        return sam

    reloaded = safetensors.reloaded
    monkeypatch.setattr(safetensors, "reloaded", spoiled)
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(CheckpointError) as caught:
        export(vit, out, to="safetensors", overwrite=True)
    said = str(caught.value)
    assert "in samft the export does not answer as the model does" in said
    assert f"expected: at most {TOLERANCE:g} of the largest value" in said
    assert str(out) in said
    assert out.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [out]


def test_not_a_number_is_refused(vit, tmp_path, monkeypatch):
    def spoiled(model, out):
        sam = reloaded(model, out)
        sam.mask_decoder.iou_token.weight.data.fill_(torch.nan)
        return sam

    reloaded = safetensors.reloaded
    monkeypatch.setattr(safetensors, "reloaded", spoiled)
    with pytest.raises(CheckpointError, match="found: a difference of nan"):
        export(vit, tmp_path / "out.safetensors", to="safetensors")
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_unasked(vit, tmp_path):
    out = tmp_path / "out.pth"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="pass --overwrite"):
        export(vit, out, to="official")
    export(vit, out, to="official", overwrite=True)
    assert out.stat().st_size > 1000
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    export(vit, folder, to="hf", overwrite=True)
    assert not (folder / "old").exists()


@pytest.mark.parametrize(
    ("to", "name", "options", "said"),
    [
        ("offcial", "a", {}, "did you mean 'official'?"),
        ("official", "a.onnx", {}, "found: .onnx, expected: .pth"),
        ("safetensors", "a", {}, "found: no ending, expected: .safetensors"),
        ("hf", "a", {"quantize": True}, "--quantize means nothing to hf\n  expected: --to onnx"),
        ("cvat", "a", {"single_mask": True}, "--single_mask means nothing to cvat"),
    ],
)
def test_mistakes(vit, tmp_path, to, name, options, said):
    with pytest.raises(ConfigError) as caught:
        export(vit, tmp_path / name, to=to, options=ExportOptions(**options))
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_files_are_no_folders(vit, tmp_path):
    (tmp_path / "a.pth").mkdir()
    (tmp_path / "b").write_text("")
    with pytest.raises(OutputError, match=r"OUT is a folder"):
        export(vit, tmp_path / "a.pth", to="official", overwrite=True)
    with pytest.raises(OutputError, match=r"OUT is a file"):
        export(vit, tmp_path / "b", to="hf", overwrite=True)


def test_a_place_that_cannot_be_written(vit, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="the export cannot be written"):
        export(vit, tmp_path / "file" / "out.pth", to="official")


def test_transformers_has_no_tinyvit(nano, tmp_path):
    with pytest.raises(OutputError) as caught:
        export(nano, tmp_path / "a", to="hf")
    assert "transformers.SamModel has no such image encoder" in str(caught.value)
    assert "found: vit_nano, expected: vit_b, vit_l or vit_h" in str(caught.value)


def test_tinyvit_is_said_to_be_read_by_samft_alone(nano, tmp_path):
    done = export(nano, tmp_path / "a.pth", to="official")
    assert [comparison.program for comparison in done.comparisons] == ["samft"]
    assert "it has no vit_nano; samft's own reading was checked" in done.notes[0]


@pytest.mark.parametrize("to", ["official", "hf", "xanylabeling", "cvat", "labelstudio"])
def test_a_channel_adapter_goes_where_it_is_applied(tmp_path, to):
    sam = tiny_vit()
    sam.set_channels(ChannelSettings(count=5))
    model = model_of(sam)
    with pytest.raises(OutputError, match="an adapter of 5 channels"):
        export(model, tmp_path / f"a{TARGETS[to].suffix}", to=to)
    done = export(model, tmp_path / "b.safetensors", to="safetensors")
    assert done.comparisons[0].relative < 1e-5


def test_an_embedding_beyond_the_browsers_is_refused(tmp_path):
    model = model_of(build_from_config(replace(config_for("vit_nano"), image_size=1024)))
    with pytest.raises(OutputError) as caught:
        export(model, tmp_path / "a", to="cvat")
    said = str(caught.value)
    assert "the embedding is larger than CVAT's browser plugin can pass on" in said
    assert "found: 2097152 values at an input size of 1024, expected: at most 1048576" in said
    assert "fix: train with a smaller model.image_size" in said


def test_trimming_is_left_behind():
    sam = tiny_vit()
    sam.trim_padding = True
    model = model_of(sam)
    assert model.was_trimmed
    assert not model.sam.trim_padding
    assert sam.trim_padding
