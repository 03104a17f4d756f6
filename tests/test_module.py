"""SamModule: the objective, validation and checkpoints, with a nano SAM on made-up discs."""

import dataclasses
import math

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from samft import OptimizerSettings, PromptSettings, SamModule
from samft.checkpoints import load_module
from samft.data.collate import collate
from samft.errors import CheckpointError, ConfigError
from samft.losses import LossTerms, SamLoss, SamLossSettings
from samft.types import SamBatch, Sample

SIZE = 64
QUICK = PromptSettings(rounds=1, extra_passes=0, max_objects_per_image=8)


def discs(seed: int, objects: int = 3) -> Sample:
    """A grey image with bright discs, some touching the border."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(56), indexing="ij")
    layers = torch.zeros(1, 40, 56, dtype=torch.int32)
    for number in range(objects):
        y, x = (torch.rand(2, generator=generator) * torch.tensor([40, 56])).tolist()
        layers[0][(rows - y) ** 2 + (columns - x) ** 2 < 36] = number + 1
    present = [k for k in range(objects) if (layers == k + 1).any()]
    image = torch.full((3, 40, 56), 60, dtype=torch.uint8)
    image[:, layers[0] > 0] = 200
    assert len(present) == objects
    return Sample(
        image=image,
        layers=layers,
        object_layer=torch.zeros(objects, dtype=torch.int64),
        object_class=torch.zeros(objects, dtype=torch.int64),
        sample_id=f"discs/{seed}",
        case_id=str(seed),
    )


def batch_of(*samples: Sample, keep: bool = False) -> SamBatch:
    return collate(samples, image_size=SIZE, keep_samples=keep)


def module(**changes: object) -> SamModule:
    settings = {"image_size": SIZE, "adapt": "full", "prompts": QUICK, "optimizer": {"lr": 1e-3}}
    return SamModule("vit_nano", **{**settings, **changes})


def trainer(tmp_path, **changes: object) -> Trainer:
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
        "num_sanity_val_steps": -1,
    }
    return Trainer(**{**settings, **changes})


class Batches(torch.utils.data.Dataset):
    def __init__(self, keep: bool) -> None:
        self.batches = [batch_of(discs(0), discs(1, 2), keep=keep), batch_of(discs(2), keep=keep)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> SamBatch:
        return self.batches[index]


def loader(keep: bool = False) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(Batches(keep), batch_size=None)


def test_loss_is_a_pure_function_of_seed_and_step() -> None:
    model, batch = module(), batch_of(discs(0), discs(1))
    first = model.training_loss(batch, step=3).total
    assert torch.equal(first, model.training_loss(batch, step=3).total)
    assert not torch.equal(first, model.training_loss(batch, step=4).total)


def test_every_trained_parameter_gets_a_gradient() -> None:
    model = module(prompts=PromptSettings(rounds=2, extra_passes=1))
    model.training_loss(batch_of(discs(0), discs(1)), step=0).total.backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert without == set()


def test_frozen_parts_get_none_and_stay_in_eval_mode() -> None:
    model = module(adapt="frozen").train()
    assert not model.sam.image_encoder.training
    assert model.sam.mask_decoder.training
    model.training_loss(batch_of(discs(0)), step=0).total.backward()
    for name, parameter in model.sam.named_parameters():
        assert (parameter.grad is not None) == name.startswith("mask_decoder."), name


def test_training_learns_the_discs() -> None:
    model = module(prompts=PromptSettings(rounds=0, extra_passes=0), loss={"balanced_bce": 1.0})
    batch = batch_of(discs(0), discs(1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for step in range(25):
        loss = model.training_loss(batch, step=step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_batch_without_objects_gives_zero_loss_and_no_nan() -> None:
    empty = discs(0, 1).replace(
        layers=torch.zeros(1, 40, 56, dtype=torch.int32),
        object_layer=torch.zeros(0, dtype=torch.int64),
        object_class=torch.zeros(0, dtype=torch.int64),
    )
    model = module()
    loss = model.training_loss(batch_of(empty), step=0).total
    loss.backward()
    assert float(loss) == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_ignored_pixels_take_no_part() -> None:
    sample = discs(0)
    layers = sample.layers.clone()
    layers[:, :8] = -1
    model = module(loss_stride=1)
    seen: list[Tensor | None] = []

    class Spy(SamLoss):
        def __call__(self, *arguments, valid, **options) -> LossTerms:
            seen.append(valid)
            return super().__call__(*arguments, valid=valid, **options)

    model.objective.loss = Spy()
    model.training_loss(batch_of(sample), step=0)
    model.training_loss(batch_of(sample.replace(layers=layers)), step=0)
    first, *_, last = seen
    assert first is None
    ignored = batch_of(sample.replace(layers=layers)).ignored()[:, None]
    assert torch.equal(last, ~ignored)
    assert ignored.any()


def test_wrong_image_size_names_both() -> None:
    with pytest.raises(ConfigError, match="images and model differ in size") as caught:
        module().training_loss(collate([discs(0)], image_size=128, keep_samples=False), step=0)
    assert "found: 128, expected: 64" in str(caught.value)


def test_validation_scores_at_original_resolution(tmp_path) -> None:
    model = module()
    model.sam.decode = lambda _, prompts, **__: _perfect(model, prompts)
    trainer(tmp_path).validate(model, loader(keep=True), verbose=False)
    scores = {name: float(value) for name, value in model.trainer.callback_metrics.items()}
    assert set(scores) == {
        *("val/iou_box", "val/dice_box", "val/iou_point1", "val/dice_point1", "val/iou"),
        *("val/same_answer", "val/background_hit"),
    }
    assert scores["val/iou_box"] > 0.8  # the whole way there and back costs border pixels only


def _perfect(model: SamModule, prompts):
    """Answer with the truth at a quarter of the input, as a perfect decoder would."""
    from samft.types import MaskOutput

    batches = [b for b in Batches(keep=True).batches if b.num_objects == prompts.num_prompts]
    if not batches:  # a click on the background
        side = model.image_size // 4
        return MaskOutput(logits=torch.full((1, 4, side, side), -1.0), iou=torch.zeros(1, 4))
    masks = batches[0].masks().float()[:, None]
    small = torch.nn.functional.interpolate(masks, scale_factor=0.25, mode="area")
    logits = (small - 0.5).mul(20).expand(-1, 4, -1, -1)
    return MaskOutput(logits=logits, iou=torch.zeros(len(masks), 4))


def test_zero_shot_is_the_first_full_validation_and_travels_with_the_checkpoint(tmp_path) -> None:
    model = module()
    fit = trainer(tmp_path)
    fit.fit(model, loader(), loader(keep=True))
    assert set(model.zero_shot) >= {"val/iou_box", "val/iou_point1"}
    assert [entry["epoch"] for entry in model.history] == [0, 1]
    assert "zero_shot/iou_box" in fit.callback_metrics
    fit.save_checkpoint(tmp_path / "a.ckpt")
    again = load_module(tmp_path / "a.ckpt")
    assert again.zero_shot == model.zero_shot
    assert again.history == model.history
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_partial_sanity_check_is_no_zero_shot(tmp_path) -> None:
    model = module()
    trainer(tmp_path, num_sanity_val_steps=1, max_epochs=1).fit(model, loader(), loader(keep=True))
    assert model.zero_shot == {}


class EndsItself(Callback):
    """What a time limit does, after two steps."""

    def on_train_batch_end(self, trainer, *_) -> None:
        trainer.should_stop = trainer.global_step == 2


def test_without_a_set_end_what_goes_by_the_length_of_the_run_is_refused(tmp_path) -> None:
    endless = {"max_epochs": -1, "num_sanity_val_steps": 0, "enable_checkpointing": False}
    with pytest.raises(ConfigError, match="goes by the number of steps") as caught:
        trainer(tmp_path, **endless).fit(module(), loader())
    assert caught.value.where == "model.optimizer.schedule"
    assert caught.value.found == "cosine, without trainer.max_epochs and trainer.max_steps"
    assert caught.value.fix.endswith("or set model.optimizer.schedule: constant or plateau")
    # A Lightning trainer with a time limit and nothing else has no end but that.
    timed = trainer(tmp_path, **endless | {"max_epochs": None, "max_time": "00:01:00:00"})
    with pytest.raises(ConfigError, match="goes by the number of steps"):
        timed.fit(module(), loader())
    model = module(optimizer={"schedule": "constant", "lr": 1e-3, "warmup_steps": 1})
    fit = trainer(tmp_path, **endless, callbacks=[EndsItself()])
    fit.fit(model, loader())
    assert fit.global_step == 2
    group = fit.optimizers[0].param_groups[0]
    assert group["lr"] == group["initial_lr"]  # warm, and then constant


def test_two_runs_are_bit_equal(tmp_path) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        model = module()
        trainer(tmp_path, enable_checkpointing=False, num_sanity_val_steps=0).fit(model, loader())
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_checkpoint_is_plain_data_and_loads_both_ways(tmp_path) -> None:
    model = module(loss=SamLossSettings(focal=10.0), optimizer=OptimizerSettings(lr=3e-4))
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(model, loader())
    fit.save_checkpoint(tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert stored["hyper_parameters"]["loss"]["focal"] == 10.0
    assert "weights" not in stored["hyper_parameters"]
    lightning_way = SamModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert lightning_way.optimizer_settings.lr == 3e-4
    assert load_module(tmp_path / "a.ckpt").loss_settings == model.loss_settings


class Outer(LightningModule):
    """Somebody else's module with a SamModule inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = module()

    def training_step(self, batch: SamBatch, batch_idx: int) -> Tensor:
        terms = self.inner.training_loss(batch, step=self.global_step)
        self.log("loss", terms.total, batch_size=1)
        return terms.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def test_works_inside_another_module(tmp_path) -> None:
    outer = Outer()
    before = outer.inner.sam.mask_decoder.iou_token.weight.clone()
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(outer, loader())
    assert math.isfinite(float(fit.callback_metrics["loss"]))
    assert not torch.equal(before, outer.inner.sam.mask_decoder.iou_token.weight)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss_stride": 3}, "loss_stride must be 1, 2 or 4\n  where: model.loss_stride"),
        (
            {"adapt": {"train": []}},
            "nothing would be trained",
        ),
        ({"prompts": {"ronds": 3}}, "unknown setting 'ronds'"),
        ({"optimizer": {"lr": -1.0}}, "lr is out of range"),
        ({"adapt": {"train": ["encoder"]}}, "train has no choice 'encoder'"),
        ({"adapt": "lor"}, "no preset is called 'lor'"),
        ({"validation_prompts": ["scribble"]}, "no prompt type is called 'scribble'"),
    ],
)
def test_settings_are_checked(changes: dict, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        module(**changes)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_unknown_architecture() -> None:
    with pytest.raises(ConfigError, match="did you mean 'vit_b'"):
        SamModule("vit_bb")


def test_a_file_that_is_no_checkpoint(tmp_path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a training checkpoint of samft"):
        load_module(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        load_module(path)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path) -> None:
    model = module()
    state = {name: value for name, value in model.state_dict().items() if "iou_token" not in name}
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": dict(model.hparams)}, path)
    with pytest.raises(CheckpointError, match="does not fit this version of samft"):
        load_module(path)


def test_predict_step_answers_in_original_pixels() -> None:
    model = module().eval()
    batch = batch_of(discs(0), discs(1, 2), keep=True)
    with torch.no_grad():
        predictions = model.predict_step(batch, 0)
    assert [len(item.objects) for item in predictions] == [3, 2]
    assert [item.size for item in predictions] == [(40, 56)] * 2
    box = predictions[0].objects[0].prompt["box"]
    rows, columns = torch.nonzero(discs(0).layers[0] == 1).T
    assert box == pytest.approx(
        torch.stack([columns.min(), rows.min(), columns.max(), rows.max()]).tolist(), abs=1.0
    )


def test_batches_move_between_devices() -> None:
    batch = batch_of(discs(0), keep=True)
    moved = batch.to("meta")
    assert moved.images.device.type == "meta"
    assert moved.samples is batch.samples
    assert {item.name for item in dataclasses.fields(batch)} == {
        item.name for item in dataclasses.fields(moved)
    }
