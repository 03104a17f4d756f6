"""MobileSAM's encoder: names, sizes and shapes; that it computes the same is a parity test."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_sam import TINY_T, assert_same, tiny_sam

from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config
from samft.models.tiny_vit_blocks import WindowAttention

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def vit_t():
    with torch.device("meta"):
        return build_from_config(ARCHITECTURES["vit_t"])


def conv_norm(name):
    return [f"{name}.c.weight", *(f"{name}.bn.{part}" for part in NORM)]


def layers(name, *parts):
    return [f"{name}.{part}.{kind}" for part in parts for kind in ("weight", "bias")]


def official_encoder_keys():
    """The names in MobileSAM's file, in its order, without `image_encoder.`."""
    keys = [*conv_norm("patch_embed.seq.0"), *conv_norm("patch_embed.seq.2")]
    for stage, depth in enumerate((2, 2, 6, 2)):
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            if stage == 0:
                keys += [k for n in (1, 2, 3) for k in conv_norm(f"{block}.conv{n}")]
                continue
            keys.append(f"{block}.attn.attention_biases")
            keys += layers(f"{block}.attn", "norm", "qkv", "proj")
            keys += conv_norm(f"{block}.local_conv")
            keys += layers(f"{block}.mlp", "norm", "fc1", "fc2")
        if stage < 3:
            merging = f"layers.{stage}.downsample"
            keys += [k for n in (1, 2, 3) for k in conv_norm(f"{merging}.conv{n}")]
    keys += ["norm_head.weight", "norm_head.bias", "head.weight", "head.bias"]
    return [*keys, "neck.0.weight", *layers("neck", "1"), "neck.2.weight", *layers("neck", "3")]


def test_the_names_are_mobile_sams(vit_t):
    state = vit_t.state_dict()
    assert len(state) == 439
    found = {key.removeprefix("image_encoder.") for key in state if key.startswith("image_encoder")}
    assert found == set(official_encoder_keys())
    assert {state[key].dtype for key in state if key.endswith("tracked")} == {torch.int64}
    # ... and around the encoder it is SAM.
    with torch.device("meta"):
        vit_b = build_from_config(ARCHITECTURES["vit_b"]).state_dict()
    rest = {key: tensor.shape for key, tensor in vit_b.items() if "image_encoder" not in key}
    assert {k: t.shape for k, t in state.items() if "image_encoder" not in k} == rest


def test_parameter_counts(vit_t):
    counts = {name: p.numel() for name, p in vit_t.named_parameters()}
    encoder = sum(n for name, n in counts.items() if name.startswith("image_encoder."))
    head = sum(n for name, n in counts.items() if "head." in name and "image_encoder" in name)
    assert (encoder, encoder - head) == (6_065_532, 5_743_892)
    assert sum(counts.values()) == 10_130_092


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("patch_embed.seq.0.c.weight", (32, 3, 3, 3)),
        ("patch_embed.seq.2.c.weight", (64, 32, 3, 3)),
        ("layers.0.blocks.1.conv2.c.weight", (256, 1, 3, 3)),
        ("layers.0.downsample.conv1.c.weight", (128, 64, 1, 1)),
        ("layers.1.downsample.conv2.c.weight", (160, 1, 3, 3)),
        ("layers.2.downsample.conv3.c.weight", (320, 320, 1, 1)),
        ("layers.1.blocks.0.attn.attention_biases", (4, 49)),
        ("layers.2.blocks.5.attn.attention_biases", (5, 196)),
        ("layers.3.blocks.1.attn.attention_biases", (10, 49)),
        ("layers.2.blocks.0.attn.qkv.weight", (480, 160)),
        ("layers.3.blocks.0.mlp.fc1.weight", (1280, 320)),
        ("layers.1.blocks.0.local_conv.c.weight", (128, 1, 3, 3)),
        ("head.weight", (1000, 320)),
        ("neck.0.weight", (256, 320, 1, 1)),
    ],
)
def test_shapes_of_weights(vit_t, name, shape):
    assert tuple(vit_t.image_encoder.state_dict()[name].shape) == shape


def test_shapes_of_maps_at_full_size(vit_t):
    encoder, shapes = vit_t.image_encoder, []
    parts = [encoder.patch_embed, *encoder.layers]
    hooks = [
        part.register_forward_hook(lambda *io: shapes.append(tuple(io[2].shape))) for part in parts
    ]
    with torch.no_grad():
        output = encoder(torch.empty(1, 3, 1024, 1024, device="meta"))
    for hook in hooks:
        hook.remove()
    assert output.shape == (1, 256, 64, 64)
    assert shapes == [
        (1, 64, 256, 256),
        (1, 128, 128, 128),
        (1, 160, 64, 64),
        (1, 320, 64, 64),
        (1, 320, 64, 64),
    ]


def test_merges_keep_the_resolution_from_the_third_on(vit_t):
    merges = [stage.downsample for stage in vit_t.image_encoder.layers]
    assert [merge.conv2.c.stride[0] for merge in merges[:3]] == [2, 2, 1]
    assert merges[3] is None


@pytest.mark.parametrize("side", [1, 3, 7])
def test_biases_are_numbered_by_rows_of_offsets(side):
    index = WindowAttention(4, num_heads=1, window_size=side).bias_index
    for first, second in [(0, 0), (0, side * side - 1), (side * side // 2, side - 1)]:
        down = abs(first // side - second // side)
        right = abs(first % side - second % side)
        assert index[first, second] == index[second, first] == down * side + right


@pytest.mark.parametrize("image_size", [16, 64, 96, 208])
def test_any_input_size_takes_the_same_weights(image_size):
    sam = build_from_config(replace(TINY_T, image_size=image_size)).eval()
    sam.load_state_dict(tiny_sam(config=TINY_T).state_dict(), strict=True)
    grid = image_size // 16
    with torch.no_grad():
        embeddings = sam.encode_image(torch.full((2, 3, image_size, image_size), 90))
    assert embeddings.shape == (2, 32, grid, grid)
    assert embeddings.isfinite().all()


def test_images_do_not_influence_each_other():
    encoder = tiny_sam(config=TINY_T).image_encoder.eval()
    images = torch.randn(3, 3, 128, 128)
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_nothing_reads_the_classifier():
    encoder = tiny_sam(config=TINY_T).image_encoder.eval()
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        before = encoder(images)
        for part in (encoder.head, encoder.norm_head):
            for parameter in part.parameters():
                parameter.fill_(float("nan"))
        assert torch.equal(encoder(images), before)


def test_a_model_without_classifier_has_no_such_names():
    config = replace(TINY_T, encoder=replace(TINY_T.encoder, num_classes=0))
    keys = set(build_from_config(config).state_dict())
    gone = {key for key in build_from_config(TINY_T).state_dict() if key not in keys}
    head = ("norm_head.weight", "norm_head.bias", "head.weight", "head.bias")
    assert gone == {f"image_encoder.{key}" for key in head}


def test_buffers_come_back_after_to_empty():
    sam = tiny_sam(config=TINY_T)
    with torch.device("meta"):
        empty = build_from_config(TINY_T)
    empty.to_empty(device="cpu")
    for buffer in empty.buffers():
        buffer.fill_(7)
    empty.reset_constants()
    empty.load_state_dict(sam.state_dict())
    assert_same(dict(empty.named_buffers()), dict(sam.named_buffers()))


def test_drop_path_rises_over_all_stages():
    sam = build_from_config(TINY_T, drop_path=0.4)
    blocks = [block for stage in sam.image_encoder.layers for block in stage.blocks]
    rates = [block.drop_path.rate for block in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        assert not torch.equal(sam.image_encoder(images), sam.image_encoder(images))
