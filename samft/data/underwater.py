"""Underwater images with class masks: colours that mean classes, or class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from samft.data.folder import FolderDataModule
from samft.data.layouts.base import LayoutSettings, ObjectChoice
from samft.data.layouts.suim import SUIM_PALETTE
from samft.errors import ConfigError


@dataclass(kw_only=True, eq=False, repr=False)
class UnderwaterDataModule(FolderDataModule):
    """Underwater photographs: colour-coded masks (SUIM), class numbers (CoralSeg), COCO files.

    Differs from `FolderDataModule` in its defaults: masks hold colours, the names of class numbers
    begin at 0, and objects of fewer than 100 pixels become background.

    Args:
        masks: What masks hold: colours of the palette, or the number of a class, from 0.
        palette: Colour (red, green, blue) of each class, in the order of the classes; default:
            SUIM's eight. For masks of colours.
        classes: Names of the mask values, a list from 0 on or by value as in `{1: coral}`; of
            colours and of labels that name their classes, the names to use. Without names every
            value but the background is of one class.
    """

    masks: Literal["colour", "index"] = "colour"
    objects: ObjectChoice = "component"
    min_area: int = 100

    def __post_init__(self) -> None:
        self._check_masks()
        super().__post_init__()

    def layouts_to_try(self) -> Sequence[str]:
        """See `FolderDataModule`."""
        names = super().layouts_to_try()
        return names if self.masks == "colour" else [name for name in names if name != "suim"]

    def layout_settings(self) -> LayoutSettings:
        """See `FolderDataModule`."""
        settings = replace(super().layout_settings(), first_value=0)
        if self.masks == "index" or self.palette is not None:
            return settings
        return replace(settings, palette=SUIM_PALETTE)

    def _check_masks(self) -> None:
        if self.masks == "colour" and self.ignore_value is not None:
            raise ConfigError(
                "the setting is for masks of class numbers",
                where="data.ignore_value",
                fix="set data.masks: index, or leave data.ignore_value out",
            )
        if self.masks == "index" and self.palette is not None:
            raise ConfigError(
                "the setting is for masks of colours",
                where="data.palette",
                fix="set data.masks: colour, or leave data.palette out",
            )
