"""Training on windows of the input frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samft.errors import ConfigError
from samft.models.sam import Sam
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings(Settings):
    """Whether training images are cut into windows, each answered alone.

    A decoder pass costs as much as the map it looks at: cut in two along each side, the same
    pixels train four times as many objects in the same time. Needs an encoder that takes windows
    (TinyViT).

    Args:
        parts: Windows along each side; 1 leaves images whole.
        share: Share of the training steps that cut their images so.
        finer_share: Share of the steps that cut them twice as finely, for small objects; the steps
            that remain see images whole, so that large objects are learned too.
    """

    section: ClassVar[str] = "windows"

    parts: int = 1
    share: float = 0.75
    finer_share: float = 0.0

    @property
    def finest(self) -> int:
        """Most windows along each side."""
        return self.parts * 2 if self.parts > 1 and self.finer_share > 0 else self.parts

    def drawn(self, draw: float) -> int:
        """Return the windows along each side of a step, given a number drawn from 0 to 1."""
        if self.parts == 1 or draw >= self.share + self.finer_share:
            return 1
        return self.parts if draw < self.share else self.finest

    def _check_ranges(self) -> None:
        self._require("parts", low=1)
        self._require("share", low=0, high=1)
        self._require("finer_share", low=0, high=1 - self.share)


def check_windows(windows: WindowSettings, sam: Sam) -> None:
    """Refuse windows that a model cannot be given.

    Raises:
        ConfigError: if a setting is out of range, or the encoder or its grid do not allow it.
    """
    windows.validate()
    if windows.parts == 1:
        return
    if not sam.takes_windows:
        raise ConfigError(
            "this image encoder cannot be given windows: its position tables are those of the "
            "whole image",
            where="model.windows.parts",
            found=windows.parts,
            expected="1",
            fix="leave model.windows out, or choose an architecture with a TinyViT",
        )
    if sam.trim_padding:
        raise ConfigError(
            "windows are cut from the whole padded square",
            where="model.trim_padding",
            found=f"true, with model.windows.parts {windows.parts}",
            fix="leave out one of the two",
        )
    if sam.config.grid_size % windows.finest:
        raise ConfigError(
            "the image embedding cannot be cut into so many windows",
            where="model.windows",
            found=windows.finest,
            expected=f"a divisor of {sam.config.grid_size}",
        )
