"""YAML of unknown origin: plain data, of no more parts than there is text for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from samft.errors import ConfigError

YAML_ERRORS: Final = (OSError, ValueError, yaml.YAMLError)
"""What `read_yaml` raises."""

_MOST_BYTES: Final = 16 * 2**20
_MOST_PARTS: Final = 1_000_000  # names and values, those that an alias repeats counted again
_DEEPEST: Final = 100
# What PyYAML was seen to raise for tags that do not fit their values, such as `!!bool x`.
_PARSE_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_yaml(path: Path) -> Any:  # Any: YAML, checked by each reader
    """Read a file as `yaml.safe_load` would.

    An alias makes a part of the document stand in two places, and aliases of aliases make a short
    file as large as one likes once it is walked through; a document may also contain itself. Both
    are refused.

    Args:
        path: The file, in UTF-8.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no text, or of more than 16 MB.
        yaml.YAMLError: for everything else that is wrong with it.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes, at most {_MOST_BYTES} are read")
    return load_yaml(path.read_text(encoding="utf-8"))


def load_yaml(text: str) -> Any:  # Any: YAML
    """Parse a text; see `read_yaml`.

    Raises:
        yaml.YAMLError: if it is no YAML, too large or too deep.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except _PARSE_ERRORS as error:
        found = str(error).strip().partition("\n")[0][:160]
        raise yaml.YAMLError(found or type(error).__name__) from error


def unreadable_yaml(
    error: Exception, path: Path, what: str, *, fix: str | None = None
) -> ConfigError:
    """Return the error for a file that `read_yaml` did not read.

    Args:
        error: One of `YAML_ERRORS`.
        path: The file.
        what: What happened, such as `the configuration of the run cannot be read`.
        fix: What the user can do.
    """
    return ConfigError(what, where=path, found=problem_in(error), fix=fix)


def problem_in(error: Exception) -> str:
    """Return what one of `YAML_ERRORS` says, in a few words."""
    said = getattr(error, "problem", None) or str(error).strip().partition("\n")[0]
    return said or type(error).__name__


def _check_size(document: yaml.Node) -> None:
    """Refuse a document that is large once its aliases are written out, deep, or endless."""
    sizes: dict[int, int] = {}
    opened: set[int] = set()

    def size(node: yaml.Node) -> int:
        key = id(node)
        if key in sizes or isinstance(node, yaml.ScalarNode):
            return sizes.get(key, 1)
        if key in opened:
            raise yaml.YAMLError("a part of the document contains itself")
        if len(opened) == _DEEPEST:
            raise yaml.YAMLError(f"parts in each other, more than {_DEEPEST} deep")
        opened.add(key)
        sizes[key] = 1 + sum(size(part) for part in _parts(node))
        opened.discard(key)
        if sizes[key] > _MOST_PARTS:
            raise yaml.YAMLError(f"more than {_MOST_PARTS} parts, aliases written out")
        return sizes[key]

    size(document)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value)
