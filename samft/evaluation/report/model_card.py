"""A model card as Hugging Face reads it: what the model is, what it was tested on, its limits."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from samft.evaluation.differences import FEW_CASES
from samft.evaluation.report.blocks import Cell, Listing, Report, Table, words
from samft.evaluation.report.markdown import listing_lines, plain, table_lines
from samft.evaluation.report.records import flat
from samft.evaluation.report.results import Results
from samft.evaluation.report.sources import Sources
from samft.evaluation.report.wording import (
    count,
    counted,
    leading_prompts,
    listed,
    number,
    prompt_label,
)

_HUB_NAMES: Final = {
    "vit_b": "facebook/sam-vit-base",
    "vit_l": "facebook/sam-vit-large",
    "vit_h": "facebook/sam-vit-huge",
}
_DOMAINS: Final = ("Medical", "Microscopy", "Underwater")
_LICENSE_HINT: Final = "# fill in: an identifier such as apache-2.0"
_DIGITS: Final = 4


def model_card(sources: Sources, report: Report) -> str:
    """Return the card.

    Args:
        sources: What is known of the run.
        report: Its report, for the verdict and the warnings.
    """
    name = sources.label.rpartition("/")[2]
    title = sources.label if name.isdigit() else name
    lines = [*_head(sources, title), "", f"# {plain(title)}", ""]
    for heading, part in (
        ("What it is", _what(sources)),
        ("Training data", _data(sources)),
        ("Prompts", _prompts(sources)),
        ("How to use it", _usage(sources)),
        ("Scores before and after training", _scores(sources, report)),
        ("Limits", _limits(report)),
        ("Environment", _environment(sources)),
    ):
        lines += [f"## {heading}", "", *part, ""]
    return "\n".join(lines)


def _head(sources: Sources, title: str) -> list[str]:
    config = str(_section(sources.config, "data").get("class_path", ""))
    tags = [domain.lower() for domain in _DOMAINS if domain in config]
    base = sources.weights.base if sources.weights else ""
    head: dict[str, Any] = {  # Any: YAML
        "license": "unknown",
        **({"base_model": _HUB_NAMES[base]} if base in _HUB_NAMES else {}),
        "library_name": "samft",
        "pipeline_tag": "mask-generation",
        "tags": ["segment-anything", "sam", "segmentation", "fine-tuned", *tags],
        "metrics": ["mean_iou"],
    }
    index = _index(sources.results, title)
    if index:
        head["model-index"] = index
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    text = text.replace("license: unknown\n", f"license: unknown  {_LICENSE_HINT}\n", 1)
    return ["---", *text.splitlines(), "---"]


def _index(results: Results | None, title: str) -> list[dict[str, Any]]:  # Any: YAML
    """Return the scores as the hub lists them."""
    if results is None:
        return []
    metrics = [
        {"type": "mean_iou", "name": f"mean IoU, {prompt_label(prompt)}", "value": value}
        for prompt in leading_prompts(results.content["scores"])
        if math.isfinite(value := round(results.score(prompt, results.main), _DIGITS))
    ]
    if not metrics:
        return []
    root = results.content["data"]["root"].removeprefix("…/") or "unknown"
    return [
        {
            "name": title,
            "results": [
                {
                    "task": {"type": "image-segmentation"},
                    "dataset": {
                        "name": root,
                        "type": "other",
                        "split": results.content["split"] or "unknown",
                    },
                    "metrics": metrics,
                }
            ],
        }
    ]


def _what(sources: Sources) -> Iterator[str]:
    weights = sources.weights
    if weights is None:
        yield "A Segment Anything Model. Only its test results were there for this card."
        return
    arch = str(weights.settings.get("arch", "unknown size"))
    size = weights.settings.get("image_size")
    side = f", input {size} pixels" if isinstance(size, int) else ""
    yield plain(f"A Segment Anything Model ({arch}{side}), fine-tuned with samft.")
    yield ""
    adapt = _section(weights.settings, "adapt")
    if adapt:
        trained = adapt.get("train")
        parts = listed(str(part) for part in trained) if trained else "nothing else"
        yield plain(f"- trained: {parts} (preset {adapt.get('preset', 'none')})")
    yield plain(f"- base weights: {weights.base or 'random'}")
    if weights.base_sha256:
        yield plain(f"- sha256 of the base weights: {weights.base_sha256}")
    if weights.steps is not None:
        yield plain(f"- optimiser steps: {count(weights.steps)}")


def _data(sources: Sources) -> Iterator[str]:
    settings = _section(sources.config, "data").get("init_args")
    root = settings.get("root") if isinstance(settings, dict) else None
    if isinstance(root, str):
        yield plain(f"- folder: {root}")
    for name, value in flat(sources.data):
        yield plain(f"- {name}: {sources.privacy.text(value)}")
    if sources.results is not None:
        data = sources.results.content["data"]
        parts = [counted(data[name], name[:-1]) for name in ("cases", "images", "objects")]
        yield plain(f"- tested on: {listed(parts)}")
        if data["classes"]:
            yield plain(f"- classes: {', '.join(data['classes'])}")
    yield "- consent, licence and origin of the images: to be filled in"


def _prompts(sources: Sources) -> Iterator[str]:
    results = sources.results
    asked = listed(
        prompt_label(p) for p in leading_prompts(results.content["scores"] if results else ())
    )
    if results is not None and asked:
        settings = results.content["settings"]
        yield plain(
            f"Tested with {asked}. Prompts are made from the true outlines: the tight box of the "
            "object, a box a tenth larger on each side, the point farthest from the boundary. Each "
            "further click goes into the largest error of the model's own answer."
        )
        tolerance = settings.get("tolerance_mm"), settings.get("tolerance_px")
        if all(isinstance(value, int | float) for value in tolerance):
            yield plain(f"NSD allows {tolerance[0]} mm, or {tolerance[1]} px without a pixel size.")
    else:
        yield "Not tested yet."
    if sources.weights is not None:
        trained = sources.weights.settings.get("validation_prompts")
        if isinstance(trained, list):
            yield plain(f"During training it was validated with {listed(map(str, trained))}.")


def _usage(sources: Sources) -> Iterator[str]:
    run = shlex.quote(sources.label)
    commands = (
        f"samft predict {run} --source images/ --prompts prompts.json --out masks/",
        f"samft export {run} tuned.pth --to official    # or --to hf, onnx, and others",
    )
    code = (
        "import samft",
        "",
        f"module = samft.load_run({sources.label!r}).load()",
        "predictor = samft.Predictor(module.sam)",
    )
    for caption, lines, language in (
        ("Masks, and files for other tools", commands, "bash"),
        ("In Python", code, "python"),
    ):
        text = "\n".join(lines)
        yield from listing_lines(Listing(caption=caption, text=text, language=language))
        yield ""


def _scores(sources: Sources, report: Report) -> Iterator[str]:
    yield plain(f"{report.headline}. {' '.join(report.verdict)}")
    yield ""
    results = sources.results
    if results is None:
        best = sources.training.best_epoch()
        if best is None:
            return
        after, before = sources.training.history[best], sources.training.zero_shot
        rows = [
            words(name, number(before.get(name, math.nan)), number(value))
            for name, value in after.items()
            if "iou" in name or "dice" in name
        ]
        head, caption = ["Score", "Before", "After"], f"Validation, epoch {best}"
        yield from table_lines(Table(caption=caption, head=head, rows=rows))
        return
    rows = []
    for prompt in leading_prompts(results.content["scores"]):
        scores = [results.score(prompt, model) for model in results.models]
        rows.append([Cell(prompt_label(prompt)), *(Cell(number(value)) for value in scores)])
    caption = "Mean IoU over objects"
    yield from table_lines(Table(caption=caption, head=["Prompt", *results.models], rows=rows))


def _limits(report: Report) -> Iterator[str]:
    for warning in report.warnings:
        yield plain(f"- {warning}")
    yield "- Not a medical device. Not tested on images of other machines, places or species."
    yield f"- Check it on at least {FEW_CASES} cases of your own before you rely on it."


def _environment(sources: Sources) -> Iterator[str]:
    found = False
    for name, value in flat(sources.environment):
        found = True
        yield plain(f"- {name}: {value}")
    if not found:
        yield "Not recorded."


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:  # Any: YAML
    value = content.get(name)
    return value if isinstance(value, dict) else {}
