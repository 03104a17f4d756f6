"""How prompts, scores and numbers are written for people."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from samft.evaluation.differences import FEWEST_CASES

MISSING: Final = "\N{EN DASH}"
U_NET: Final = "U\N{NON-BREAKING HYPHEN}Net"
NO_INTERVAL: Final = "no interval"
MINUS: Final = "\N{MINUS SIGN}"

_PROMPTS: Final = {"box": "box", "loose_box": "loose box", "auto": "no prompt"}
_CLICK: Final = re.compile(r"point([1-9]\d*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How a score is shown.

    Args:
        label: For heads of tables.
        digits: After the point.
        higher_is_better: Otherwise lower is.
        distance: Whether it has the unit of the data.
    """

    label: str
    digits: int = 3
    higher_is_better: bool = True
    distance: bool = False


SCORES: Final = {
    "iou": Score(label="IoU"),
    "dice": Score(label="Dice"),
    "boundary_iou": Score(label="boundary IoU"),
    "nsd": Score(label="NSD"),
    "hd95": Score(label="HD95", digits=2, higher_is_better=False, distance=True),
    "assd": Score(label="ASSD", digits=2, higher_is_better=False, distance=True),
    "f1": Score(label="F1"),
    "precision": Score(label="precision"),
    "recall": Score(label="recall"),
    "ap": Score(label="AP"),
    "pq": Score(label="PQ"),
    "sq": Score(label="SQ"),
    "rq": Score(label="RQ"),
    "aji": Score(label="AJI"),
    "aji_plus": Score(label="AJI+"),
    "click_auc": Score(label="area under the curve"),
    "noc_85": Score(label="clicks to 85 %", digits=2, higher_is_better=False),
    "noc_90": Score(label="clicks to 90 %", digits=2, higher_is_better=False),
    "failed_85": Score(label="never 85 %", higher_is_better=False),
    "failed_90": Score(label="never 90 %", higher_is_better=False),
    "iou_ece": Score(label="calibration error", higher_is_better=False),
    "iou_mae": Score(label="mean error", higher_is_better=False),
    "iou_bias": Score(label="bias", higher_is_better=False),
    "iou_spearman": Score(label="rank correlation"),
    "background_hit": Score(label="background hit", higher_is_better=False),
    "same_answer": Score(label="same answer", higher_is_better=False),
}
LEFT_OUT: Final = "left_out_"
COUNTS: Final = frozenset({"num_objects", "num_images", "num_missed", "count"})


def score_named(name: str) -> Score:
    """Return how to show a score; one that is not known by its own name."""
    if name.startswith(LEFT_OUT):  # objects that have no such score
        label = score_named(name[len(LEFT_OUT) :]).label
        return Score(label=f"without {label}", digits=0, higher_is_better=False)
    return SCORES.get(name) or Score(label=name.replace("_", " "))


def score_head(name: str, unit: str) -> str:
    """Return the head of a column."""
    score = score_named(name)
    return f"{score.label} ({unit})" if score.distance and unit else score.label


def prompt_label(prompt: str) -> str:
    """Return a prompt in words, such as `3 clicks` for `point3`."""
    click = _CLICK.fullmatch(prompt)
    if click:
        return "1 click" if click[1] == "1" else f"{click[1]} clicks"
    return _PROMPTS.get(prompt, prompt.replace("_", " "))


def prompt_phrase(prompt: str) -> str:
    """Return a prompt as it stands in a sentence, such as `a box`."""
    label = prompt_label(prompt)
    if prompt in _PROMPTS:
        return label if prompt == "auto" else f"a {label}"
    return "one click" if prompt == "point1" else label


def in_order(prompts: Iterable[str]) -> list[str]:
    """Return prompts from the most exact to none: boxes, clicks, others."""
    return sorted(prompts, key=_rank)


def number_of_clicks(prompt: str) -> int | None:
    """Return n for `point<n>`."""
    click = _CLICK.fullmatch(prompt)
    return None if click is None else int(click[1])


def leading_prompts(prompts: Iterable[str]) -> list[str]:
    """Return the prompts worth a row of their own: of clicks, the first and the last."""
    ordered = in_order(prompts)
    clicks = [prompt for prompt in ordered if number_of_clicks(prompt) is not None]
    return [prompt for prompt in ordered if prompt not in clicks[1:-1]]


def number(value: float, digits: int = 3) -> str:
    """Return a number with a fixed number of digits, so that columns align."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign; one that rounds to nothing has none."""
    text = number(abs(value), digits)
    if not math.isfinite(value) or not text.strip("0."):
        return number(value, digits) if not math.isfinite(value) else text
    return f"{'+' if value > 0 else MINUS}{text}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Return both ends of an interval; there is none where there is but one case to draw."""
    if math.isnan(low) or math.isnan(high):
        return NO_INTERVAL
    return f"{signed(low, digits)} to {signed(high, digits)}"


def too_few(entry: Mapping[str, Any]) -> bool:  # Any: a difference of `Results`
    """Return whether a difference comes from so few cases that nothing can be clear."""
    groups: float = entry["num_groups"]
    return groups < FEWEST_CASES


def count(value: float) -> str:
    """Return a whole number with thin gaps between thousands."""
    if not math.isfinite(value):
        return MISSING
    return f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(level: float) -> str:
    """Return a share as a percentage without superfluous digits."""
    return f"{100 * level:.3g} %" if math.isfinite(level) else MISSING


def listed(words: Iterable[str]) -> str:
    """Return words as a list in a sentence; nothing for none."""
    *most, last = [*words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def counted(value: float, noun: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def _rank(prompt: str) -> tuple[int, int, str]:
    clicks = number_of_clicks(prompt)
    if clicks is not None:
        return 1, clicks, ""
    known = list(_PROMPTS)
    if prompt == "auto":
        return 3, 0, ""
    return (0, known.index(prompt), "") if prompt in known else (2, 0, prompt)
