"""8-bit AdamW: close to AdamW with a quarter of its state, saved, resumed, named when missing."""

import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from quick_trainer import quick_trainer
from torch import Tensor, nn

from samft import PromptSettings, SamModule
from samft.checkpoints import read_checkpoint
from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.errors import DependencyError
from samft.optim import OptimizerSettings, build_optimizer, describe

SIZE = 64
EIGHT_BIT = OptimizerSettings(method="adamw_8bit", lr=1e-3)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128))
        self.mask_decoder = nn.Linear(128, 64)


def train(toy: Toy, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(16, 64, generator=generator)
        optimizer.zero_grad()
        (toy.mask_decoder(toy.image_encoder(x)) - x).square().mean().backward()
        optimizer.step()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DependencyError) as error:
        build_optimizer(Toy(), EIGHT_BIT)
    assert "'bitsandbytes' is needed to keep the optimiser's state in 8 bits" in str(error.value)
    assert 'fix: pip install "samft[lowbit]"' in str(error.value)


def test_groups_are_those_of_adamw() -> None:
    pytest.importorskip("bitsandbytes")
    settings = OptimizerSettings(lr=1e-3, encoder_lr_factor=0.1, weight_decay=0.2)
    plain, small = (
        describe(
            build_optimizer(Toy(), OptimizerSettings(**{**settings.to_dict(), "method": name}))
        )
        for name in ("adamw", "adamw_8bit")
    )
    assert small == plain
    assert {row.weight_decay for row in small} == {0.0, 0.2}


def test_close_to_adamw_with_a_quarter_of_its_state() -> None:
    pytest.importorskip("bitsandbytes")
    start, plain, small = Toy(), Toy(), Toy()
    exact, coarse = (
        build_optimizer(plain, OptimizerSettings(lr=1e-3)),
        build_optimizer(small, EIGHT_BIT),
    )
    train(plain, exact, 30)
    train(small, coarse, 30)
    for first, wanted, found in zip(
        *(toy.parameters() for toy in (start, plain, small)), strict=True
    ):
        moved = (wanted - first).norm()
        assert moved > 0
        assert (found - wanted).norm() < 0.05 * moved
    weight = plain.mask_decoder.weight, small.mask_decoder.weight
    sizes = [
        state_bytes(optimizer.state[item])
        for optimizer, item in zip((exact, coarse), weight, strict=True)
    ]
    assert sizes[0] == 8 * weight[0].numel() + 4  # and the step
    assert sizes[1] < 0.32 * sizes[0]  # two tables of 256 values are shared out over 8192 numbers


def state_bytes(state: dict[str, Tensor]) -> int:
    return sum(item.nbytes for item in state.values() if isinstance(item, Tensor))


def module() -> SamModule:
    torch.manual_seed(0)
    return SamModule(
        "vit_nano",
        image_size=SIZE,
        prompts=PromptSettings(rounds=0, extra_passes=0),
        optimizer=EIGHT_BIT,
    )


def fit(folder: Path, *, resume: Path | None = None) -> SamModule:
    samples = [collate([generate(seed, size=SIZE)], image_size=SIZE) for seed in range(2)]
    keep = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, monitor=None)
    trainer = quick_trainer(
        folder,
        max_epochs=3,
        limit_val_batches=0,
        enable_checkpointing=True,
        callbacks=[keep],
    )
    trained = module()
    loader = torch.utils.data.DataLoader(samples, batch_size=None)
    trainer.fit(trained, loader, ckpt_path=resume, weights_only=True)
    return trained


def test_a_resumed_run_goes_on_bit_equal(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    whole = fit(tmp_path)
    checkpoint = read_checkpoint(tmp_path / "epoch=0.ckpt")  # refuses all but plain data
    kept = [
        state["__bnb_optimizer_quant_state__"]
        for state in checkpoint["optimizer_states"][0]["state"].values()
    ]
    assert {item["state1"].dtype for item in kept} == {torch.uint8, torch.float32}
    rest = fit(tmp_path / "rest", resume=tmp_path / "epoch=0.ckpt")
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, rest.state_dict()[key]), key
    assert not torch.equal(
        whole.sam.mask_decoder.mask_tokens.weight, module().sam.mask_decoder.mask_tokens.weight
    )
