"""What of a model with a channel adapter is trained, and how it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.tiny_sam import assert_same, tiny_sam

from samft.errors import CheckpointError
from samft.models.adaptation.apply import adapt
from samft.models.adaptation.presets import preset, trainable_table
from samft.models.adaptation.saved import load_adapted, save_adapted
from samft.models.channels import ChannelSettings
from samft.models.sam import Sam
from samft.optim import OptimizerSettings, describe
from samft.optim.groups import build_optimizer


def with_channels(mode: str = "learned", seed: int = 0) -> Sam:
    sam = tiny_sam(seed)
    sam.set_channels(ChannelSettings.from_dict({"count": 4, "mode": mode}))
    return sam


def test_a_learned_adapter_is_trained_beside_a_frozen_encoder() -> None:
    adapted = adapt(with_channels(), preset("frozen"))
    assert adapted.frozen == ("image_encoder", "prompt_encoder")
    assert adapted.embeddings_change
    assert adapted.num_frozen_blocks == 0
    row = trainable_table(adapted.sam)[0]
    assert (row.part, row.trained, row.of) == ("channel_adapter", 15, 15)


def test_a_fixed_adapter_leaves_embeddings_as_they_are() -> None:
    adapted = adapt(with_channels("fixed"), preset("frozen"))
    assert adapted.frozen == ("channel_adapter", "image_encoder", "prompt_encoder")
    assert not adapted.embeddings_change
    row = trainable_table(adapted.sam)[0]
    assert (row.part, row.trained, row.share) == ("channel_adapter", 0, 0)


def test_it_learns_at_a_rate_of_its_own_without_decay() -> None:
    adapted = adapt(with_channels(), preset("full"))
    settings = OptimizerSettings(lr=1e-4, channel_lr_factor=20.0)
    rows = {row.name: row for row in describe(build_optimizer(adapted.sam, settings))}
    row = rows["channel_adapter/no_decay"]
    assert (row.num_parameters, row.weight_decay) == (15, 0.0)
    assert row.lr == pytest.approx(2e-3)
    assert not any(name.startswith("channel_adapter/decay") for name in rows)


def test_an_adapter_folder_holds_what_was_learned(tmp_path: Path) -> None:
    sam = with_channels()
    adapted = adapt(sam, preset("frozen"))
    with torch.no_grad():
        for parameter in adapted.sam.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    save_adapted(sam, adapted.settings, tmp_path / "adapter", "")
    again = with_channels()
    load_adapted(again, tmp_path / "adapter")
    assert_same(again.state_dict(), sam.state_dict())


def test_an_adapter_folder_wants_the_channels_it_was_trained_with(tmp_path: Path) -> None:
    sam = with_channels()
    save_adapted(sam, adapt(sam, preset("frozen")).settings, tmp_path / "adapter", "")
    with pytest.raises(CheckpointError) as caught:
        load_adapted(tiny_sam(), tmp_path / "adapter")
    assert "tiny at 128 px, channels None" in str(caught.value)
    assert "channels {'count': 4" in str(caught.value)
