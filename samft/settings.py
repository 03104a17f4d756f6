"""The base of the settings dataclasses: plain data that a YAML file can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from samft.errors import ConfigError, did_you_mean


# A dataclass itself, because the command line's parser takes only families of pure dataclasses as
# plain groups of settings; others it asks for a class path.
@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Gives a frozen dataclass of plain fields its checks and dict form.

    Fields are bool, int, float, Literal, or dict[str, float].

    Subclasses name their `section` and override `_check_ranges`.
    """

    section: ClassVar[str] = ""
    """Where the settings stand in a config file; error messages name the key with it."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:  # Any: as read from YAML, checked here
        """Build the settings from plain data, with defaults for what is left out.

        Raises:
            ConfigError: if a key is unknown or a value is of the wrong type or out of range.
        """
        allowed = [item.name for item in fields(cls)]
        for name in values:
            if name not in allowed:
                raise ConfigError(
                    f"unknown setting {name!r}",
                    where=f"{cls.section}.{name}",
                    fix=did_you_mean(str(name), allowed),
                )
        settings = cls(**values)
        settings.validate()
        return settings

    @classmethod
    def resolve(cls, given: Self | Mapping[str, Any] | None) -> Self:  # Any: see `from_dict`
        """Return checked settings, given as such (command line), as plain data or not at all.

        Raises:
            ConfigError: as `from_dict`.
        """
        if isinstance(given, cls):
            given.validate()
            return given
        return cls.from_dict(given if isinstance(given, Mapping) else {})

    def to_dict(self) -> dict[str, bool | int | float | str | dict[str, float]]:
        """Return the settings as plain data, such that `from_dict` gives them back."""
        return asdict(self)

    def validate(self) -> None:
        """Check every value.

        Raises:
            ConfigError: naming the first setting of the wrong type or out of range.
        """
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is not ClassVar:
                self._check_type(name, hint)
        self._check_ranges()

    def _check_ranges(self) -> None:
        """Raise if a number is out of range; types are right by then. Nothing by default."""

    def _check_type(self, name: str, hint: Any) -> None:  # Any: a type or a Literal[...] form
        value = getattr(self, name)
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise ConfigError(
                    f"{name} is not one of its choices",
                    where=f"{self.section}.{name}",
                    found=repr(value),
                    fix=did_you_mean(str(value), get_args(hint)),
                )
            return
        if get_origin(hint) is dict:
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise self._wrong_type(name, value, "names with a number each")
            for key, item in value.items():
                if not _fits(item, get_args(hint)[1]):
                    raise self._wrong_type(f"{name}.{key}", item, get_args(hint)[1].__name__)
            return
        if not _fits(value, hint):
            raise self._wrong_type(name, value, hint.__name__)

    def _wrong_type(self, name: str, value: object, expected: str) -> ConfigError:
        return ConfigError(
            f"{name} is of the wrong type",
            where=f"{self.section}.{name}",
            found=f"{value!r} ({type(value).__name__})",
            expected=expected,
        )

    def _require(self, name: str, *, low: float, high: float = math.inf) -> None:
        """Raise unless low <= value <= high and the value is finite."""
        value = getattr(self, name)
        if not (low <= value <= high and math.isfinite(value)):
            limits = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            raise ConfigError(
                f"{name} is out of range",
                where=f"{self.section}.{name}",
                found=value,
                expected=limits,
            )


def _fits(value: object, kind: type) -> bool:
    # bool is an int for Python, and an int is a fine float; for a user only the latter is true.
    fits = (int, float) if kind is float else kind
    return isinstance(value, fits) and isinstance(value, bool) == (kind is bool)
