"""What a `SamModule` refuses, and what it says then."""

from __future__ import annotations

from collections.abc import Iterable

from samft.errors import ConfigError, did_you_mean
from samft.models.adaptation.apply import Adapted


def check_cacheable(adapted: Adapted) -> None:
    """Refuse to cache the embeddings of an encoder that is trained."""
    if "image_encoder" not in adapted.frozen:
        raise ConfigError(
            "embeddings can only be cached while the image encoder does not change",
            where="model.cache_embeddings",
            found=f"model.adapt trains {adapted.settings.preset}",
            fix="set model.adapt to frozen, or leave model.cache_embeddings off",
        )


def check_variants(data: object) -> None:
    """Refuse augmentation without end, under which no image comes twice."""
    transforms = getattr(data, "transforms", None)
    if transforms not in (None, "none") and getattr(data, "variants", None) is None:
        raise ConfigError(
            "augmentation makes new images in every epoch, so that no embedding is used twice",
            where="data.transforms",
            found=transforms,
            fix="set data.variants to a few, such as 4, or data.transforms to none",
        )


def check_clicks(clicks: int) -> None:
    """Refuse a validation without a click."""
    if clicks < 1:
        raise ConfigError(
            "validation_clicks is out of range",
            where="model.validation_clicks",
            found=clicks,
            expected="1 or more",
        )


def check_names(names: Iterable[str], allowed: Iterable[str], setting: str, kind: str) -> None:
    """Refuse names that are none of those `allowed`."""
    for name in names:
        if name not in allowed:
            raise ConfigError(
                f"no {kind} is called {name!r}",
                where=f"model.{setting}",
                fix=did_you_mean(name, allowed),
            )
