"""Fit the position tables of a state dict to another input size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from samft.models.config import SamConfig, VitEncoder

_POS_EMBED = "image_encoder.pos_embed"


def adapt_position_tables(state: dict[str, Tensor], config: SamConfig) -> dict[str, Tensor]:
    """Return `state` with its position tables interpolated to the sizes of `config`.

    The absolute table is interpolated in two dimensions (antialiased bicubic), the relative tables
    along distance (linear). Tables that fit already, and everything else, are passed on unchanged.

    Args:
        state: Official keys; keys may be missing.
        config: The model that the tables are to fit.

    Source: Touvron et al. 2021, arXiv:2012.12877, section 3 (absolute table); the official
        encoder's `get_rel_pos` (relative tables).
    """
    if not isinstance(config.encoder, VitEncoder):
        return state
    adapted = dict(state)
    grid = config.grid_size
    table = state.get(_POS_EMBED)
    if table is not None and table.ndim == 4 and tuple(table.shape[1:3]) != (grid, grid):
        adapted[_POS_EMBED] = _resize_grid(table, grid)
    for index in range(config.encoder.depth):
        side = grid if index in config.encoder.global_blocks else config.encoder.window_size
        for axis in ("h", "w"):
            key = f"image_encoder.blocks.{index}.attn.rel_pos_{axis}"
            table = state.get(key)
            if table is not None and table.ndim == 2 and table.shape[0] != 2 * side - 1:
                adapted[key] = _resize_distances(table, 2 * side - 1)
    return adapted


def _resize_grid(table: Tensor, grid: int) -> Tensor:
    channels_first = table.permute(0, 3, 1, 2).float()
    resized = F.interpolate(
        channels_first, size=(grid, grid), mode="bicubic", align_corners=False, antialias=True
    )
    return resized.permute(0, 2, 3, 1).to(table.dtype).contiguous()


def _resize_distances(table: Tensor, rows: int) -> Tensor:
    resized = F.interpolate(table.float().t()[None], size=rows, mode="linear", align_corners=False)
    return resized[0].t().to(table.dtype).contiguous()
