"""The written ONNX files: what they are called, what they say, what runtimes make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from parity.reference_models import TINY

from samft.data.geometry import frame_for
from samft.errors import CheckpointError
from samft.export.onnx_file import open_session
from samft.export.onnx_graphs import EncoderGraph
from samft.export.quantized import LOSS_KEY
from samft.models.channels import ChannelSettings
from samft.models.registry import build_from_config
from samft.prompts.protocol import METADATA_KEY, PromptProtocol

FILES = ("encoder.onnx", "decoder.onnx")


def axes(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def loaded(folder, name):
    return onnx.load(folder.out / name)


def test_tensors_are_called_and_shaped_as_the_official_ones(onnx_folder):
    decoder = loaded(onnx_folder, "decoder.onnx").graph
    assert {item.name: axes(item) for item in decoder.input} == {
        "image_embeddings": [1, 32, 8, 8],
        "point_coords": [1, "num_points", 2],
        "point_labels": [1, "num_points"],
        "mask_input": [1, 1, 32, 32],
        "has_mask_input": [1],
        "orig_im_size": [2],
    }
    assert {item.name: axes(item) for item in decoder.output} == {
        "masks": [1, 4, "height", "width"],
        "iou_predictions": [1, 4],
        "low_res_masks": [1, 4, 32, 32],
    }
    encoder = loaded(onnx_folder, "encoder.onnx").graph
    assert axes(encoder.input[0]) == ["image_height", "image_width", 3]
    assert [item.name for item in (*encoder.input, *encoder.output)] == [
        "input_image",
        "image_embeddings",
    ]


@pytest.mark.parametrize("name", [*FILES, "encoder.int8.onnx"])
def test_old_runtimes_take_the_files(onnx_folder, name):
    model = loaded(onnx_folder, name)
    opsets = {item.domain: item.version for item in model.opset_import}
    assert opsets[""] == 18
    assert set(opsets) <= {"", "com.microsoft"}
    assert model.ir_version <= 8
    onnx.checker.check_model(model)


@pytest.mark.parametrize("name", FILES)
def test_files_say_what_they_are_and_nothing_about_this_machine(onnx_folder, vit, name):
    facts = {item.key: item.value for item in loaded(onnx_folder, name).metadata_props}
    assert facts == vit.metadata
    assert facts["arch"] == "tiny"
    assert facts["licence"] == "MIT"
    assert PromptProtocol.from_json(facts[METADATA_KEY]) == vit.protocol
    content = (onnx_folder.out / name).read_bytes()
    assert str(Path.cwd()).encode() not in content
    assert b"site-packages" not in content


@pytest.mark.parametrize("size", [(97, 211), (333, 101), (1, 300), (128, 128)])
def test_masks_at_odd_sizes(onnx_folder, vit, size):
    encoder, decoder = (open_session(onnx_folder.out / name) for name in FILES)
    frame = frame_for(size, vit.sam.image_size)
    image = np.random.default_rng(0).uniform(0, 255, (*frame.input_size, 3)).astype(np.float32)
    embedding = encoder.run(None, {"input_image": image})[0]
    masks, iou, low = decoder.run(
        None,
        {
            "image_embeddings": embedding,
            "point_coords": np.array([[[5, 1], [0, 0]]], np.float32),
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 32, 32), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(size, np.float32),
        },
    )
    assert masks.shape == (1, 4, *size)
    assert iou.shape == (1, 4)
    assert low.shape == (1, 4, 32, 32)
    padded = torch.zeros(1, 3, 128, 128)
    padded[..., : frame.input_size[0], : frame.input_size[1]] = torch.from_numpy(image).permute(
        2, 0, 1
    )
    with torch.no_grad():
        expected = vit.sam.encode_image(padded, torch.tensor([frame.input_size]))
    np.testing.assert_allclose(embedding, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_an_image_beyond_the_frame_is_refused(onnx_folder):
    encoder = open_session(onnx_folder.out / "encoder.onnx")
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail):
        encoder.run(None, {"input_image": np.zeros((129, 64, 3), np.float32)})


def test_the_small_encoder_carries_its_loss(onnx_folder):
    (note,) = onnx_folder.notes
    assert note.startswith("8-bit encoder: 0.3 MB instead of 0.4; IoU with the masks")
    facts = {
        item.key: item.value for item in loaded(onnx_folder, "encoder.int8.onnx").metadata_props
    }
    assert 0.5 < float(facts[LOSS_KEY]) <= 1
    kinds = {node.op_type for node in loaded(onnx_folder, "encoder.int8.onnx").graph.node}
    assert "MatMulInteger" in kinds


@pytest.mark.slow
def test_nano_is_compared_as_well(nano_folder):
    (comparison,) = nano_folder.comparisons
    assert set(comparison.largest) == {"point", "box", "mask"}
    assert comparison.relative < 1e-4


def test_what_is_no_onnx_file_is_refused(tmp_path):
    path = tmp_path / "encoder.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match="onnxruntime refuses the file") as caught:
        open_session(path)
    assert str(path) in str(caught.value)


def test_all_channels_of_an_adapter_are_taken():
    sam = build_from_config(TINY).eval()
    sam.set_channels(ChannelSettings(count=5))
    image = torch.rand(128, 128, 5) * 255
    expected = sam.encode_image(image.permute(2, 0, 1)[None])
    torch.testing.assert_close(EncoderGraph(sam)(image), expected, rtol=1e-4, atol=1e-4)
