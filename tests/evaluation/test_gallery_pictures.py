import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_tables import facts, object_row, records
from PIL import Image

from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.gallery import _jpeg, draw_gallery, find_samples
from samft.evaluation.gallery_panels import ERROR_COLOURS, SIDE, Scene, View
from samft.evaluation.rows import Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.summary import Summary
from samft.evaluation.writing import write_results
from samft.types import IGNORE, SamBatch, Sample

SETTINGS = EvaluationSettings(gallery=1, clicks=3)
HEIGHT, WIDTH = 160, 300


def sample_of(name: str, *boxes: tuple[int, int, int, int], unknown: int = 0) -> Sample:
    """Return a grey image with bright rectangles (top, left, bottom, right) as objects."""
    layers = torch.zeros((1, HEIGHT, WIDTH), dtype=torch.int32)
    for value, (top, left, bottom, right) in enumerate(boxes, start=1):
        layers[0, top:bottom, left:right] = value
    if unknown:
        layers[0, :, -unknown:] = IGNORE
    image = torch.full((3, HEIGHT, WIDTH), 90, dtype=torch.uint8)
    image[:, layers[0] > 0] = 200
    return Sample(
        image=image,
        layers=layers,
        object_layer=torch.zeros(len(boxes), dtype=torch.int64),
        object_class=torch.zeros(len(boxes), dtype=torch.int64),
        sample_id=name,
        case_id=name,
    )


class Shifted(Competitor):
    """Answers with the truth, moved to the right."""

    kind = "sam"
    prompts = ("box", "point")
    clicks = True

    def __init__(self, name: str, log: list, shift: int) -> None:
        super().__init__(name)
        self.log, self.shift = log, shift

    def answers(self, batch: SamBatch, settings: EvaluationSettings) -> Iterator[Answer]:
        self.log.append((self.name, batch.sample_ids, settings.prompts, settings.clicks))
        assert torch.is_inference_mode_enabled()
        assert not self.training
        assert batch.samples is not None
        for image, sample in enumerate(batch.samples):
            masks = torch.roll(sample.masks(), self.shift, dims=2)
            rows = torch.nonzero(batch.image_index == image).flatten()
            for prompt, mark in (
                ("box", {"box": [10.0, 20.0, 30.0, 40.0]}),
                ("point1", {"points": [[15.0, 25.0]], "labels": [1]}),
            ):
                for part in torch.split(rows, 1):  # in pieces, as real ones come
                    yield Answer(
                        prompt=prompt,
                        image=image,
                        rows=part,
                        masks=masks[part],
                        predicted_iou=None,
                        marks=(mark,) * len(part),
                    )


SAMPLES = [
    sample_of("a", (20, 10, 50, 40), (60, 200, 80, 230)),
    sample_of("b", (5, 5, 155, 295)),
    sample_of("c", (70, 100, 100, 140)),
]


def results(folder: Path, settings: EvaluationSettings = SETTINGS) -> tuple[Summary, Rows]:
    ious = {("a", 1): (0.9, 0.5), ("a", 2): (0.2, 0.8), ("b", 1): (0.6, 0.6), ("c", 1): (0.7, 0.1)}
    rows = Rows(
        objects=[
            object_row(model, prompt, sample, number, iou=pair[index], class_name="cell")
            for prompt in ("box", "point1", "point2")
            for (sample, number), pair in ious.items()
            for index, model in enumerate(("tuned", "zero-shot"))
        ]
    )
    summary = write_results(
        rows,
        folder=folder,
        competitors=records("tuned", "zero-shot", prompts=("box", "point1", "point2")),
        settings=settings,
        data=facts(("cell",)),
        reference="zero-shot",
    )
    return summary, rows


def drawn(
    folder: Path,
    *,
    settings: EvaluationSettings = SETTINGS,
    samples: list = SAMPLES,
    log: list | None = None,
    reference: str | None = "zero-shot",
    class_names: tuple[str, ...] = ("cell",),
) -> Summary:
    summary, rows = results(folder, settings)
    shifts = {"tuned": 4, "zero-shot": 12}
    record = [] if log is None else log
    return draw_gallery(
        replace(summary, reference=reference),
        rows,
        folder=folder,
        dataset=samples,
        open_competitor=lambda name: Shifted(name, record, shifts[name]),
        settings=settings,
        image_size=128,
        class_names=class_names,
    )


def test_pictures_and_their_entries(tmp_path: Path):
    log: list = []
    summary = drawn(tmp_path, log=log)
    entries = json.loads((tmp_path / "metrics.json").read_text())["gallery"]
    assert entries == summary.to_dict()["gallery"]
    assert len(entries) == 8
    assert entries[2] == {
        "picture": "gallery/box_improved_01.jpg",
        "kind": "improved",
        "sample_id": "c",
        "object_id": 1,
        "class_name": "cell",
        "prompt": "box",
        "iou": {"tuned": 0.7, "zero-shot": 0.1},
    }
    assert [(e["kind"], e["sample_id"], e["object_id"]) for e in entries[:4]] == [
        ("best", "a", 1),
        ("worst", "a", 2),
        ("improved", "c", 1),
        ("worsened", "a", 2),
    ]
    files = sorted((tmp_path / "gallery").iterdir())
    assert sorted(e["picture"] for e in entries) == [f"gallery/{file.name}" for file in files]
    for file in files:
        with Image.open(file) as image:
            # Whole image, prompt, truth, two answers, errors.
            assert image.width == 6 * SIDE + 5 * 6
            assert SIDE < image.height < 1.3 * SIDE
            assert len(image.getexif()) == 0
        assert file.stat().st_size < 80_000


def test_only_what_is_drawn_is_answered_again_a_model_at_a_time(tmp_path: Path):
    log: list = []
    drawn(tmp_path, log=log)
    expected = [
        (name, (sample,), ("box", "point"), 1)
        for name in ("tuned", "zero-shot")
        for sample in ("a", "c")
    ]
    assert log == expected


def test_one_model_is_drawn_alone(tmp_path: Path):
    log: list = []
    summary = drawn(tmp_path, log=log, reference=None)
    assert {each.kind for each in summary.gallery} == {"best", "worst"}
    assert {name for name, *_ in log} == {"tuned"}
    with Image.open(tmp_path / "gallery" / "box_best_01.jpg") as image:
        assert image.width == 5 * SIDE + 4 * 6


def test_no_pictures_are_wanted(tmp_path: Path):
    log: list = []
    assert drawn(tmp_path, settings=replace(SETTINGS, gallery=0), log=log).gallery == ()
    assert log == []
    assert not (tmp_path / "gallery").exists()


def test_data_that_changed_has_no_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        summary = drawn(tmp_path, samples=SAMPLES[:2], class_names=("cell",))
    assert {each.sample_id for each in summary.gallery} == {"a"}
    assert "c is not in the data any more: it has no picture" in caplog.text
    with caplog.at_level(logging.WARNING):
        assert drawn(tmp_path, class_names=("other",)).gallery == ()
    assert "a: object 1 is not what was scored: it has no picture" in caplog.text
    fewer = [sample_of("a", (20, 10, 50, 40)), *SAMPLES[1:]]
    chosen = {(e.sample_id, e.object_id) for e in drawn(tmp_path, samples=fewer).gallery}
    assert chosen == {("a", 1), ("c", 1)}


def test_records_with_names_are_not_read_for_nothing():
    class Named:
        sample_id: str

        def __init__(self, name: str) -> None:
            self.sample_id = name

    class Set:
        def __init__(self, names: str) -> None:
            self.records = [Named(name) for name in names]

        def __len__(self) -> int:
            return len(self.records)

        def __getitem__(self, index: int) -> Sample:
            raise AssertionError("read")

    assert find_samples(Set("xyz"), {"z", "x"}) == {"x": 0, "z": 2}
    assert find_samples(SAMPLES, {"b", "no"}) == {"b": 1}
    assert find_samples([], {"b"}) == {}
    assert find_samples(SAMPLES, set()) == {}


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((70, 140, 90, 160), (102, 32, 96)),  # at least 96 pixels
        ((40, 100, 100, 180), (60, 0, 160)),  # twice as large as the object
        ((0, 0, 10, 10), (0, 0, 96)),  # never beyond a border that it can keep
        ((150, 290, 160, 300), (204, 64, 96)),
        ((70, 0, 80, 300), (0, -70, 300)),  # as wide as the image: beyond its height
    ],
)
def test_views(box: tuple[int, int, int, int], expected: tuple[int, int, int]):
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[box[0] : box[2], box[1] : box[3]] = True
    view = View.around(truth)
    assert (view.left, view.top, view.side) == expected
    # Nothing of the object is cut off.
    assert view.left <= box[1] < box[3] <= view.left + view.side
    assert view.top <= box[0] < box[2] <= view.top + view.side


def test_masks_marks_and_image_lie_on_top_of_each_other():
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[70:90, 140:160] = True
    view = View.around(truth)
    rows, columns = np.nonzero(view.mask(truth))
    image = np.where(truth[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    assert (view.image(image)[..., 0] == 255).sum() == len(rows)
    marks = view.marks({"box": [140, 70, 159, 89], "points": [[149.5, 79.5]], "labels": [1]})
    left, top, right, bottom = marks.boxes[0]
    scale = SIDE / view.side
    assert (left, top) == pytest.approx((columns.min(), rows.min()), abs=scale)
    assert (right, bottom) == pytest.approx((columns.max(), rows.max()), abs=scale)
    assert marks.points[0] == pytest.approx((columns.mean(), rows.mean()), abs=scale)


def test_beyond_the_image_is_grey_and_empty():
    view = View.whole((HEIGHT, WIDTH))
    assert (view.left, view.top, view.side) == (0, -70, WIDTH)
    image = view.image(np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    assert (image[0] == 128).all()
    assert (image[SIDE // 2] == 200).all()
    mask = view.mask(np.ones((HEIGHT, WIDTH), bool))
    assert not mask[0].any()
    assert mask.mean() == pytest.approx(HEIGHT / WIDTH, abs=0.01)


def test_errors_have_their_colours_and_the_unknown_has_none():
    sample = sample_of("a", (60, 180, 100, 220), unknown=60)
    scene = Scene.of(sample, 0)
    given = np.zeros((HEIGHT, WIDTH), bool)
    given[60:100, 200:300] = True  # half of the object, and on into the unknown
    scene.answers["m"] = scene.view.mask(given)
    panel = scene.errors("m").astype(int)

    def colour(y: int, x: int) -> str:
        at_y, at_x = (
            round((value - start + 0.5) * SIDE / scene.view.side)
            for value, start in ((y, scene.view.top), (x, scene.view.left))
        )
        pixel = panel[at_y, at_x]
        if np.ptp(pixel) < 10:
            return "grey"
        gaps = {name: abs(pixel - np.array(value)).sum() for name, value in ERROR_COLOURS.items()}
        return min(gaps, key=gaps.get)

    assert colour(80, 210) == "right"
    assert colour(80, 190) == "missed"
    assert colour(80, 230) == "spurious"
    assert colour(80, 245) == "grey"
    assert colour(40, 200) == "grey"


def test_an_object_without_a_pixel_has_no_scene():
    sample = sample_of("a", (10, 10, 10, 10))
    assert Scene.of(sample, 0) is None


def test_the_whole_image_is_shown_beside_small_objects():
    assert Scene.of(SAMPLES[2], 0).overview is not None
    assert Scene.of(SAMPLES[1], 0).overview is None
    tiny = sample_of("t", (10, 10, 14, 14))
    cut = replace(tiny, image=tiny.image[:, :100, :100], layers=tiny.layers[:, :100, :100])
    assert Scene.of(cut, 0).overview is None  # the view is the image


def test_dark_images_are_brightened_and_others_left_alone():
    dark = replace(SAMPLES[2], image=SAMPLES[2].image // 4)
    for sample, brightest in ((dark, 255), (SAMPLES[2], 200)):
        assert abs(int(Scene.of(sample, 0).image.max()) - brightest) <= 1
    black = replace(SAMPLES[2], image=torch.zeros_like(SAMPLES[2].image))
    assert Scene.of(black, 0).image.max() == 0


def test_a_picture_full_of_noise_stays_small():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE + 42, 1350, 3), np.uint8)
    data = _jpeg(noise)
    plain = io.BytesIO()
    Image.fromarray(noise).save(plain, format="JPEG", quality=85)
    assert len(data) < plain.tell() / 2
    quiet = _jpeg(np.full((SIDE, 600, 3), 77, np.uint8))
    assert len(quiet) < 20_000


def test_long_and_odd_names_fit_their_panel():
    scene = Scene.of(SAMPLES[2], 0)
    name = "x" * 500 + "\n\x1b"
    scene.answers[name] = scene.truth
    panels = scene.draw([(name, 0.5)], prompt="box")
    assert panels.shape[1] == 5 * SIDE + 4 * 6
