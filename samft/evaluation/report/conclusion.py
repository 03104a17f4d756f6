"""What the results say, in sentences: is the tuned model better, and is it worth it?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from samft.evaluation.differences import FEW_CASES
from samft.evaluation.report.results import Results
from samft.evaluation.report.training import Training
from samft.evaluation.report.wording import (
    U_NET,
    count,
    counted,
    in_order,
    interval,
    leading_prompts,
    listed,
    number,
    percent,
    prompt_phrase,
    signed,
    too_few,
)

_CLOSE = 0.005  # IoU or Dice; differences without an interval are called equal below
_IGNORED = 0.5  # share of objects with the same answer to another object's prompt
_SPLITS: Final = {"test": "test", "val": "validation"}
_CALLED: Final = {"tuned": "the tuned model", "zero-shot": "the untuned model (zero-shot)"}
_NOT_WORTH: Final = "a SAM is not worth it for this prompt"
_NOT_SHOWN: Final = "it is not shown that a SAM is worth it for this prompt"
_FEW_STEPS: Final = 500
"""A network that begins with random weights has not learnt much after fewer."""
_OUTCOMES: Final = ("better", "worse", "unclear")

Entry = Mapping[str, Any]  # Any: a difference of `Results`


class Conclusion(NamedTuple):
    """The verdict of a report."""

    headline: str
    paragraphs: tuple[str, ...]
    warnings: list[str]


def conclude(results: Results) -> Conclusion:
    """Say what the results of a test show."""
    outcomes = _outcomes(results)
    topics = (
        [_compared_on(results)],
        _changes(results, outcomes),
        _baselines(results),
        _unet(results),
    )
    paragraphs = tuple(filter(None, (" ".join(sentences) for sentences in topics)))
    return Conclusion(_headline(outcomes), paragraphs, _warnings(results))


def conclude_training(training: Training, command: str) -> Conclusion:
    """Say what can be said without a test.

    Args:
        training: The history of the run.
        command: What makes the test.
    """
    advice = f"There are no results of a test yet. This adds them: {command}"
    caution = (
        "The scores are of the validation split, which chose the checkpoint. They are too "
        "good as a forecast for new images."
    )
    best = training.best_epoch()
    if best is None:
        return Conclusion("Nothing was measured yet", (advice,), [])
    scores = training.history[best]
    before, after = training.zero_shot.get("iou", math.nan), scores["iou"]
    compared = (
        f" Before training it was {number(before)}; the change is {signed(after - before)}."
        if math.isfinite(before)
        else ""
    )
    sentence = f"In epoch {best} the mean validation IoU was {number(after)}, the best.{compared}"
    warnings = [caution, *_ignored_prompts(scores)]
    return Conclusion("Validation scores only, no test yet", (sentence, advice), warnings)


def worse_prompts(results: Results) -> list[str]:
    """Return the prompts that the tuned model answers clearly worse than the reference."""
    return [prompt for prompt, _ in _outcomes(results)["worse"]]


def _outcomes(results: Results) -> dict[str, list[tuple[str, Entry]]]:
    found: dict[str, list[tuple[str, Entry]]] = {name: [] for name in _OUTCOMES}
    for prompt in leading_prompts(results.content["scores"]):
        entry = results.difference(prompt) if results.reference else None
        if entry is None or not math.isfinite(entry["mean"]):
            continue
        clear = "better" if entry["mean"] > 0 else "worse"
        found[clear if entry["clear"] else "unclear"].append((prompt, entry))
    return found


def _headline(outcomes: Mapping[str, Sequence[tuple[str, Entry]]]) -> str:
    better, worse, unclear = (len(outcomes[name]) for name in _OUTCOMES)
    total = better + worse + unclear
    if not total:
        return "No comparison with the untuned model"
    if better == total:
        return "Training made the model better" + (f" with all {total} prompts" * (total > 1))
    if worse == total:
        return "Training made the model worse" + (f" with all {total} prompts" * (total > 1))
    if unclear == total and all(too_few(entry) for _, entry in outcomes["unclear"]):
        return "Too few cases to say whether training helped"
    if unclear == total:
        return "No clear difference between the tuned and the untuned model"
    parts = [
        f"{word} with {listed(prompt_phrase(prompt) for prompt, _ in outcomes[name])}"
        for name, word in zip(_OUTCOMES, ("better", "worse", "no clear change"), strict=True)
        if outcomes[name]
    ]
    return f"After training: {'; '.join(parts)}"


def _compared_on(results: Results) -> str:
    data = results.content["data"]
    split = _SPLITS.get(results.content["split"], results.content["split"])
    parts = [counted(data[name], name[:-1]) for name in ("cases", "images", "objects")]
    models = listed(_called(name) for name in (results.main, results.reference) if name)
    verb = "were asked" if results.reference else "was asked"
    entries = results.content["differences"]
    levels = [entry["level"] for entry in entries if math.isfinite(entry["low"])]
    shown = f" Ranges are {percent(levels[0])} intervals." if levels else ""
    return f"{_start(models)} {verb} about the {split} split: {listed(parts)}.{shown}"


def _changes(
    results: Results, outcomes: Mapping[str, Sequence[tuple[str, Entry]]]
) -> Iterator[str]:
    verbs = {
        "better": "raised the mean IoU with",
        "worse": "lowered the mean IoU with",
        "unclear": "made no clear difference with",
    }
    subject = "Training"
    for name in _OUTCOMES:
        if outcomes[name]:
            told = [_change(results, prompt, entry) for prompt, entry in outcomes[name]]
            yield f"{subject} {verbs[name]} {'; '.join(told)}."
            subject = "It"


def _change(results: Results, prompt: str, entry: Entry) -> str:
    before = results.score(prompt, results.reference)
    after = results.score(prompt, results.main)
    return (
        f"{prompt_phrase(prompt)} from {number(before)} to {number(after)}, "
        f"by {signed(entry['mean'])} ({interval(entry['low'], entry['high'])})"
    )


def _baselines(results: Results) -> Iterator[str]:
    """Compare with the best of the simple baselines, prompt by prompt."""
    scores = results.content["scores"]
    told_of_gain = False
    for prompt in leading_prompts(scores):
        known = {name: results.score(prompt, name) for name in results.of_kind("baseline")}
        known = {name: value for name, value in known.items() if math.isfinite(value)}
        own = results.score(prompt, results.main)
        if not known or not math.isfinite(own):
            continue
        best = max(known, key=lambda name: known[name])
        told = f"With {prompt_phrase(prompt)}, the best simple baseline ({best}) reaches "
        told += f"{number(known[best])}"
        gap = _gap(results, prompt, best)
        if gap.sign < 0:
            yield f"{told}, {gap.told(_called(results.main))}: {_NOT_WORTH}."
        elif gap.sign == 0:
            yield f"{told}, {gap.told(_called(results.main))}: {_NOT_SHOWN}."
        elif not told_of_gain:
            told_of_gain = True
            yield f"{told}, {gap.told(_called(results.main))}."


class _Gap(NamedTuple):
    """How much better the model is than another one.

    Args:
        size: Its score minus the other's.
        sign: Whether it is better (1), worse (-1) or neither.
        shown: The range of the difference, in brackets; empty where it is not known.
    """

    size: float
    sign: int
    shown: str

    def told(self, model: str) -> str:
        """Return what the other's score is beside that of the model."""
        if self.sign:
            word = "less" if self.sign > 0 else "more"
            return f"{number(abs(self.size))} {word}{self.shown} than {model}"
        if self.shown:
            return f"not clearly different from {model}{self.shown}"
        return f"as much as {model}"


def _gap(results: Results, prompt: str, other: str) -> _Gap:
    """Compare the model with another one.

    Without a range, or with one from so few cases that nothing can be clear, a difference is taken
    for one from `_CLOSE` on; the warnings say how much that is worth.
    """
    entry = results.difference(prompt, other=other)
    if entry is None or not math.isfinite(entry["mean"]):
        size = results.score(prompt, results.main) - results.score(prompt, other)
        return _Gap(size, _sign(size, _CLOSE), "")
    size = entry["mean"]
    shown = ""
    if math.isfinite(entry["low"]):
        shown = f" (the difference is {interval(entry['low'], entry['high'])})"
    if not shown or too_few(entry):
        return _Gap(size, _sign(size, _CLOSE), shown)
    return _Gap(size, _sign(size, 0.0) if entry["clear"] else 0, shown)


def _sign(value: float, least: float) -> int:
    return (value > least) - (value < -least)


def _unet(results: Results) -> Iterator[str]:
    """Compare with a U-Net: objects that are asked for, and whole images."""
    prompts = leading_prompts(results.content["scores"])
    for unet in results.of_kind("unet"):
        better, told = [], []
        for prompt in prompts:
            own, other = (results.score(prompt, name) for name in (results.main, unet))
            if not (math.isfinite(own) and math.isfinite(other)):
                continue
            gap = _gap(results, prompt, unet)
            better += [prompt] if gap.sign > 0 else []
            score = f"{number(other)} with {prompt_phrase(prompt)}"
            told.append(f"{score}, {gap.told(_called(results.main))}")
        if told:
            yield f"The {U_NET} trained on the same images reaches {'; '.join(told)}."
        yield from _worth(results, unet, better, prompts)


def _worth(
    results: Results, unet: str, better: Sequence[str], prompts: Sequence[str]
) -> Iterator[str]:
    """Say what the scores of a U-Net mean for whoever has to choose."""
    images = results.content["images"]
    both = [p for p in in_order(images) if unet in images[p] and results.main in images[p]]
    if not both:
        return
    own, other = (_mean_dice(images[both[0]][name]) for name in (results.main, unet))
    if not (math.isfinite(own) and math.isfinite(other)):
        return
    told = (
        f"Over whole images, {_called(results.main)} with {prompt_phrase(both[0])} reaches Dice "
        f"{number(own)}, the {U_NET} {number(other)}."
    )
    worth = [prompt for prompt in prompts if prompt in better]
    if worth:
        yield f"{told} A SAM is worth it here where {_given(worth)} can be given."
    else:
        yield (
            f"{told} For finding all objects at once the {U_NET} does as well; a SAM is worth "
            "it where single objects are picked or corrected by hand."
        )


def _given(prompts: Sequence[str]) -> str:
    return listed(prompt_phrase(prompt) for prompt in prompts)


def _called(model: str) -> str:
    """Return what a model is called in a sentence."""
    return _CALLED.get(model, model)


def _start(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _mean_dice(by_class: Mapping[str, Mapping[str, float]]) -> float:
    values = [scores.get("dice", math.nan) for scores in by_class.values()]
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _warnings(results: Results) -> list[str]:
    content = results.content
    # Of IoU, which every object has; distances are missing where an answer is empty.
    groups = [e["num_groups"] for e in content["differences"] if e["score"] == "iou"]
    cases = min([*(g for g in groups if math.isfinite(g)), content["data"]["cases"]])
    found = []
    if math.isfinite(cases) and cases < FEW_CASES:
        found.append(
            f"Only {counted(cases, 'case')}. Intervals from fewer than {FEW_CASES} are too narrow, "
            "and other cases may give other results."
        )
    worse = worse_prompts(results)
    if worse:
        labels = listed(prompt_phrase(prompt) for prompt in worse)
        found.append(f"Training made answers to {labels} worse. Use the untuned model for these.")
    if content["split"] != "test":
        found.append(
            "There is no test split: these are the images that chose the checkpoint, so the scores "
            "are too good as a forecast for new ones."
        )
    if not results.reference:
        found.append(
            "The untuned model was not tested, so it is not known whether training helped."
        )
    return [*found, *_short_unets(results), *_empty_answers(results)]


def _short_unets(results: Results) -> Iterator[str]:
    """Say of U-Nets that had no time to learn that they prove nothing."""
    for model in results.content["models"]:
        steps = model.get("steps")
        known = isinstance(steps, int) and not isinstance(steps, bool)
        if model["kind"] != "unet" or not known:
            continue
        if model.get("finished") is False:
            yield f"The training of the {U_NET} was interrupted after {count(steps)} steps."
        elif steps < _FEW_STEPS:
            yield (
                f"The {U_NET} made only {count(steps)} steps in the time it had. To know what it "
                "can do, give it more: samft baseline RUN --minutes M --overwrite."
            )


def _empty_answers(results: Results) -> Iterator[str]:
    for prompt in leading_prompts(results.content["empty"]):
        missed = results.content["empty"][prompt].get(results.main, {}).get("num_missed", 0)
        if math.isfinite(missed) and missed > 0:
            noun = "object was" if missed == 1 else "objects were"
            yield f"With {prompt_phrase(prompt)}, {count(missed)} {noun} answered with nothing."


def _ignored_prompts(scores: Mapping[str, float]) -> list[str]:
    same = scores.get("same_answer", math.nan)
    if not same > _IGNORED:
        return []
    share = percent(round(same, 2))
    text = f"For {share} of the objects the model gives the same answer to another object's prompt"
    return [f"{text}: it ignores its prompts."]
