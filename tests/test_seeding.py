"""Seeds are pure functions of their parts."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from samft.seeding import derive_seed, generator_for


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_same_parts_same_seed(parts: list[int]) -> None:
    assert derive_seed(*parts) == derive_seed(*parts)
    assert 0 <= derive_seed(*parts) < 2**63


def test_neighbours_differ() -> None:
    seeds = {derive_seed(0, step, rank) for step in range(200) for rank in range(4)}
    assert len(seeds) == 800


def test_generator_repeats() -> None:
    draws = [torch.rand(3, generator=generator_for(1, 2)) for _ in range(2)]
    assert torch.equal(*draws)
