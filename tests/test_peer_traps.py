"""Mistakes of other trainers that cost their users most, one test each.

What each of them got wrong is known from their issue trackers and source.
"""

import inspect
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, Trainer
from quick_trainer import quick_trainer
from torch.utils.data import DataLoader, DistributedSampler

from samft import PromptSettings, SamLossSettings, SamModule, build_sam
from samft.data.collate import collate
from samft.data.geometry import frame_for, resize_image, resize_layers
from samft.data.loader import ResumableSampler
from samft.data.synthetic import SyntheticDataModule, generate
from samft.errors import CheckpointError, ConfigError
from samft.inference.overlay import draw_masks, picture
from samft.losses import boundaries, iou, pixels, regions, skeletons
from samft.metrics.objects import ObjectScores, mask_scores
from samft.models.strict import load_state_dict
from samft.objective import InteractiveObjective
from samft.prompts.mask_prompts import masks_to_logits
from samft.prompts.simulators import CenterPoint, TightBox
from samft.types import SamBatch, Sample

SIZE = 64
ROOT = Path(__file__).parents[1]


def sample(seed: int = 0, *, empty: bool = False) -> Sample:
    drawn = generate(seed, size=SIZE, look="shapes")
    if not empty:
        return drawn
    none = torch.zeros(0, dtype=torch.int64)
    return drawn.replace(
        layers=torch.zeros_like(drawn.layers), object_layer=none, object_class=none
    )


def batch(*samples: Sample, keep: bool = False) -> SamBatch:
    return collate(samples, image_size=SIZE, keep_samples=keep)


def module(**changes: object) -> SamModule:
    prompts = PromptSettings(rounds=1, extra_passes=0, max_objects_per_image=4)
    settings = {"image_size": SIZE, "adapt": "full", "prompts": prompts}
    return SamModule("vit_nano", **{**settings, **changes})


def test_pixels_are_prepared_as_sam_expects() -> None:
    """Mean and deviation on 0..255, the longest side resized, padding right and bottom."""
    sam = build_sam("vit_nano", image_size=SIZE)
    image = torch.full((3, 20, 40), 200, dtype=torch.uint8)
    one = batch(sample().replace(image=image, layers=torch.zeros(1, 20, 40, dtype=torch.int32)))
    normal = sam.normalize(one.images, one.input_sizes)
    mean = torch.tensor([123.675, 116.28, 103.53])
    deviation = torch.tensor([58.395, 57.12, 57.375])
    torch.testing.assert_close(normal[0, :, 10, 10], (200 - mean) / deviation)
    assert one.frames[0].input_size == (32, 64)
    assert not normal[:, :, 32:].any()


def test_points_are_x_then_y() -> None:
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[0, 10:13, 40:43] = True
    index = torch.zeros(1, dtype=torch.int64)
    prompts = CenterPoint()(masks, index, generator=torch.Generator())
    assert prompts.points.tolist() == [[[41, 11]]]
    boxes = TightBox()(masks, index, generator=torch.Generator()).boxes
    assert boxes.tolist() == [[40, 10, 42, 12]]


@pytest.mark.parametrize("room", [boundaries, iou, pixels, regions, skeletons])
def test_losses_cannot_mix_up_their_arguments(room: ModuleType) -> None:
    losses = [f for name, f in vars(room).items() if name.endswith("_loss") and callable(f)]
    assert losses
    for loss in losses:
        positional = [
            parameter
            for parameter in inspect.signature(loss).parameters.values()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        assert len(positional) == 2, loss


def test_dice_is_of_each_object_not_of_all_together() -> None:
    """A small object that is missed counts as much as a large one that is found."""
    truth = torch.zeros(2, 32, 32, dtype=torch.bool)
    truth[0, :, :16], truth[1, 20, 20] = True, True
    found = truth.clone()
    found[1] = False
    scores, dice = mask_scores(found, truth)
    assert scores.tolist() == dice.tolist() == [1.0, 0.0]
    metric = ObjectScores()
    metric.update(scores, dice)
    assert metric.compute()["dice"] == 0.5


def test_masks_are_handed_back_as_logits_not_as_probabilities() -> None:
    logits = masks_to_logits(torch.eye(8, dtype=torch.bool)[None])
    assert logits.max() > 1
    assert logits.min() < -1


def test_every_process_has_its_part_and_scores_add_up() -> None:
    parts = [ResumableSampler(11, seed=0, shuffle=True, rank=r, world_size=2) for r in range(2)]
    assert all(isinstance(part, DistributedSampler) for part in parts)
    seen = [{key.index for key in part} for part in parts]
    assert seen[0] | seen[1] == set(range(11))
    evaluation = [
        ResumableSampler(11, seed=0, shuffle=False, rank=r, world_size=2, pad=False)
        for r in range(2)
    ]
    assert sorted(key.index for part in evaluation for key in part) == list(range(11))
    assert all(reduction is not None for reduction in ObjectScores()._reductions.values())


def test_the_schedule_moves_the_rate(tmp_path: Path) -> None:
    rates: list[float] = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer = quick_trainer(tmp_path, max_steps=4, callbacks=[Watch()], limit_val_batches=0)
    images = [batch(sample(seed)) for seed in range(4)]
    model = module(optimizer={"lr": 1e-3, "schedule": "linear", "warmup_steps": 0})
    trainer.fit(model, DataLoader(images, batch_size=None))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.5 * rates[0]


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"warmup_setps.*\n?.*warmup_steps"):
        module(optimizer={"warmup_setps": 3})


def test_checkpoints_are_chosen_on_validation_never_on_training_or_test() -> None:
    source = (ROOT / "samft/cli/lightning.py").read_text(encoding="utf-8")
    assert '"checkpoint.monitor": "val/iou"' in source
    for path in (*ROOT.glob("recipes/*.yaml"), *ROOT.glob("configs/*/*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert "monitor: test" not in text
        assert "monitor: train" not in text


def test_false_on_the_command_line_is_false() -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(SamModule, "model")
    arguments = ["--model.checkpoint_blocks", "false", "--model.validation_prompts", "[point]"]
    parsed = parser.parse_args(arguments).model
    assert parsed.checkpoint_blocks is False
    assert parsed.validation_prompts == ["point"]


def test_training_shuffles() -> None:
    data = SyntheticDataModule(num_train=20, size=SIZE, image_size=SIZE)
    orders = []
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.order.epoch = epoch
        orders.append([key.index for key in loader.order])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))


def test_empty_images_neither_crash_nor_vanish_from_the_scores() -> None:
    model = module()
    loss = model.training_loss(batch(sample(empty=True)), step=0).total
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    assert mask_scores(nothing, nothing)[0].tolist() == [1.0]
    assert mask_scores(~nothing, nothing)[0].tolist() == [0.0]


def test_weights_load_whole_or_not_at_all() -> None:
    sam = build_sam("vit_nano", image_size=SIZE)
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    state = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    state.pop("mask_decoder.iou_token.weight")
    with pytest.raises(CheckpointError, match=r"mask_decoder\.iou_token\.weight"):
        load_state_dict(sam, state, source="partial.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in sam.state_dict().items())


def test_pictures_do_not_change_what_they_show() -> None:
    one = sample()
    image, layers = one.image.clone(), one.layers.clone()
    masks = [mask.numpy() for mask in one.masks()]
    draw_masks(picture(one.image), masks)
    assert torch.equal(one.image, image)
    assert torch.equal(one.layers, layers)
    assert all(
        (mask.numpy() == drawn).all() for mask, drawn in zip(one.masks(), masks, strict=True)
    )


def test_images_are_smoothed_when_resized_and_labels_are_not() -> None:
    checks = (torch.arange(128)[:, None] + torch.arange(128)) % 2
    image = (255 * checks).to(torch.uint8).expand(3, -1, -1)
    resized = resize_image(image, frame_for((128, 128), SIZE)).float()
    assert ((resized > 100) & (resized < 155)).all()
    labels = (checks * 7).to(torch.int32)[None]
    assert set(resize_layers(labels, (48, 48)).unique().tolist()) <= {0, 7}


def test_no_recipe_asks_for_half_precision_that_overflows() -> None:
    for path in (*ROOT.glob("recipes/*.yaml"), *ROOT.glob("configs/*/*.yaml")):
        trainer = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("trainer") or {}
        assert str(trainer.get("precision")) != "16-mixed", path


@pytest.mark.parametrize("point_probability", [0.0, 1.0])
def test_no_mask_token_is_without_gradient(point_probability: float) -> None:
    """A token that no prompt of a step asks for must not stop distributed training."""
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=SIZE)
    prompts = PromptSettings(rounds=0, extra_passes=0, point_probability=point_probability)
    objective = InteractiveObjective(sam, prompts=prompts, loss=SamLossSettings())
    objective(
        batch(sample()),
        encode=lambda images: sam.encode_image(images.images, images.input_sizes),
        generator=torch.Generator().manual_seed(0),
    ).total.backward()
    without = {n for n, p in sam.mask_decoder.named_parameters() if p.grad is None}
    assert without == set()


def test_validation_asks_the_same_every_time() -> None:
    model = module().eval()
    one = batch(sample(), keep=True)
    scores = []
    for seed in range(2):
        torch.manual_seed(seed)
        with torch.no_grad():
            model.validation_step(one, 0)
        scores.append({name: float(value) for name, value in model.validation.compute().items()})
    assert scores[0] == scores[1]


def test_objects_of_several_classes_stay_apart() -> None:
    one = sample()
    classes = torch.arange(one.num_objects) % 3
    several = batch(one.replace(object_class=classes))
    assert several.object_class.tolist() == [int(classes[v - 1]) for v in several.object_value]
    assert len(several.object_class.unique()) == min(3, one.num_objects)


def test_objects_that_are_left_out_are_counted() -> None:
    model = module(prompts=PromptSettings(rounds=0, extra_passes=0, min_area=10_000))
    model.training_loss(batch(sample()), step=0)
    assert "0 kept" in str(model.objective.counts)
