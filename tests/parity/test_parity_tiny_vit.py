"""samft's TinyViT against the one of `tiny_vit_reference`: outputs, gradients, statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference_models import randomise, relative_difference
from tiny_vit_reference import ReferenceTinyVit

from samft.models.config import SamConfig, TinyVitEncoder
from samft.models.tiny_vit import TinyVit

pytestmark = pytest.mark.parity
REFERENCE = "by hand"
DOUBLE = 1e-9

# At 128 px the maps have 32, 16, 8 and 8 cells, and no window of 3 or 5 divides them.
SMALL = SamConfig(
    name="small",
    encoder=TinyVitEncoder(
        dims=(8, 16, 24, 32),
        depths=(2, 1, 2, 1),
        heads=(1, 2, 3, 4),
        windows=(3, 3, 5, 3),
        strides=(2, 2, 1),
        num_classes=6,
    ),
    image_size=128,
    embed_dim=32,
)


def build(config: SamConfig, *, training: bool) -> TinyVit:
    """Build an encoder in which every value matters, running statistics included."""
    encoder = TinyVit(config).double().train(training)
    randomise(encoder)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in encoder.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return encoder


def reference_of(encoder: TinyVit, config: SamConfig) -> ReferenceTinyVit:
    parameters = dict(encoder.named_parameters())
    state = {
        key: tensor.detach().clone().requires_grad_(key in parameters)
        for key, tensor in encoder.state_dict().items()
    }
    return ReferenceTinyVit(state, config.encoder, training=encoder.training)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("image_size", "windows"),
    [(128, (3, 3, 5, 3)), (80, (3, 3, 5, 3)), (48, (7, 7, 7, 7)), (128, (4, 4, 8, 2))],
    ids=["padded", "odd maps", "maps smaller than windows", "not padded"],
)
def test_encoder_forward_and_gradient(record, image_size, windows, training):
    config = replace(SMALL, image_size=image_size, encoder=replace(SMALL.encoder, windows=windows))
    encoder = build(config, training=training)
    reference = reference_of(encoder, config)
    torch.manual_seed(0)
    images = torch.randn(2, 3, image_size, image_size, dtype=torch.double)
    ours, theirs = encoder(images), reference(images)
    upstream = torch.randn_like(theirs)
    ours.backward(upstream)
    theirs.backward(upstream)

    what = f"TinyViT at {image_size} px, {'train' if training else 'eval'}"
    difference = relative_difference(ours.detach(), theirs.detach())
    assert record(REFERENCE, f"{what}, forward", difference) < DOUBLE
    compared = _gradient_differences(encoder, reference)
    worst = max(compared, key=compared.get)
    assert record(REFERENCE, f"{what}, gradient", compared[worst]) < DOUBLE, worst
    for key, tensor in encoder.named_buffers():
        if key in reference.state:
            torch.testing.assert_close(tensor, reference.state[key], rtol=1e-10, atol=1e-12)


def _gradient_differences(encoder, reference):
    """Compare all parameters but the classifier, which neither side reads."""
    pairs = {
        name: (parameter.grad, reference.state[name].grad)
        for name, parameter in encoder.named_parameters()
    }
    unread = {name for name, (ours, theirs) in pairs.items() if ours is None and theirs is None}
    assert unread == {"norm_head.weight", "norm_head.bias", "head.weight", "head.bias"}
    # A bias before a norm has no gradient but for rounding.
    floor = 1e-6 * max(pairs[name][1].abs().max().item() for name in pairs.keys() - unread)
    return {
        name: ((a - b).abs().max() / max(b.abs().max().item(), floor)).item()
        for name, (a, b) in pairs.items()
        if name not in unread
    }


def test_the_dtype_people_use(record):
    encoder = build(SMALL, training=False)
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = reference_of(encoder, SMALL)(images.double())
        difference = relative_difference(encoder.float()(images).double(), expected)
    assert record(REFERENCE, "TinyViT at 128 px, float32, forward", difference) < 1e-5
