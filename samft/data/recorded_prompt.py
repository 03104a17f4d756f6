"""One recorded prompt, with every check a prompt from outside must pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from samft.errors import PromptError
from samft.types import NEGATIVE, POSITIVE

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedPrompt:
    """One prompt for one object, in pixels of the original image.

    Args:
        prompt_id: The identifier in the file, or the position among the image's prompts, from 1.
        box: xyxy, or `None`.
        points: `(x, y)` each.
        labels: One per point: `POSITIVE` or `NEGATIVE`.
        class_name: What the file says the object is, or `None`.
        object_id: The name of the object if the file gives one: prompts of one name in several
            slices of a volume mean one object.
    """

    prompt_id: str | int
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    class_name: str | None = None
    object_id: str | int | None = None


def checked_prompt(
    where: str,
    size: Size | None,
    *,
    box: Any,
    points: Sequence[Any],
    labels: Sequence[Any],
    prompt_id: Any,
    class_name: Any,
    object_id: str | int | None = None,
) -> RecordedPrompt:
    """Build a prompt from what a file holds.

    Args:
        where: File and line or key, for messages.
        size: (height, width) of the image the prompt is about; `None` if it is not known.
        box: Four numbers, as such or as text, or `None`.
        points: Two numbers each.
        labels: One per point.
        prompt_id: Identifier.
        class_name: Name of the class, or `None`.
        object_id: Name of the object, or `None`.

    Raises:
        PromptError: if anything is of the wrong kind, or lies outside the image.
    """
    if box is None and not points:
        raise PromptError(
            "a prompt has neither box nor points", where=where, expected="box, points or both"
        )
    if isinstance(prompt_id, bool) or not isinstance(prompt_id, str | int):
        raise PromptError(
            "the id is neither text nor a whole number", where=where, found=repr(prompt_id)
        )
    if class_name is not None and not isinstance(class_name, str):
        raise PromptError("the class is no text", where=where, found=repr(class_name))
    return RecordedPrompt(
        prompt_id=prompt_id,
        box=None if box is None else _box(box, where, size),
        points=tuple(_point(point, where, size) for point in points),
        labels=tuple(_label(label, where) for label in labels),
        class_name=class_name,
        object_id=object_id,
    )


def _box(values: Any, where: str, size: Size | None) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = _numbers(values, 4, "box", where)
    if x1 >= x2 or y1 >= y2:
        raise PromptError(
            "the box is empty",
            where=where,
            found=[x1, y1, x2, y2],
            expected="[x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        )
    _inside([(x1, y1), (x2, y2)], "box", where, size)
    return x1, y1, x2, y2


def _point(values: Any, where: str, size: Size | None) -> tuple[float, float]:
    x, y = _numbers(values, 2, "point", where)
    _inside([(x, y)], "point", where, size)
    return x, y


def _inside(
    points: Iterable[tuple[float, float]], kind: str, where: str, size: Size | None
) -> None:
    if size is None:
        return
    height, width = size
    for x, y in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise PromptError(
                f"the {kind} lies outside the image",
                where=where,
                found=f"x {x:g}, y {y:g}",
                expected=f"x from 0 to {width}, y from 0 to {height}, in pixels of the file",
            )


def _label(value: Any, where: str) -> int:
    if value in (POSITIVE, str(POSITIVE)) and not isinstance(value, bool):
        return POSITIVE
    if value in (NEGATIVE, str(NEGATIVE)) and not isinstance(value, bool):
        return NEGATIVE
    raise PromptError(
        "a point's label is unknown",
        where=where,
        found=repr(value),
        expected="1 (object) or 0 (background)",
    )


def _numbers(values: Any, count: int, kind: str, where: str) -> list[float]:
    expected = f"{count} numbers"
    if not isinstance(values, list) or len(values) != count:
        raise PromptError(f"the {kind} is incomplete", where=where, found=values, expected=expected)
    numbers = [_number(value) for value in values]
    if not all(math.isfinite(number) for number in numbers):
        raise PromptError(
            f"the {kind} holds something that is no number",
            where=where,
            found=values,
            expected=expected,
        )
    return numbers


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
