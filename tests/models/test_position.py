"""Position tables of one input size in a model of another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_sam import TINY, tiny_sam

from samft.models.position import adapt_position_tables
from samft.models.registry import build_from_config

REL_POS = "image_encoder.blocks.{}.attn.rel_pos_{}"


@pytest.mark.parametrize("image_size", [64, 128, 208, 256])
def test_the_result_loads_at_the_other_size(image_size):
    config = replace(TINY, image_size=image_size)
    sam = build_from_config(config)
    sam.load_state_dict(adapt_position_tables(tiny_sam().state_dict(), config), strict=True)


def test_what_fits_is_passed_on_untouched():
    state = tiny_sam().state_dict()
    adapted = adapt_position_tables(state, TINY)
    assert adapted is not state
    assert all(adapted[key] is tensor for key, tensor in state.items())


def test_only_the_tables_of_the_grid_change():
    state = tiny_sam().state_dict()
    adapted = adapt_position_tables(state, replace(TINY, image_size=256))
    changed = {key for key in state if adapted[key] is not state[key]}
    assert changed == {"image_encoder.pos_embed", *(REL_POS.format(1, axis) for axis in "hw")}


def test_smooth_tables_keep_their_shape():
    """A ramp over the image, or over distance, is the same ramp at twice the resolution."""
    state = tiny_sam().state_dict()
    position = (torch.arange(8) + 0.5) / 8
    state["image_encoder.pos_embed"] = (position[:, None] - 2 * position)[None, :, :, None].expand(
        1, 8, 8, 32
    )
    distance = torch.arange(-7, 8) / 8
    state[REL_POS.format(1, "h")] = distance[:, None].expand(15, 16)
    adapted = adapt_position_tables(state, replace(TINY, image_size=256))

    fine = (torch.arange(16) + 0.5) / 16
    inner = slice(3, -3)  # the border is extrapolated
    torch.testing.assert_close(
        adapted["image_encoder.pos_embed"][0, inner, inner, 0],
        (fine[:, None] - 2 * fine)[inner, inner],
        rtol=0,
        atol=1e-5,
    )
    table = adapted[REL_POS.format(1, "h")][:, 0]
    assert table.shape == (31,)
    assert table[15].item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(table[1:-1], (torch.arange(-14, 15) / 16), rtol=0, atol=0.04)


def test_missing_keys_and_half_precision_are_kept():
    table = torch.ones(1, 8, 8, 32, dtype=torch.float16)
    adapted = adapt_position_tables(
        {"image_encoder.pos_embed": table, "other": table}, replace(TINY, image_size=64)
    )
    assert set(adapted) == {"image_encoder.pos_embed", "other"}
    assert adapted["other"] is table
    assert adapted["image_encoder.pos_embed"].dtype == torch.float16
    assert torch.equal(
        adapted["image_encoder.pos_embed"], torch.ones(1, 4, 4, 32, dtype=torch.half)
    )


def test_a_windowed_table_of_another_window_is_fitted():
    config = replace(TINY, encoder=replace(TINY.encoder, window_size=4))
    adapted = adapt_position_tables(tiny_sam().state_dict(), config)
    assert adapted[REL_POS.format(0, "w")].shape == (7, 16)
