"""Options made of settings: one for each field of a settings class, with its words and default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from docstring_parser import parse

from samft.errors import ConfigError
from samft.settings import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)
_DATA = "--data."
_TRUE: Final = ("true", "yes", "1")
_FALSE: Final = ("false", "no", "0")


def add_settings(
    parser: argparse.ArgumentParser, settings: type[Settings], *, without: Sequence[str] = ()
) -> None:
    """Add an option for every field; what is not given is not in the result of the parser.

    Args:
        parser: Where to.
        settings: Its `Args:` section is the help.
        without: Fields that have no option here.
    """
    hints = get_type_hints(settings)
    words = {
        entry.arg_name: entry.description or "" for entry in parse(_docstring(settings)).params
    }
    group = parser.add_argument_group("settings of the protocol")
    for item in fields(settings):
        if item.name in without:
            continue
        hint = hints[item.name]
        shown = str(item.default).lower() if hint is bool else item.default
        group.add_argument(
            _option(item.name),
            dest=f"settings.{item.name}",
            default=argparse.SUPPRESS,
            type=_converter(hint),
            choices=get_args(hint) if get_origin(hint) is Literal else None,
            metavar=None if get_origin(hint) is Literal else _METAVARS.get(hint, "TEXT"),
            help=f"{_sentence(words.get(item.name, ''))} (default: {shown})".replace("%", "%%"),
        )


def given_settings(
    options: argparse.Namespace, settings: type[AnySettings], **fixed: Any
) -> AnySettings:
    """Return checked settings from the options that were given.

    Args:
        options: From a parser with `add_settings`.
        settings: Which.
        fixed: Further values, by field; an option that was given comes first.

    Raises:
        ConfigError: if a value is out of range.
    """
    start = "settings."
    values: Mapping[str, Any] = {
        name.removeprefix(start): value
        for name, value in vars(options).items()
        if name.startswith(start)
    }
    return settings.from_dict({**fixed, **values})


def split_data_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take options of the data module, such as `--data.tile 256`, out of a command's words.

    Returns:
        The other words, and those options as `--data.NAME=VALUE`.

    Raises:
        ConfigError: if one of them has no value.
    """
    rest: list[str] = []
    taken: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if not word.startswith(_DATA):
            rest.append(word)
        elif "=" in word:
            taken.append(word)
        else:
            value = next(remaining, None)
            if value is None or value.startswith("--"):
                raise ConfigError("an option has no value", where=word, fix=f"{word} VALUE")
            taken.append(f"{word}={value}")
    return rest, taken


def true_or_false(text: str) -> bool:
    """Return what `true` or `false` means, for argparse."""
    if text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def whole_number(text: str) -> int:
    """Return a whole number from 0 on, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def counted(number: int, noun: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_METAVARS: Final[dict[Any, str]] = {bool: "true|false", int: "N", float: "NUMBER"}


def _converter(hint: Any) -> Any:  # Any: a type, or what argparse calls
    if hint is bool:
        return true_or_false
    return str if get_origin(hint) is Literal else hint


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _docstring(settings: type[Settings]) -> str:
    return settings.__doc__ or ""


def _sentence(text: str) -> str:
    """Return a description on one line, as help has it: small at the start, no full stop."""
    line = " ".join(text.replace("`", "").split()).rstrip(".")
    return line[:1].lower() + line[1:]
