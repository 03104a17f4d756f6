"""The drawings of a report: SVG without dates, the same bytes for the same numbers."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from samft.evaluation.report.blocks import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Placeholders in the light drawing, and what they become in the dark one. Hues are those that
# people with any colour vision can tell apart (Okabe and Ito 2008), adjusted for contrast.
_INK, _FAINT, _GRID = "#24292f", "#59636e", "#d1d9e0"
_COLOURS: Final = ("#0b62a8", "#c25400", "#00785a", "#8a4a80", "#6b6b6b", "#8a6d00", "#3d7ea6")
_DARK: Final = {
    _INK: "#e6e9ed",
    _FAINT: "#a3adb8",
    _GRID: "#3b434c",
    **dict(
        zip(
            _COLOURS,
            ("#6cb4ee", "#f0985a", "#4fc3a1", "#d39bcb", "#b5b5b5", "#dcc054", "#9cc9e3"),
            strict=True,
        )
    ),
}
_METADATA: Final = ("Date", "Creator", "Format", "Type")  # left out: they change with time
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
_WIDEST_GROUP: Final = 14  # letters in a line below a group of bars
_STYLE: Final[dict[Any, Any]] = {  # Any: matplotlib's settings
    "svg.hashsalt": "samft",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a name may hold a dollar
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.titlesize": 10,
    "axes.titlecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A curve.

    Args:
        label: For the legend.
        x: Places.
        y: Values, NaN where there is none.
        dashed: For what the others are compared with.
        colour: Index of its colour.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    dashed: bool = False
    marks: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One pair of axes with its curves."""

    title: str
    x_label: str
    lines: Sequence[Line]
    unit_range: bool = True
    diagonal: bool = False
    whole_x: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """One pair of axes with groups of bars.

    Args:
        title: Above it.
        groups: Names of the groups.
        values: By series, one for each group.
    """

    title: str
    groups: Sequence[str]
    values: Mapping[str, Sequence[float]]


def _styled(draw: Callable[..., Chart]) -> Callable[..., Chart]:
    """Draw with the style of reports, whatever the user's own settings are."""

    @wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Chart:  # Any: of each chart
        import matplotlib as mpl

        with mpl.rc_context(), warnings.catch_warnings():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            warnings.filterwarnings("ignore", message="Glyph")  # letters that the font lacks
            return draw(*arguments, **options)

    return styled


@_styled
def line_chart(name: str, panels: Sequence[Panel], *, alt: str) -> Chart:
    """Draw curves, each panel beside the other."""
    figure, axes = _figure(len(panels))
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(axis, panel)
    return _chart(name, figure, alt)


@_styled
def bar_chart(name: str, panels: Sequence[Bars], *, alt: str) -> Chart:
    """Draw groups of bars, each panel beside the other."""
    figure, axes = _figure(len(panels))
    for panel, axis in zip(panels, axes, strict=True):
        width = 0.8 / max(1, len(panel.values))
        for index, (label, values) in enumerate(panel.values.items()):
            places = [group + (index + 0.5) * width - 0.4 for group in range(len(panel.groups))]
            heights = [0.0 if math.isnan(value) else value for value in values]
            axis.bar(places, heights, 0.92 * width, color=_colour(index), label=_plain(label))
        axis.set(title=_plain(panel.title, 60), ylim=(0, 1))
        names = [_in_lines(group) for group in panel.groups]
        axis.set_xticks(range(len(panel.groups)), names)
        axis.tick_params(axis="x", labelsize=8, length=0)
        axis.grid(axis="y")
    if panels and panels[0].values:
        # Below the drawing: nothing inside it is free of bars.
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return _chart(name, figure, alt)


@_styled
def interval_chart(
    name: str, entries: Sequence[tuple[str, float, float, float]], *, title: str, alt: str
) -> Chart:
    """Draw differences with their intervals around a line at nothing.

    Args:
        name: Of the file.
        entries: Label, mean, low and high of each, the first on top.
        title: Below the axis.
        alt: What it shows, in words.
    """
    figure, (axis,) = _figure(1, height=0.9 + 0.34 * len(entries))
    for row, (_, mean, low, high) in enumerate(entries):
        colour = _COLOURS[0] if low > 0 else _COLOURS[1] if high < 0 else _FAINT
        if math.isfinite(low) and math.isfinite(high):
            axis.plot([low, high], [row, row], color=colour, solid_capstyle="butt")
        axis.plot([mean], [row], marker="o", color=colour)
    axis.axvline(0, color=_INK, linewidth=1)
    axis.set_yticks(range(len(entries)), [_plain(label) for label, *_ in entries])
    axis.set(ylim=(len(entries) - 0.5, -0.5), xlabel=_plain(title))
    axis.margins(x=0.08)
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)
    return _chart(name, figure, alt)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    if panel.diagonal:
        axis.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=":")
    for line in panel.lines:
        axis.plot(
            line.x,
            line.y,
            color=_colour(line.colour),
            linestyle="--" if line.dashed else "-",
            marker=_MARKS[line.colour % len(_MARKS)] if line.marks else None,
            label=_plain(line.label) or None,
        )
    axis.set(title=_plain(panel.title, 60), xlabel=_plain(panel.x_label))
    if panel.unit_range:
        axis.set_ylim(0, 1)
    if panel.whole_x:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid()
    if any(line.label for line in panel.lines):
        axis.legend(loc="best")


def _figure(panels: int, *, height: float = 3.0) -> tuple[Figure, Sequence[Axes]]:
    # Not pyplot: it would choose a window system and keep every figure alive.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    return figure, figure.subplots(1, max(1, panels), squeeze=False)[0]


def _chart(name: str, figure: Figure, alt: str) -> Chart:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    light = stream.getvalue()
    dark = light
    for colour, other in _DARK.items():
        dark = dark.replace(colour.encode(), other.encode())
    return Chart(name=name, light=light, dark=dark, alt=alt)


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _in_lines(text: str) -> str:
    parts = _plain(text).replace(" (", "\n(").splitlines()
    return "\n".join(line for part in parts for line in wrap(part, _WIDEST_GROUP))


def _plain(text: str, longest: int = 28) -> str:
    """Return a name without control marks, cut where it is too long for a drawing."""
    shown = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
