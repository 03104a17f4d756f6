import json
import logging
from pathlib import Path

import pytest
import torch

from samft.data.geometry import frame_for
from samft.data.recorded_prompt import RecordedPrompt
from samft.data.replay import RecordedPrompts
from samft.errors import PromptError
from samft.prompts.combining import GivenPrompts
from samft.prompts.simulators import TightBox
from samft.types import ABSENT, NEGATIVE, POSITIVE, SamBatch

SIDE = 64
"""The originals are 128 pixels wide: their coordinates are halved in the input."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch():
    """Image a: two squares, one inside a frame-like other; image b: one; image c: none."""
    layers = torch.zeros(3, 1, SIDE, SIDE, dtype=torch.int32)
    layers[0, 0, 4:40, 4:40] = 1
    layers[0, 0, 16:24, 16:24] = 2
    layers[1, 0, 10:20, 30:50] = 1
    return SamBatch(
        images=torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8),
        layers=layers,
        image_index=torch.tensor([0, 0, 1]),
        object_layer=torch.tensor([0, 0, 0]),
        object_value=torch.tensor([1, 2, 1], dtype=torch.int32),
        object_class=torch.tensor([0, 0, 0]),
        frames=(frame_for((128, 128), SIDE),) * 3,
        sample_ids=("a.png", "b.png", "c.png"),
    )


def click(*points, labels=None, box=None):
    labels = labels or (POSITIVE,) * len(points)
    return RecordedPrompt(prompt_id=1, points=points, labels=labels, box=box)


def replay(prompts, seed=0):
    recorded = RecordedPrompts(prompts)
    return recorded, *recorded.for_batch(batch(), generator=seeded(seed))


def test_clicks_go_to_the_object_they_are_on():
    inner = click((40, 40), (20, 20), labels=(POSITIVE, NEGATIVE))
    _, rows, prompts = replay({"a.png": [inner], "b.png": [click((80, 30))]})
    assert rows.tolist() == [1, 2]
    assert prompts.image_index.tolist() == [0, 1]
    assert prompts.points.tolist() == [[[20, 20], [10, 10]], [[40, 15], [0, 0]]]
    assert prompts.labels.tolist() == [[POSITIVE, NEGATIVE], [POSITIVE, ABSENT]]
    assert prompts.boxes is None
    assert prompts.points.dtype == torch.float32


def test_boxes_go_to_the_object_they_fit():
    outer, inner = (8.0, 8.0, 79.0, 79.0), (31.0, 31.0, 49.0, 49.0)
    _, rows, prompts = replay({"a.png": [click(box=inner), click(box=outer)]})
    assert rows.tolist() == [0, 1]
    assert prompts.boxes.tolist() == [[4, 4, 39.5, 39.5], [15.5, 15.5, 24.5, 24.5]]
    assert prompts.has_box.tolist() == [True, True]
    assert prompts.points is None


def test_a_box_and_a_click_decide_together():
    outer = (8.0, 8.0, 79.0, 79.0)
    _, rows, _ = replay({"a.png": [click((70, 70), box=outer)]})
    assert rows.tolist() == [0]


@pytest.mark.parametrize(
    "astray",
    [
        click((120, 120)),  # on background
        click((120, 120), labels=(NEGATIVE,)),  # says only where nothing is
        click(box=(100.0, 100.0, 120.0, 120.0)),
        click((120, 4), (120, 8), (20, 20), labels=(POSITIVE, POSITIVE, POSITIVE)),
    ],
)
def test_prompts_that_mean_no_object_are_counted_and_said(astray, caplog):
    caplog.set_level(logging.WARNING, logger="samft")
    recorded, rows, prompts = replay({"a.png": [astray]})
    assert rows.tolist() == []
    assert prompts.num_prompts == 0
    assert recorded.unmatched == {"a.png": 1}
    recorded.for_batch(batch(), generator=seeded())
    said = [entry.getMessage() for entry in caplog.records]
    assert said == ["a.png: 1 recorded prompts fit no object of the image"]


def test_one_of_several_prompts_is_drawn():
    several = {"b.png": [click((70 + 2 * index, 30)) for index in range(5)]}
    drawn = {replay(several, seed)[2].points[0, 0, 0].item() for seed in range(60)}
    assert drawn == {35, 36, 37, 38, 39}
    assert torch.equal(replay(several, 3)[2].points, replay(several, 3)[2].points)


def test_fields_do_not_depend_on_the_batch():
    elsewhere = [click((1, 1), (2, 2), (3, 3)), click(box=(1.0, 1.0, 5.0, 5.0))]
    file = {"b.png": [click((80, 30))], "elsewhere.png": elsewhere}
    _, rows, prompts = replay(file)
    assert rows.tolist() == [2]
    assert prompts.labels.tolist() == [[POSITIVE, ABSENT, ABSENT]]
    assert prompts.has_box.tolist() == [False]


def test_the_other_objects_are_simulated():
    data = batch()
    part = RecordedPrompts({"b.png": [click((80, 30))]}).for_batch(data, generator=seeded())
    simulator = GivenPrompts([part], TightBox())
    prompts = simulator(data.masks(), data.image_index, generator=seeded())
    assert prompts.labels.tolist() == [[ABSENT], [ABSENT], [POSITIVE]]
    assert prompts.has_box.tolist() == [True, True, False]


def test_objects_that_were_hidden_are_left_alone():
    data = batch().select(torch.tensor([], dtype=torch.int64))
    recorded = RecordedPrompts({"a.png": [click((40, 40))]})
    rows, prompts = recorded.for_batch(data, generator=seeded())
    assert len(rows) == prompts.num_prompts == 0
    assert recorded.unmatched == {}


def test_read_a_file(tmp_path):
    file = tmp_path / "clicks.json"
    file.write_text(json.dumps({"b.png": [{"points": [[80, 30]]}]}))
    images = {name: Path(name) for name in ("a.png", "b.png")}
    recorded = RecordedPrompts.read(file, images, lambda _: (128, 128))
    rows, prompts = recorded.for_batch(batch(), generator=seeded())
    assert rows.tolist() == [2]
    assert prompts.points.tolist() == [[[40, 15]]]
    file.write_text(json.dumps({"b.png": [{"points": [[800, 30]]}]}))
    with pytest.raises(PromptError, match="outside the image"):
        RecordedPrompts.read(file, images, lambda _: (128, 128))
