"""Where the recipes and configs that come with samft lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def packaged(kind: str) -> Path:
    """Return the folder of `recipes` or `configs`: in the wheel, or in the source tree."""
    inside = _PACKAGE / f"_{kind}"
    return inside if inside.is_dir() else _PACKAGE.parent / kind
