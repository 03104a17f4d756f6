"""From data and models to masks that people judge."""

import numpy as np
import pytest
import torch
from models.tiny_sam import tiny_sam

from samft.errors import DatasetError
from samft.evaluation.ratings.asking import choose_objects, rated_masks
from samft.evaluation.ratings.jobs import TRUTH, plan_jobs
from samft.evaluation.ratings.settings import RatingSettings
from samft.evaluation.ratings.sheet import write_sheets
from samft.evaluation.sam_competitor import SamCompetitor
from samft.types import NO_CLASS, Sample


def _sample(number: int, side: int = 80) -> Sample:
    labels = np.zeros((side, side), np.int32)
    labels[5:35, 5:35], labels[45:70, 45:70], labels[10:20, 50:60] = 1, 2, 3
    image = np.random.default_rng(number).integers(0, 255, (3, side, side), dtype=np.uint8)
    return Sample(
        image=torch.from_numpy(image),
        layers=torch.from_numpy(labels)[None],
        object_layer=torch.zeros(3, dtype=torch.int64),
        object_class=torch.tensor([1, NO_CLASS, 0]),
        sample_id=f"s{number}",
        case_id=f"c{number}",
    )


def _choose(samples, *, sizes=(128,), **settings):
    return choose_objects(
        samples,
        RatingSettings(**settings),
        name="set",
        class_names=("cell", "spot"),
        image_sizes=sizes,
    )


def test_small_objects_are_left_out_and_some_of_the_others_drawn() -> None:
    samples = [_sample(number) for number in range(20)]
    every = _choose(samples)
    assert {each.row for each in every} == {0, 1}  # the third has 10 x 10 pixels
    assert len(every) == 40
    assert (every[0].key.class_name, every[1].key.class_name) == ("spot", "")
    assert (every[2].key.sample_id, every[2].key.case_id) == ("s1", "c1")
    some = _choose(samples, masks=15)
    assert len(some) == 15
    assert set(some) < set(every)
    assert len({each.image for each in some}) > 7
    assert some == _choose(samples, masks=15)
    assert some != _choose(samples, masks=15, seed=1)
    assert len(_choose(samples, min_side=10)) == 60


def test_objects_that_a_model_cannot_see_are_left_out() -> None:
    sample = _sample(0)
    labels = torch.zeros((1, 400, 400), dtype=torch.int32)
    labels[0, :2, :300], labels[0, 100:200, 100:200] = 1, 2
    thin = sample.replace(
        image=torch.zeros((3, 400, 400), dtype=torch.uint8),
        layers=labels,
        object_layer=sample.object_layer[:2],
        object_class=sample.object_class[:2],
    )
    assert [each.row for each in _choose([thin])] == [0, 1]
    assert [each.row for each in _choose([thin], sizes=(128, 32))] == [1]


def test_no_object_is_large_enough() -> None:
    with pytest.raises(DatasetError, match="no object is large enough") as caught:
        _choose([_sample(0)], min_side=50)
    assert caught.value.found == "900 pixels at most"
    assert caught.value.expected == "at least 50 x 50"
    assert "--min-side" in caught.value.fix


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_every_model_answers_and_the_truth_is_among_them(tmp_path, prompt) -> None:
    samples = [_sample(0), _sample(1)]
    settings = RatingSettings(prompt=prompt, masks=3)
    chosen = _choose(samples, masks=3)
    models = [
        SamCompetitor(name, tiny_sam(seed), source="test").eval()
        for seed, name in enumerate(("one", "two"))
    ]
    found = list(rated_masks(samples, chosen, models, settings, device=torch.device("cpu")))
    assert len(found) == 9
    names = ["one", "two", TRUTH]
    assert {(each.model, each.target) for each in found} == {
        (name, each.key) for name in names for each in chosen
    }
    for each in found:
        number, row = int(each.target.sample_id[1:]), each.target.object_id - 1
        truth = samples[number].masks(torch.tensor([row]))[0].numpy()
        if each.model == TRUTH:
            assert (each.mask == truth).all()
        assert each.image.shape == (80, 80, 3)
        assert (each.image == samples[number].image.permute(1, 2, 0).numpy()).all()
        if prompt == "box":
            rows, columns = np.nonzero(truth)
            box = [columns.min(), rows.min(), columns.max(), rows.max()]
            assert each.prompt["box"] == pytest.approx(box, abs=0.7)
        else:
            ((x, y),) = each.prompt["points"]
            assert truth[round(y), round(x)]
    jobs = plan_jobs([each.key for each in chosen], names, seed=0)
    assert len(write_sheets(jobs, found, tmp_path, max_side=100)) == 1


def test_without_truth() -> None:
    chosen = _choose([_sample(0)])
    model = SamCompetitor("one", tiny_sam(), source="test").eval()
    settings = RatingSettings(truth=False)
    found = rated_masks([_sample(0)], chosen, [model], settings, device=torch.device("cpu"))
    assert {each.model for each in found} == {"one"}
