"""Following live memory, with real and with fake tensors."""

import torch
from planning.plan_cases import Exact
from torch._subclasses.fake_tensor import FakeTensorMode

from samft.planning.replay import play
from samft.planning.tracker import History, LiveMemory

MIB = 2**20


def work(memory: LiveMemory) -> None:
    with memory.labelled("first"):
        a = torch.zeros(MIB, dtype=torch.uint8)
        b = torch.zeros(2 * MIB, dtype=torch.uint8)
        view = a[10:]
    del a
    with memory.labelled("second"):
        b = b.float()  # both are there for a moment: 1 + 2 + 8
    del view, b


def test_real_and_fake_tensors_count_alike_and_views_count_once() -> None:
    histories = []
    for modes in ((), (FakeTensorMode(),)):
        memory = LiveMemory()
        for mode in modes:
            mode.__enter__()
        with memory:
            work(memory)
        for mode in modes:
            mode.__exit__(None, None, None)
        histories.append(memory.history)
    real, fake = (play(history, Exact()) for history in histories)
    assert real == fake
    assert real.held == 11 * MIB
    assert real.parts == {"first": 3 * MIB, "second": 8 * MIB}
    assert real.gaps == 0


def test_everything_is_forgotten_in_the_end() -> None:
    memory = LiveMemory()
    with memory:
        work(memory)
    events = memory.history.events
    assert sorted(e for e in events if e >= 0) == sorted(~e for e in events if e < 0)


def test_a_part_takes_place_twice() -> None:
    #            0 weights, 1 gradient of before, 2 and 3 of the step; 1 goes in it, 3 stays
    history = History([5, 7, 2, 3], ["w", "g", "s", "g"], [0, 1, 2, 3, ~1, ~2])
    twice = history.with_before(range(2, 6), at=1)
    assert twice.events == [0, 4, 5, ~4, ~5, 1, 2, 3, ~1, ~2]
    assert twice.sizes == [5, 7, 2, 3, 2, 3]
    assert twice.labels[4:] == ["s", "g"]
    assert history.events == [0, 1, 2, 3, ~1, ~2]
    assert play(twice, Exact()).held == 5 + 7 + 2 + 3


def test_a_label_can_be_given_afterwards() -> None:
    memory = LiveMemory()
    before = torch.zeros(5)
    with memory:
        memory.follow([before], "weights")
        with memory.labelled("backward"):
            made = torch.zeros(7)
        memory.follow([made], "gradients")
    peak = play(memory.history, Exact())
    assert peak.parts == {"weights": 20, "gradients": 28}
