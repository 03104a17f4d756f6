"""Writes checkpoints of a tiny SAM and checks how bad ones are refused."""

from __future__ import annotations

import pytest
import torch
from tiny_sam import tiny_sam

from samft.errors import CheckpointError
from samft.models.checkpoint import read_state_dict
from samft.models.huggingface import to_huggingface


@pytest.fixture(scope="module")
def state():
    return {key: tensor.clone() for key, tensor in tiny_sam().state_dict().items()}


def saved(content, path):
    torch.save(content, path)
    return path


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def untied(state):
    """Return Hugging Face names with one copy of the Fourier matrix, as safetensors wants it."""
    theirs = to_huggingface(state)
    del theirs["prompt_encoder.shared_embedding.positional_embedding"]
    return theirs


def message(error):
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    return text


def refused(path, *words):
    with pytest.raises(CheckpointError) as error:
        read_state_dict(path)
    text = message(error)
    for word in (str(path), *words):
        assert word in text, text
    return text
