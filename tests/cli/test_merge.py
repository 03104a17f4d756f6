"""`samft merge`: from a run with LoRA to files that others read."""

from pathlib import Path

import pytest
import torch
from quick_trainer import quick_trainer
from torch import nn

from samft import PromptSettings, SamModule, build_sam, load_run
from samft.cli.entry import main
from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.models.adaptation.saved import load_adapted
from samft.models.checkpoint import save_state_dict
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
    assert "read back   largest difference" in capsys.readouterr().out
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
