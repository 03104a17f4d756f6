"""The estimate against real tensors, and what it must say about settings."""

from dataclasses import replace

import pytest
import torch
from planning.plan_cases import SMALL, Exact, batch_of, module

from samft.optim import build_optimizer
from samft.planning.allocators import CudaCache
from samft.planning.estimate import BASE, GAPS, estimate_memory
from samft.planning.replay import play
from samft.planning.shapes import shape_of
from samft.planning.step import (
    BATCH,
    CHECKPOINT,
    ENCODER,
    GRADIENTS,
    OPTIMIZER,
    WEIGHTS,
    StepShape,
    rehearse,
)
from samft.planning.tracker import LiveMemory


def real_peak(subject, batch, next_batch) -> int:
    """Return what real tensors hold in the second of two steps, as Lightning takes them."""
    memory = LiveMemory()
    optimizer = build_optimizer(subject.sam, subject.optimizer_settings)
    with memory:
        memory.follow([*subject.sam.parameters(), *subject.sam.buffers()], "weights")
        for each in (batch, next_batch):
            memory.follow([each.images, each.layers], "batch")
        for step in range(2):
            loss = subject.training_loss(batch, step=step).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            del loss
        history = memory.history.copy()
    return play(history, Exact()).held


@pytest.mark.parametrize("arch", ["tiny", "vit_nano"])
@pytest.mark.parametrize("adapt", ["frozen", "full"])
def test_real_tensors_take_what_the_rehearsal_says(adapt: str, arch: str) -> None:
    subject = module(arch, adapt=adapt)
    batch = batch_of(2)
    estimated = play(rehearse(subject, shape_of(subject, batch)), Exact())
    assert estimated.held == pytest.approx(real_peak(subject, batch, batch_of(2)), rel=0.03)


def test_the_module_is_left_alone() -> None:
    subject = module(adapt="full")
    before = {name: value.clone() for name, value in subject.state_dict().items()}
    estimate_memory(subject, SMALL)
    assert all(torch.equal(before[name], value) for name, value in subject.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.sam.parameters())
    assert all(type(each) is torch.nn.Parameter for each in subject.sam.parameters())


def test_weights_gradients_and_state_are_exact() -> None:
    subject = module(adapt="full")
    parts = estimate_memory(subject, SMALL).parts
    numbers = sum(each.numel() for each in subject.sam.parameters())
    state = (*subject.sam.parameters(), *subject.sam.buffers())
    assert parts[WEIGHTS] == sum(each.untyped_storage().nbytes() for each in state)
    assert parts[OPTIMIZER] == pytest.approx(8 * numbers, rel=0.06)  # and what an update needs
    assert parts[GRADIENTS] <= 4 * numbers
    frozen = estimate_memory(module(adapt="frozen"), SMALL).parts
    decoder = sum(each.numel() for each in subject.sam.mask_decoder.parameters())
    assert frozen[OPTIMIZER] == pytest.approx(8 * decoder, rel=0.1)


def test_state_in_8_bits_is_that_of_bitsandbytes() -> None:
    pytest.importorskip("bitsandbytes")
    settings = {"method": "adamw_8bit"}
    subject = module("vit_nano", adapt="frozen", optimizer=settings)
    estimated = estimate_memory(subject, SMALL).parts[OPTIMIZER]
    optimizer = build_optimizer(subject.sam, subject.optimizer_settings)
    for parameter in subject.sam.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    held = [each for state in optimizer.state.values() for each in state.values()]
    real = sum(each.nbytes for each in held if isinstance(each, torch.Tensor))
    assert estimated == pytest.approx(real, rel=0.1)


def test_a_checkpoint_is_put_together_in_memory() -> None:
    prompts = {"rounds": 0, "extra_passes": 0, "max_objects_per_image": 4}
    subject = module(adapt="full", prompts=prompts)
    shape = StepShape(images=1, objects=1)
    parts = estimate_memory(subject, replace(shape, size=(16, 128))).parts
    saved = parts[CHECKPOINT]
    assert saved == parts[WEIGHTS] + parts[OPTIMIZER]
    assert ENCODER not in parts
    assert CHECKPOINT not in estimate_memory(subject, replace(shape, device_type="cuda")).parts


def test_settings_that_save_memory_do() -> None:
    def total(shape: StepShape = SMALL, **settings: object) -> int:
        return play(rehearse(module(**settings), shape), Exact()).held

    full = total(adapt="full")
    assert total(adapt="frozen") < total(adapt="late") < full
    assert total(adapt="full", checkpoint_blocks=True) < full
    assert total(adapt="full", max_prompts_per_step=1) < full
    assert total(replace(SMALL, images=4, objects=16), adapt="full") > 1.5 * full


def test_a_gpu_needs_no_gpu_to_be_estimated() -> None:
    subject = module(adapt="full")
    gpu = replace(SMALL, device_type="cuda")
    single = estimate_memory(subject, gpu)
    half = estimate_memory(subject, replace(gpu, precision="bf16-mixed"))
    assert half.parts[ENCODER] < 0.75 * single.parts[ENCODER]
    assert single.parts[GAPS] >= 32 * 2**20
    assert single.total - single.tensors == single.parts[BASE]


def test_a_few_pieces_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = module(adapt="frozen", max_prompts_per_step=2)
    shape = replace(SMALL, objects=11)
    few = rehearse(subject, shape)
    monkeypatch.setattr("samft.planning.pieces._WORKED_OUT", 99)
    every = rehearse(subject, shape)
    assert len(few.events) < 0.8 * len(every.events)
    assert play(few, Exact()).held == pytest.approx(play(every, Exact()).held, rel=0.02)
    segments = [play(each, CudaCache()).held // 2**21 for each in (few, every)]
    assert abs(segments[0] - segments[1]) <= 1


def test_the_batch_is_as_it_comes_from_the_loader() -> None:
    subject, batch = module(), batch_of(2)
    for pixels in (torch.uint8, torch.float32):
        given = replace(
            batch, images=batch.images[..., :96].to(pixels), layers=batch.layers[..., :96]
        )
        shape = shape_of(subject, given)
        assert (shape.pixels, shape.size) == (pixels, (128, 96))
        parts = play(rehearse(subject, shape), Exact()).parts
        two = 2 * (given.images.nbytes + given.layers.nbytes)
        assert two <= parts[BATCH] < 1.02 * two


def test_background_clicks_and_the_limit_of_objects_count() -> None:
    batch = batch_of(2)
    subject = module(prompts={"max_objects_per_image": 1, "background_clicks": 2})
    assert shape_of(subject, batch).objects == 2 * (1 + 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert shape_of(subject, batch).precision == "bf16-mixed"
