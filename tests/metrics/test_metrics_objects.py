import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

from samft.metrics.objects import ObjectScores, mask_scores


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def masks_of(*rows):
    return torch.tensor(rows, dtype=torch.bool)[:, None, :]


def test_hand_computed():
    predicted = masks_of([1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0])
    target = masks_of([0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0])
    iou, dice = mask_scores(predicted, target)
    assert iou.tolist() == pytest.approx([2 / 4, 0, 1])
    assert dice.tolist() == pytest.approx([4 / 6, 0, 1])
    assert iou.dtype == dice.dtype == torch.float32


def test_empty_masks_by_the_written_rule():
    predicted = masks_of([0, 0, 0], [1, 1, 0], [0, 0, 0])
    target = masks_of([0, 0, 0], [0, 0, 0], [0, 1, 1])
    iou, dice = mask_scores(predicted, target)
    assert iou.tolist() == [1, 0, 0]
    assert dice.tolist() == [1, 0, 0]


def test_unknown_pixels_do_not_count():
    predicted = masks_of([1, 1, 1, 0], [1, 1, 0, 0])
    target = masks_of([1, 0, 1, 1], [0, 1, 0, 0])
    valid = masks_of([1, 0, 1, 1], [0, 0, 1, 1])
    iou, dice = mask_scores(predicted, target, valid=valid)
    assert iou.tolist() == pytest.approx([2 / 3, 1])
    assert dice.tolist() == pytest.approx([4 / 5, 1])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 9), width=st.integers(1, 9))
def test_against_torchmetrics(seed, height, width):
    random = seeded(seed)
    predicted, target = (
        torch.rand(4, height, width, generator=random) < torch.rand(4, 1, 1, generator=random)
        for _ in range(2)
    )
    iou, dice = mask_scores(predicted, target)
    for index in range(4):
        if not (predicted[index] | target[index]).any():
            assert iou[index] == dice[index] == 1  # torchmetrics says 0
            continue
        pair = predicted[index].int(), target[index].int()
        assert iou[index].item() == pytest.approx(binary_jaccard_index(*pair).item())
        assert dice[index].item() == pytest.approx(binary_f1_score(*pair).item())


def test_no_objects():
    masks = torch.zeros(0, 4, 4, dtype=torch.bool)
    iou, dice = mask_scores(masks, masks)
    assert iou.shape == dice.shape == (0,)
    metric = ObjectScores()
    metric.update(iou, dice)
    assert metric.count.tolist() == [0]


def test_every_object_counts_the_same():
    metric = ObjectScores()
    metric.update(torch.tensor([1.0]), torch.tensor([1.0]))
    metric.update(torch.tensor([0.0, 0.2, 0.4]), torch.tensor([0.0, 0.5, 0.7]))
    scores = metric.compute()
    assert scores.keys() == {"iou", "dice"}
    assert scores["iou"].item() == pytest.approx(0.4)
    assert scores["dice"].item() == pytest.approx(0.55)


def test_means_of_classes():
    metric = ObjectScores(class_names=["coral", "diver", "wreck"])
    metric.update(
        torch.tensor([0.2, 0.4, 0.9]), torch.tensor([0.3, 0.5, 1.0]), torch.tensor([0, 0, 2])
    )
    metric.update(torch.tensor([0.6]), torch.tensor([0.7]), torch.tensor([0]))
    scores = {name: value.item() for name, value in metric.compute().items()}
    assert scores == pytest.approx(
        {
            "iou": 2.1 / 4,
            "dice": 2.5 / 4,
            "iou/coral": 0.4,
            "dice/coral": 0.5,
            "iou/wreck": 0.9,
            "dice/wreck": 1.0,
        }
    )


def test_a_class_index_without_names_is_not_needed_and_does_no_harm():
    metric = ObjectScores()
    metric.update(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 1.0]), torch.tensor([3, 7]))
    assert metric.compute()["iou"].item() == 0.75


def test_nothing_scored_is_not_a_score():
    with pytest.warns(UserWarning, match="before the ``update``"):
        scores = ObjectScores().compute()
    assert all(value.isnan() for value in scores.values())


def test_processes_with_different_counts_agree_with_one_process():
    random = np.random.default_rng(0)
    iou, dice = (torch.from_numpy(random.random(10).astype(np.float32)) for _ in range(2))
    classes = torch.from_numpy(random.integers(0, 2, 10))
    names = ["a", "b"]
    whole, first, second = (ObjectScores(names) for _ in range(3))
    whole.update(iou, dice, classes)
    first.update(iou[:7], dice[:7], classes[:7])
    second.update(iou[7:], dice[7:], classes[7:])
    # What a synchronised metric does: every state is added up.
    assert set(first._reductions) == {"iou_sum", "dice_sum", "count"}
    gathered = {name: [getattr(part, name) for part in (first, second)]
                for name in first._reductions}  # fmt: skip
    for name, reduce in first._reductions.items():
        setattr(first, name, reduce(torch.stack(gathered[name])))
    expected = {name: value.item() for name, value in whole.compute().items()}
    first._computed = None
    assert {k: v.item() for k, v in first.compute().items()} == pytest.approx(expected)


def test_reset_and_pickle():
    metric = ObjectScores(["a"])
    metric.update(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([0]))
    copy = pickle.loads(pickle.dumps(metric))
    assert copy.compute()["iou/a"].item() == 0.5
    metric.reset()
    assert metric.count.tolist() == [0]
    assert metric.iou_sum.tolist() == [0]
    assert not metric.full_state_update
