"""Tokens, masks and the padding rule of the prompt encoder."""

from __future__ import annotations

import pytest
import torch
from tiny_sam import TINY, tiny_sam

from samft.errors import PromptError
from samft.models.prompt_encoder import FourierPosition
from samft.types import ABSENT, NEGATIVE, PADDING, POSITIVE, PromptBatch

SIZE, DIM = TINY.image_size, TINY.embed_dim
MASK = SIZE // 4


@pytest.fixture
def encoder():
    return tiny_sam().prompt_encoder


def prompts(count=2, *, points=0, **fields):
    """Return `count` prompts with some positive points."""
    if points:
        fields["points"] = torch.rand(count, points, 2) * SIZE
        fields.setdefault("labels", torch.full((count, points), POSITIVE))
    return PromptBatch(image_index=torch.zeros(count, dtype=torch.int64), **fields)


@pytest.mark.parametrize(
    ("fields", "tokens", "has_key_mask"),
    [
        ({}, 0, False),
        ({"points": 1}, 2, True),
        ({"points": 3}, 4, True),
        ({"boxes": torch.rand(2, 4)}, 2, False),
        ({"boxes": torch.rand(2, 4), "has_box": torch.tensor([True, False])}, 2, True),
        ({"points": 2, "boxes": torch.rand(2, 4)}, 4, True),
        ({"mask_logits": torch.randn(2, 1, MASK, MASK)}, 0, False),
    ],
)
def test_number_of_tokens(encoder, fields, tokens, has_key_mask):
    encoded = encoder(prompts(**fields))
    assert encoded.tokens.shape == (2, tokens, DIM)
    assert (encoded.key_mask is not None) == has_key_mask
    with_mask = "mask_logits" in fields
    assert encoded.dense.shape == ((2, TINY.grid_size**2, DIM) if with_mask else (1, DIM))


def test_points_without_a_box_end_with_a_padding_token(encoder):
    labels = torch.tensor([[1, 0], [1, ABSENT], [ABSENT, ABSENT], [1, 0], [ABSENT, ABSENT]])
    has_box = torch.tensor([False, False, False, True, True])
    encoded = encoder(prompts(5, points=2, labels=labels, boxes=torch.rand(5, 4), has_box=has_box))
    assert encoded.key_mask.int().tolist() == [
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 1, 0, 1, 1],
        [0, 0, 0, 1, 1],
    ]
    padding = encoder.not_a_point_embed.weight[0]
    assert torch.equal(encoded.tokens[0, 2], padding)


def test_token_values(encoder):
    points = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [5.0, 6.0]]])
    labels = torch.tensor([[POSITIVE, NEGATIVE, PADDING]])
    boxes = torch.tensor([[1.0, 2.0, 50.0, 60.0]])
    image_index = torch.zeros(1, dtype=torch.int64)
    encoded = encoder(
        PromptBatch(image_index=image_index, points=points, labels=labels, boxes=boxes)
    )
    matrix = encoder.pe_layer.positional_encoding_gaussian_matrix

    def code(x, y):
        u = 2 * (torch.tensor([x, y]) + 0.5) / SIZE - 1
        angle = 2 * torch.pi * (u @ matrix)
        return torch.cat((angle.sin(), angle.cos()))

    kinds = [embedding.weight[0] for embedding in encoder.point_embeddings]
    expected = torch.stack(
        [
            code(10.0, 20.0) + kinds[1],
            code(30.0, 40.0) + kinds[0],
            encoder.not_a_point_embed.weight[0],
            code(1.0, 2.0) + kinds[2],
            code(50.0, 60.0) + kinds[3],
        ]
    )
    torch.testing.assert_close(encoded.tokens[0], expected, rtol=1e-4, atol=1e-4)


def test_the_position_code_ignores_autocast(encoder):
    batch = prompts(points=2)
    expected = encoder(batch).tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder(batch).tokens, expected)


def test_the_frequencies_are_a_buffer(encoder):
    names = dict(encoder.named_parameters())
    assert not any("gaussian" in name for name in names)
    assert "pe_layer.positional_encoding_gaussian_matrix" in encoder.state_dict()
    code = FourierPosition(8)(torch.rand(5, 2))
    torch.testing.assert_close(code[:, :8] ** 2 + code[:, 8:] ** 2, torch.ones(5, 8))


def test_image_position_is_the_code_of_the_cells(encoder):
    cell = SIZE / TINY.grid_size
    centre = torch.tensor([3 * cell + cell / 2 - 0.5, 5 * cell + cell / 2 - 0.5])
    position = encoder.image_position().view(TINY.grid_size, TINY.grid_size, DIM)
    torch.testing.assert_close(
        position[5, 3], encoder._position(centre, (0, 0)), rtol=1e-4, atol=1e-4
    )


def test_a_window_has_the_codes_of_its_place(encoder):
    whole = encoder.image_position().view(TINY.grid_size, TINY.grid_size, DIM)
    cell = SIZE // TINY.grid_size
    part = encoder.image_position(grid_size=(2, 2), origin=(3 * cell, cell)).view(2, 2, DIM)
    torch.testing.assert_close(part, whole[1:3, 3:5], rtol=1e-4, atol=1e-4)
    at = torch.tensor([[[7.0, 9.0]]]).expand(2, -1, -1)
    labels = torch.ones(2, 1, dtype=torch.long)
    moved = torch.tensor([3.0 * cell, cell])
    index = torch.zeros(2, dtype=torch.long)
    inside = PromptBatch(image_index=index, points=at, labels=labels, boxes=torch.ones(2, 4))
    outside = PromptBatch(
        image_index=index,
        points=at + moved,
        labels=labels,
        boxes=torch.ones(2, 4) + moved.repeat(2),
    )
    torch.testing.assert_close(
        encoder(inside, grid_size=(2, 2), origin=(3 * cell, cell)).tokens, encoder(outside).tokens
    )


def test_rows_without_a_mask_get_the_no_mask_embedding(encoder):
    logits = torch.randn(3, 1, MASK, MASK)
    has_mask = torch.tensor([True, False, True])
    mixed = encoder(prompts(3, mask_logits=logits, has_mask=has_mask)).dense
    alone = encoder(prompts(3, mask_logits=logits)).dense
    torch.testing.assert_close(mixed[has_mask], alone[has_mask])
    assert torch.equal(mixed[1], encoder.no_mask_embed.weight.expand_as(mixed[1]))


def test_every_point_parameter_gets_a_gradient_from_any_points(encoder):
    encoder(prompts(points=1)).tokens.sum().backward()
    assert encoder.point_embeddings[1].weight.grad.any()
    assert not encoder.point_embeddings[0].weight.grad.any()
    assert encoder.not_a_point_embed.weight.grad.any()


@pytest.mark.parametrize(
    ("fields", "name", "found", "expected"),
    [
        ({"boxes": torch.rand(3, 4)}, "boxes", (3, 4), (2, 4)),
        ({"points": 2, "labels": torch.ones(2, 3)}, "labels", (2, 3), (2, 2)),
        ({"mask_logits": torch.randn(2, 1, 8, 8)}, "mask_logits", (2, 1, 8, 8), (2, 1, 32, 32)),
        ({"has_box": torch.ones(1)}, "has_box", (1,), (2,)),
    ],
)
def test_shapes_that_do_not_fit(encoder, fields, name, found, expected):
    with pytest.raises(PromptError) as caught:
        encoder(prompts(**fields))
    assert f"prompt field '{name}' has the wrong shape" in str(caught.value)
    assert f"found: {found}, expected: {expected}" in str(caught.value)


def test_points_need_labels(encoder):
    batch = PromptBatch(image_index=torch.zeros(1, dtype=torch.int64), points=torch.rand(1, 1, 2))
    with pytest.raises(PromptError, match="points and labels must come together"):
        encoder(batch)
