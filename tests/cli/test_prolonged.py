"""What is said when a run goes on for another length."""

import logging
import math
from types import SimpleNamespace

import pytest

from samft import SamModule
from samft.cli.resuming.prolonged import SayProlonged


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (24, "the run now has 24 steps instead of 8"),
        (math.inf, "the run now has no set number of steps instead of 8"),
    ],
)
def test_a_run_with_a_constant_rate(
    steps: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = SamModule("vit_nano", image_size=64, optimizer={"schedule": "constant"})
    trainer = SimpleNamespace(
        num_training_batches=4,
        accumulate_grad_batches=1,
        estimated_stepping_batches=steps,
        is_global_zero=True,
        global_step=4,
    )
    with caplog.at_level(logging.WARNING, logger="samft"):
        SayProlonged(2, -1).on_train_start(trainer, module)
    assert caplog.messages == [said]
