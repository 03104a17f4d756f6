"""Loading into a model: everything or nothing, with a report that says what the weights are."""

from dataclasses import replace

import pytest
import torch
from tiny_sam import TINY, assert_same, tiny_sam

from samft.errors import CheckpointError
from samft.models.config import ARCHITECTURES, SamConfig, VitEncoder
from samft.models.position import adapt_position_tables
from samft.models.recognise import EncoderShape, family_of
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.models.strict import load_state_dict


@pytest.fixture(scope="module")
def state():
    return {key: tensor.clone() for key, tensor in tiny_sam(seed=1).state_dict().items()}


def skeleton(arch: str) -> Sam:
    """Build a model without memory for its values."""
    with torch.device("meta"):
        return build_from_config(ARCHITECTURES[arch])


def refused(model, state, *words):
    """Check the message and that the model was not touched."""
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_state_dict(model, state, source="weights.pth")
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    for word in ("weights.pth", *words):
        assert word in text, text
    if not next(iter(before.values())).is_meta:
        assert_same(model.state_dict(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_take_the_type_of_the_model(state, dtype):
    model = tiny_sam()
    given = {key: tensor.to(dtype) for key, tensor in state.items()}
    load_state_dict(model, given, source="weights.pth")
    assert_same(model.state_dict(), {key: tensor.float() for key, tensor in given.items()})


def test_the_model_keeps_its_own_copy(state):
    model = tiny_sam()
    given = {key: tensor.clone() for key, tensor in state.items()}
    load_state_dict(model, given, source="weights.pth")
    for tensor in given.values():
        tensor.zero_()
    assert_same(model.state_dict(), state)


def test_missing_keys(state):
    keys = [key for key in state if key.startswith("mask_decoder.iou_prediction_head.")]
    rest = {key: tensor for key, tensor in state.items() if key not in keys}
    refused(
        tiny_sam(),
        rest,
        "do not fit the architecture tiny",
        f"of {len(state)} tensors: 6 missing",
        "mask_decoder.iou_prediction_head.layers.0.weight (32, 32)",
        ", ...)",
    )


def test_unexpected_keys(state):
    extra = {"mask_decoder.class_head.weight": torch.zeros(2, 3)}
    refused(tiny_sam(), state | extra, "1 unexpected (mask_decoder.class_head.weight (2, 3))")


def test_unexpected_keys_beside_a_known_architecture():
    model = skeleton("vit_nano")
    extra = {"mask_decoder.class_head.weight": torch.zeros(2, 3)}
    refused(model, model.state_dict() | extra, "a model with extra parts; save its SAM alone")


def test_misshaped_values(state):
    key = "mask_decoder.mask_tokens.weight"
    refused(
        tiny_sam(),
        state | {key: torch.zeros(9, 32)},
        f"1 of another shape ({key} (9, 32) instead of (4, 32))",
        "no architecture of samft has such an image encoder: ViT of width 32, depth 3, 2 heads",
    )


def test_all_three_kinds_at_once_in_four_lines(state):
    given = {key.replace("iou_token", "iou"): tensor for key, tensor in state.items()}
    given["image_encoder.neck.1.bias"] = torch.zeros(5)
    refused(tiny_sam(), given, "1 missing", "1 unexpected", "1 of another shape")


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
@pytest.mark.parametrize("other", sorted(ARCHITECTURES))
def test_the_right_architecture_is_named(arch, other):
    weights = skeleton(other).state_dict()
    if arch == other:
        load_state_dict(skeleton(arch), weights, source="weights.pth")
    else:
        refused(
            skeleton(arch),
            weights,
            f"do not fit the architecture {arch}",
            f"these are {other} weights; use arch: {other}",
        )


def test_the_right_architecture_is_named_at_any_input_size():
    with torch.device("meta"):
        small = build_from_config(replace(ARCHITECTURES["vit_l"], image_size=512)).state_dict()
    refused(skeleton("vit_b"), small, "use arch: vit_l")
    shape = EncoderShape.of(small)
    assert shape == EncoderShape(
        family="ViT", dims=(1024,), depths=(24,), heads=(16,), embed_dim=256
    )
    assert shape.image_size == 512


def test_decoder_of_another_size_under_a_known_encoder():
    model = skeleton("vit_nano")
    weights = model.state_dict()
    weights["mask_decoder.transformer.layers.0.mlp.lin1.weight"] = torch.zeros(7, 128)
    refused(model, weights, "the image encoder is that of vit_nano, but the file is not a whole")


def test_half_an_encoder(state):
    rest = {key: tensor for key, tensor in state.items() if "patch_embed" not in key}
    refused(tiny_sam(), rest, "2 missing", "the image encoder is not complete")


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("mask_decoder.hf_token.weight", "HQ-SAM"),
        ("mask_decoder.hq_token.weight", "HQ-SAM"),
        ("image_encoder.trunk.pos_embed", "SAM 2"),
        ("vision_encoder.backbone.pos_embed", "SAM 2"),
    ],
)
def test_relatives_are_named(state, key, family):
    given = state | {key: torch.zeros(1)}
    refused(tiny_sam(), given, f"these are {family} weights, which the architecture tiny cannot")


def test_sam_itself_belongs_to_no_relative(state):
    assert family_of(state) is None
    assert family_of([1, None, "image_encoder.pos_embed"]) is None


# --- input size ----------------------------------------------------------------------------------


@pytest.mark.parametrize("image_size", [64, 192, 256])
def test_position_tables_are_interpolated(state, caplog, image_size):
    config = replace(TINY, image_size=image_size)
    model = build_from_config(config)
    with caplog.at_level("INFO"):
        load_state_dict(model, state, source="weights.pth")
    assert_same(model.state_dict(), adapt_position_tables(state, config))
    text = f"weights.pth: 3 position tables interpolated to {image_size} px"
    assert caplog.messages == [text]


def test_nothing_is_interpolated_at_the_same_size(state, caplog):
    with caplog.at_level("INFO"):
        load_state_dict(tiny_sam(), state, source="weights.pth")
    assert caplog.messages == []


@pytest.mark.parametrize(
    "changes", [{"window_size": 4}, {"global_blocks": (0,)}, {"global_blocks": (1, 2)}]
)
def test_other_windows_are_not_taken_for_another_input_size(state, changes):
    model = build_from_config(replace(TINY, encoder=replace(TINY.encoder, **changes)))
    refused(model, state, "rel_pos_h")


def test_absolute_and_relative_tables_must_agree(state):
    key = "image_encoder.blocks.1.attn.rel_pos_h"
    refused(tiny_sam(), state | {key: torch.zeros(31, 16)}, f"{key} (31, 16) instead of (15, 16)")


@pytest.mark.parametrize("shape", [(1, 8, 4, 32), (1, 0, 0, 32), (8, 8, 32), (1, 8, 8, 16)])
def test_strange_absolute_tables(state, shape):
    key = "image_encoder.pos_embed"
    refused(tiny_sam(), state | {key: torch.zeros(shape)}, f"{key} {shape} instead of")


def test_unknown_shapes_have_no_architecture():
    assert EncoderShape.of({}) is None
    assert EncoderShape.of({"image_encoder.patch_embed.proj.weight": torch.zeros(())}) is None
    config = SamConfig(name="odd", encoder=VitEncoder(dim=48, depth=1, heads=3, global_blocks=(0,)))
    with torch.device("meta"):
        shape = EncoderShape.of(build_from_config(config).state_dict())
    assert shape is not None
    assert (shape.heads, shape.image_size, shape.arch) == ((3,), 1024, None)
