"""Settings of tiles: how large images are cut, and how what is found is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samft.errors import ConfigError
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSettings(Settings):
    """How a large image is cut into tiles, and what makes two masks the same object.

    Args:
        tile_side: Side of what the model sees at once, pixels, the halo included; 0 for the
            model's own input side. Larger tiles are scaled down: fewer, coarser.
        halo: What a tile sees beyond the part it answers for, pixels on every side; 0 for an eighth
            of the tile. Objects up to twice as large are seen whole by some tile; larger ones are
            put together from pieces.
        match_iou: IoU, within what two tiles both see, from which two masks are the same object.
        min_visible: Share of its pixels that a mask must have for itself, with those of more
            confident ones taken away; what has less is dropped.
        min_area: Objects of fewer pixels are dropped; 0 for none.
    """

    section: ClassVar[str] = "tiles"

    tile_side: int = 0
    halo: int = 0
    match_iou: float = 0.5
    min_visible: float = 0.5
    min_area: int = 0

    def _check_ranges(self) -> None:
        self._require("tile_side", low=0)
        self._require("halo", low=0)
        self._require("match_iou", low=0.01, high=1)
        self._require("min_visible", low=0, high=1)
        self._require("min_area", low=0)
        if self.tile_side:
            self.sizes(self.tile_side)

    def sizes(self, native: int) -> tuple[int, int]:
        """Return the side and the halo of a tile, pixels.

        Args:
            native: Input side of the model.

        Raises:
            ConfigError: if the halo takes more than a quarter of the tile on each side.
        """
        side = self.tile_side or native
        halo = self.halo or max(side // 8, 1)
        if 4 * halo > side:
            raise ConfigError(
                "the halo leaves too little of a tile",
                where=f"{self.section}.halo",
                found=f"halo {halo}, tile_side {side}",
                expected=f"a halo of at most {side // 4}, a quarter of the tile",
                fix="enlarge tile_side, or reduce halo",
            )
        return side, halo
