"""Cases keep their names: counted once, in one order, by one rule for what is empty."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from samft.errors import ConfigError
from samft.metrics.cases import CaseMetric, CaseRow, Kind, kind_of
from samft.metrics.overlap import OverlapScores


class Doubled(CaseMetric):
    """Twice the first number of each case."""

    def update(self, *values: float, case_id: str, part: int = 0) -> None:
        self._add(case_id, values, part=part)

    def _scores(self, row: CaseRow) -> dict[str, float]:
        return {"twice": 2 * float(row.values[0])}


def test_a_case_counts_once_and_differing_ones_are_reported(caplog) -> None:
    metric = Doubled()
    metric.update(1.0, 5.0, case_id="b")
    metric.update(4.0, case_id="a")
    metric.update(1.0, 5.0, case_id="b")
    with caplog.at_level(logging.WARNING):
        assert metric.compute() == {"twice": torch.tensor(5.0), "num_cases": torch.tensor(2.0)}
    assert not caplog.records
    metric.update(7.0, case_id="a")
    with caplog.at_level(logging.WARNING):
        assert [row.case_id for row in metric.rows()] == ["a", "b"]
    assert "1 cases were scored twice" in caplog.text
    assert metric.rows()[0].values.tolist() == [4.0]


def test_names_may_be_of_any_length_and_script_and_parts_are_kept_apart() -> None:
    metric = Doubled(["cell", "nucleus"])
    metric.update(1.5, case_id="Röntgen/β 1", part=1)
    metric.update(2.0, case_id="", part=0)
    metric.update(3.0, case_id="Röntgen/β 1", part=0)
    per_case = metric.per_case()
    assert [(each.case_id, each.part, each.scores["twice"]) for each in per_case] == [
        ("", 0, 4.0),
        ("Röntgen/β 1", 0, 6.0),
        ("Röntgen/β 1", 1, 3.0),
    ]
    # Classes count the same, whatever the number of their cases: (5 + 3) / 2.
    result = metric.compute()
    assert result["twice"] == 4.0
    assert result["twice/cell"] == 5.0
    assert result["twice/nucleus"] == 3.0


def test_reset_and_no_case() -> None:
    metric = Doubled()
    metric.update(1.0, case_id="a")
    metric.reset()
    assert metric.compute() == {"num_cases": torch.tensor(0.0)}


def test_kinds() -> None:
    assert kind_of(True, True) == Kind.BOTH
    assert kind_of(False, False) == Kind.BOTH_EMPTY
    assert kind_of(False, True) == Kind.MISSED
    assert kind_of(True, False) == Kind.SPURIOUS


def masks(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool).reshape(1, 1, -1)


def test_the_rule_for_empty_cases() -> None:
    results = {}
    for both_empty in ("perfect", "skip"):
        metric = OverlapScores(both_empty=both_empty)
        metric.update(masks(1, 1), masks(1, 1), case_id="right")
        metric.update(masks(0, 0), masks(0, 0), case_id="nothing")
        metric.update(masks(0, 0), masks(1, 0), case_id="missed")
        metric.update(masks(0, 1), masks(0, 0), case_id="spurious")
        metric.update(None, masks(0, 0), case_id="failed")
        results[both_empty] = {name: value.item() for name, value in metric.compute().items()}
    assert results["perfect"]["dice"] == pytest.approx(2 / 5)
    assert results["skip"]["dice"] == pytest.approx(1 / 4)
    for result in results.values():
        assert result["num_cases"] == 5
        for name in ("both_empty", "missed", "spurious", "missing"):
            assert result[f"num_{name}"] == 1


def test_only_skipped_cases_give_no_number() -> None:
    metric = OverlapScores(both_empty="skip")
    metric.update(masks(0), masks(0), case_id="a")
    assert math.isnan(metric.compute()["dice"])


def test_shapes_that_do_not_fit() -> None:
    metric = OverlapScores(["left", "right"])
    with pytest.raises(ConfigError, match="cannot be compared") as error:
        metric.update(torch.zeros(1, 4, 4).bool(), torch.zeros(1, 4, 4).bool(), case_id="a")
    assert "(2, height, width)" in str(error.value)
    assert "stack one mask per class" in str(error.value)
    with pytest.raises(ConfigError, match=r"\(2, 4, 4\) and \(2, 4, 5\)"):
        metric.update(torch.zeros(2, 4, 4).bool(), torch.zeros(2, 4, 5).bool(), case_id="a")


def test_unknown_class() -> None:
    with pytest.raises(ConfigError, match="a class the metric does not know") as error:
        Doubled(["cell"])._part(1)
    assert "give the metric all class_names" in str(error.value)


def test_forward_returns_the_batch_and_keeps_the_rest() -> None:
    metric = OverlapScores()
    assert metric(masks(1, 0), masks(1, 0), case_id="a")["dice"] == 1
    assert metric(masks(1, 0), masks(0, 1), case_id="b")["dice"] == 0
    assert metric.compute()["dice"] == 0.5
