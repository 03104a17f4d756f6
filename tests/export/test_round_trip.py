"""One set of weights in four programs: the same masks for points, boxes, masks and grids."""

from __future__ import annotations

import copy
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from export_models import picture
from parity.official_inference import official_inference, stand_ins
from parity.reference_models import TINY, official_sam
from PIL import Image

from samft import AutomaticMasks, Predictor
from samft.export.onnx import OnnxReader
from samft.export.registry import export
from samft.models.weights import load_weights
from samft.types import MaskOutput

pytestmark = pytest.mark.parity
THRESHOLD = 1.3  # masks of a part of the image, not of half of it
EVERYTHING = {
    "points_per_side": 5,
    "pred_iou_thresh": -10.0,
    "stability_score_thresh": 0.0,
    "stability_score_offset": 0.05,
    "box_nms_thresh": 0.9,
}


def through_onnx(sam, folder):
    """The model, with both halves taken over by onnxruntime."""
    reader = OnnxReader.open(folder / "encoder.onnx", folder / "decoder.onnx")
    twin = copy.deepcopy(sam)
    side = 4 * sam.config.grid_size

    def encode_image(images, sizes):
        height, width = sizes[0].tolist()
        pixels = images[0, :, :height, :width].permute(1, 2, 0).float().contiguous().numpy()
        return torch.from_numpy(reader.encoder.run(None, {"input_image": pixels})[0])

    def decode(embeddings, prompts, *, multimask):
        outputs = []
        for row in range(prompts.num_prompts):
            points = prompts.points[row : row + 1]
            feed = {
                "image_embeddings": embeddings.numpy(),
                "point_coords": torch.cat([points, torch.zeros(1, 1, 2)], dim=1).numpy(),
                "point_labels": np.array([[1, -1]], np.float32),
                "mask_input": np.zeros((1, 1, side, side), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                "orig_im_size": np.array([side, side], np.float32),
            }
            _, iou, low = reader.decoder.run(None, feed)
            outputs.append(
                MaskOutput(logits=torch.from_numpy(low[:, 1:]), iou=torch.from_numpy(iou[:, 1:]))
            )
        return MaskOutput.cat(outputs)

    twin.encode_image, twin.decode = encode_image, decode
    return twin


@pytest.mark.parametrize("size", [(96, 128), (128, 75)], ids=str)
def test_automatic_masks_of_samft_onnxruntime_and_the_official_generator(vit, onnx_folder, size):
    image = picture(*size)
    sam, official = copy.deepcopy(vit.sam), official_sam(TINY).eval()
    official.load_state_dict(sam.state_dict())
    sam.mask_threshold = official.mask_threshold = THRESHOLD
    ours = AutomaticMasks(sam, **EVERYTHING).generate(image)
    assert len(ours) >= 5
    theirs = official_inference()[1](official, **EVERYTHING).generate(image)
    others = {
        "official": [record for record in theirs if record["area"] > 0],
        "onnxruntime": AutomaticMasks(through_onnx(sam, onnx_folder.out), **EVERYTHING).generate(
            image
        ),
    }
    for records in others.values():
        assert len(records) == len(ours)
        for mine, other in zip(ours, records, strict=True):
            assert mine["bbox"] == other["bbox"]
            assert mine["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-3)
            both = mine["segmentation"] & other["segmentation"]
            assert both.sum() / (mine["segmentation"] | other["segmentation"]).sum() > 0.99


def test_transformers_prepares_images_as_samft_does(vit, tmp_path):
    """From the folder, with its own processor and an image that it has to resize."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "hf"
    export(vit, folder, to="hf")
    model = transformers.SamModel.from_pretrained(folder).eval()
    processor = transformers.SamProcessor.from_pretrained(folder)
    image = picture(150, 200)
    asked = {"input_points": [[[[90, 60]]]], "input_labels": [[[1]]]}
    inputs = processor(image, **asked, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs, multimask_output=True)
    predictor = Predictor(vit.sam)
    predictor.set_image(image)
    expected = predictor.predict(points=[[90, 60]], labels=[1])
    scale = expected.logits.abs().max()
    # Pillow and torch resize uint8 images to within a grey level.
    assert (output.pred_masks[0, 0] - expected.logits).abs().max() / scale < 0.05


def test_the_mask_generation_pipeline_works_from_the_folder(vit, tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    from transformers.models.sam import image_processing_pil_sam as images

    def suppressed(self, masks, scores, boxes, threshold, **_):
        with mock.patch.dict(sys.modules, stand_ins()):  # of torchvision, for its suppression
            return images._post_process_for_mask_generation(masks, scores, boxes, threshold)

    monkeypatch.setattr(images.SamImageProcessorPil, "post_process_for_mask_generation", suppressed)
    folder = tmp_path / "hf"
    export(vit, folder, to="hf")
    generator = transformers.pipeline("mask-generation", model=str(folder), device="cpu")
    image = picture(96, 128)  # as large as the model wants it: nothing is resized
    options = {"points_per_crop": 5, "pred_iou_thresh": -10.0, "stability_score_thresh": -1.0}
    found = generator(Image.fromarray(image), mask_threshold=THRESHOLD, **options)
    sam = copy.deepcopy(vit.sam)
    sam.mask_threshold = THRESHOLD
    ours = AutomaticMasks(sam, **{**EVERYTHING, "box_nms_thresh": 0.7}).generate(image)
    masks = np.stack([np.asarray(mask, np.bool_) for mask in found["masks"]])
    masks = masks[masks.any((1, 2))]  # samft leaves empty ones out
    assert masks.shape == (len(ours), 96, 128)
    for record in ours:
        shared = (masks & record["segmentation"]).sum((1, 2))
        united = (masks | record["segmentation"]).sum((1, 2))
        assert (shared / np.maximum(1, united)).max() > 0.98


def test_the_record_survives_in_transformers(vit, tmp_path):
    transformers = pytest.importorskip("transformers")
    export(vit, tmp_path / "hf", to="hf")
    config = transformers.SamConfig.from_pretrained(tmp_path / "hf")
    assert config.samft == vit.metadata


def test_samft_reads_the_folder_for_transformers(vit, tmp_path):
    export(vit, tmp_path / "hf", to="hf")
    again = copy.deepcopy(vit.sam)
    for parameter in again.parameters():
        parameter.data.zero_()
    load_weights(again, tmp_path / "hf")
    for key, tensor in vit.sam.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
