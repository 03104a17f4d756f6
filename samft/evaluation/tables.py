"""Tables and sentences for the terminal; 80 columns are enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from samft.evaluation.averages import ByModel, ByPrompt
from samft.evaluation.columns import DISTANCES
from samft.evaluation.differences import FEWEST_CASES, Difference
from samft.evaluation.summary import Summary
from samft.evaluation.verdict import (
    TITLES,
    against_baselines,
    first_model,
    interval,
    main_prompts,
    verdicts,
    warnings,
    written,
)

_CLICKS: Final = (1, 2, 3, 5, 9)
_CLASSES: Final = 20
_NAME_WIDTH: Final = 20
_INSTANCES: Final = ("f1", "ap", "pq", "aji")


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print everything a person wants to know first: tables, then what they say in words."""
    console = console or Console()
    for table in summary_tables(summary):
        console.print(table)
        console.print()
    for line in (*verdicts(summary), *against_baselines(summary)):
        console.print(_shown(line), highlight=False)
    for line in warnings(summary):
        console.print(Text(line, style="yellow"))


def summary_tables(summary: Summary) -> list[Group]:
    """Return the tables that have anything to show, with titles, the most important first."""
    tables = [
        _score_table(summary),
        *_difference_tables(summary),
        _click_table(summary),
        _size_table(summary),
        _class_table(summary),
        _instance_table(summary),
    ]
    return [_titled(table) for table in tables if table is not None and table.row_count]


def _titled(table: Table) -> Group:
    """Return a table whose title and caption may be wider than itself."""
    parts = [table.title, table, table.caption]
    table.title = table.caption = None
    return Group(*(part for part in parts if part is not None))


def _score_table(summary: Summary) -> Table:
    prompts = main_prompts(summary.scores)
    title = f"IoU / Dice of {_of_what(summary)}"
    table = _table(title, ["model", *prompts], caption=_left_out(summary, prompts))
    for name in _models(summary):
        cells = [_overlap(summary.scores[prompt].get(name, {})) for prompt in prompts]
        if any(cells):
            table.add_row(_shown(name), *cells)
    return table


def _difference_tables(summary: Summary) -> Iterator[Table]:
    """Yield the first model minus the reference in all scores, and minus others in IoU."""
    prompts, first = main_prompts(summary.scores), first_model(summary)
    rows = [each for each in summary.differences if each.prompt in prompts and each.model == first]
    own = [(each.prompt, each) for each in rows if each.reference == summary.reference]
    if own:
        yield _difference_table(
            ("prompt", "score"), own, summary, f"{first} minus {summary.reference}"
        )
    others = [
        (each.reference, each)
        for name in _models(summary)
        for each in rows
        if each.reference == name != summary.reference and each.score == "iou"
    ]
    if others:
        yield _difference_table(("other", "prompt"), others, summary, f"{first} minus other, IoU")


def _difference_table(
    heads: tuple[str, str],
    rows: Sequence[tuple[str, Difference]],
    summary: Summary,
    title: str,
) -> Table:
    level = f"{100 * summary.settings.level:g} % interval"
    table = _table(
        title,
        [*heads, "difference", level, "better", "worse"],
        caption=f"* interval without 0, from {FEWEST_CASES} cases on; better, worse: objects",
    )
    for row, (name, each) in enumerate(rows):
        same = row > 0 and rows[row - 1][0] == name
        if row and not same:
            table.add_section()
        table.add_row(
            "" if same else _shown(name),
            _score_title(each.score, summary) if heads[1] == "score" else _shown(each.prompt),
            _marked(each),
            Text(interval(each, sign=True)),
            str(each.better),
            str(each.worse),
        )
    return table


def _marked(each: Difference) -> Text:
    mean = written(each.mean, score=each.score, sign=True)
    if not each.clear:
        return Text(f"{mean}  ")
    return Text(f"{mean} *", style="green" if each.gain > 0 else "red")


def _click_table(summary: Summary) -> Table | None:
    if not summary.clicks:
        return None
    most = max(len(curve["iou"]) for curve in summary.clicks.values())
    if most < 2:
        return None  # a click alone is in the table of prompts
    shown = [number for number in sorted({*_CLICKS, most}) if number <= most]
    titles = ["model", *map(str, shown), "area", "to 85 %", "to 90 %"]
    caption = f"area under the curve; clicks to an IoU of 85 % and 90 %, {most} where never reached"
    table = _table("IoU after each click", titles, caption=caption)
    for name, curve in summary.clicks.items():
        numbers = [curve["iou"][number - 1] for number in shown]
        table.add_row(
            _shown(name),
            *(written(value) for value in (*numbers, curve["click_auc"])),
            *(_clicks(curve[key]) for key in ("noc_85", "noc_90")),
        )
    return table


def _size_table(summary: Summary) -> Table | None:
    compared = _compared(summary)
    rows = [
        (each.bin.label, each.num_objects, each.scores)
        for sizes in summary.by_size.values()
        for each in sizes
        if each.num_objects
    ]
    columns = _columns(summary, compared)
    if not columns:
        return None
    table = _table("IoU by size of the object", ["size (px)", "objects", *_headers(columns)])
    coco = sum(1 for each in summary.by_size.get("coco", ()) if each.num_objects)
    for row, (label, count, scores) in enumerate(rows):
        if row == coco:
            table.add_section()
        table.add_row(_shown(label), str(count), *_cells(columns, scores))
    return table


def _class_table(summary: Summary) -> Table | None:
    columns = _columns(summary, _compared(summary))
    counts: dict[str, int] = {}
    for classes in summary.by_class.values():
        for name, models in classes.items():
            found = max(int(scores["num_objects"]) for scores in models.values())
            counts[name] = max(counts.get(name, 0), found)
    if not columns or len(counts) < 2:
        return None
    names = sorted(counts, key=lambda name: -counts[name])
    rest = len(names) - _CLASSES
    caption = f"and {rest} classes more in metrics.json" if rest > 0 else None
    table = _table("IoU by class", ["class", "objects", *_headers(columns)], caption=caption)
    for name in names[:_CLASSES]:
        scores = {prompt: classes.get(name, {}) for prompt, classes in summary.by_class.items()}
        table.add_row(_shown(name or "no class"), str(counts[name]), *_cells(columns, scores))
    return table


def _instance_table(summary: Summary) -> Table | None:
    if not summary.instances:
        return None
    table = _table("Without prompts, mean over images", ["model", *_INSTANCES, "images"])
    for name, scores in summary.instances.items():
        cells = [written(scores.get(score)) for score in _INSTANCES]
        table.add_row(_shown(name), *cells, str(int(scores["num_images"])))
    return table


def _table(title: str, columns: Sequence[str | Text], caption: str | None = None) -> Table:
    table = Table(
        title=_shown(title, style="bold"),
        caption=None if caption is None else Text(caption, style="dim"),
        padding=(0, 1),
    )
    for index, column in enumerate(columns):
        name = index == 0
        table.add_column(
            _shown(column) if isinstance(column, str) else column,
            justify="left" if name else "right",
            overflow="fold",
            max_width=_NAME_WIDTH if name else None,
        )
    return table


def _columns(summary: Summary, models: Sequence[str]) -> list[tuple[str, str]]:
    """Return prompt and model of the columns: the box and the first click of two models."""
    wanted = [prompt for prompt in summary.scores if prompt in ("box", "point1")]
    prompts = wanted or main_prompts(summary.scores)[:1]
    return [
        (prompt, name) for prompt in prompts for name in models if name in summary.scores[prompt]
    ]


def _headers(columns: Sequence[tuple[str, str]]) -> list[Text]:
    return [Text("\n").join([_shown(prompt), _shown(name)]) for prompt, name in columns]


def _cells(columns: Sequence[tuple[str, str]], scores: Mapping[str, ByModel]) -> list[str]:
    return [written(scores.get(prompt, {}).get(name, {}).get("iou")) for prompt, name in columns]


def _compared(summary: Summary) -> list[str]:
    """Return the first model and the reference."""
    names = (first_model(summary), summary.reference)
    return list(dict.fromkeys(name for name in names if name is not None))


def _models(summary: Summary) -> list[str]:
    names = [record.name for record in summary.competitors]
    others = {name for models in summary.scores.values() for name in models}
    return names + sorted(others - set(names))


def _overlap(scores: Mapping[str, float]) -> str:
    if not scores:
        return ""
    return f"{written(scores.get('iou'))} / {written(scores.get('dice'))}"


def _left_out(summary: Summary, prompts: Sequence[str]) -> str | None:
    """Return the sentence about objects that some model did not answer."""
    scores: ByPrompt = summary.scores
    counts = {prompt: int(next(iter(scores[prompt].values()))["num_objects"]) for prompt in prompts}
    fewer = {prompt: count for prompt, count in counts.items() if count < summary.num_objects}
    if not fewer:
        return None
    numbers = ", ".join(f"{prompt} {count}" for prompt, count in fewer.items())
    return f"objects that all models answered: {numbers}"


def _of_what(summary: Summary) -> str:
    counts = ((summary.num_objects, "object"), (summary.num_cases, "case"))
    numbers = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts]
    return f"{numbers[0]} in {numbers[1]}, {summary.data.split} split"


def _score_title(score: str, summary: Summary) -> str:
    unit = f" ({summary.unit})" if score in DISTANCES else ""
    return f"{TITLES.get(score, score)}{unit}"


def _clicks(value: Any) -> str:  # Any: as `Summary.clicks` holds it
    return f"{value:.1f}" if value == value else "-"  # NaN is unlike itself


def _shown(text: str, style: str = "") -> Text:
    """Return text that a terminal takes for nothing else, whoever chose the names in it."""
    return Text("".join(sign if sign.isprintable() else "?" for sign in text), style=style)
