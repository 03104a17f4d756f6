"""From the parser's messages to ours: one problem, where it is, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

from samft.errors import ConfigError, did_you_mean

_VALUE = re.compile(r"Expected a (?:<class '(?:builtins\.)?(\w+)'>|(.+?))\. Got value: (.*)")
_ONE_OF = re.compile(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)")
_KEY = re.compile(r'Parser key "([^"]+)"')


def explain(message: str, known: Iterable[str]) -> ConfigError:
    """Turn a message of the argument parser into an error of at most three lines.

    Args:
        message: What the parser said, possibly many lines.
        known: Names of all settings, for suggestions.
    """
    unknown = _unknown_option(message)
    if unknown is not None:
        leaf = unknown.split(".")[-1]
        return ConfigError(f"unknown setting {unknown!r}", fix=_suggest(leaf, known))
    required = re.search(r"arguments? (?:are|is) required: (.+)", message)
    if required:
        names = re.sub(r"\b(?:fit|validate|test|predict)\.", "", required[1])
        return ConfigError(
            f"required but not given: {names}",
            fix="give a recipe with --config, or set it, such as --data.root DIR",
        )
    key = _KEY.search(message)
    where = key[1] if key else None
    choice = _ONE_OF.search(message)
    if choice:
        return ConfigError(
            "not one of the possible values", where=where, found=choice[2], expected=choice[1]
        )
    class_path = re.search(r"Problem with given class_path '([^']+)'", message)
    if class_path:
        return ConfigError(
            f"cannot import class {class_path[1]!r}", where=where, found=_last_line(message)
        )
    return _wrong_value(message, where)


def _wrong_value(message: str, where: str | None) -> ConfigError:
    expected = _VALUE.search(message)
    if expected:
        kind = expected[1] or expected[2]
        return ConfigError("wrong kind of value", where=where, found=expected[3], expected=kind)
    given = re.search(r"Given value: (.*)", message)
    kinds = re.findall(r"Expected a <class '(?:builtins\.)?(\w+)'>", message)
    if given and kinds:
        words = re.findall(r"Expected a typing\.Literal\[(.*?)\]\s*$", message, re.MULTILINE)
        kinds = ["nothing" if kind == "NoneType" else kind for kind in kinds]
        names = " or ".join([*kinds, *words])
        return ConfigError("wrong kind of value", where=where, found=given[1], expected=names)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return ConfigError(" ".join(lines[:2])[:300], fix="samft COMMAND --help lists the settings")


def _unknown_option(message: str) -> str | None:
    for pattern in (
        r"[Oo]ption '([^']+)' is not accepted",
        r"does not accept option '([^']+)'",
        r"unrecognized arguments: -*([^\s=]+)",
        r"Key '([^']+)' is not expected",
    ):
        found = re.search(pattern, message)
        if found:
            return found[1]
    return None


def _suggest(name: str, known: Iterable[str]) -> str:
    suggestion = did_you_mean(name, known)
    if suggestion.startswith("did you mean"):
        return suggestion.split("? ")[0] + "?"
    return "samft COMMAND --help lists the settings"


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if "Expected" not in line]
    informative = [line for line in lines if not line.startswith(("Given", "Subtypes", "-"))]
    return informative[-1] if informative else message
