"""`data.batch_size: auto` and the advice when memory is short."""

import logging
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer
from planning.plan_cases import SIDE, SMALL, batch_of, module
from quick_trainer import quick_trainer

from samft import SyntheticDataModule
from samft.errors import ConfigError, MachineError
from samft.models.tiny_vit import Stage
from samft.planning import batch_size as chooser
from samft.planning.advice import advised
from samft.planning.batch_size import choose_batch_size
from samft.planning.estimate import BASE, MemoryEstimate, estimate_memory
from samft.planning.knobs import best_knobs
from samft.planning.step import ENCODER, WEIGHTS, StepShape
from samft.planning.variants import Variant

ONE_ROUND = {"rounds": 0, "extra_passes": 0}
ONE = replace(SMALL, images=1, objects=4, device_type="cuda")


def test_the_largest_that_fits_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def estimated(_: object, shape: StepShape) -> MemoryEstimate:
        assert shape.objects == 4 * shape.images
        return MemoryEstimate({BASE: 500, WEIGHTS: 100, ENCODER: 50 * shape.images})

    monkeypatch.setattr(chooser, "estimate_memory", estimated)
    on_gpu = choose_batch_size(module(), ONE, images=1000, budget=349)
    assert (on_gpu.size, on_gpu.estimate.tensors) == (4, 300)
    assert on_gpu.reason == "0 MB estimated of 0 MB"
    on_cpu = replace(ONE, device_type="cpu")
    assert choose_batch_size(module(), on_cpu, images=1000, budget=849).size == 4
    assert choose_batch_size(module(), on_cpu, images=1000, budget=2**30).size == 64


@pytest.mark.parametrize("bend", [0, 3])
@pytest.mark.parametrize("fits", [1, 2, 5, 17, 39, 40])
def test_the_search_finds_it_whatever_the_slope(fits: int, bend: int) -> None:
    asked = []

    def cost(size: int) -> int:
        asked.append(size)
        return 10 * size + bend * max(0, size - 4)

    assert chooser._largest(cost, cost(fits), 40) == fits
    assert len(set(asked)) <= 6
    assert chooser._largest(lambda _: 7, 7, 40) == 40


def test_an_epoch_keeps_a_few_steps() -> None:
    choice = choose_batch_size(module(), ONE, images=11, budget=2**50)
    assert choice.size == 2
    assert choice.reason.endswith("an epoch of 11 images keeps 4 steps or more")


def test_no_room_for_one_image_names_what_saves_most() -> None:
    subject = module(adapt="full", prompts=ONE_ROUND)
    with pytest.raises(MachineError) as caught:
        choose_batch_size(subject, replace(ONE, device_type="cpu"), images=100, budget=2**20)
    text = str(caught.value).splitlines()
    assert len(text) == 3
    assert text[0] == "not even one image at a time fits into the memory"
    assert "where: data.batch_size auto, found: " in text[1]
    assert text[1].endswith("needed, estimated, expected: at most 1 MB")
    assert text[2].startswith("  fix: set model.")
    assert text[2].count("(saves about ") == 2, text[2]


def test_knobs_save_what_they_say() -> None:
    subject = module(adapt="full", prompts=ONE_ROUND)
    shape = replace(SMALL, objects=4)
    now = estimate_memory(subject, shape, base=0).tensors
    knobs = {knob.setting: knob.saved for knob in best_knobs(subject, shape, count=9)}
    frozen = estimate_memory(module(adapt="frozen", prompts=ONE_ROUND), shape, base=0).tensors
    assert knobs["model.adapt frozen"] == pytest.approx(now - frozen, rel=0.05)
    again = module(adapt="full", prompts=ONE_ROUND, checkpoint_blocks=True)
    saved = now - estimate_memory(again, shape, base=0).tensors
    assert knobs["model.checkpoint_blocks true"] == pytest.approx(saved, rel=0.05)
    assert "data.batch_size 1" in knobs
    assert list(knobs.values()) == sorted(knobs.values(), reverse=True)


def test_a_variant_shares_the_weights_and_nothing_else() -> None:
    subject = module(adapt="full")
    variant = Variant.of(subject).frozen().recomputing().decoding(1)
    pairs = zip(subject.sam.parameters(), variant.sam.parameters(), strict=True)
    assert all(own.data_ptr() == twin.data_ptr() for own, twin in pairs)
    assert not variant.adapted.embeddings_change
    assert subject.adapted.embeddings_change
    assert subject.sam.image_encoder.checkpoint_blocks is False
    assert variant.sam.image_encoder.checkpoint_blocks is True
    nano = Variant.of(module("vit_nano")).recomputing().sam.image_encoder
    assert all(all(stage.checkpointed) for stage in nano.modules() if isinstance(stage, Stage))
    assert subject.objective.max_prompts_per_step is None


def data(**settings: object) -> SyntheticDataModule:
    return SyntheticDataModule(
        **{"num_train": 12, "num_val": 0, "size": SIDE, "batch_size": "auto", **settings}
    )


def test_auto_is_settled_before_training_and_kept_when_resumed(tmp_path, monkeypatch, caplog):
    given = data()
    with caplog.at_level(logging.INFO, "samft"):
        trainer = quick_trainer(tmp_path, max_steps=1, enable_checkpointing=True)
        trainer.fit(module(), given)
    assert given.batch_size == 3
    assert any("data.batch_size: auto is 3 (" in text for text in caplog.messages)
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    monkeypatch.setattr(chooser, "_FEWEST_BATCHES", 12)  # would choose 1 now
    again = data()
    quick_trainer(tmp_path, max_steps=2).fit(module(), again, ckpt_path=path, weights_only=True)
    assert again.batch_size == 3
    fixed = data(batch_size=2)
    quick_trainer(tmp_path, max_steps=1).fit(module(), fixed)
    assert fixed.batch_size == 2
    assert fixed.state_dict() == {}


def test_auto_means_nothing_without_a_trainer() -> None:
    with pytest.raises(ConfigError, match=r"where: data\.batch_size, found: auto") as caught:
        data(image_size=SIDE).train_dataloader()
    assert "fix: set data.batch_size to a number" in str(caught.value)
    with pytest.raises(ConfigError, match=r"where: data\.batch_size, found: 0"):
        data(batch_size=0)


def test_running_out_names_what_saves_most(monkeypatch) -> None:
    subject, batch = module(adapt="full"), batch_of(2)
    failure = torch.OutOfMemoryError("no memory")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(subject.sam, "encode_image", fail)
    monkeypatch.setattr("samft.planning.advice.advice", lambda *_: "set model.x (saves about 1 GB)")
    with pytest.raises(MachineError) as caught:
        subject.training_loss(batch, step=0)
    lines = str(caught.value).splitlines()
    assert lines[0] == "out of memory, also with the smallest pieces"
    assert lines[1] == "  where: cpu, found: 2 images, 8 objects, 32-true"
    assert lines[2] == "  fix: set model.x (saves about 1 GB)"
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("result", [None, RuntimeError("no estimate")])
def test_without_advice_the_failure_comes_as_it_was(result, monkeypatch) -> None:
    def ask(*_: object) -> None:
        if result is not None:
            raise result

    monkeypatch.setattr("samft.planning.advice.advice", ask)
    failure = torch.OutOfMemoryError("no memory")
    with pytest.raises(torch.OutOfMemoryError) as caught, advised(module(), batch_of(1)):
        raise failure
    assert caught.value is failure


def test_processes_share_the_memory_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "resident_bytes", lambda: 100)
    monkeypatch.setattr(chooser, "free_bytes", lambda _: 1000)
    assert chooser.budget(torch.device("cpu")) == 900
    assert chooser.budget(torch.device("cpu"), sharing=4) == 300
    assert chooser.budget(torch.device("cuda"), sharing=4) == 920  # each has its own


def test_shards_leave_room_for_more() -> None:
    subject = module(adapt="full")
    four = Trainer(accelerator="cpu", devices=4, strategy="samft_sharded", logger=False)
    whole = 16 * sum(each.numel() for each in subject.sam.image_encoder.parameters())
    held = chooser.held_elsewhere(subject, four)
    assert 0.3 * whole < held < 0.75 * whole
    assert chooser.num_processes(four) == 4
    frozen = chooser.held_elsewhere(module(adapt="frozen"), four)
    assert frozen == pytest.approx(held / 4, rel=0.3)
    ddp = Trainer(accelerator="cpu", devices=4, strategy="ddp", logger=False)
    assert chooser.held_elsewhere(subject, ddp) == 0
