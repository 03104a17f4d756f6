"""From the names in a config to what augments a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from samft.data.augmentation.base import Chain, Transform
from samft.data.augmentation.presets import COLOUR, DOMAINS, SCALES
from samft.data.augmentation.settings import AugmentationSettings
from samft.errors import ConfigError, did_you_mean

NONE: Final = "none"
DEFAULT_SIDE: Final = 1024
"""Input side of the official SAM, where no other model is known."""
_WHERE: Final = "data.transforms"


def preset_names(transforms: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the presets that `data.transforms` names, in order; empty for no augmentation.

    Args:
        transforms: A name, several, or `None`.

    Raises:
        ConfigError: if one is unknown or there twice, or `none` stands among others.
    """
    given = [transforms] if isinstance(transforms, str) else list(transforms or [])
    if given == [NONE]:
        return ()
    known = [*DOMAINS, *SCALES]
    for name in given:
        if name == NONE:
            raise ConfigError("none cannot be combined", where=_WHERE, found=", ".join(given))
        if name not in known:
            raise ConfigError(
                f"unknown augmentation preset {name!r}",
                where=_WHERE,
                fix=did_you_mean(name, [NONE, *known]),
            )
    if len(set(given)) < len(given):
        raise ConfigError("a preset stands there twice", where=_WHERE, found=", ".join(given))
    return tuple(given)


def build_transform(
    transforms: str | Sequence[str] | None,
    *,
    num_channels: int = 3,
    side: int = DEFAULT_SIDE,
    settings: AugmentationSettings | None = None,
) -> Transform | None:
    """Return the augmentation that presets make up.

    Args:
        transforms: `none` or `None` for no augmentation; or one of `flip`, `medical` and `mr` (no
            mirroring: left and right differ), `microscopy`, `histology`, `underwater`, `lsj` and
            `foreground_crop`; or several of them, applied in this order.
        num_channels: Channels of the images.
        side: Side of the model's input, for the presets that change the scale.
        settings: Ranges of these.

    Raises:
        ConfigError: if a name is unknown, or the preset changes colours and the images have other
            channels than red, green and blue.
    """
    names = preset_names(transforms)
    chosen = AugmentationSettings.resolve(settings)
    for name in names:
        if name in COLOUR and num_channels != 3:
            raise ConfigError(
                "this augmentation shifts the colours of RGB images",
                where=_WHERE,
                found=f"{name}, with images of {num_channels} channels",
                expected=", ".join(each for each in [*DOMAINS, *SCALES] if each not in COLOUR),
            )
    built = [DOMAINS[name]() if name in DOMAINS else SCALES[name](side, chosen) for name in names]
    if not built:
        return None
    return built[0] if len(built) == 1 else Chain(built)
