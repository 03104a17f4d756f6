"""The training-step benchmark: the peer answers like samft, and the table does its arithmetic."""

import pytest
import torch

from benchmarks import train_step as benchmark
from benchmarks.measuring import Measurement


def test_table() -> None:
    options = benchmark.parse(["--images", "2", "--objects", "4", "--rounds", "5"])
    best = {
        (benchmark.OURS, 4): Measurement(2.0, 2.0, 500.0),
        (benchmark.PLAIN_MEMORY, 4): Measurement(2.5, 2.0, 500.0),
        (benchmark.PEER, 4): Measurement(8.0, 8.0, 2000.0),
    }
    lines = list(benchmark.table(best, options))
    assert lines[2].split() == [
        *("4", "samft", "2.00", "20.0", "500", "4.00x", "the", "objects,", "0.25", "of", "the"),
        "memory",
    ]
    assert len(lines) == 5


def test_objects_are_all_there() -> None:
    batch = benchmark.make_batch(2, 9)
    areas = batch.masks().sum(dim=(1, 2))
    assert batch.num_objects == 18
    assert (areas > 1000).all()


@pytest.mark.slow
def test_both_ways_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    batch, embeddings = benchmark.make_batch(1, 2), torch.randn(1, 256, 64, 64)
    prompts = benchmark.PromptSettings(rounds=1, extra_passes=0, point_probability=1.0)
    made = []
    real = benchmark.build_from_config
    monkeypatch.setattr(
        benchmark, "build_from_config", lambda config: made.append(real(config)) or made[-1]
    )
    step = benchmark.ours(batch, embeddings, prompts)
    theirs = benchmark.build_official()
    theirs.load_state_dict(made[0].state_dict())
    monkeypatch.setattr(benchmark, "build_official", lambda: theirs)
    step()
    benchmark.peer(batch, embeddings, prompts)()
    for name, parameter in made[0].mask_decoder.named_parameters():
        expected = theirs.get_parameter(f"mask_decoder.{name}").grad
        expected = torch.zeros_like(parameter) if expected is None else expected
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-2, atol=1e-6)
