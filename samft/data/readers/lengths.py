"""Units of length that microscopes' files name, in millimetres."""

from __future__ import annotations

import html
import math

_PREFIXES = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3,
    "hecto": 2, "deca": 1, "": 0, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9,
    "pico": -12, "femto": -15, "atto": -18, "zepto": -21, "yocto": -24,
}  # fmt: skip
_METRE = 1000.0  # millimetres
_MILLIMETRES = {f"{prefix}met{end}": _METRE * 10.0**power
                for prefix, power in _PREFIXES.items() for end in ("er", "re")}  # fmt: skip
_MILLIMETRES |= {
    "m": _METRE, "dm": 100.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6, "pm": 1e-9,
    "fm": 1e-12, "km": 1e6, "micron": 1e-3, "microns": 1e-3, "angstrom": 1e-7, "å": 1e-7,
    "inch": 25.4, "in": 25.4, '"': 25.4, "foot": 304.8, "ft": 304.8, "yard": 914.4, "yd": 914.4,
    "mile": 1_609_344.0,
}  # fmt: skip


def in_millimetres(value: object, unit: object) -> float | None:
    """Return a length in millimetres; `None` if it is no positive number, or the unit is unknown.

    Args:
        value: A number, or a text that is one.
        unit: Such as `um`, `µm`, `micrometer` or `microns`; a pixel is no length.
    """
    if not isinstance(value, int | float | str) or not isinstance(unit, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    factor = _MILLIMETRES.get(_plain(unit))
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    length = number * factor
    return length if math.isfinite(length) and length > 0 else None


def _plain(unit: str) -> str:
    # The micro sign and the Greek letter, also as ImageJ and XML write them.
    text = html.unescape(unit.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ"))
    text = text.replace("µ", "u").replace("μ", "u").replace("Å", "å").replace("Å", "å")
    known = text if text in _MILLIMETRES else text.lower()
    return known if known in _MILLIMETRES or not known.endswith("s") else known[:-1]
