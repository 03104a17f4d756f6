"""Three seconds of training, in this process and without a file: does the loss fall?"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Final

import torch

from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.diagnosis.devices import training_device
from samft.diagnosis.rows import Row
from samft.losses import SamLossSettings
from samft.module import SamModule
from samft.prompts.settings import PromptSettings

_IMAGE_SIZE: Final = 128  # pixels
_MOST_STEPS, _FEWEST_STEPS = 30, 3
_RATE: Final = 1e-3


def look_at_training(budget_s: float = 3.0, device: torch.device | None = None) -> Iterator[Row]:
    """Train a new nano model on two drawn images, the same ones in every step.

    Args:
        budget_s: Stop after that many seconds, but not before the third step.
        device: Where; default that of training.
    """
    place = device or training_device()
    losses, seconds = train(budget_s, place)
    finite = all(map(math.isfinite, losses))
    fell = finite and losses[-1] < losses[0]
    last = f"{losses[0]:.3f} to {losses[-1]:.3f}"
    yield Row(
        group="training",
        name="training",
        status="ok" if fell else "error",
        found=f"vit_nano on {place.type}: {len(losses) / seconds:.1f} steps/s, loss {last} "
        f"in {len(losses)} steps",
        expected="" if fell else "a finite loss that falls",
        advice="" if fell else "install torch again; if it stays so, report it with this table",
    )


def train(budget_s: float, device: torch.device) -> tuple[list[float], float]:
    """Return the losses and how long the steps took, seconds; the caller's seed is kept."""
    gpus = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), torch.enable_grad():
        torch.manual_seed(0)
        module = SamModule(
            "vit_nano",
            image_size=_IMAGE_SIZE,
            adapt="full",
            prompts=PromptSettings(rounds=1, extra_passes=0, max_objects_per_image=4),
            loss=SamLossSettings(balanced_bce=1.0),
        )
        module.train().to(device)
        drawn = [generate(seed, size=_IMAGE_SIZE, look="fluorescence") for seed in (0, 1)]
        batch = collate(drawn, image_size=_IMAGE_SIZE).to(device)
        optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE)
        losses: list[float] = []
        start = time.perf_counter()
        while len(losses) < _MOST_STEPS:
            loss = module.training_loss(batch, step=0).total
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has none
            optimizer.step()
            losses.append(float(loss.detach()))
            if time.perf_counter() - start > budget_s and len(losses) >= _FEWEST_STEPS:
                break
        return losses, time.perf_counter() - start
