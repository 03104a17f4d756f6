"""Sections about the model itself: instances, its own estimate of its quality, its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from samft.evaluation.report.blocks import Block, Cell, Section, Table, Text, words
from samft.evaluation.report.charts import Line, Panel, line_chart
from samft.evaluation.report.comparisons import all_scores
from samft.evaluation.report.results import Results
from samft.evaluation.report.training import Training
from samft.evaluation.report.wording import (
    SCORES,
    count,
    in_order,
    leading_prompts,
    number,
    prompt_label,
    score_head,
    score_named,
)


def instances(results: Results) -> Section:
    """Return how well the models find all objects by themselves."""
    found = results.content["instances"]
    if not found:
        return Section(key="instances", title="Objects found without prompts", blocks=[])
    table = all_scores("Instances, mean over images", [], [((), found)], results)
    return Section(
        key="instances",
        title="Objects found without prompts",
        blocks=[
            Text(text="Each image was segmented without being told where its objects are."),
            Table(caption=table.caption, head=table.head, rows=table.rows, words=table.words),
        ],
    )


def calibration(results: Results) -> Section:
    """Return whether the models know how good their answers are."""
    found = results.content["calibration"]
    rows: list[Sequence[Cell]] = []
    bins: list[Sequence[Cell]] = []
    names = ("iou_ece", "iou_mae", "iou_bias", "iou_spearman")
    for prompt in leading_prompts(found):
        for model in (model for model in results.models if model in found[prompt]):
            entry = found[prompt][model]
            shown = [number(entry[name], score_named(name).digits) for name in names]
            rows.append(words(prompt_label(prompt), model, *shown))
            bins += [
                words(prompt_label(prompt), model, *_bin_texts(item)) for item in entry["bins"]
            ]
    if not rows:
        return Section(key="calibration", title="The model's own estimate", blocks=[])
    heads = [score_head(name, "") for name in names]
    bin_head = ["Prompt", "Model", "From", "To", "Answers", "Predicted IoU", "True IoU"]
    blocks: list[Block] = [
        Text(
            text="A SAM predicts the IoU of each answer. On the dotted line the prediction is "
            "true; below it the model is too sure of itself."
        ),
        *_calibration_chart(results),
        Table(
            caption="Predicted against true IoU",
            head=["Prompt", "Model", *heads],
            rows=rows,
            words=2,
        ),
        Table(
            caption="Predicted and true IoU in bins", head=bin_head, rows=bins, words=2, folded=True
        ),
    ]
    return Section(key="calibration", title="The model's own estimate", blocks=blocks)


def training(record: Training) -> Section:
    """Return the curves of the training, each score beside its value before training."""
    title = "Training"
    if not record.losses and not record.history:
        return Section(key="training", title=title, blocks=[])
    names = _curve_names(record)
    panels = []
    if record.losses:
        line = Line(
            label="", x=list(record.losses), y=list(record.losses.values()), colour=4, marks=False
        )
        panels.append(Panel(title="Training loss", x_label="epoch", lines=[line], unit_range=False))
    if names:
        lines = [line for index, name in enumerate(names) for line in _score(record, name, index)]
        panels.append(
            Panel(title="Validation IoU (dashed: before training)", x_label="epoch", lines=lines)
        )
    blocks: list[Block] = [line_chart("training", panels, alt=_training_alt(record))]
    if record.history:
        blocks.append(_history_table(record))
    if record.losses:
        rows = [words(str(epoch), number(loss, 4)) for epoch, loss in record.losses.items()]
        blocks.append(
            Table(caption="Loss by epoch", head=["Epoch", "Loss"], rows=rows, folded=True)
        )
    return Section(key="training", title=title, blocks=blocks)


def _calibration_chart(results: Results) -> list[Block]:
    found = results.content["calibration"]
    prompt = in_order(found)[0]
    models = [m for m in (results.main, results.reference) if found[prompt].get(m, {}).get("bins")]
    if not models:
        return []
    lines = []
    for index, model in enumerate(models):
        bins = [item for item in found[prompt][model]["bins"] if item["count"] > 0]
        predicted, true = ([item[name] for item in bins] for name in ("predicted", "true"))
        dashed = model == results.reference
        lines.append(Line(label=model, x=predicted, y=true, colour=index, dashed=dashed))
    panel = Panel(
        title=f"True IoU against predicted IoU, {prompt_label(prompt)}",
        x_label="predicted IoU",
        lines=lines,
        diagonal=True,
        whole_x=False,
    )
    said = "; ".join(
        f"{model}: calibration error {number(found[prompt][model]['iou_ece'])}" for model in models
    )
    return [line_chart("calibration", [panel], alt=f"True against predicted IoU. {said}")]


def _bin_texts(item: Mapping[str, Any]) -> list[str]:  # Any: a bin of `Results`
    return [
        number(item["low"], 2),
        number(item["high"], 2),
        count(item["count"]),
        number(item["predicted"]),
        number(item["true"]),
    ]


def _curve_names(record: Training) -> list[str]:
    found = {name for scores in record.history.values() for name in scores}
    return in_order(name[4:] for name in found if name.startswith("iou_"))


def _score(record: Training, prompt: str, index: int) -> list[Line]:
    name = f"iou_{prompt}"
    points = {epoch: scores[name] for epoch, scores in record.history.items() if name in scores}
    label = prompt_label(prompt)
    lines = [Line(label=label, x=list(points), y=list(points.values()), colour=index)]
    before = record.zero_shot.get(name, math.nan)
    if points and math.isfinite(before):
        start = min([*record.losses, *points])
        ends = [start, max(points)] if max(points) > start else [start - 0.5, start + 0.5]
        lines.append(
            Line(label="", x=ends, y=[before, before], colour=index, dashed=True, marks=False)
        )
    return lines


def _history_table(record: Training) -> Table:
    found = {name for scores in [*record.history.values(), record.zero_shot] for name in scores}
    names = sorted(found, key=_rank)
    before = [Cell("before"), *(Cell(_value(record.zero_shot, name)) for name in names)]
    rows = [
        [Cell(str(epoch)), *(Cell(_value(scores, name)) for name in names)]
        for epoch, scores in record.history.items()
    ]
    return Table(
        caption="Validation scores by epoch",
        head=["Epoch", *(_head(name) for name in names)],
        rows=[before, *rows] if record.zero_shot else rows,
    )


def _rank(name: str) -> tuple[int, str]:
    score, _, _prompt = name.partition("_")
    order = list(SCORES)
    return (order.index(score) if score in order else len(order), name)


def _head(name: str) -> str:
    score, _, prompt = name.partition("_")
    if name in SCORES or score not in SCORES:
        return score_named(name).label
    return f"{score_named(score).label}, {prompt_label(prompt)}"


def _value(scores: Mapping[str, float], name: str) -> str:
    return number(scores.get(name, math.nan))


def _training_alt(record: Training) -> str:
    parts = []
    if record.losses:
        losses = list(record.losses.values())
        parts.append(f"Training loss from {number(losses[0])} to {number(losses[-1])}")
    last_scores = record.history[max(record.history)] if record.history else {}
    parts += [
        f"validation IoU with {prompt_label(prompt)} {_value(record.zero_shot, f'iou_{prompt}')} "
        f"before training, {_value(last_scores, f'iou_{prompt}')} after the last epoch"
        for prompt in _curve_names(record)
    ]
    return "; ".join(parts)
