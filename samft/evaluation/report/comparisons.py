"""Sections that compare the models: per prompt, click, size, class and image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from samft.evaluation.report.blocks import Block, Cell, Section, Table, Text, best_of, words
from samft.evaluation.report.charts import (
    Bars,
    Line,
    Panel,
    bar_chart,
    interval_chart,
    line_chart,
)
from samft.evaluation.report.results import ByModel, Results
from samft.evaluation.report.wording import (
    COUNTS,
    MISSING,
    SCORES,
    U_NET,
    count,
    in_order,
    interval,
    leading_prompts,
    number,
    percent,
    prompt_label,
    score_head,
    score_named,
    signed,
    too_few,
)

Labelled = tuple[tuple[str, ...], ByModel]
"""What names a row, and the scores of the models."""

_SETS: Final = {"coco": "the size classes of COCO", "quartiles": "quarters of the objects"}
_ONE_CLASS: Final = "(all)"
_SIDES: Final = "Better / worse"


def by_prompt(results: Results) -> Section:
    """Return the main table: a row for each prompt, the difference with its interval."""
    scores = results.content["scores"]
    prompts = leading_prompts(scores)
    if not prompts:
        return Section(key="prompts", title="Scores by prompt", blocks=[])
    rows = [_prompt_row(results, prompt) for prompt in prompts]
    compared = [name for name in (results.main, results.reference) if name]
    others = [name for name in results.models if name not in compared]
    head = ["Prompt", *compared]
    if results.reference:
        # Before the others: on small screens the end of a wide table is out of sight.
        head += ["Change", _interval_head(results), "Reading", _SIDES]
    head += [*others, "Objects"]
    text = "Mean IoU over all objects; 1 is perfect, 0 is no overlap. The best is bold."
    if results.reference:
        text += (
            f" Change is {results.main} minus {results.reference} on the same objects; "
            "the interval comes from drawing the cases again and again."
        )
    blocks: list[Block] = [Text(text=text)]
    blocks += _interval_chart(results, prompts)
    blocks.append(Table(caption="Mean IoU by prompt", head=head, rows=rows))
    blocks += _against_others(results, prompts)
    every = [((prompt_label(prompt),), scores[prompt]) for prompt in in_order(scores)]
    blocks.append(all_scores("All scores by prompt", ["Prompt"], every, results))
    return Section(key="prompts", title="Scores by prompt", blocks=blocks)


def by_click(results: Results) -> Section:
    """Return the click curve: IoU after each click, and how many clicks are needed."""
    clicks = results.content["clicks"]
    # A click alone is in the table of prompts.
    models = [m for m in results.models if len(clicks.get(m, {}).get("iou", ())) > 1]
    if not models:
        return Section(key="clicks", title="Further clicks", blocks=[])
    most = max(len(clicks[model]["iou"]) for model in models)
    lines = [
        Line(
            label=model,
            x=range(1, len(clicks[model]["iou"]) + 1),
            y=clicks[model]["iou"],
            colour=results.models.index(model),
            dashed=model == results.reference,
        )
        for model in models
    ]
    panel = Panel(title="Mean IoU after each click", x_label="clicks", lines=lines)
    curve = [
        [Cell(str(click + 1)), *_best_cells([_at(clicks[m]["iou"], click) for m in models], "iou")]
        for click in range(most)
    ]
    names = [name for name in clicks[models[0]] if name in SCORES and name != "iou"]
    summary = [
        [Cell(model), *(Cell(_shown(clicks[model][name], name)) for name in names)]
        for model in models
    ]
    heads = [score_head(name, "") for name in names]
    return Section(
        key="clicks",
        title="Further clicks",
        blocks=[
            Text(
                text="Each click after the first goes into the largest error of the model's own "
                "answer, as a person would correct it."
            ),
            line_chart("clicks", [panel], alt=_curve_alt(models, clicks)),
            Table(caption="Mean IoU after each click", head=["Clicks", *models], rows=curve),
            Table(caption="Clicks needed", head=["Model", *heads], rows=summary),
        ],
    )


def by_size(results: Results) -> Section:
    """Return the scores of small, medium and large objects."""
    blocks: list[Block] = []
    for name, every in results.content["by_size"].items():
        bins = [entry for entry in every if entry["scores"]]  # others say nothing
        if not bins:
            continue
        prompts = leading_prompts({prompt for entry in bins for prompt in entry["scores"]})
        kind = _SETS.get(name, name)
        first = not blocks  # one way to cut sizes is drawn, others are there to look up
        if first and prompts:
            blocks.append(_size_chart(results, name, bins, prompts))
        rows: list[Labelled] = [
            ((prompt_label(prompt), _size_label(entry)), entry["scores"].get(prompt, {}))
            for prompt in prompts
            for entry in bins
        ]
        head = ["Prompt", "Size"]
        caption = f"Mean IoU by size: {kind}"
        table = one_score(caption, head, _in_short(rows), results, score="iou")
        blocks.append(table if first else replace(table, folded=True))
        blocks.append(all_scores(f"All scores by size: {kind}", head, rows, results))
    if blocks:
        blocks.insert(0, Text(text="Sizes are areas of the true objects, in pixels."))
    return Section(key="sizes", title="Small and large objects", blocks=blocks)


def by_class(results: Results) -> Section:
    """Return the scores of each class."""
    found = results.content["by_class"]
    prompts = leading_prompts(found)
    names = {name for prompt in prompts for name in found[prompt]}
    if not names - {""}:
        return Section(key="classes", title="Classes", blocks=[])
    rows: list[Labelled] = [
        ((prompt_label(prompt), name or _ONE_CLASS), models)
        for prompt in prompts
        for name, models in found[prompt].items()
    ]
    head = ["Prompt", "Class"]
    return Section(
        key="classes",
        title="Classes",
        blocks=[
            one_score("Mean IoU by class", head, _in_short(rows), results, score="iou"),
            all_scores("All scores by class", head, rows, results),
        ],
    )


def by_image(results: Results) -> Section:
    """Return the scores of whole images, in which a U-Net takes part."""
    found = results.content["images"]
    rows: list[Labelled] = []
    for prompt in leading_prompts(found):
        classes = dict.fromkeys(name for models in found[prompt].values() for name in models)
        for name in classes:
            scores = {m: by_name[name] for m, by_name in found[prompt].items() if name in by_name}
            rows.append(((prompt_label(prompt), name or _ONE_CLASS), scores))
    if not rows:
        return Section(key="images", title="Whole images", blocks=[])
    head = ["Prompt", "Class"]
    text = "All objects of a class in an image are taken together, then the images are averaged."
    if results.of_kind("unet"):
        text += f" The {U_NET} segments by itself; a prompt only chooses among what it found."
    return Section(
        key="images",
        title="Whole images",
        blocks=[
            Text(text=text),
            one_score("Mean Dice of whole images", head, _in_short(rows), results, score="dice"),
            all_scores("All scores of whole images", head, rows, results),
        ],
    )


def one_score(
    caption: str, head: Sequence[str], rows: Iterable[Labelled], results: Results, *, score: str
) -> Table:
    """Return a table of one score, a column for each model, the best one bold.

    Args:
        caption: What it shows.
        head: What names the rows.
        rows: The scores.
        results: Whose models are shown, those without any score left out.
        score: Which score.
    """
    kept = list(rows)
    models = [m for m in results.models if any(score in scores.get(m, {}) for _, scores in kept)]
    lines = []
    for labels, scores in kept:
        values = [scores.get(model, {}).get(score, math.nan) for model in models]
        lines.append([*words(*labels), Cell(_count_of(scores)), *_best_cells(values, score)])
    return Table(
        caption=caption, head=[*head, "Number", *models], rows=lines, words=len(tuple(head))
    )


def all_scores(
    caption: str, head: Sequence[str], rows: Iterable[Labelled], results: Results
) -> Table:
    """Return a folded table of every score, a row for each model."""
    kept = list(rows)
    found = {name for _, scores in kept for values in scores.values() for name in values}
    names = [*(name for name in SCORES if name in found), *sorted(found - set(SCORES) - COUNTS)]
    lines = [
        [
            *words(*labels, model),
            Cell(_count_of({model: scores[model]})),
            *(Cell(_shown(scores[model].get(name, math.nan), name)) for name in names),
        ]
        for labels, scores in kept
        for model in results.models
        if model in scores
    ]
    heads = [score_head(name, results.unit) for name in names]
    return Table(
        caption=caption,
        head=[*head, "Model", "Number", *heads],
        rows=lines,
        words=len(tuple(head)) + 1,
        folded=True,
        long=True,
    )


def reading(entry: Mapping[str, Any]) -> Cell:  # Any: a difference of `Results`
    """Say in a word what a difference means."""
    if not entry["clear"] or not math.isfinite(entry["mean"]):
        return Cell("too few cases" if too_few(entry) else "not clear")
    return Cell("better", "good") if entry["mean"] > 0 else Cell("worse", "bad")


def _prompt_row(results: Results, prompt: str) -> list[Cell]:
    scores = results.content["scores"][prompt]
    values = [results.score(prompt, model) for model in results.models]
    cells = dict(zip(results.models, _best_cells(values, "iou"), strict=True))
    compared = [name for name in (results.main, results.reference) if name]
    row = [Cell(prompt_label(prompt)), *(cells.pop(name) for name in compared)]
    if results.reference:
        row += _change_cells(results, prompt)
    return [*row, *cells.values(), Cell(_count_of(scores))]


def _change_cells(results: Results, prompt: str) -> list[Cell]:
    entry = results.difference(prompt)
    if entry is None:
        gap = results.score(prompt, results.main) - results.score(prompt, results.reference)
        return [Cell(signed(gap)), Cell(MISSING), Cell("not compared"), Cell(MISSING)]
    change, ends, sides = _difference_cells(entry)
    return [change, ends, reading(entry), sides]


def _difference_cells(entry: Mapping[str, Any]) -> list[Cell]:  # Any: a difference of `Results`
    return [
        Cell(signed(entry["mean"])),
        Cell(interval(entry["low"], entry["high"])),
        Cell(f"{count(entry['better'])} / {count(entry['worse'])}"),
    ]


def _against_others(results: Results, prompts: Sequence[str]) -> list[Block]:
    rows = []
    for prompt in prompts:
        for other in results.models:
            entry = results.difference(prompt, other=other)
            if other not in (results.main, results.reference) and entry is not None:
                cells = [*_difference_cells(entry), reading(entry)]
                rows.append([*words(prompt_label(prompt), other), *cells])
    if not rows:
        return []
    head = ["Prompt", "Against", "Difference", _interval_head(results), _SIDES]
    caption = f"{results.main} minus each of the others, IoU"
    return [Table(caption=caption, head=[*head, "Reading"], rows=rows, words=2)]


def _interval_chart(results: Results, prompts: Sequence[str]) -> list[Block]:
    entries = [
        (prompt_label(prompt), entry["mean"], entry["low"], entry["high"])
        for prompt in prompts
        if (entry := results.difference(prompt)) is not None and math.isfinite(entry["mean"])
    ]
    if not entries:
        return []
    said = "; ".join(
        f"{label} {signed(mean)} ({interval(low, high)})" for label, mean, low, high in entries
    )
    title = f"IoU of {results.main} minus {results.reference}"
    chart = interval_chart(
        "differences", entries, title="change of IoU by training", alt=f"{title}: {said}"
    )
    return [chart]


def _size_chart(
    results: Results, name: str, bins: Sequence[Mapping[str, Any]], prompts: Sequence[str]
) -> Block:  # Any: bins of `Results`
    models = [model for model in (results.main, results.reference) if model]
    panels = [
        Bars(
            title=prompt_label(prompt),
            groups=[entry["label"] for entry in bins],
            values={
                model: [
                    entry["scores"].get(prompt, {}).get(model, {}).get("iou", math.nan)
                    for entry in bins
                ]
                for model in models
            },
        )
        for prompt in dict.fromkeys([prompts[0], "point1" if "point1" in prompts else prompts[-1]])
    ]
    sizes = ", ".join(_size_label(entry) for entry in bins)
    alt = f"Mean IoU by size of the objects ({sizes}); the numbers are in the table below."
    return bar_chart(f"sizes_{name}", panels, alt=alt)


def _size_label(entry: Mapping[str, Any]) -> str:  # Any: a bin of `Results`
    low, high = entry["low"], entry["high"]
    label: str = entry["label"]
    if any(mark.isdigit() for mark in label):
        return label  # says it itself
    if not math.isfinite(high):
        return f"{label}, from {count(low)} px" if math.isfinite(low) and low > 0 else label
    return f"{label}, {count(low) if math.isfinite(low) else 0} to {count(high)} px"


def _curve_alt(models: Sequence[str], clicks: Mapping[str, Any]) -> str:  # Any: of `Results`
    ends = [
        f"{model} from {number(clicks[model]['iou'][0])} to {number(clicks[model]['iou'][-1])}"
        for model in models
    ]
    return f"Mean IoU from the first to the last click: {'; '.join(ends)}"


def _interval_head(results: Results) -> str:
    levels = [entry["level"] for entry in results.content["differences"]]
    return f"{percent(levels[0])} interval" if levels else "Interval"


def _best_cells(values: Sequence[float], score: str) -> list[Cell]:
    shown = score_named(score)
    best = best_of(values, higher_is_better=shown.higher_is_better, digits=shown.digits)
    return [
        Cell(number(value, shown.digits), "best" if index in best else "")
        for index, value in enumerate(values)
    ]


def _shown(value: float, score: str) -> str:
    return number(value, score_named(score).digits)


def _at(values: Sequence[float], index: int) -> float:
    return values[index] if index < len(values) else math.nan


def _in_short(rows: Sequence[Labelled]) -> list[Labelled]:
    """Return the rows of the first prompt and of the first click, all there is room for."""
    first = {labels[0] for labels, _ in rows[:1]} | {prompt_label("point1")}
    return [(labels, scores) for labels, scores in rows if labels[0] in first]


def _count_of(scores: ByModel) -> str:
    numbers = [values[name] for values in scores.values() for name in COUNTS if name in values]
    return count(max(numbers)) if numbers else MISSING
