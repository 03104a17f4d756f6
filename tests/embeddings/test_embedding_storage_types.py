"""Values in the stored type: the rounding error, and the rule for what is too large."""

import pytest
import torch

from samft.embeddings.storage_types import ROUNDING, TORCH_TYPES, check_storage_type, to_storage
from samft.errors import ConfigError, TrainingError


@pytest.mark.parametrize("name", list(TORCH_TYPES))
def test_the_rounding_error_is_as_stated(name):
    values = torch.randn(4000, dtype=torch.float64) * 100
    values = values[values.abs() > 1e-4]
    stored, clipped = to_storage(values, name, overflow="refuse")
    error = ((stored.double() - values) / values).abs().max()
    assert stored.dtype == TORCH_TYPES[name]
    assert clipped == 0
    assert ROUNDING[name] / 4 < error <= ROUNDING[name]


def test_values_too_large_are_refused_with_the_largest_and_the_way_out():
    values = torch.tensor([1.0, 8.1e4, -7e4, 65504.0])
    with pytest.raises(ConfigError) as caught:
        to_storage(values, "float16", overflow="refuse")
    text = str(caught.value)
    assert "do not fit into float16" in text
    assert "2 of 4 values, the largest 8.1e+04" in text
    assert "store bfloat16 or float32" in text
    assert len(text.splitlines()) <= 3
    assert to_storage(values, "bfloat16", overflow="refuse")[1] == 0


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_values_too_large_are_clipped_and_counted(name):
    limit = torch.finfo(TORCH_TYPES[name]).max
    values = torch.tensor([1.0, 2.0 * limit, -3.0 * limit], dtype=torch.float64)
    stored, clipped = to_storage(values, name, overflow="saturate")
    assert stored.tolist() == [1.0, limit, -limit]
    assert clipped == 2


@pytest.mark.parametrize("overflow", ["refuse", "saturate"])
def test_values_that_are_not_finite_are_never_stored(overflow):
    values = torch.tensor([1.0, float("nan"), float("inf")])
    with pytest.raises(TrainingError, match="not finite") as caught:
        to_storage(values, "float32", overflow=overflow)
    assert "2 of 3 values" in str(caught.value)


def test_only_three_types():
    check_storage_type("bfloat16")
    with pytest.raises(ConfigError, match="'int8'") as caught:
        check_storage_type("int8")
    assert "float16 or bfloat16 or float32" in str(caught.value)
