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
    # 0 weights; 1 gradient of before, 2 state; 3, 4, 5 of the step, in which 1 and 3 go
    sizes, labels = [50, 7, 9, 3, 7, 2], ["w", "g", "o", "s", "g", "s"]
    history = History(sizes, labels, [0, 1, 2, 3, 4, ~1, ~3, 5])
    twice = history.with_before(range(3, 8), at=1)
    # The first gradient is that which the first time left (7 for 4); 8, the other rest, goes.
    assert twice.events == [0, 6, 1, ~6, 8, ~8, 2, 3, 4, ~1, ~3, 5]
    assert twice.sizes == [*sizes, 3, 7, 2]
    assert twice.labels == [*labels, "s", "g", "s"]
    assert history.events == [0, 1, 2, 3, 4, ~1, ~3, 5]
    assert play(twice, Exact()).held == 50 + 7 + 9 + 3 + 7


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
