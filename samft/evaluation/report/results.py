"""The results that `samft test` wrote, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from samft.data.readers.json_files import is_deep, read_json_object
from samft.data.readers.limits import unreadable
from samft.errors import DatasetError
from samft.evaluation.report.privacy import Privacy
from samft.evaluation.report.structure import (
    ANYTHING,
    FLAG,
    NUMBER,
    NUMBERS,
    TEXT,
    Numbers,
    conform,
)

METRICS_FILE: Final = "metrics.json"
FORMAT: Final = "samft-test"
_VERSION: Final = 1
_EXPECTED: Final = "the metrics.json of samft test"

ByModel = dict[str, Numbers]
ByPrompt = dict[str, ByModel]

_BIN = {"low": NUMBER, "high": NUMBER, "count": NUMBER, "predicted": NUMBER, "true": NUMBER}
_CLICKS = {
    "iou": [NUMBER],
    **dict.fromkeys(("click_auc", "noc_85", "noc_90", "failed_85", "failed_90"), NUMBER),
}
_DIFFERENCE = {
    **dict.fromkeys(("prompt", "score", "model", "reference"), TEXT),
    **dict.fromkeys(("mean", "low", "high", "level", "better", "worse", "equal"), NUMBER),
    **dict.fromkeys(("left_out", "num_groups"), NUMBER),
    "clear": FLAG,
}
_PICTURE = {
    **dict.fromkeys(("picture", "kind", "sample_id", "class_name", "prompt"), TEXT),
    "object_id": NUMBER,
    "iou": NUMBERS,
}
_BY_MODEL = {"*": NUMBERS}
_SPEC: Final = {
    **dict.fromkeys(("format", "samft", "created", "split", "reference", "unit"), TEXT),
    "data": {
        **dict.fromkeys(("root", "sha256"), TEXT),
        **dict.fromkeys(("images", "cases", "objects"), NUMBER),
        "classes": [TEXT],
    },
    "environment": {"*": ANYTHING},
    "settings": {"*": ANYTHING},
    "models": [{"name": TEXT, "kind": TEXT, "prompts": [TEXT], "seconds": NUMBER}],
    "scores": {"*": _BY_MODEL},
    "by_class": {"*": {"*": _BY_MODEL}},
    "by_size": {
        "*": [
            {
                "label": TEXT,
                **dict.fromkeys(("low", "high", "num_objects"), NUMBER),
                "scores": {"*": _BY_MODEL},
            }
        ]
    },
    "clicks": {"*": _CLICKS},
    "differences": [_DIFFERENCE],
    "images": {"*": {"*": {"*": NUMBERS}}},
    "instances": _BY_MODEL,
    "calibration": {
        "*": {
            "*": {
                **dict.fromkeys(("iou_ece", "iou_mae", "iou_bias", "iou_spearman"), NUMBER),
                "bins": [_BIN],
            }
        }
    },
    "empty": {"*": _BY_MODEL},
    "gallery": [_PICTURE],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What one `samft test` found.

    Args:
        folder: Where it lies.
        content: `metrics.json`, in the shape that `samft.evaluation` writes: missing parts are
            empty, missing numbers NaN, names as they may be shown.
        labels: From the models' names in the tables beside it to the names in `content`.
    """

    folder: Path
    content: Mapping[str, Any]  # Any: as _SPEC says
    labels: Mapping[str, str]

    @property
    def models(self) -> list[str]:
        """Names of the models, the tested one first."""
        names = [model["name"] for model in self.content["models"]]
        main = self.main
        return [main, *(name for name in names if name != main)] if main else names

    @property
    def main(self) -> str:
        """The model that the report is about: the first SAM that is not the reference."""
        models = self.content["models"]
        others = [model for model in models if model["name"] != self.reference]
        sams = [model for model in others if model["kind"] == "sam"]
        first: str = next((model["name"] for model in [*sams, *others, *models]), "")
        return first

    @property
    def reference(self) -> str:
        """The model that it is compared with, `zero-shot` as a rule; empty if there is none."""
        name: str = self.content["reference"]
        return name

    @property
    def unit(self) -> str:
        """The unit of distances, for the heads of tables."""
        unit: str = self.content["unit"]
        return {"mixed": "mm or px"}.get(unit, unit)

    def of_kind(self, kind: str) -> list[str]:
        """Return the names of all models of a kind: `sam`, `baseline` or `unet`."""
        return [model["name"] for model in self.content["models"] if model["kind"] == kind]

    def score(self, prompt: str, model: str, score: str = "iou") -> float:
        """Return a mean over the objects; NaN if there is none."""
        found: float = self.content["scores"].get(prompt, {}).get(model, {}).get(score, math.nan)
        return found

    def difference(
        self, prompt: str, *, score: str = "iou", other: str | None = None
    ) -> Mapping[str, Any] | None:  # Any: see _DIFFERENCE
        """Return the paired difference of the main model and another one, main minus other.

        Args:
            prompt: What was asked with.
            score: Which score.
            other: The other model; default: the reference.
        """
        wanted = self.reference if other is None else other
        for entry in self.content["differences"]:
            if (entry["prompt"], entry["score"]) != (prompt, score):
                continue
            pair = entry["model"], entry["reference"]
            if pair == (self.main, wanted):
                found: Mapping[str, Any] = entry
                return found
            if pair == (wanted, self.main):
                return _turned(entry)
        return None


def _turned(entry: Mapping[str, Any]) -> Mapping[str, Any]:  # Any: see _DIFFERENCE
    return {
        **entry,
        "model": entry["reference"],
        "reference": entry["model"],
        "mean": -entry["mean"],
        "low": -entry["high"],
        "high": -entry["low"],
        "better": entry["worse"],
        "worse": entry["better"],
    }


def read_results(folder: Path, privacy: Privacy) -> Results:
    """Read the results in a folder.

    Args:
        folder: With `metrics.json`.
        privacy: Which names may be shown.

    Raises:
        DatasetError: if there is none, or it is not what `samft test` writes.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise DatasetError(
            "there are no results of a test in this folder",
            where=folder,
            expected=METRICS_FILE,
            fix="make them with: samft test RUN",
        )
    raw = read_json_object(path, _EXPECTED)
    _check_format(raw, path)
    if is_deep(raw):
        raise unreadable(path, "values deep in each other", _EXPECTED)
    content = conform(raw, _SPEC, where="", file=path)
    _check_reference(content, path)
    labels = privacy.models([model["name"] for model in content["models"]])
    return Results(folder=folder, content=_private(content, privacy, labels), labels=labels)


def _check_format(raw: Mapping[str, Any], path: Path) -> None:  # Any: JSON
    if raw.get("format") != FORMAT:
        raise DatasetError(
            "this is not a file of test results",
            where=path,
            found=f"format {str(raw.get('format'))[:40]!r}",
            expected=f"format {FORMAT!r}, as samft test writes it",
            fix="make one with: samft test RUN",
        )
    if raw.get("version") != _VERSION:
        raise DatasetError(
            "these test results are of another version of the format",
            where=path,
            found=f"version {str(raw.get('version'))[:40]}",
            expected=f"version {_VERSION}",
            fix="run samft test again with this version of samft",
        )


def _check_reference(content: Mapping[str, Any], path: Path) -> None:  # Any: as _SPEC says
    names = [model["name"] for model in content["models"]]
    if content["reference"] and content["reference"] not in names:
        raise DatasetError(
            "the results of a test compare with a model that they do not list",
            where=f"{path}, reference",
            found=repr(content["reference"])[:80],
            expected=", ".join(names)[:200] or "no reference, as there are no models",
            fix="run samft test again, or name another folder with --results DIR",
        )


def _private(
    content: Mapping[str, Any], privacy: Privacy, labels: Mapping[str, str]
) -> dict[str, Any]:  # Any: as _SPEC says
    """Return the content with models, images and folders named as they may be shown."""
    gallery = [
        {**entry, "sample_id": privacy.case(entry["sample_id"])} for entry in content["gallery"]
    ]
    data = {**content["data"], "root": privacy.last_part(content["data"]["root"])}
    renamed: dict[str, Any] = _renamed(content, labels)
    clean: dict[str, Any] = privacy.clean({**renamed, "gallery": [], "data": {}})
    clean["data"] = privacy.clean(data)
    clean["gallery"] = privacy.clean(_renamed(gallery, labels))
    return clean


def _renamed(value: Any, labels: Mapping[str, str]) -> Any:  # Any: JSON
    """Give models their labels, wherever they are named."""
    if isinstance(value, dict):
        return {labels.get(name, name): _renamed(item, labels) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, labels) for item in value]
    return labels.get(value, value) if isinstance(value, str) else value
