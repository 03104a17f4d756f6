"""The experiment of edges: scores, rows, people, baselines, maps on disk, errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from evaluation.zero_shot.bright_sam import BrightSam, drawn_objects
from PIL import Image

from samft.errors import ConfigError, DatasetError
from samft.evaluation.zero_shot.edge_maps import edge_map
from samft.evaluation.zero_shot.edge_settings import EdgeSettings
from samft.evaluation.zero_shot.edge_truth import label_edges
from samft.evaluation.zero_shot.edges import EdgeImage, human_agreement, run_edges
from samft.metrics.edge_baselines import sobel_edges
from samft.metrics.edge_matching import agreement_counts, f_measure
from samft.metrics.edges import EdgeScores

FEW = EdgeSettings(thresholds=9, points_per_side=8, distance_ratio=0.025)


def drawn(name, seed=0, *, annotators=1, **changes):
    image, labels = drawn_objects(seed)
    edges = label_edges(labels)
    people = [np.roll(edges, shift, axis=1) for shift in range(annotators)]
    return EdgeImage(**{"sample_id": name, "image": image, "annotations": people} | changes)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    images = [drawn("test/b.jpg", 1), drawn("test/a.jpg", 2, annotators=3)]
    return run_edges({"bright": BrightSam()}, images, FEW, maps=folder), images, folder


def test_scores_are_those_of_the_metric(found) -> None:
    report, images, _ = found
    assert list(report.scores) == ["sobel", "canny", "bright"]
    metric = EdgeScores(thresholds=9, distance_ratio=0.025)
    for item in images:
        metric.update(sobel_edges(item.image), item.annotations, case_id=item.sample_id)
    expected = {name: value.item() for name, value in metric.compute().items()}
    assert report.scores["sobel"] == expected
    assert report.scores["bright"]["ods"] > max(0.95, report.scores["sobel"]["ods"])
    assert (report.num_images, report.num_annotations) == (2, 4)


def test_every_image_has_a_row_for_each_method(found) -> None:
    report, images, _ = found
    names = [(row.method, row.sample_id) for row in report.rows]
    methods = ("sobel", "canny", "bright")
    assert names == [(m, s) for m in methods for s in ("test/a.jpg", "test/b.jpg")]
    alone = run_edges({}, images[1:], FEW, baselines=["canny"])
    (row,) = (r for r in report.rows if (r.method, r.sample_id) == ("canny", "test/a.jpg"))
    assert row.scores["ods"] == pytest.approx(alone.scores["canny"]["ods"])
    assert all(row.seconds > 0 for row in report.rows)


def test_maps_are_written_as_grey_pictures(found) -> None:
    _, images, folder = found
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert written == [
        f"{method}/test/{name}.jpg.png"
        for method in ("bright", "canny", "sobel")
        for name in ("a", "b")
    ]
    with Image.open(folder / "bright/test/b.jpg.png") as picture:
        assert picture.mode == "L"
        pixels = np.asarray(picture)
    expected = edge_map(BrightSam(), images[0].image, FEW)
    np.testing.assert_allclose(pixels / 255, expected, atol=0.003)


def test_people_among_themselves(found) -> None:
    report, images, _ = found
    counts = agreement_counts(images[1].annotations, distance_ratio=0.025)[:, 0]
    assert report.human.f == pytest.approx(f_measure(counts))
    assert report.human.num_images == 1
    assert report.human == human_agreement(images, distance_ratio=0.025)
    nobody = human_agreement(images[:1])
    assert math.isnan(nobody.f)
    assert nobody.num_images == 0
    silent = run_edges({}, images[1:], FEW, baselines=[], human=False)
    assert math.isnan(silent.human.f)
    assert silent.num_annotations == 3


def test_a_report_is_plain_data(found) -> None:
    report, _, _ = found
    back = json.loads(json.dumps(report.to_dict()))
    assert back["scores"]["bright"]["ods"] == report.scores["bright"]["ods"]
    assert back["images"][0]["method"] == "sobel"
    assert back["settings"]["points_per_side"] == 8


def test_images_as_tensors_and_a_model_alone() -> None:
    item = drawn("a")
    tensor = torch.from_numpy(item.image.transpose(2, 0, 1).copy())
    first = run_edges({"sam": BrightSam()}, [item], FEW, baselines=["sobel"])
    second = run_edges({"sam": BrightSam()}, [drawn("a", image=tensor)], FEW, baselines=["sobel"])
    assert first.scores == second.scores


def test_where_nothing_is_known_no_edge_counts() -> None:
    image, labels = drawn_objects()
    unknown = np.zeros(labels.shape, bool)
    unknown[:, 32:] = True
    truth = [label_edges(np.where(unknown, -1, labels))]
    asked = {"image": image, "annotations": truth}
    counted = run_edges({"sam": BrightSam()}, [drawn("a", **asked)], FEW, baselines=[])
    spared = run_edges(
        {"sam": BrightSam()}, [drawn("a", **asked, ignored=unknown)], FEW, baselines=[]
    )
    assert spared.scores["sam"]["ods_precision"] > 0.95 > counted.scores["sam"]["ods_precision"]


def test_errors_come_before_any_work() -> None:
    def never():
        pytest.fail("an image was read")
        yield

    with pytest.raises(ConfigError) as unknown:
        run_edges({}, never(), baselines=["cany"])
    assert str(unknown.value).splitlines() == [
        "the baseline is unknown",
        "  where: edges.baselines, found: 'cany'",
        "  fix: did you mean 'canny'? choose from canny, sobel",
    ]
    with pytest.raises(ConfigError) as clash:
        run_edges({"sobel": BrightSam()}, never())
    assert str(clash.value).splitlines() == [
        "a model has the name of a baseline",
        "  found: sobel",
        "  fix: rename it",
    ]
    with pytest.raises(ConfigError, match=r"edges\.thresholds"):
        run_edges({}, never(), EdgeSettings(thresholds=0))


def test_images_that_cannot_be_scored() -> None:
    with pytest.raises(DatasetError) as nobody:
        run_edges({}, [drawn("a", annotations=[])], FEW)
    assert str(nobody.value) == "nobody drew the edges of an image\n  where: a"
    with pytest.raises(DatasetError, match="there is no image to find edges in"):
        run_edges({}, [], FEW)
    with pytest.raises(ConfigError, match="edges of different sizes") as sizes:
        run_edges({}, [drawn("a", annotations=[np.ones((5, 5), bool)])], FEW)
    assert "where: a" in str(sizes.value)
