"""Sections that say how the results came about: settings, environment, data, commands, terms."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

import samft
from samft.evaluation.report.blocks import Block, Cell, Listing, Section, Table, Text, words
from samft.evaluation.report.sources import Sources
from samft.evaluation.report.wording import count, number
from samft.evaluation.settings import EvaluationSettings

_LONGEST_LIST: Final = 12
_DEEPEST: Final = 4
_RUN_WORD: Final = "RUN"
_TERMS: Final = (
    ("IoU", "Shared area divided by the area of both together. 1 is perfect, 0 no overlap."),
    ("Dice", "Twice the shared area divided by the sum of both areas. Never below IoU."),
    ("boundary IoU", "IoU of a thin band along the outlines. Says more about large objects."),
    ("NSD", "Share of the outline that lies within the allowed distance of the true outline."),
    ("HD95", "Distance below which 95 % of the outline points lie. Lower is better."),
    ("ASSD", "Mean distance between the outlines. Lower is better."),
    ("clicks to 85 %", "Mean number of clicks until IoU 0.85; lower is better."),
    ("never 85 %", "Share of objects that never reach IoU 0.85 with the clicks given."),
    ("F1, precision, recall", "Objects found at IoU 0.5, each true object at most once."),
    ("AP", "Share of objects found and not invented, mean over IoU 0.5 to 0.95."),
    ("PQ, SQ, RQ", "Panoptic quality: SQ is how well objects fit, RQ how many are found."),
    ("AJI, AJI+", "Overlap of all objects together, with a penalty for each invented one."),
    ("calibration error", "Mean gap between the predicted and the true IoU; 0 is perfect."),
    ("interval", "Range that covers the difference if other cases like these had been drawn."),
    ("zero-shot", "The same model before training."),
)


def configuration(sources: Sources) -> Section:
    """Return the resolved configuration of the training."""
    if not sources.config:
        return Section(key="configuration", title="Configuration", blocks=[])
    text = yaml.safe_dump(dict(sources.config), sort_keys=False, allow_unicode=True, width=90)
    listing = Listing(
        caption="All settings of the training", text=text, language="yaml", folded=True
    )
    return Section(key="configuration", title="Configuration", blocks=[listing])


def environment(sources: Sources) -> Section:
    """Return the versions and the machine."""
    rows = list(flat(sources.environment))
    if not rows:
        rows = [("samft that made this report", samft.__version__)]
    table = Table(
        caption="Versions and machine",
        head=["What", "Value"],
        rows=[words(*row) for row in rows],
        words=2,
    )
    return Section(key="environment", title="Environment", blocks=[table])


def data(sources: Sources) -> Section:
    """Return counts and hashes of the data, and where the weights came from; no file names."""
    rows: list[tuple[str, str]] = []
    if sources.results is not None:
        tested = sources.results.content["data"]
        names = ("root", "images", "cases", "objects", "classes", "sha256")
        found = {f"tested {name}": _value(tested[name]) for name in names}
        rows += [(name, value) for name, value in found.items() if value]
    rows += [(f"training {name}", value) for name, value in _training_data(sources)]
    if sources.weights is not None:
        weights = sources.weights
        rows += [
            ("base weights", weights.base or "random"),
            ("base weights sha256", weights.base_sha256),
        ]
        rows += [] if weights.epoch is None else [("checkpoint, epoch", str(weights.epoch))]
        rows += [] if weights.steps is None else [("checkpoint, steps", str(weights.steps))]
    cells = [words(name, value) for name, value in rows if value]
    blocks: list[Block] = []
    if cells:
        blocks.append(
            Table(caption="Data and weights", head=["What", "Value"], rows=cells, words=2)
        )
    blocks += _models(sources)
    return Section(key="data", title="Data and weights", blocks=blocks)


def commands(sources: Sources) -> Section:
    """Return the commands that make the same run, test and report."""
    blocks: list[Block] = [
        Listing(caption="In this order", text="\n".join(_commands(sources)), language="bash")
    ]
    if not sources.privacy.keep_names:
        blocks.append(
            Text(
                text="Folders are left out of this report: … stands for one, to be filled in. "
                f"{_run_of(sources)} is the run folder."
            )
        )
    return Section(key="commands", title="How to reproduce", blocks=blocks)


def terms() -> Section:
    """Return what the scores mean."""
    rows = [words(*term) for term in _TERMS]
    table = Table(caption="Scores", head=["Term", "Meaning"], rows=rows, words=2)
    return Section(key="terms", title="What the scores mean", blocks=[table])


def test_command(label: str) -> str:
    """Return the command that makes the results of a test."""
    return f"samft test {shlex.quote(label)}"


def flat(content: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield names and values of nested plain data; long lists as their length and hash.

    Args:
        content: JSON.  File names are keys or lists in it, and neither is shown.
        prefix: Before each name.
        depth: How deep this is.
    """
    for name, value in content.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping) and len(value) <= _LONGEST_LIST and depth < _DEEPEST:
            yield from flat(value, f"{label} / ", depth + 1)
        elif isinstance(value, Mapping | list | tuple) and not _is_short(value):
            yield label, f"{count(len(value))} entries, sha256 {_hash_of(value)}"
        else:
            yield label, _value(value)


def _training_data(sources: Sources) -> Iterator[tuple[str, str]]:
    """Yield what `data.json` says, hashes of what it lists in place of file names."""
    for name, value in flat(sources.data):
        yield name, sources.privacy.text(value)


def _is_short(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return len(value) <= _LONGEST_LIST and all(isinstance(v, str | int | float) for v in value)


def _hash_of(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return count(value) if value.is_integer() else f"{value:g}"
    return str(value)


def _models(sources: Sources) -> list[Block]:
    """Return the table of models that took part in the test."""
    if sources.results is None:
        return []
    known = ("name", "kind", "prompts", "seconds")
    rows = []
    for model in sources.results.content["models"]:
        more = {name: value for name, value in model.items() if name not in known}
        about = "; ".join(f"{name}: {value}" for name, value in flat(more) if value)
        rows.append(
            [*words(model["name"], model["kind"], about), Cell(number(model["seconds"], 1))]
        )
    head = ["Model", "Kind", "About", "Seconds"]
    return [Table(caption="Models tested", head=head, rows=rows, words=3)] if rows else []


def _commands(sources: Sources) -> Iterator[str]:
    run = _run_of(sources)
    version = (sources.environment or {}).get("samft") or samft.__version__
    yield f'pip install "samft=={version}"'
    if sources.config:
        yield f"samft fit --config {run}/config.fit.yaml"
    options = "".join(f" {option}" for option in _test_options(sources))
    if sources.weights is not None:
        yield f"samft test {run}{options}"
    else:
        yield f"samft test {_RUN_WORD}{options}"
    keep = " --keep-names" if sources.privacy.keep_names else ""
    yield f"samft report {run}{keep}"


def _run_of(sources: Sources) -> str:
    return shlex.quote(sources.label)


def _test_options(sources: Sources) -> Iterator[str]:
    """Yield the settings of the test that are not the default, as options."""
    if sources.results is None:
        return
    default = EvaluationSettings().to_dict()
    settings = sources.results.content["settings"]
    for name in default:
        value = settings.get(name)
        if name == "out" or name not in settings or _json(value) == _json(default[name]):
            continue
        # YAML would read a bare text such as `on` as something else; JSON is never misread.
        text = value if isinstance(value, str) else _json(value)
        yield f"--evaluation.{name} {shlex.quote(text)}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
