"""The graphs against the official `SamOnnxModel`, in torch, before anything is written."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from export_models import tiny_vit
from parity.reference_models import TINY, relative_difference

from samft.data.geometry import logits_to_original
from samft.export.onnx_graphs import (
    Client,
    CroppedDecoderGraph,
    DecoderGraph,
    EncoderGraph,
    exportable,
)
from samft.models.official import build_official
from samft.types import Frame

SIDE = TINY.image_size
GRID = TINY.grid_size


def feed(points: int, size: tuple[int, int], *, has_mask: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(points)
    return [
        torch.randn((1, TINY.embed_dim, GRID, GRID), generator=generator),
        torch.rand((1, points, 2), generator=generator) * SIDE,
        torch.randint(-1, 4, (1, points), generator=generator).float(),
        torch.randn((1, 1, 4 * GRID, 4 * GRID), generator=generator),
        torch.tensor([float(has_mask)]),
        torch.tensor(size).float(),
    ]


@pytest.fixture(scope="module")
def ours():
    return tiny_vit().eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def official(ours):
    theirs = build_official(TINY)
    theirs.load_state_dict(ours.state_dict())
    package = type(theirs).__module__.partition(".")[0]
    export = import_module(f"{package}.utils.onnx").SamOnnxModel
    return {single: export(theirs, return_single_mask=single).eval() for single in (True, False)}


@pytest.mark.parity
@pytest.mark.parametrize("single_mask", [True, False])
@pytest.mark.parametrize("has_mask", [True, False])
@pytest.mark.parametrize(("points", "size"), [(1, (97, 211)), (2, (333, 101)), (9, (128, 128))])
@torch.no_grad()
def test_the_decoder_is_the_official_one(ours, official, points, size, has_mask, single_mask):
    inputs = feed(points, size, has_mask=has_mask)
    found = DecoderGraph(ours, single_mask=single_mask)(*inputs)
    expected = official[single_mask](*inputs)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape
        assert relative_difference(mine, theirs) < 3e-4  # its attention magnifies rounding


@torch.no_grad()
def test_the_encoder_normalises_before_it_pads(ours):
    image = torch.rand(75, SIDE, 3) * 255
    padded = torch.zeros(1, 3, SIDE, SIDE)
    padded[0, :, :75] = image.permute(2, 0, 1)
    expected = ours.encode_image(padded, torch.tensor([[75, SIDE]]))
    with exportable(ours):
        found = EncoderGraph(ours)(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_attention_is_as_it_was_afterwards(ours):
    ours.image_encoder.blocks[0].attn.variant = "chunked"
    with exportable(ours):
        assert {block.attn.variant for block in ours.image_encoder.blocks} == {"eager"}
    assert [block.attn.variant for block in ours.image_encoder.blocks][:2] == ["chunked", "auto"]
    del ours.image_encoder.blocks[0].attn.variant


@torch.no_grad()
def test_a_client_with_other_sizes_gets_the_same_masks(ours):
    """Points in a frame of 1024, embeddings in a larger tensor, masks of another side."""
    client = Client(side=1024, mask_side=256, embedding=(256, 64, 64))
    inputs = feed(3, (90, 120))
    expected = DecoderGraph(ours)(*inputs)
    packed = torch.zeros(1, 256, 64, 64)
    packed.view(-1)[: inputs[0].numel()] = inputs[0].flatten()
    theirs = [packed, inputs[1] * (1024 / SIDE), inputs[2], torch.zeros(1, 1, 256, 256)]
    masks, iou, low = DecoderGraph(ours, client=client)(*theirs, *inputs[4:])
    torch.testing.assert_close(masks, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iou, expected[1], rtol=1e-4, atol=1e-4)
    assert low.shape == (1, 4, 256, 256)


@pytest.mark.parametrize("threshold", [0.0, 1e9], ids=["a mask", "an empty mask"])
@torch.no_grad()
def test_a_mask_is_cut_to_its_box(ours, threshold):
    decoder = DecoderGraph(ours, single_mask=True)
    inputs = feed(2, (90, 121))
    whole = decoder(*inputs)[0][0, 0] - threshold
    decoder.forward = lambda *given: (whole[None, None], torch.zeros(1, 1), torch.zeros(1, 1, 4, 4))
    cut, _, _, left, top, right, bottom = CroppedDecoderGraph(decoder)(*inputs)
    assert cut.dtype == torch.uint8
    assert set(cut.unique().tolist()) <= {0, 255}
    rows, columns = torch.nonzero(whole > 0, as_tuple=True)
    if threshold:
        assert cut.shape == (1, 1, 90, 121)
        assert not cut.any()
        return
    assert (int(left), int(right)) == (int(columns.min()), int(columns.max()))
    assert (int(top), int(bottom)) == (int(rows.min()), int(rows.max()))
    box = whole[top : bottom + 1, left : right + 1] > 0
    assert torch.equal(cut[0, 0] == 255, box)


@torch.no_grad()
def test_sizes_that_are_values_are_rounded_like_those_that_are_known(ours):
    """Odd sizes: the inner size is rounded, half up."""
    for size in [(1, 500), (333, 1000), (255, 256), (37, 53)]:
        inputs = feed(2, size)
        masks, _, low = DecoderGraph(ours)(*inputs)
        scale = SIDE / max(size)
        inner = tuple(max(1, int(side * scale + 0.5)) for side in size)
        frame = Frame(original_size=size, input_size=inner, image_size=SIDE)
        torch.testing.assert_close(masks, logits_to_original(low, frame))
