"""Two processes with an odd number of cases, one of them twice, give what one process gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from pycocotools import mask as coco_mask
from torch import distributed

from samft.metrics.average_precision import AveragePrecision
from samft.metrics.boundary import BoundaryScores
from samft.metrics.calibration import IoUCalibration
from samft.metrics.cases import CaseMetric
from samft.metrics.clicks import ClickCurve
from samft.metrics.edges import EdgeScores
from samft.metrics.instances import InstanceScores
from samft.metrics.overlap import OverlapScores
from samft.metrics.panoptic import AggregatedJaccard, PanopticQuality
from samft.metrics.proposals import ProposalRecall
from samft.metrics.skeletons import CentrelineDice
from samft.metrics.surfaces import SurfaceScores

NUM_CASES = 5
SHARES = ((0, 2, 4), (1, 3, 0))  # as a sampler pads: the first case is in both


def fresh() -> dict[str, CaseMetric]:
    metrics = (
        OverlapScores(["a", "b"]),
        SurfaceScores(["a", "b"], unit="px"),
        BoundaryScores(["a", "b"]),
        CentrelineDice(["a", "b"]),
        InstanceScores(),
        PanopticQuality(),
        AggregatedJaccard(),
        AveragePrecision(),
        ProposalRecall(["odd", "even"]),
        IoUCalibration(),
        ClickCurve(most=4),
        EdgeScores(thresholds=5),
    )
    return {type(metric).__name__: metric for metric in metrics}


def add(metrics: dict[str, CaseMetric], number: int) -> None:
    generator = np.random.default_rng(number)
    name = "x" * number + f"case {number}"  # names of several lengths
    masks = generator.random((2, 2, 14, 16)) > 0.3 + 0.1 * number
    masks[0, 1] &= number != 3  # one case in which a class is empty
    for kind in ("OverlapScores", "SurfaceScores", "BoundaryScores", "CentrelineDice"):
        metrics[kind].update(None if number == 4 else masks[0], masks[1], case_id=name)
    labels = generator.integers(0, 2 + number, (2, 1, 6, 5))
    for kind in ("InstanceScores", "PanopticQuality", "AggregatedJaccard"):
        metrics[kind].update(labels[0], labels[1], case_id=name)
    given, wanted = ([encoded(mask) for mask in side] for side in masks)
    scores = generator.random(2)
    metrics["AveragePrecision"].update(given, wanted, case_id=name, scores=scores)
    metrics["ProposalRecall"].update(
        given, wanted, case_id=name, scores=scores, group=[number % 2] * 2
    )
    metrics["IoUCalibration"].update(*generator.random((2, 3 + number)), case_id=name)
    metrics["ClickCurve"].update(torch.from_numpy(generator.random((1 + number, 4))), case_id=name)
    metrics["EdgeScores"].update(generator.random((14, 16)), masks[:, 0], case_id=name)


def encoded(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def results(metrics: dict[str, CaseMetric]) -> dict[str, dict[str, float]]:
    return {
        name: {key: value.item() for key, value in metric.compute().items()}
        | {
            f"{each.case_id} {each.part} {k}": v
            for each in metric.per_case()
            for k, v in each.scores.items()
        }
        for name, metric in metrics.items()
    }


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    metrics = fresh()
    for number in SHARES[rank]:
        add(metrics, number)
    lonely = fresh()  # the second process has no case at all
    if rank == 0:
        for number in range(NUM_CASES):
            add(lonely, number)
    torch.save((results(metrics), results(lonely)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    alone = fresh()
    for number in range(NUM_CASES):
        add(alone, number)
    expected = results(alone)
    # Forks, because another Python takes many seconds to import what this one has.
    how = "spawn" if sys.platform in {"win32", "darwin"} else "fork"
    mp.start_processes(work, args=(str(tmp_path),), nprocs=2, start_method=how)
    for rank in range(2):
        for found in torch.load(tmp_path / f"{rank}.pt", weights_only=True):
            assert found.keys() == expected.keys()
            for name, scores in expected.items():
                # To the last bit: the rows are sorted before anything is summed.
                assert found[name] == pytest.approx(scores, abs=0, rel=0, nan_ok=True), name
                assert found[name]["num_cases"] == NUM_CASES
