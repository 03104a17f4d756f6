"""Pictures: the right pixels change colour."""

import numpy as np
import torch

from samft.inference.overlay import (
    PALETTE,
    Marks,
    draw_marks,
    draw_masks,
    picture,
    side_by_side,
    stack_rows,
)

GREY = np.full((40, 60, 3), 100, np.uint8)


def test_masks_colour_their_pixels_only() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:20] = True
    drawn = draw_masks(GREY, [mask])
    assert np.array_equal(drawn[~mask], GREY[~mask])
    assert (drawn[mask] != 100).any(axis=-1).all()
    assert tuple(drawn[10, 10]) == PALETTE[0]  # the outline is opaque
    assert (GREY == 100).all()  # the input is left alone


def test_marks() -> None:
    prompt = {"box": [5, 5, 30, 20], "points": [[40, 30], [50, 10]], "labels": [1, 0]}
    drawn = draw_marks(GREY, Marks.from_prompt(prompt))
    assert tuple(drawn[5, 10]) == (255, 255, 255)
    assert tuple(drawn[30, 40]) == (80, 255, 80)
    assert tuple(drawn[10, 50]) == (255, 60, 60)
    assert np.array_equal(draw_marks(GREY, Marks.from_prompt({})), GREY)


def test_panels_of_any_size_line_up() -> None:
    row = side_by_side([("one", GREY), ("two", GREY[:10, :10])], height=80)
    assert row.dtype == np.uint8
    assert row.shape[0] == 80 + 22
    stacked = stack_rows([row, row[:, :50]])
    assert stacked.shape == (2 * (row.shape[0] + 6), row.shape[1], 3)


def test_picture_of_float_and_uint8() -> None:
    image = torch.tensor([[[0.0, 255.0]], [[12.6, 300.0]], [[-4.0, 7.0]]])
    shown = picture(image)
    assert shown.tolist() == [[[0, 13, 0], [255, 255, 7]]]
    assert np.array_equal(picture(image.clamp(0, 255).round().to(torch.uint8)), shown)
