"""The result of a comparison in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from samft.evaluation.averages import ByModel
from samft.evaluation.columns import DISTANCES, prompt_rank
from samft.evaluation.differences import FEW_CASES, FEWEST_CASES, Difference
from samft.evaluation.summary import Summary

TITLES: Final[Mapping[str, str]] = {
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "boundary IoU",
    "nsd": "NSD",
    "hd95": "HD95",
    "assd": "ASSD",
}


def written(value: float | None, *, score: str = "iou", sign: bool = False) -> str:
    """Return a score as tables show it: `.912`, distances as `3.21`, `-` for none."""
    if value is None or math.isnan(value):
        return "-"
    plus = "+" if sign else ""
    if score in DISTANCES:
        return f"{value:{plus}z.2f}"
    text = f"{value:{plus}z.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def first_model(summary: Summary) -> str | None:
    """Return the model that an evaluation is about: the first that is not the reference."""
    names = [record.name for record in summary.competitors]
    return next((name for name in names if name != summary.reference), next(iter(names), None))


def main_prompts(prompts: Iterable[str]) -> list[str]:
    """Return the prompts that a terminal has room for: boxes, the first and the last click."""
    known = sorted(prompts, key=prompt_rank)
    clicks = [name for name in known if name.startswith("point")]
    return [name for name in known if name not in clicks[1:-1]]


def verdicts(summary: Summary, model: str | None = None) -> list[str]:
    """Return a sentence for each of the main prompts, about a model and the reference.

    Args:
        summary: What was found.
        model: Which model; default: the first.
    """
    name = model or first_model(summary)
    prompts = main_prompts(summary.scores)
    found = {
        prompt: each
        for prompt in prompts
        if (each := difference_of(summary, prompt, name, summary.reference)) is not None
    }
    return [sentence(each) for each in found.values()]


def difference_of(
    summary: Summary, prompt: str, model: str | None, other: str | None
) -> Difference | None:
    """Return how much a model's IoU differs from another's; `None` if nobody compared them."""
    wanted = (prompt, "iou", model, other)
    return next(
        (
            each
            for each in summary.differences
            if (each.prompt, each.score, each.model, each.reference) == wanted
        ),
        None,
    )


def interval(difference: Difference, *, sign: bool = False) -> str:
    """Return the ends of the confidence interval, `[.031, .074]`."""
    low, high = (
        written(end, score=difference.score, sign=sign) for end in (difference.low, difference.high)
    )
    return "(no interval)" if math.isnan(difference.low) else f"[{low}, {high}]"


def sentence(difference: Difference) -> str:
    """Return what a difference says."""
    both = f"{difference.model} and {difference.reference}"
    title = TITLES.get(difference.score, difference.score)
    total = difference.better + difference.worse + difference.equal
    if not total:
        return f"{difference.prompt}: {both} have no scored object in common."
    size = written(abs(difference.mean), score=difference.score)
    share = (
        f"{difference.better} of {total} objects better, {difference.worse} worse, "
        f"{difference.num_groups} {'case' if difference.num_groups == 1 else 'cases'}"
    )
    if not difference.clear:
        mean = written(difference.mean, score=difference.score, sign=True)
        return (
            f"{difference.prompt}: no clear difference between {both}: {title} {mean} "
            f"{interval(difference)}; {share}."
        )
    word = "better" if difference.gain > 0 else "worse"
    return (
        f"{difference.prompt}: {difference.model} is {word} than {difference.reference} by {size} "
        f"{title} {interval(difference)}; {share}."
    )


def warnings(summary: Summary) -> list[str]:
    """Return what a reader of the intervals has to know."""
    found = []
    groups = [each.num_groups for each in summary.differences if each.score == "iou"]
    if groups and min(groups) < FEW_CASES:
        few = min(groups)
        cases = "case" if few == 1 else "cases"
        text = f"Only {few} {cases}: intervals from fewer than {FEW_CASES} are too narrow"
        if few < FEWEST_CASES:
            text += f", and with fewer than {FEWEST_CASES} nothing is called clear"
        found.append(f"{text}.")
    if summary.unit == "mixed":
        found.append("Some images state their pixel size and others do not: no mean distances.")
    return found


def against_baselines(summary: Summary) -> list[str]:
    """Return sentences for each main prompt about what there is without SAM.

    That is the best of the simple baselines, and every U-Net.
    """
    return list(_against_baselines(summary))


def _against_baselines(summary: Summary) -> Iterator[str]:
    first = first_model(summary)
    kinds = {record.name: record.kind for record in summary.competitors if record.name != first}
    for prompt in main_prompts(summary.scores):
        scores: ByModel = summary.scores[prompt]
        if first not in scores:
            continue
        known = {
            name: scores[name]["iou"]
            for name in kinds
            if name in scores and scores[name].get("iou", math.nan) >= 0
        }
        simple = [name for name in known if kinds[name] == "baseline"]
        best = sorted(simple, key=lambda name: -known[name])[:1]
        for name in [*best, *(name for name in known if kinds[name] == "unet")]:
            yield (
                f"{prompt}: without SAM, {name} reaches IoU {written(known[name])}; {first} "
                f"{written(scores[first].get('iou'))}{_apart(summary, prompt, first, name)}."
            )


def _apart(summary: Summary, prompt: str, first: str, other: str) -> str:
    """Return what to add about how sure the difference is; nothing where that is not known."""
    each = difference_of(summary, prompt, first, other)
    if each is None or math.isnan(each.low):
        return ""
    if not each.clear:
        few = each.num_groups < FEWEST_CASES
        said = "too few cases to tell" if few else "no clear difference"
        return f", {said} {interval(each, sign=True)}"
    word = "better" if each.gain > 0 else "worse"
    return f", {word} by {written(abs(each.mean))} {interval(each, sign=True)}"
