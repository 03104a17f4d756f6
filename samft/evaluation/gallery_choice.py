"""Which objects are worth a picture: the best and worst answers, the largest changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from samft.evaluation.columns import Floats, Integers, ScoreTable
from samft.evaluation.grouping import common_items
from samft.evaluation.rows import ObjectRow

GalleryKind = Literal["best", "worst", "improved", "worsened"]

_PREFERRED = ("box", "point1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An object to draw.

    Args:
        kind: Why.
        rank: From 1, the most telling of its kind and prompt.
        prompt: What is asked with.
        sample_id: The image.
        object_id: The object in it, from 1.
        class_name: Its class, empty where it has none.
        iou: By model, of all that answered.
    """

    kind: GalleryKind
    rank: int
    prompt: str
    sample_id: str
    object_id: int
    class_name: str
    iou: Mapping[str, float]


def gallery_prompts(present: Iterable[str]) -> list[str]:
    """Return the prompts to draw: the box and the first click, or what else there is."""
    known = list(dict.fromkeys(present))
    return [prompt for prompt in _PREFERRED if prompt in known] or known[:1]


def choose_objects(
    rows: Sequence[ObjectRow], *, first: str, reference: str | None, count: int
) -> list[Choice]:
    """Choose objects for each prompt and kind.

    Of a prompt and kind every image gives one object, as long as there are enough images. No
    object is both among the best and among the worst. Of equal answers that about the larger
    object comes first.

    Args:
        rows: Of the prompts that are drawn, see `gallery_prompts`.
        first: The model whose best and worst answers are shown.
        reference: What its changes are measured against, or `None`.
        count: Most objects of each prompt and kind.
    """
    table = ScoreTable.of_objects(rows)
    column = table.column("iou")
    if column is None or not count:
        return []
    found: list[Choice] = []
    for prompt in table.prompts():
        common = common_items(table, prompt)
        iou = {
            model: table.answers[prompt, model].at(common).scores[:, column]
            for model in table.models(prompt, (first,))
        }
        if first not in iou:
            continue
        usable = np.isfinite(iou[first]) & (table.areas[common] > 0)
        for kind, ranked in _ranked(table, common, iou, usable, first, reference).items():
            chosen = _spread([table.keys[common[place]][0] for place in ranked], count)
            found += [
                _choice(table, common, iou, ranked[place], kind=kind, rank=rank, prompt=prompt)
                for rank, place in enumerate(chosen, start=1)
            ]
    return found


def _ranked(
    table: ScoreTable,
    common: Integers,
    iou: Mapping[str, Floats],
    usable: np.ndarray[tuple[int], np.dtype[np.bool_]],
    first: str,
    reference: str | None,
) -> dict[GalleryKind, list[int]]:
    """Return places in `common` by kind, the most telling first."""
    areas = table.areas[common]
    places = np.flatnonzero(usable)
    order = places[np.lexsort((-areas[places], -iou[first][places]))].tolist()
    half = math.ceil(len(order) / 2)
    lower = np.array(order[half:], np.int64)
    worst = lower[np.lexsort((-areas[lower], iou[first][lower]))].tolist()
    found: dict[GalleryKind, list[int]] = {"best": order[:half], "worst": worst}
    if reference is None or reference == first or reference not in iou:
        return found
    gain = iou[first] - iou[reference]
    for kind, sign in (("improved", 1), ("worsened", -1)):
        moved = np.flatnonzero(usable & (sign * gain > 0))  # false for NaN
        ranked = moved[np.lexsort((-areas[moved], -sign * gain[moved]))].tolist()
        found["improved" if kind == "improved" else "worsened"] = ranked
    return found


def _spread(samples: Sequence[str], count: int) -> list[int]:
    """Return up to `count` indices, those of new images before further objects of the same."""
    firsts = {sample: index for index, sample in reversed(list(enumerate(samples)))}
    new = sorted(firsts.values())[:count]
    taken = set(new)
    rest = (index for index in range(len(samples)) if index not in taken)
    return sorted([*new, *(index for index, _ in zip(rest, range(count - len(new)), strict=False))])


def _choice(
    table: ScoreTable,
    common: Integers,
    iou: Mapping[str, Floats],
    place: int,
    *,
    kind: GalleryKind,
    rank: int,
    prompt: str,
) -> Choice:
    item = int(common[place])
    sample_id, object_id = table.keys[item]
    return Choice(
        kind=kind,
        rank=rank,
        prompt=prompt,
        sample_id=sample_id,
        object_id=object_id,
        class_name=table.class_names[table.classes[item]],
        iou={model: float(values[place]) for model, values in iou.items()},
    )
