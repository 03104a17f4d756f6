"""Training with MobileSAM's encoder: batch norms, recomputed blocks, stochastic depth."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer
from tiny_sam import TINY_T

from samft import PromptSettings, SamModule
from samft.data.collate import collate
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_sam
from samft.types import Sample

HEAD = {
    f"image_encoder.{part}.{kind}" for part in ("norm_head", "head") for kind in ("weight", "bias")
}


@pytest.fixture(autouse=True)
def tiny_t(monkeypatch):
    """Let `tiny_t` be called by name."""
    monkeypatch.setitem(ARCHITECTURES, "tiny_t", TINY_T)
    torch.manual_seed(0)


def built(**options):
    torch.manual_seed(0)
    return build_sam("tiny_t", **options)


def statistics(model):
    return {
        name: buffer.clone()
        for name, buffer in model.named_buffers()
        if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }


def encoder_step(sam, *, seed=1):
    """Return the loss and what a training step leaves in the model."""
    torch.manual_seed(seed)
    images = 255 * torch.rand(2, 3, 128, 128)
    embeddings = sam.encode_image(images)
    loss = (embeddings * torch.linspace(-1, 1, embeddings.numel()).view_as(embeddings)).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in sam.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients, **statistics(sam)}


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
@pytest.mark.parametrize("checkpoint_blocks", [True, (0, 0), (2, 3)])
def test_recomputed_blocks_change_nothing(checkpoint_blocks, drop_path):
    """Neither gradients, nor which paths are dropped, nor what batch norms remember."""
    plain = encoder_step(built(drop_path=drop_path))
    again = encoder_step(built(drop_path=drop_path, checkpoint_blocks=checkpoint_blocks))
    assert plain.keys() == again.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-6, atol=0, msg=name)
        if "bn.running" in name or "tracked" in name:
            assert torch.equal(again[name], tensor), name


def test_recomputed_blocks_run_twice():
    sam = built(checkpoint_blocks=(1, 2))
    blocks = [block for stage in sam.image_encoder.layers for block in stage.blocks]
    counts = [0] * len(blocks)
    for index, block in enumerate(blocks):

        def count(*_, index=index):
            counts[index] += 1

        next(block.children()).register_forward_hook(count)
    encoder_step(sam)
    assert counts == [1, 2, 2, 1, 1]


def test_batch_norms_count_each_step_once():
    sam = built(checkpoint_blocks=True)
    for _ in range(3):
        encoder_step(sam)
    counts = {int(b) for name, b in statistics(sam).items() if name.endswith("tracked")}
    assert counts == {3}


def test_every_parameter_of_the_encoder_but_the_classifier_is_trained():
    sam = built()
    trained = encoder_step(sam).keys()
    names = {name for name, _ in sam.named_parameters() if name.startswith("image_encoder.")}
    assert names - trained == HEAD
    assert {name for name, p in sam.named_parameters() if not p.requires_grad} == HEAD


def test_from_scratch_blocks_start_as_their_residual_path():
    sam = built()
    scales = {
        name: parameter for name, parameter in sam.named_parameters() if name.endswith("bn.weight")
    }
    zero = {name for name, scale in scales.items() if not scale.any()}
    assert zero == {"image_encoder.layers.0.blocks.0.conv3.bn.weight"}
    assert all((scale == 1).all() for name, scale in scales.items() if name not in zero)
    attention = sam.image_encoder.layers[2].blocks[0].attn
    assert 0.015 < attention.qkv.weight.std() < 0.025
    assert not attention.qkv.bias.any()
    assert not attention.attention_biases.any()


# --- with a trainer ------------------------------------------------------------------------------


def squares():
    image = torch.full((3, 128, 128), 60, dtype=torch.uint8)
    layers = torch.zeros(1, 128, 128, dtype=torch.int32)
    for number, (row, column) in enumerate([(20, 30), (70, 80)], start=1):
        layers[0, row : row + 30, column : column + 25] = number
    image[:, layers[0] > 0] = 200
    return Sample(
        image=image,
        layers=layers,
        object_layer=torch.zeros(2, dtype=torch.int64),
        object_class=torch.zeros(2, dtype=torch.int64),
        sample_id="squares",
        case_id="0",
    )


class Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return collate([squares(), squares()], image_size=128, keep_samples=True)


def fit(tmp_path, *, train):
    """Train for two epochs with validation before, between and after."""
    module = SamModule(
        "tiny_t",
        adapt={"train": train},
        prompts=PromptSettings(rounds=1, extra_passes=0),
        drop_path=0.2,
        checkpoint_blocks=True,
    )
    before = {key: tensor.clone() for key, tensor in module.sam.state_dict().items()}
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=-1,
    )
    loader = torch.utils.data.DataLoader(Batches(), batch_size=None)
    trainer.fit(module, loader, loader)
    after = module.sam.state_dict()
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    return {key for key, tensor in before.items() if not torch.equal(tensor, after[key])}


def test_a_frozen_encoder_stays_as_it_was(tmp_path):
    changed = fit(tmp_path, train=["mask_decoder"])
    assert changed
    assert all(key.startswith("mask_decoder.") for key in changed)


def test_a_tuned_encoder_learns_and_its_batch_norms_with_it(tmp_path):
    changed = fit(tmp_path, train=["image_encoder", "mask_decoder"])
    norms = {key for key in statistics(build_sam("tiny_t")) if key.startswith("image_encoder.")}
    assert norms <= changed
    assert not changed & HEAD
