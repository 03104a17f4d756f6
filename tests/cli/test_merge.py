"""`samft merge`: from a run with LoRA to files that others read."""

from pathlib import Path

import pytest
import torch
from models.tiny_sam import TINY
from parity.reference_models import official_sam
from quick_trainer import quick_trainer
from torch import nn

from samft import PromptSettings, SamModule, build_sam, load_run
from samft.cli.entry import main
from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.models.adaptation.saved import load_adapted
from samft.models.checkpoint import save_state_dict
from samft.models.config import ARCHITECTURES
from samft.types import SamBatch

SIZE = 64


def batches() -> torch.utils.data.DataLoader[SamBatch]:
    samples = [collate([generate(seed, size=SIZE)], image_size=SIZE) for seed in range(2)]
    return torch.utils.data.DataLoader(samples, batch_size=None)


def train(folder: Path, **settings: object) -> Path:
    """Train two steps; return the checkpoint."""
    base = folder / "base.safetensors"
    if not base.exists():
        torch.manual_seed(0)
        save_state_dict(build_sam("vit_nano", image_size=SIZE), base)
    module = SamModule(
        "vit_nano",
        image_size=SIZE,
        weights=str(base),
        prompts=PromptSettings(rounds=0, extra_passes=0),
        optimizer={"lr": 1e-2, "encoder_lr_factor": 1.0, "warmup_steps": 0},
        **settings,
    )
    trainer = quick_trainer(folder, max_steps=2, limit_val_batches=0)
    trainer.fit(module, batches())
    checkpoint = folder / "run" / "checkpoints" / "best.ckpt"
    trainer.save_checkpoint(checkpoint)
    return checkpoint


def answers(sam: nn.Module) -> torch.Tensor:
    batch = collate([generate(5, size=SIZE)], image_size=SIZE)
    with torch.no_grad():
        return sam.eval().encode_image(batch.images, batch.input_sizes)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("lora"), adapt="lora")


@pytest.mark.parametrize("name", ["tuned.pth", "tuned.safetensors"])
def test_a_merged_file_is_stock_and_answers_the_same(
    lora: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    assert main(["merge", str(lora.parents[1]), str(out)]) == 0
    said = capsys.readouterr().out
    assert "read back   in samft: largest difference of logits and IoU" in said
    assert "not read    in segment_anything 1.0: it has no vit_nano" in said
    tuned = load_run(lora).load().sam
    stock = build_sam("vit_nano", weights=out, image_size=SIZE)
    assert set(stock.state_dict()) < set(tuned.state_dict()) | set(stock.state_dict())
    torch.testing.assert_close(answers(stock), answers(tuned), rtol=1e-4, atol=1e-4)
    base = build_sam("vit_nano", weights=lora.parents[2] / "base.safetensors", image_size=SIZE)
    assert not torch.allclose(answers(stock), answers(base), atol=1e-3)


def test_an_adapter_folder_holds_only_what_was_trained(lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    assert main(["merge", str(lora), str(out), "--adapter"]) == 0
    base = lora.parents[2] / "base.safetensors"
    sam = build_sam("vit_nano", weights=base, image_size=SIZE)
    load_adapted(sam, out)
    torch.testing.assert_close(answers(sam), answers(load_run(lora).load().sam))
    assert sum(path.stat().st_size for path in out.iterdir()) < 0.7 * base.stat().st_size


def test_a_run_without_lora_is_merged_too(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, adapt="late")
    assert main(["merge", str(checkpoint), str(tmp_path / "tuned.pth")]) == 0


def test_adapters_cannot_be_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = train(tmp_path, adapt={"adapter": {"dim": 4}})
    assert main(["merge", str(checkpoint), str(tmp_path / "tuned.pth")]) == 2
    said = capsys.readouterr().err
    assert "bottleneck adapters cannot be merged" in said
    assert "Traceback" not in said
    assert not (tmp_path / "tuned.pth").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "a.pth"], "no such run folder or checkpoint"),
        (["none", "a.onnx"], "expected: .pth or .safetensors"),
        (["none"], "out"),
        (["none", "a.pth", "--adaptor"], "did you mean 'adapter'?"),
    ],
)
def test_mistakes(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_nothing_is_replaced_unasked(
    lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned.pth"
    out.write_bytes(b"mine")
    assert main(["merge", str(lora), str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main(["merge", str(lora), str(out), "--overwrite"]) == 0


def train_tiny(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object
) -> tuple[Path, SamModule]:
    """Return the checkpoint of a run of a small plain ViT, which segment_anything knows too."""
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    torch.manual_seed(0)
    module = SamModule("tiny", **{"adapt": "full", **changes})
    content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    torch.save(content, folder / "run.ckpt")
    return folder / "run.ckpt", module


def test_a_pth_is_reloaded_in_segment_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, module = train_tiny(tmp_path, monkeypatch)
    out = tmp_path / "new" / "tuned.pth"
    assert main(["merge", str(run), str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"merged      {out}"
    for line, program in zip(said[1:], ("samft", "segment_anything 1.0"), strict=True):
        start = f"read back   in {program}: largest difference of logits and IoU "
        assert line.startswith(start)
        assert float(line.removeprefix(start).split()[0]) < 2e-5
        assert line.endswith("of the largest value (at most 0.001)")
    assert list(out.parent.iterdir()) == [out]
    official = official_sam(TINY)
    official.load_state_dict(torch.load(out, weights_only=True), strict=True)
    for key, tensor in module.sam.state_dict().items():
        assert torch.equal(official.state_dict()[key], tensor), key


@pytest.mark.parametrize(
    ("name", "missing", "said"),
    [
        ("tuned.safetensors", False, "in segment_anything 1.0: it reads .pth, not .safetensors"),
        ("tuned.pth", True, 'it is not installed: pip install "samft[export]"'),
    ],
)
def test_what_was_not_checked_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    missing: bool,
    said: str,
) -> None:
    run, _ = train_tiny(tmp_path, monkeypatch)
    if missing:
        monkeypatch.setattr("samft.models.official.find_spec", lambda name: None)
    assert main(["merge", str(run), str(tmp_path / name)]) == 0
    line = capsys.readouterr().out.splitlines()[2]
    assert line.startswith("not read    in segment_anything")
    assert said in line
    assert line.endswith("only samft's own reading was checked")


def test_another_input_size_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = train_tiny(tmp_path, monkeypatch, image_size=64)
    assert main(["merge", str(run), str(tmp_path / "tuned.pth")]) == 0
    said = capsys.readouterr().out
    assert "in segment_anything 1.0: largest" in said
    assert "64: sam_model_registry builds 128 alone; give ImageEncoderViT img_size=64" in said


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_answers_differently_is_not_left_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    there: bool,
) -> None:
    run, _ = train_tiny(tmp_path, monkeypatch)
    out = tmp_path / "new" / "tuned.pth"
    out.parent.mkdir()
    if there:
        out.write_bytes(b"mine")
    wrong = official_sam(TINY).eval()
    monkeypatch.setattr("samft.models.adaptation.reloaded.load_official", lambda *_: wrong)
    assert main(["merge", str(run), str(out), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert "in segment_anything 1.0 the file does not answer as the run does" in said
    assert f"where: {out}, found: a difference of " in said
    assert "expected: at most 0.001 of the largest value" in said
    assert "nothing was written" in said
    assert [(path.name, path.read_bytes()) for path in out.parent.iterdir()] == (
        [("tuned.pth", b"mine")] if there else []
    )


def test_a_diverged_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, module = train_tiny(tmp_path, monkeypatch)
    state = module.state_dict()
    state["sam.mask_decoder.iou_token.weight"][0, 0] = float("nan")
    torch.save({"state_dict": state, "hyper_parameters": dict(module.hparams)}, run)
    assert main(["merge", str(run), str(tmp_path / "tuned.pth")]) == 2
    assert "take an earlier checkpoint" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_file_that_cannot_be_written_is_named_as_asked_for(
    lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "tuned.pth"
    assert main(["merge", str(lora), str(out)]) == 3
    assert f"where: {out}, found: " in capsys.readouterr().err


def test_a_folder_is_no_file(
    lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tuned.pth").mkdir()
    assert main(["merge", str(lora), str(tmp_path / "tuned.pth"), "--overwrite"]) == 2
    assert "OUT is a folder" in capsys.readouterr().err
