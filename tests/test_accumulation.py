"""Accumulated and distributed gradients are means over objects, whatever the batches hold."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from samft import PromptSettings, SamModule
from samft.accumulation import ObjectMean
from samft.data.collate import collate
from samft.types import SamBatch, Sample

COUNTS = (0, 1, 3, 40)


class Ragged(LightningModule):
    """A line fitted to batches of any number of points; plain gradient descent, one step."""

    def __init__(self, *, weighted: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.weighted = weighted
        self.object_mean = ObjectMean()
        self.seen: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        errors = (batch @ self.weight).square()
        loss = errors.sum() / max(1, len(errors))
        if not self.weighted:
            return loss
        return self.object_mean.weigh(loss, len(batch), batch_idx=batch_idx, trainer=self.trainer)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.weighted:
            self.object_mean.divide([self.weight], trainer=self.trainer)
        self.seen.append(self.weight.grad.clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def points(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(count)) / 8


def fit(module: Ragged, batches: list[Tensor], **settings: object) -> Ragged:
    given = {"max_epochs": 1, "accelerator": "cpu", "logger": False, **settings}
    quiet = ("enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    trainer = Trainer(**given, **dict.fromkeys(quiet, False))
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module


def all_at_once(batches: list[Tensor], **settings: object) -> Ragged:
    return fit(Ragged(), [torch.cat(batches)], **settings)


@pytest.mark.parametrize("counts", [COUNTS, COUNTS[::-1], (0, 0, 5, 0)])
def test_accumulated_batches_equal_one_batch(counts: tuple[int, ...]) -> None:
    batches = [points(count) for count in counts]
    parts = fit(Ragged(), batches, accumulate_grad_batches=4)
    torch.testing.assert_close(parts.seen, all_at_once(batches).seen, rtol=1e-5, atol=1e-7)
    plain = fit(Ragged(weighted=False), batches, accumulate_grad_batches=4)
    assert not torch.allclose(parts.seen[0], plain.seen[0], rtol=0.1)


def test_an_epoch_that_ends_early_is_divided_by_what_it_had() -> None:
    batches = [points(count) for count in (2, 5, 7, 3, 9, 1)]
    parts = fit(Ragged(), batches, accumulate_grad_batches=4, max_epochs=2)
    assert len(parts.seen) == 4
    expected = fit(Ragged(), [torch.cat(batches[:4]), torch.cat(batches[4:])], max_epochs=2)
    torch.testing.assert_close(parts.seen, expected.seen, rtol=1e-5, atol=1e-7)


def test_no_object_in_the_whole_step_is_a_zero_gradient() -> None:
    module = fit(Ragged(), [points(0)] * 2, accumulate_grad_batches=2)
    assert torch.equal(module.seen[0], torch.zeros(3))


def test_clipping_sees_the_divided_gradients() -> None:
    batches = [points(count) for count in COUNTS]
    norm = float(all_at_once(batches).seen[0].norm())
    for limit in (norm / 2, norm * 2):  # the sum over objects would be clipped by both
        clip = {"gradient_clip_val": limit}
        parts = fit(Ragged(), batches, accumulate_grad_batches=4, **clip)
        torch.testing.assert_close(parts.weight, all_at_once(batches, **clip).weight)


def test_the_scale_of_float16_is_gone_before_the_division() -> None:
    batches = [points(count) for count in COUNTS]
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    half = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    parts = fit(Ragged(), batches, accumulate_grad_batches=4, plugins=[half])
    torch.testing.assert_close(parts.seen, all_at_once(batches).seen, rtol=5e-3, atol=1e-4)


def test_one_batch_per_step_in_one_process_is_left_alone() -> None:
    trainer = SimpleNamespace(accumulate_grad_batches=1, world_size=1)
    loss, weight = torch.tensor(0.3), nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 0.7)
    mean = ObjectMean()
    assert mean.weigh(loss, 40, batch_idx=0, trainer=trainer) is loss
    mean.divide([weight], trainer=trainer)
    assert torch.equal(weight.grad, torch.full((2,), 0.7))


def test_a_step_that_broke_off_leaves_nothing_behind() -> None:
    trainer = SimpleNamespace(accumulate_grad_batches=2, world_size=1)
    mean, weight = ObjectMean(), nn.Parameter(torch.ones(()))
    mean.weigh(torch.tensor(1.0), 100, batch_idx=0, trainer=trainer)
    for index, count in enumerate((1, 3)):
        loss = mean.weigh(weight * 5, count, batch_idx=index, trainer=trainer)
        (loss / 2).backward()
    mean.divide([weight], trainer=trainer)
    assert float(weight.grad) == pytest.approx(5.0)


def squares(count: int) -> SamBatch:
    """An image of `count` bright squares on a grid."""
    layer = torch.zeros(64, 64, dtype=torch.int32)
    for index in range(count):
        y, x = 9 * (index // 7) + 1, 9 * (index % 7) + 1
        layer[y : y + 6, x : x + 7] = index + 1
    return Sample(
        image=(60 + 140 * (layer > 0)).expand(3, 64, 64).to(torch.uint8),
        layers=layer[None],
        object_layer=torch.zeros(count, dtype=torch.int64),
        object_class=torch.zeros(count, dtype=torch.int64),
        sample_id=f"squares/{count}",
        case_id=str(count),
    )


def test_sam_learns_the_same_from_accumulated_images_and_from_one_batch() -> None:
    # Random prompts and clicks: an image's do not depend on the images beside it.
    model = SamModule("vit_nano", image_size=64, prompts=PromptSettings(rounds=3))
    samples = [squares(count) for count in COUNTS]
    trainer = SimpleNamespace(accumulate_grad_batches=len(COUNTS), world_size=1)
    trained = [p for p in model.parameters() if p.requires_grad]
    mean = ObjectMean()
    for index, sample in enumerate(samples):
        terms = model.training_loss(collate([sample], image_size=64), step=0)
        loss = mean.weigh(terms.total, len(terms.best), batch_idx=index, trainer=trainer)
        (loss / trainer.accumulate_grad_batches).backward()
    mean.divide(trained, trainer=trainer)
    parts = [p.grad.clone() for p in trained if p.grad is not None]
    model.zero_grad()
    model.training_loss(collate(samples, image_size=64), step=0).total.backward()
    whole = [p.grad for p in trained if p.grad is not None]
    assert max(float(gradient.abs().max()) for gradient in whole) > 1e-3
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=2e-6)
