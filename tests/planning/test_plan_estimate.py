"""The estimate against real tensors, and what it must say about settings."""

from dataclasses import replace

import pytest
import torch
from planning.plan_cases import SMALL, batch_of, module

from samft.optim import build_optimizer
from samft.planning.allocators import CHeap
from samft.planning.estimate import BASE, GAPS, _peak, _played, estimate_memory
from samft.planning.replay import play
from samft.planning.shapes import shape_of
from samft.planning.step import DECODER, ENCODER, GRADIENTS, OPTIMIZER, WEIGHTS, StepShape
from samft.planning.tracker import LiveMemory


def real_peak(subject, batch) -> int:
    """Return what real tensors hold in the second of two steps, as Lightning takes them."""
    memory = LiveMemory()
    optimizer = build_optimizer(subject.sam, subject.optimizer_settings)
    with memory:
        memory.follow([*subject.sam.parameters(), *subject.sam.buffers()], "weights")
        memory.follow([batch.images, batch.layers], "batch")
        for step in range(2):
            loss = subject.training_loss(batch, step=step).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            del loss
        history = memory.history.copy()
    return play(history, CHeap()).held


@pytest.mark.parametrize("arch", ["tiny", "vit_nano"])
@pytest.mark.parametrize("adapt", ["frozen", "full"])
def test_real_tensors_take_what_the_rehearsal_says(adapt: str, arch: str) -> None:
    subject = module(arch, adapt=adapt)
    batch = batch_of(2)
    estimate = estimate_memory(subject, shape_of(subject, batch), base=0)
    held = real_peak(subject, batch)
    assert estimate.tensors == pytest.approx(held, rel=0.12)


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
    small = estimate_memory(module(adapt="full", optimizer={"method": "adamw_8bit"}), SMALL).parts
    assert 2 * numbers < small[OPTIMIZER] < 3 * numbers


def test_settings_that_save_memory_do() -> None:
    def total(shape: StepShape = SMALL, **settings: object) -> int:
        return estimate_memory(module(**settings), shape, base=0).tensors

    full = total(adapt="full")
    assert total(adapt="frozen") < total(adapt="late") < full
    assert total(adapt="full", checkpoint_blocks=True) < full
    assert total(adapt="full", max_prompts_per_step=1) < full
    assert total(replace(SMALL, images=4, objects=16), adapt="full") > 1.5 * full
    assert total(adapt="full", cache_embeddings="off") == full


def test_a_gpu_needs_no_gpu_to_be_estimated() -> None:
    subject = module(adapt="full")
    gpu = replace(SMALL, device_type="cuda")
    single = estimate_memory(subject, gpu)
    half = estimate_memory(subject, replace(gpu, precision="bf16-mixed"))
    assert half.parts[ENCODER] < 0.75 * single.parts[ENCODER]
    assert single.parts[GAPS] >= 32 * 2**20
    assert single.total - single.tensors == single.parts[BASE]


def test_more_objects_than_two_rounds_are_extrapolated() -> None:
    subject = module(adapt="frozen", max_prompts_per_step=2)
    shape = replace(SMALL, objects=12)
    assert _peak(subject, shape).held == pytest.approx(_played(subject, shape).held, rel=0.03)
    few, many = (
        estimate_memory(subject, replace(SMALL, objects=count)).parts[DECODER] for count in (4, 40)
    )
    assert many > few


def test_background_clicks_and_the_limit_of_objects_count() -> None:
    batch = batch_of(2)
    subject = module(prompts={"max_objects_per_image": 1, "background_clicks": 2})
    assert shape_of(subject, batch).objects == 2 * (1 + 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert shape_of(subject, batch).precision == "bf16-mixed"
