"""Training the U-Net on a datamodule within a budget."""

import logging
import math
from types import SimpleNamespace

import monai.losses
import numpy as np
import pytest
import torch
from evaluation.unet.painted_unet import batch_of, painted_module, sample_of
from torch.nn import functional as F

from samft import MicroscopyDataModule
from samft.callbacks.duration import TrainingTime
from samft.errors import ConfigError, TrainingError
from samft.evaluation.unet.files import load_module, save_unet
from samft.evaluation.unet.module import SCORE, UNetModule, unet_loss
from samft.evaluation.unet.targets import UNetTargets
from samft.evaluation.unet.training import Budget, KeepBest, Trained, train_unet
from samft.metrics.objects import mask_scores


@pytest.fixture(autouse=True)
def quiet_lightning():
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def _data(root, **changes) -> MicroscopyDataModule:
    given = {"root": str(root), "batch_size": 2, "val_fraction": 0.3, "transforms": "flip"}
    return MicroscopyDataModule(**(given | changes))


def _module(data, image_size=32) -> UNetModule:
    torch.manual_seed(0)
    data.prepare_index()
    return UNetModule(data.num_channels, list(data.class_names), image_size, filters=4)


def _train(root, budget, **changes) -> Trained:
    data = _data(root, **changes)
    return train_unet(_module(data), data, budget, device=torch.device("cpu"), seed=3)


def test_two_steps_give_scores_and_the_best_weights(dsb_folder) -> None:
    trained = _train(dsb_folder, Budget(steps=2))
    assert (trained.steps, trained.epochs, trained.device) == (2, 1, "cpu")
    assert [row["step"] for row in trained.history] == [1, 2]
    best = max(trained.history, key=lambda row: row["score"])
    assert trained.best == best
    assert {"dice", "f1_split", "f1_whole", "score"} <= best.keys()
    assert 0 < trained.seconds < trained.total_seconds
    assert not trained.module.training
    again = _train(dsb_folder, Budget(steps=2))
    for name, value in trained.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name


def test_the_best_so_far_can_be_kept_while_it_is_trained(dsb_folder, tmp_path) -> None:
    kept = []

    def keep(found: Trained) -> None:
        path = tmp_path / f"{found.steps}.ckpt"
        save_unet(found, path, {"finished": False})
        kept.append((found.best_step, found.best["step"], path))

    data = _data(dsb_folder)
    trained = train_unet(
        _module(data), data, Budget(steps=2), device=torch.device("cpu"), seed=3, keep=keep
    )
    assert kept[0][:2] == (1, 1)
    step, _, path = kept[-1]
    assert step == trained.best_step
    module, facts = load_module(path)
    assert facts["finished"] is False
    for name, value in module.net.state_dict().items():
        assert torch.equal(value, trained.module.net.state_dict()[name]), name


def test_the_time_ends_it_and_without_validation_the_last_weights_stay(dsb_folder) -> None:
    trained = _train(dsb_folder, Budget(seconds=1e-6), val_fraction=0.0)
    assert trained.steps == trained.best_step == 1
    assert trained.history == []
    assert trained.best == {}


def test_the_rate_falls_with_the_budget(dsb_folder) -> None:
    rates = []

    class Noting(UNetModule):
        def training_step(self, batch, batch_idx):
            rates.append(self.optimizers().param_groups[0]["lr"])
            return super().training_step(batch, batch_idx)

    data = _data(dsb_folder)
    data.prepare_index()
    module = Noting(data.num_channels, list(data.class_names), 32, filters=4)
    train_unet(module, data, Budget(steps=2), device=torch.device("cpu"))
    assert rates == pytest.approx([1e-3, 1e-3 * 0.5**0.9])


@pytest.mark.parametrize(
    "limits",
    [{}, {"seconds": 0.0}, {"seconds": -1.0}, {"seconds": math.nan}, {"steps": 0}],
)
def test_a_budget_needs_a_limit(limits) -> None:
    with pytest.raises(ConfigError, match="for how long to train") as caught:
        Budget(**limits)
    assert caught.value.where == "--minutes, --max-steps"


def test_what_is_used_up_more_counts() -> None:
    both = Budget(seconds=10.0, steps=100)
    assert both.progress(5.0, 10) == 0.5
    assert both.progress(1.0, 90) == 0.9
    assert Budget(steps=4).progress(1e9, 1) == 0.25


def test_the_best_weights_are_kept_also_after_scores_that_are_no_numbers() -> None:
    module = torch.nn.Linear(1, 1)
    best = KeepBest(TrainingTime())
    for step, score in enumerate([math.nan, 0.2, 0.9, math.nan, 0.5], start=1):
        torch.nn.init.constant_(module.weight, step)
        metrics = {SCORE: torch.tensor(score), "train/loss": torch.tensor(1.0)}
        best.on_validation_end(SimpleNamespace(callback_metrics=metrics, global_step=step), module)
    best.restore(module, step=5)
    assert best.best_step == 3
    assert module.weight.item() == 3
    assert [set(row) for row in best.history] == [{"step", "seconds", "score"}] * 5


def test_weights_that_are_no_numbers_are_refused(dsb_folder) -> None:
    data = _data(dsb_folder, val_fraction=0.0)
    module = _module(data)
    next(module.parameters()).data.fill_(math.nan)
    with pytest.raises(TrainingError, match="diverged") as caught:
        train_unet(module, data, Budget(steps=1), device=torch.device("cpu"))
    assert "after 1 steps" in str(caught.value)
    assert "32-true" in caught.value.fix


def _targets(truth, valid) -> UNetTargets:
    return UNetTargets(masks=truth[:, :-1], border=truth[:, -1:], valid=valid)


def test_the_loss_is_cross_entropy_and_for_classes_dice_of_the_batch() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 6, 5), torch.rand(2, 3, 6, 5) > 0.6
    found = unet_loss(logits, _targets(truth, torch.ones(2, 1, 6, 5, dtype=torch.bool)))
    classes, wanted = logits[:, :2], truth[:, :2].float()
    dice = monai.losses.DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    plain = F.binary_cross_entropy_with_logits(classes, wanted) + dice(classes, wanted)
    weights = 1 + 4 * truth[:, 2].float()
    border = F.binary_cross_entropy_with_logits(logits[:, 2], truth[:, 2].float(), weight=weights)
    assert torch.allclose(found, (2 * plain + border) / 3, atol=1e-6)


def test_unknown_pixels_have_no_part_in_the_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 6, 5, requires_grad=True)
    valid = torch.rand(2, 1, 6, 5) > 0.5
    unet_loss(logits, _targets(torch.rand(2, 2, 6, 5) > 0.5, valid)).backward()
    used = logits.grad != 0
    assert torch.equal(used, valid.expand_as(used))


def _validated(sample) -> dict[str, float]:
    module = painted_module("cell")
    logged = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})
    module.validation_step(batch_of(sample), 0)
    module.on_validation_epoch_end()
    return logged


def test_validation_scores_in_the_original_frame_and_leaves_out_what_is_unknown() -> None:
    mask, nothing = np.zeros((128, 64), bool), np.zeros((128, 64), bool)
    mask[20:60, 10:50] = True
    labels = np.zeros((128, 64), np.int32)
    labels[20:60, 10:30], labels[100:] = 1, -1  # half of what is answered
    logged = _validated(sample_of([mask, nothing], labels, [0]))
    wanted = mask_scores(torch.from_numpy(mask)[None], torch.from_numpy(labels == 1)[None])[1]
    assert logged["val/dice"] == logged["val/dice/cell"] == pytest.approx(float(wanted), abs=0.02)


def test_validation_says_whether_borders_are_good_enough() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[10:40, 10:20], labels[10:40, 20:32] = 1, 2
    right, wrong = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    right[:, 19:21], wrong[24:26] = True, True
    good = _validated(sample_of([labels > 0, right], labels, [0, 0]))
    assert (good["val/f1_split"], good["val/f1_whole"]) == (1.0, pytest.approx(2 / 3))
    assert good[SCORE] == 1.0
    one = (labels > 0).astype(np.int32)
    bad = _validated(sample_of([one > 0, wrong], one, [0]))
    assert bad["val/f1_split"] < bad["val/f1_whole"] == 1.0
    assert bad[SCORE] == 1.0


def test_it_learns_an_easy_image() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((32, 32), np.int32)
    labels[4:16, 4:15], labels[4:16, 15:27], labels[20:29, 6:20] = 1, 2, 3  # two of them touch
    sample = sample_of([labels > 0] * 3, labels, [0, 0, 1])
    noisy = np.array([30, 220, 160, 90])[labels] + rng.normal(0, 5, (32, 32))
    sample = sample.replace(image=torch.from_numpy(noisy).float()[None])
    batch = batch_of(sample, image_size=32)
    torch.manual_seed(0)
    module = UNetModule(1, ["a", "b"], 32, filters=8, lr=1e-2)
    optimizer = module.configure_optimizers()
    targets = module.targets(batch)
    for _ in range(120):
        loss = unet_loss(module(batch.images, batch.input_sizes), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answer = module(batch.images, batch.input_sizes)[0] > 0
    truth = torch.cat([targets.masks, targets.border], dim=1)[0]
    assert mask_scores(answer, truth)[1].min() > 0.9
