"""The mixed optimiser: each part does what it does alone, and it can be saved and gone on with."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon
from torch.optim.lr_scheduler import LambdaLR

from samft.optim.muon import MuonAdamW


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def groups(model: nn.Module) -> tuple[list[dict], list[dict]]:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    return (
        [{"params": matrices, "lr": 0.02, "weight_decay": 0.1}],
        [{"params": others, "lr": 0.01, "weight_decay": 0.0}],
    )


def train(model: nn.Module, *optimizers: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(x).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


def test_equals_the_two_side_by_side() -> None:
    model, twin = network(), network()
    train(model, MuonAdamW(*groups(model)), steps=5)
    matrices, others = groups(twin)
    muon = Muon(matrices, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    train(twin, muon, AdamW(others), steps=5)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_goes_on_bit_equal_from_a_saved_state() -> None:
    model = network()
    optimizer = MuonAdamW(*groups(model))
    train(model, optimizer, steps=3)
    other = copy.deepcopy(model)
    resumed = MuonAdamW(*groups(other))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, steps=3, first=3)
    train(other, resumed, steps=3, first=3)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_schedule_reaches_both_parts_also_after_loading() -> None:
    model = network()
    optimizer = MuonAdamW(*groups(model))
    optimizer.load_state_dict(optimizer.state_dict())
    LambdaLR(optimizer, lambda step: 0.0)
    before = [p.clone() for p in model.parameters()]
    train(model, optimizer, steps=2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_closure_is_called() -> None:
    optimizer = MuonAdamW(*groups(network()))
    assert optimizer.step(lambda: torch.tensor(3.0)) == pytest.approx(3.0)
