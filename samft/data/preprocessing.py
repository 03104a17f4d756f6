"""How the values of files become the 0..255 a model was trained on, outside its datamodule."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from samft.data.enhancement import Enhancement, enhance
from samft.data.intensity import (
    VOLUME_PERCENTILES,
    Limits,
    to_float,
    to_rgb,
    to_uint8,
    value_range,
    window_limits,
)
from samft.data.pictures import DEFAULT_PERCENTILES, choose, read_picture
from samft.data.readers.volume import Axis
from samft.data.readers.yaml_files import YAML_ERRORS, read_yaml, unreadable_yaml
from samft.errors import ConfigError, DatasetError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What is done to images before a model sees them, as in its training.

    Values of 8 bits stay as they are.

    Args:
        limits: Values that become black and white, as `window_limits` gives them; `None` for
            percentiles of each file.
        percentiles: The two percentiles for flat images and stacks of them.
        volume_percentiles: The two percentiles for volumes.
        axis: Direction in which volumes are cut.
        channels: The channels to use, by number from 0; `None` for all, at most three.
        keep_depth: Keep the grey levels of more than 8 bits, as float32.
        context: Slices on either side that come along as channels.
        enhancement: Correction of colours and contrast.
    """

    limits: Limits = None
    percentiles: tuple[float, float] = DEFAULT_PERCENTILES
    volume_percentiles: tuple[float, float] = VOLUME_PERCENTILES
    axis: Axis = "auto"
    channels: tuple[int, ...] | None = None
    keep_depth: bool = False
    context: int = 0
    enhancement: Enhancement = "none"

    @classmethod
    def of_config(cls, config: Path | None) -> Self:
        """Return what the configuration of a run says; the defaults without one.

        Args:
            config: `config.fit.yaml` of a run.

        Raises:
            ConfigError: if it is damaged, or its values mean nothing.
        """
        if config is None:
            return cls()
        data = _data_settings(config)
        try:
            found = cls._of_run(data)
            found._check()
            return found
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                "the data settings of the run cannot be used",
                where=config,
                found=str(error).partition("\n")[0][:160],
                fix="restore the configuration, or give the checkpoint without its folder",
            ) from error

    @classmethod
    def _of_run(cls, data: Mapping[str, Any]) -> Self:  # Any: YAML
        if isinstance(data.get("images"), list) and len(data["images"]) > 1:
            _log.warning(
                "the model was trained on images of %d files each, one per channel; here every "
                "file is an image of its own: expect poor masks",
                len(data["images"]),
            )
        return cls.of_settings(data)

    @classmethod
    def of_settings(cls, data: Mapping[str, Any]) -> Self:  # Any: YAML, checked by its datamodule
        """Return what the settings of a datamodule say.

        Args:
            data: Its settings by name, such as `window`, `percentiles` and `axis`.
        """
        chosen = data.get("channels")
        base = cls(
            axis=data.get("axis") or "auto",
            channels=None if chosen is None else tuple(chosen),
            keep_depth=bool(data.get("keep_depth")),
            context=data.get("context_slices") or 0,
            enhancement=data.get("enhancement") or "none",
        )
        if "window" in data:
            base = replace(base, limits=window_limits(data["window"]))
            if "percentiles" not in data:  # of a run before the setting was there
                return replace(base, percentiles=VOLUME_PERCENTILES)
        if data.get("percentiles"):
            low, high = data["percentiles"]
            return replace(base, percentiles=(low, high), volume_percentiles=(low, high))
        return base

    def picture(self, paths: Sequence[Path]) -> NDArray[Any]:
        """Read a flat image, one file per channel, as (C, H, W), 0 to 255, uint8 or float32."""
        picture = read_picture(
            paths, lambda values: self._scale(values, self.percentiles), channels=self.channels
        )
        return enhance(picture, self.enhancement)

    def planes(
        self, channels: Iterable[NDArray[Any]], path: Path, *, is_volume: bool
    ) -> NDArray[Any]:
        """Scale the channels of a volume or a stack, each by itself.

        Args:
            channels: C arrays (Z, Y, X) as in the file.
            path: The file, for messages.
            is_volume: Whether the percentiles of volumes hold, or those of flat images.

        Returns:
            (C, Z, Y, X), 0 to 255, uint8 or float32.
        """
        chosen = list(channels)
        if self.channels is not None:
            chosen = choose(chosen, self.channels, path)
        limits = self.volume_percentiles if is_volume else self.percentiles
        return np.stack([self._scale(channel, limits) for channel in chosen])

    def as_image(self, plane: NDArray[Any], path: Path) -> NDArray[Any]:
        """Return a plane (C, H, W) with the channels that the model sees.

        Raises:
            DatasetError: if there are more channels than were asked for.
        """
        slices = 2 * self.context + 1
        if self.context > 0 and self.channels is None and len(plane) > slices:
            raise DatasetError(
                "neighbouring slices need one channel, or a choice of channels",
                where=path,
                found=f"{len(plane) // slices} channels, data.context_slices {self.context}",
                expected="1 channel",
                fix="set data.channels, such as [0], or data.context_slices: 0; with several also "
                "set model.channels.count to their number times the slices",
            )
        more = self.channels is not None or self.context > 0
        return enhance(to_rgb(np.ascontiguousarray(plane), path, more=more), self.enhancement)

    def to_dict(self) -> dict[str, Any]:  # Any: plain data
        """Return plain data."""
        return asdict(self)

    def _check(self) -> None:
        low, high = self.percentiles
        limits = self.limits if isinstance(self.limits, tuple) else ()
        numbers = (self.context, *(self.channels or ()))
        sound = {
            "axis": self.axis in get_args(Axis),
            "enhancement": self.enhancement in get_args(Enhancement),
            "percentiles": 0 <= low < high <= 100,
            "window": all(math.isfinite(limit) for limit in limits),
            "channels or context_slices": all(
                type(number) is int and number >= 0 for number in numbers
            ),
        }
        wrong = [name for name, right in sound.items() if not right]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} of no meaning")

    def _scale(self, values: NDArray[Any], percentiles: tuple[float, float]) -> NDArray[Any]:
        if values.dtype == np.uint8:
            return values
        limits = value_range(values, self.limits, percentiles)
        return to_float(values, *limits) if self.keep_depth else to_uint8(values, *limits)


def _data_settings(config: Path) -> Mapping[str, Any]:
    try:
        content = read_yaml(config)
    except YAML_ERRORS as error:
        raise unreadable_yaml(
            error,
            config,
            "the configuration of the run cannot be read",
            fix="restore the file, or give the checkpoint without its folder",
        ) from error
    data = content.get("data") if isinstance(content, dict) else None
    settings = data.get("init_args") if isinstance(data, dict) else None
    return settings if isinstance(settings, dict) else {}
