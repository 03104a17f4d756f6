"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import unicodedata
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from samft.evaluation.report.blocks import Report

_TEMPLATES: Final = Path(__file__).with_name("templates")
_KEPT: Final = "\n\t"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def html_page(report: Report) -> str:
    """Return the page: no scripts, nothing from elsewhere, every name escaped."""
    return environment().get_template("report.html.j2").render(report=report)


def data_uri(data: bytes, media_type: str) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def visible(value: object) -> object:
    """Return a text in which marks that hide or reorder others are written out.

    A file name with a right-to-left mark could otherwise look like another one.
    """
    if type(value) is not str or (value.isascii() and value.isprintable()):
        return value
    return "".join(
        mark
        if mark in _KEPT or unicodedata.category(mark) not in _HIDDEN
        else f"<U+{ord(mark):04X}>"
        for mark in value
    )


@cache
def environment() -> Environment:
    """Return what renders the templates: everything put into them is escaped."""
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["data_uri"] = data_uri
    return templates
