"""The BSDS500 benchmark: its matching and its numbers in plain terms, and real images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.optimize import linear_sum_assignment

from samft.data.readers.mat import read_boundaries
from samft.errors import ConfigError
from samft.metrics.edge_baselines import canny_edges, sobel_edges
from samft.metrics.edge_matching import agreement_counts, edge_counts, f_measure, match_edges
from samft.metrics.edges import EdgeScores

EDGES = arrays(bool, (6, 7), elements=st.booleans())


@settings(max_examples=25, deadline=None)
@given(EDGES, EDGES, st.sampled_from([0.5, 1.0, 1.5, 2.3]))
def test_as_many_as_the_benchmarks_assignment(first, second, distance) -> None:
    places = [np.argwhere(each) for each in (first, second)]
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=2)
    # The benchmark's costs: the distance, or a hundred times the largest for no partner.
    cost = np.where(apart <= distance, apart, 100 * distance)
    rows, columns = linear_sum_assignment(cost)
    expected = int((apart[rows, columns] <= distance).sum())
    found = match_edges(first, second, distance_px=distance)
    assert [int(each.sum()) for each in found] == [expected] * 2
    assert not (found[0] & ~first).any()
    assert not (found[1] & ~second).any()


def test_matching_by_hand() -> None:
    first, second = np.zeros((2, 5, 9), bool)
    first[2, [0, 4]] = True
    second[2, [2, 8]] = True
    assert not match_edges(first, second, distance_px=1.9)[0].any()
    one, other = match_edges(first, second, distance_px=2)
    assert one.sum() == 1
    assert np.argwhere(other).tolist() == [[2, 2]]
    one, other = match_edges(first, second, distance_px=4)
    assert np.array_equal(one, first)
    assert np.array_equal(other, second)


def columns(*places: int) -> np.ndarray:
    mask = np.zeros((40, 30), bool)  # a diagonal of 50
    mask[:, list(places)] = True
    return mask


def test_counts_by_hand() -> None:
    strength = np.zeros((40, 30))
    strength[:, 5], strength[:, 15], strength[:, 25] = 0.9, 0.5, 0.2
    people = [columns(5), columns(6, 16), columns(9)]
    counts = edge_counts(
        strength, people, thresholds=np.array([0.1, 0.5, 0.95]), distance_ratio=0.02, thinned=False
    )
    assert counts.T.tolist() == [
        [120, 160, 80, 120],  # one of one, two of two and none of one column were found
        [120, 160, 80, 80],
        [0, 160, 0, 0],
    ]
    thick = edge_counts(columns(4, 5, 6), people[:1], thresholds=np.ones(1), distance_ratio=0.02)
    assert thick[3, 0] < 50


def test_agreement_by_hand() -> None:
    counts = agreement_counts([columns(5), columns(5, 20), columns(6)], distance_ratio=0.02)[:, 0]
    # Each against the two others: 40 of 120, 80 of 80, 80 of 120 true pixels found, and so on.
    assert counts.tolist() == [80 + 80 + 80, 120 + 80 + 120, 40 + 40 + 40, 40 + 80 + 40]
    assert f_measure(counts) == pytest.approx(2 * 0.75 * 0.75 / 1.5)


def straightforward(images: list[np.ndarray], thresholds: np.ndarray) -> dict[str, float]:
    """Return the benchmark's numbers of counts (4, T) per image, written as loops."""

    def scores(counts):
        recall = [a / (b or 1) for a, b in zip(counts[0], counts[1], strict=True)]
        precision = [a / (b or 1) for a, b in zip(counts[2], counts[3], strict=True)]
        return recall, precision

    def f(r, p):
        return 2 * r * p / ((r + p) or 1)

    recall, precision = scores(sum(images))
    best = 0.0
    for index in range(1, len(thresholds)):
        for d in np.linspace(0, 1, 100):
            r = recall[index] * d + recall[index - 1] * (1 - d)
            p = precision[index] * d + precision[index - 1] * (1 - d)
            best = max(best, f(r, p))
    own = np.zeros(4)
    for counts in images:
        each = [f(r, p) for r, p in zip(*scores(counts), strict=True)]
        own += counts[:, each.index(max(each))]
    known = dict(reversed(list(zip(recall, precision, strict=True))))
    area = 0.0
    for at in np.arange(101) / 100:
        if min(known) <= at <= max(known):
            area += np.interp(at, sorted(known), [known[r] for r in sorted(known)]) / 100
    return {"ods": best, "ois": f(own[0] / own[1], own[2] / own[3]), "ap": area}


def test_the_benchmarks_numbers_by_loops() -> None:
    generator = np.random.default_rng(2)
    metric = EdgeScores(thresholds=9, distance_ratio=0.03)
    images = []
    for number in range(3):
        people = [generator.random((30, 40)) < 0.06 for _ in range(3)]
        strength = np.clip(0.5 * sum(people) + generator.random((30, 40)) * 0.6, 0, 1)
        metric.update(torch.from_numpy(strength), people, case_id=str(number))
        images.append(
            edge_counts(strength, people, thresholds=metric.thresholds, distance_ratio=0.03)
        )
    result = metric.compute()
    expected = straightforward(images, metric.thresholds)
    assert result["num_cases"] == 3
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-6), name
    p, r = result["ods_precision"], result["ods_recall"]
    assert 2 * p * r / (p + r) == pytest.approx(result["ods"].item())
    assert result["ods"] <= result["ois"] + 1e-6


def test_recall_at_half_precision() -> None:
    metric = EdgeScores(thresholds=3, distance_ratio=0.0, thinned=False)
    strength, truth = np.zeros((1, 20)), np.zeros((1, 20), bool)
    truth[0, :10] = True
    strength[0, :4] = 0.9  # precision 1, recall 0.4
    strength[0, [4, 10, 11, 12]] = 0.6  # 5 / 8, 0.5
    strength[0, [5, *range(13, 19)]] = 0.3  # 6 / 15, 0.6
    metric.update(strength, [truth], case_id="a")
    # Precision 0.5 lies (0.625 - 0.5) / (0.625 - 0.4) of the way from recall 0.5 to 0.6.
    assert metric.compute()["r50"] == pytest.approx(0.5 + 0.1 * 0.125 / 0.225)
    assert metric.compute()["ap"] == pytest.approx(
        sum(np.interp(np.arange(40, 61) / 100, [0.4, 0.5, 0.6], [1, 5 / 8, 6 / 15])) / 100
    )


def test_perfect_and_empty_images() -> None:
    metric = EdgeScores()
    metric.update(columns(5), [columns(5)], case_id="a")
    assert metric.compute()["ods"] == metric.compute()["ois"] == 1
    metric.update(columns(7) * 0.5, [columns()], case_id="b")
    # At its own scale the second image has no edges; at one for all neither, above 0.5.
    assert metric.compute()["ods"] == metric.compute()["ois"] == 1
    nothing = EdgeScores()
    nothing.update(columns(), [columns()], case_id="a")
    assert nothing.compute()["ods"].isnan()
    with pytest.raises(ConfigError, match="different sizes") as error:
        nothing.update(columns(), [columns()[:, 1:]], case_id="image_2")
    assert "image_2" in str(error.value)


def test_bsds_images(real_data: Path) -> None:
    root = real_data / "general" / "BSDS500" / "data"
    if not root.is_dir():
        pytest.skip("no BSDS500 among the real data")
    scores = {"sobel": EdgeScores(thresholds=9), "canny": EdgeScores(thresholds=9)}
    people = np.zeros(4)
    for path in sorted((root / "groundTruth" / "test").glob("*.mat"))[:4]:
        drawn = read_boundaries(path)
        image = np.array(Image.open(root / "images" / "test" / f"{path.stem}.jpg").convert("RGB"))
        scores["sobel"].update(sobel_edges(image), drawn, case_id=path.stem)
        scores["canny"].update(canny_edges(image), drawn, case_id=path.stem)
        people += agreement_counts(drawn)[:, 0]
    # People among themselves reach F = 0.80 on the full set, Sobel 0.54, Canny 0.60.
    assert 0.75 < f_measure(people) < 0.92
    for metric in scores.values():
        result = metric.compute()
        assert 0.45 < result["ods"] < 0.68
        assert result["ods"] < result["ois"] < 0.72
        assert not math.isnan(result["r50"])
