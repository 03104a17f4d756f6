"""Models on inputs that are not square: positions stay where they are in the whole frame."""

from __future__ import annotations

import pytest
import torch
from models.tiny_sam import TINY, TINY_T, tiny_sam

from samft.errors import ConfigError, PromptError
from samft.models.attention import decomposed_attention
from samft.models.config import SamConfig
from samft.types import PromptBatch

IMAGES = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 255
BOXES = PromptBatch(
    image_index=torch.tensor([0, 1, 1]),
    boxes=torch.tensor([[4.0, 8, 60, 50], [10, 10, 100, 70], [64, 16, 120, 44]]),
)


@pytest.mark.parametrize("config", [TINY, TINY_T])
@pytest.mark.parametrize(("height", "width"), [(80, 128), (128, 48), (16, 128)])
def test_shapes(config: SamConfig, height: int, width: int) -> None:
    sam = tiny_sam(config=config).eval()
    with torch.no_grad():
        embeddings = sam.encode_image(IMAGES[..., :height, :width])
        output = sam.decode(embeddings, BOXES, multimask=None)
        again = sam.decode(embeddings, BOXES.with_mask_logits(output.logits[:, :1]), multimask=True)
    rows, columns = height // 16, width // 16
    assert embeddings.shape == (2, 32, rows, columns)
    assert output.logits.shape == (3, 4, 4 * rows, 4 * columns)
    assert again.logits.shape == (3, 3, 4 * rows, 4 * columns)


@pytest.mark.parametrize("config", [TINY, TINY_T])
def test_the_size_of_a_padded_image_is_seen_by_normalisation(config: SamConfig) -> None:
    sam = tiny_sam(config=config)
    sizes = torch.tensor([[70, 128], [80, 100]])
    whole, cut = sam.normalize(IMAGES, sizes), sam.normalize(IMAGES[:, :, :80], sizes)
    assert torch.equal(cut, whole[:, :, :80])
    assert not cut[0, :, 70:].any()
    assert not cut[1, :, :, 100:].any()


def test_blocks_of_a_vit_see_the_positions_of_the_whole() -> None:
    """Without attention, whose reach the cut shortens, each cell is what it is in the whole."""
    sam = tiny_sam().eval()
    with torch.no_grad():
        for block in sam.image_encoder.blocks:
            block.attn.proj.weight.zero_()
        encoder = sam.image_encoder
        whole, cut = encoder(IMAGES, stop=3), encoder(IMAGES[..., :64], stop=3)
    torch.testing.assert_close(cut, whole[:, :, :4])


@pytest.mark.parametrize("variant", ["eager", "sdpa", "chunked"])
def test_a_smaller_map_uses_the_middle_of_the_distance_tables(variant: str) -> None:
    generator = torch.Generator().manual_seed(2)
    qkv = torch.randn(1, 3, 5, 3 * 8, generator=generator)
    padding = torch.zeros(1, 3 * 8)
    tall, wide = (torch.randn(2 * 8 - 1, 4, generator=generator) for _ in range(2))
    found = decomposed_attention(
        qkv,
        padding,
        rel_pos_h=tall,
        rel_pos_w=wide,
        num_heads=2,
        window_size=(3, 5),
        variant=variant,
    )
    q, k, v = qkv.view(15, 3, 2, 4).permute(1, 2, 0, 3)
    logits = q @ k.mT / 2
    for one in range(15):
        for other in range(15):
            down, right = one // 5 - other // 5, one % 5 - other % 5
            logits[:, one, other] += q[:, one] @ tall[7 + down] + q[:, one] @ wide[7 + right]
    expected = (logits.softmax(dim=-1) @ v).transpose(0, 1).reshape(1, 3, 5, 8)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_position_code_is_cropped() -> None:
    encoder = tiny_sam().prompt_encoder
    whole = encoder.image_position().view(8, 8, -1)
    assert torch.equal(encoder.image_position(grid_size=(3, 8)).view(3, 8, -1), whole[:3])
    assert torch.equal(encoder.image_position(grid_size=(8, 5)).view(8, 5, -1), whole[:, :5])


@pytest.mark.parametrize("shape", [(3, 72, 128), (3, 80, 112), (3, 0, 128), (3, 128, 144)])
def test_other_inputs_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="images do not have the model's input size") as caught:
        tiny_sam().encode_image(torch.zeros(1, *shape))
    assert "expected: (B, 3, 128, 128)" in str(caught.value)


def test_mask_prompts_of_the_whole_do_not_fit_a_part() -> None:
    sam = tiny_sam().eval()
    embeddings = sam.encode_image(IMAGES[:, :, :80])
    with pytest.raises(PromptError) as caught:
        sam.decode(embeddings, BOXES.with_mask_logits(torch.zeros(3, 1, 32, 32)), multimask=True)
    assert "found: (3, 1, 32, 32), expected: (3, 1, 20, 32)" in str(caught.value)
