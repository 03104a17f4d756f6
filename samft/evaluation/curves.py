"""What every further click is worth, and whether predicted IoUs can be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
import torch

from samft.evaluation.columns import Floats, ScoreTable
from samft.evaluation.grouping import common_items
from samft.metrics.calibration import IoUCalibration, ReliabilityBin
from samft.metrics.clicks import ClickCurve

QUALITIES: Final = (85, 90)
"""The IoUs to reach, in percent."""
_POINT: Final = "point"


def click_curves(table: ScoreTable, order: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the curve of each model that answered all clicks, see `ClickCurve`.

    Args:
        table: Of objects.
        order: The models, in the order of tables.

    Returns:
        By model: `iou` after each click, `click_auc`, `noc_85`, `failed_85`, ..., and the number of
        objects; over the objects for which all these models have an IoU after every click.
    """
    prompts = _clicks(table)
    column = table.column("iou")
    if not prompts or column is None:
        return {}
    common = reduce(np.intersect1d, [common_items(table, prompt) for prompt in prompts])
    curves = {}
    for model in table.models(prompts[-1], order):
        answers = [table.answers.get((prompt, model)) for prompt in prompts]
        scores = [each.at(common).scores[:, column] for each in answers if each is not None]
        if len(scores) == len(prompts):
            curves[model] = np.stack(scores, axis=1)
    known = np.ones(len(common), bool)
    for curve in curves.values():
        known &= np.isfinite(curve).all(axis=1)
    return {model: _curve(curve[known]) for model, curve in curves.items()}


def calibrations(table: ScoreTable, order: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return how far predicted IoUs are off, by prompt and model that predicts any.

    Returns:
        The scores of `IoUCalibration`, `num_objects`, and the table behind them as `bins`.
    """
    column = table.column("iou")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for prompt in table.prompts() if column is not None else ():
        common = common_items(table, prompt)
        for model in table.models(prompt, order):
            answers = table.answers[prompt, model].at(common)
            pair = np.stack([answers.predicted_iou, answers.scores[:, column]])
            pair = pair[:, np.isfinite(pair).all(axis=0)]
            if pair.shape[1]:
                found.setdefault(prompt, {})[model] = _calibration(pair)
    return found


def _clicks(table: ScoreTable) -> list[str]:
    """Return `point1` and on, as far as there is no gap."""
    present = set(table.prompts())
    found: list[str] = []
    while f"{_POINT}{len(found) + 1}" in present:
        found.append(f"{_POINT}{len(found) + 1}")
    return found


def _curve(iou: Floats) -> dict[str, Any]:
    most = iou.shape[1]
    metric = ClickCurve(QUALITIES, most=most, report=range(1, most + 1))
    metric.update(torch.from_numpy(iou), case_id="objects")
    scores = {name: float(value) for name, value in metric.compute().items()}
    points = [scores.pop(f"iou_click{number}") for number in range(1, most + 1)]
    del scores["num_cases"]
    return {"iou": points, **scores, "num_objects": len(iou)}


def _calibration(pair: Floats) -> dict[str, Any]:
    metric = IoUCalibration()
    metric.update(pair[0], pair[1], case_id="objects")
    scores: Mapping[str, float] = {
        name: float(value) for name, value in metric.compute().items() if name.startswith("iou_")
    }
    return {
        **scores,
        "num_objects": pair.shape[1],
        "bins": [_bin(each) for each in metric.reliability()],
    }


def _bin(each: ReliabilityBin) -> dict[str, float]:
    known = each.count > 0
    return {
        "low": each.low,
        "high": each.high,
        "count": each.count,
        "predicted": each.predicted if known else math.nan,
        "true": each.true if known else math.nan,
    }
