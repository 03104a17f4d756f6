"""Batches without the padding that no image needs: what they are cut to, and that prompts agree."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samft.data.collate import collate
from samft.data.geometry import frame_for, logits_to_original
from samft.data.trimming import trim_padding, trimmed_size
from samft.prompts.background import background_clicks, out_of_reach
from samft.prompts.boxes import NoisyBox, TightBox, UniformBox, WholeFrame
from samft.prompts.corrections import corrective_points
from samft.prompts.mask_prompts import Lasso, WrongMask
from samft.prompts.points import CenterPoint, SeveralPoints, UniformPoint
from samft.prompts.simulators import PromptSimulator
from samft.prompts.strokes import Scribble
from samft.types import SamBatch, Sample

SIDE, CELL = 128, 16


def sample(height: int, width: int) -> Sample:
    """An image with two discs away from its edges and one that leaves it at the right bottom."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    layers = torch.zeros(1, height, width, dtype=torch.int32)
    places = [(0.4, 0.3), (0.5, 0.65), (1.0, 1.0)]
    for number, (down, right) in enumerate(places, start=1):
        near = (y - down * height) ** 2 + (x - right * width) ** 2
        layers[0][near < (0.14 * min(height, width)) ** 2] = number
    return Sample(
        image=(torch.arange(3 * height * width) % 251).view(3, height, width).to(torch.uint8),
        layers=layers,
        object_layer=torch.zeros(3, dtype=torch.int64),
        object_class=torch.zeros(3, dtype=torch.int64),
        sample_id=f"{height}x{width}",
        case_id="a",
    )


def batch_of(*sizes: tuple[int, int]) -> SamBatch:
    return collate([sample(*size) for size in sizes], image_size=SIDE, keep_samples=True)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=1, max_size=4),
    st.sampled_from([4, 8, 16]),
)
def test_the_least_multiple_of_the_patch_that_holds_all(
    sizes: list[tuple[int, int]], cell: int
) -> None:
    frames = [frame_for(size, SIDE) for size in sizes]
    for axis, length in enumerate(trimmed_size(frames, cell)):
        longest = max(frame.input_size[axis] for frame in frames)
        assert length % cell == 0
        assert longest <= length < longest + cell
    assert max(trimmed_size(frames, cell)) == SIDE


def test_only_padding_is_cut() -> None:
    whole = batch_of((60, 120), (50, 90))
    cut = trim_padding(whole, CELL)
    assert cut.images.shape == (2, 3, 80, SIDE)  # 90 x 50 becomes 128 x 71
    assert cut.layers.shape == (2, 1, 80, SIDE)
    assert torch.equal(cut.images, whole.images[:, :, :80])
    assert not whole.images[:, :, 80:].any()
    assert torch.equal(cut.masks(), whole.masks()[:, :80])
    assert cut.frames == whole.frames
    assert cut.samples == whole.samples


def test_a_batch_with_a_square_stays_as_it_is() -> None:
    for sizes in [((64, 64),), ((40, 80), (80, 40))]:
        whole = batch_of(*sizes)
        cut = trim_padding(whole, CELL)
        assert torch.equal(cut.images, whole.images)
        assert torch.equal(cut.layers, whole.layers)


def test_logits_of_a_trimmed_batch_go_back_to_the_same_place() -> None:
    whole = batch_of((50, 90))
    frame = whole.frames[0]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, SIDE // 4, SIDE // 4, generator=generator)
    cut = logits[:, :, :20]  # 80 of 128 pixels, 71 of which are the image
    expected = logits_to_original(logits, frame)
    found = logits_to_original(cut, frame)
    assert found.shape == (1, 2, 50, 90)
    torch.testing.assert_close(found, expected)
    tall = frame_for((90, 50), SIDE)
    torch.testing.assert_close(logits_to_original(cut.mT, tall), expected.mT, rtol=1e-5, atol=1e-5)


SIMULATORS: list[PromptSimulator] = [
    TightBox(),
    NoisyBox(noise=0.05),
    UniformBox(noise=0.05),
    UniformPoint(),
    CenterPoint(),
    SeveralPoints(negative_share=0.5),
    Scribble(negative_share=0.5),
    WrongMask(),
    Lasso(),
]


@pytest.mark.parametrize("simulator", SIMULATORS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("size", [(50, 90), (90, 50)])
def test_prompts_are_those_of_the_padded_batch(
    simulator: PromptSimulator, size: tuple[int, int]
) -> None:
    whole = batch_of(size)
    prompts = []
    for batch in (whole, trim_padding(whole, CELL)):
        chosen = batch.select(torch.tensor([0, 1]))  # away from the edge
        prompts.append(
            simulator(
                chosen.masks(),
                chosen.image_index,
                generator=torch.Generator().manual_seed(5),
                ignored=out_of_reach(chosen, chosen.image_index, chosen.ignored()),
            )
        )
    for item in fields(prompts[0]):
        expected, found = (getattr(each, item.name) for each in prompts)
        if isinstance(found, Tensor) and item.name == "mask_logits":
            expected = expected[..., : found.shape[-2], : found.shape[-1]]
        assert found is None if expected is None else torch.equal(found, expected), item.name


@pytest.mark.parametrize("size", [(50, 90), (90, 50)])
def test_nothing_is_asked_beyond_the_edge(size: tuple[int, int]) -> None:
    cut = trim_padding(batch_of(size), CELL)
    height, width = cut.images.shape[-2:]
    generator = torch.Generator().manual_seed(1)
    box = NoisyBox(noise=1.0, max_px=1000.0)
    last = torch.tensor([width, height] * 2) - 1
    for _ in range(20):
        boxes = box(cut.masks(), cut.image_index, generator=generator).boxes
        assert boxes is not None
        assert bool((boxes <= last).all())
    frame = WholeFrame()(cut.masks(), cut.image_index, generator=generator).boxes
    assert frame is not None
    assert frame[0].tolist() == [0, 0, width - 1, height - 1]
    clicks, empty = background_clicks(cut, 20, generator=generator, margin_px=2)
    assert empty.shape == (20, height, width)
    assert clicks.points is not None
    limits = torch.tensor(cut.frames[0].input_size).flip(0)
    assert bool((clicks.points[:, 0] < limits).all())
    points, _ = corrective_points(~cut.masks(), cut.masks(), generator=generator, mode="pair")
    assert bool((points < torch.tensor([width, height])).all())
