"""A loss that is no number: the run stops and names the samples, or leaves the step out."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from faults.tiny_run import TinyModule, fit, last
from torch import Tensor

from samft.callbacks.non_finite import NonFinite
from samft.errors import ConfigError, TrainingError


@dataclass
class Named:
    """A batch whose samples have names."""

    values: Tensor
    sample_ids: list[str]


class NamedModule(TinyModule):
    """Gives every batch names, and remembers the weights after each step."""

    def __init__(self, spoiled=(), *, gradient_only: bool = False) -> None:
        super().__init__(spoiled)
        self.gradient_only = gradient_only
        self.weights: list[Tensor] = []

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Named:
        number = self.trainer.fit_loop.total_batch_idx + 1
        return Named(batch, [f"case{number}/a", f"case{number}/b"])

    def training_step(self, batch: Named, batch_idx: int) -> Tensor:
        if self.gradient_only and self.trainer.fit_loop.total_batch_idx in self.spoiled:
            zero = self.layers[0].weight.sum() * 0
            return zero.abs().sqrt()  # 0, with a gradient of nan
        return super().training_step(batch.values, batch_idx)

    def validation_step(self, batch: Named, batch_idx: int) -> None:
        super().validation_step(batch.values, batch_idx)

    def on_train_batch_end(self, *_: object) -> None:
        self.weights.append(self.layers[0].weight.detach().clone())


@pytest.mark.parametrize("gradient_only", [False, True])
def test_stop_names_the_samples_and_keeps_the_state_before(
    tmp_path: Path, gradient_only: bool
) -> None:
    module = NamedModule([5], gradient_only=gradient_only)
    with pytest.raises(TrainingError, match="the loss of step 6 is not a number") as caught:
        fit(tmp_path, NonFinite(), module=module)
    assert "case5/a, case5/b" in str(caught.value)
    assert "non_finite.action skip" in str(caught.value)
    assert torch.equal(module.layers[0].weight, module.weights[4])
    state = torch.load(last(tmp_path), weights_only=True)
    assert all(value.isfinite().all() for value in state["state_dict"].values())


@pytest.mark.parametrize("gradient_only", [False, True])
def test_skip_leaves_the_weights_as_they_are(
    tmp_path: Path, gradient_only: bool, caplog: pytest.LogCaptureFixture
) -> None:
    module = NamedModule([1, 6], gradient_only=gradient_only)
    check = NonFinite(action="skip")
    fit(tmp_path, check, module=module, gradient_clip_val=1.0)
    changed = [
        not torch.equal(a, b) for a, b in zip(module.weights, module.weights[1:], strict=False)
    ]
    assert [index + 1 for index, other in enumerate(changed) if not other] == [1, 6]
    assert check.skipped == 2
    assert "step 2 is left out: its loss is not a number; samples: case1/a, case1/b" in caplog.text
    assert "2 steps were left out" in caplog.text
    assert all(weight.isfinite().all() for weight in module.weights)
    kept = torch.load(last(tmp_path), weights_only=True)["callbacks"]["NonFinite"]
    assert kept == {"skipped": 2}


def test_a_bad_batch_of_several_costs_the_whole_step(tmp_path: Path) -> None:
    module = NamedModule([2])
    check = NonFinite(action="skip")
    fit(tmp_path, check, module=module, accumulate_grad_batches=2)
    assert check.skipped == 1
    assert torch.equal(module.weights[3], module.weights[1])
    assert not torch.equal(module.weights[5], module.weights[3])


def test_too_many_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="3 steps were left out") as caught:
        fit(tmp_path, NonFinite(action="skip", max_skipped=3), module=NamedModule(range(99)))
    assert "case2/a" in str(caught.value)
    assert "lower optimizer.lr" in str(caught.value)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="stop or skip") as caught:
        NonFinite(action="ignore")  # type: ignore[arg-type]
    assert "non_finite" in str(caught.value)
