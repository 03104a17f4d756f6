"""Warnings about learning rates."""

import io

import pytest
from rich.console import Console

from samft import SamModule
from samft.cli import summary
from samft.optim import build_optimizer
from samft.optim.advice import unusual_rates
from samft.optim.groups import GroupRow


def row(name: str, lr: float) -> GroupRow:
    return GroupRow(name=name, num_parameters=1, lr=lr, weight_decay=0.1)


def test_usual_rates_say_nothing() -> None:
    assert (
        unusual_rates([row("image_encoder/block 3/decay", 1e-5), row("mask_decoder", 1e-4)]) == []
    )
    assert unusual_rates([row("prompt_encoder", 1.0)]) == []


def test_unusual_rates_are_named_with_what_is_usual() -> None:
    high, low = unusual_rates([row("image_encoder/a", 5e-4), row("mask_decoder", 1e-7)])
    assert high == (
        "the peak rate of the image_encoder, 5.0e-04, is unusually high: what SAM learned may be "
        "lost; 1e-06 to 1e-04 is usual"
    )
    assert low == (
        "the peak rate of the mask_decoder, 1.0e-07, is unusually low; 1e-05 to 3e-04 is usual"
    )


def test_said_at_the_start_of_tuning_published_weights_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = SamModule("vit_nano", image_size=64, adapt="full", optimizer={"lr": 1e-2})

    def printed() -> str:
        stream = io.StringIO()
        optimizer = build_optimizer(module.sam, module.optimizer_settings)
        summary.print_trained(module, optimizer, Console(file=stream, width=200))
        return stream.getvalue()

    assert "unusually" not in printed()
    module.base_weights = {"source": "vit_b", "sha256": "0"}
    assert "unusually" not in printed()
    monkeypatch.setattr(summary, "_PUBLISHED", ("vit_nano",))
    assert "unusually high" in printed()
