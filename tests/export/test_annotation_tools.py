"""What annotation tools do with their exports, played through without the tools."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import onnxruntime
import pytest
import yaml
from export_models import picture
from PIL import Image
from test_brush import decode

from samft import Predictor
from samft.export.registry import export
from samft.export.target import ExportOptions

pytestmark = pytest.mark.slow

SIZE = (180, 240)  # height, width
POINT = (100, 70)
BOX = (30, 20, 180, 150)


@pytest.fixture(scope="module")
def image():
    return picture(*SIZE)


@pytest.fixture(scope="module")
def cvat(nano, tmp_path_factory):
    out = tmp_path_factory.mktemp("cvat") / "out"
    export(nano, out, to="cvat")
    return out


@pytest.fixture(scope="module")
def xanylabeling(nano, tmp_path_factory):
    out = tmp_path_factory.mktemp("any") / "out"
    export(nano, out, to="xanylabeling", options=ExportOptions(extent=(96, 128)))
    return out


@pytest.fixture(scope="module")
def labelstudio(nano, tmp_path_factory):
    out = tmp_path_factory.mktemp("ls") / "out"
    export(nano, out, to="labelstudio")
    return out


@pytest.fixture
def from_folder(monkeypatch):
    """Import modules of an exported folder under their own names, as the tool does."""
    names = ("main", "model", "model_handler", "image_encoder", "mask_decoder", "brush")

    def load(folder: Path, name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(folder))
        for other in names:
            monkeypatch.delitem(sys.modules, other, raising=False)
        return __import__(name)

    yield load
    for other in names:
        sys.modules.pop(other, None)


def expected_mask(model, image, **prompt):
    predictor = Predictor(model.sam)
    predictor.set_image(image)
    clear = "box" in prompt
    return predictor.predict(**prompt, multimask=not clear).best().masks[0].numpy()


def overlap(one, other):
    return (one & other).sum() / max(1, (one | other).sum())


def in_browser(decoder, blob, *, clicks, size):
    """What CVAT's plugin does: its own sizes, its own scale, a padding point at the end."""
    height, width = size
    scale = 1024 / max(size)
    points = [[x * scale, y * scale] for x, y in clicks] + [[0, 0]]
    feeds = {
        "image_embeddings": np.frombuffer(base64.b64decode(blob), "<f4").reshape(1, 256, 64, 64),
        "point_coords": np.array([points], np.float32),
        "point_labels": np.array([[1] * len(clicks) + [-1]], np.float32),
        "orig_im_size": np.array([height, width], np.float32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }
    names = [item.name for item in decoder.get_outputs()]
    return dict(zip(names, decoder.run(None, feeds), strict=True))


def test_cvat_from_request_to_mask(nano, cvat, image, from_folder):
    main = from_folder(cvat / "function", "main")
    context = SimpleNamespace(user_data=SimpleNamespace(), Response=lambda **given: given)
    main.init_context(context)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    body = {"image": base64.b64encode(buffer.getvalue()).decode()}
    answer = main.handler(context, SimpleNamespace(body=body))
    assert answer["status_code"] == 200
    decoder = onnxruntime.InferenceSession(cvat / "decoder.onnx")
    found = in_browser(decoder, json.loads(answer["body"])["blob"], clicks=[POINT], size=SIZE)
    assert list(found) == [
        *("masks", "iou_predictions", "low_res_masks"),
        *("xtl", "ytl", "xbr", "ybr"),
    ]
    assert found["masks"].dtype == np.uint8
    assert found["low_res_masks"].shape == (1, 1, 256, 256)
    left, top, right, bottom = (int(found[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    assert found["masks"].shape[2:] == (bottom - top + 1, right - left + 1)
    whole = np.zeros(SIZE, np.bool_)
    whole[top : bottom + 1, left : right + 1] = found["masks"][0, 0] > 0
    expected = expected_mask(nano, image, points=[POINT], labels=[1])
    assert expected.any()
    assert overlap(whole, expected) > 0.97  # Pillow and torch round pixels differently


def test_cvats_function_has_the_name_that_the_browser_answers_to(cvat):
    settings = yaml.safe_load((cvat / "function" / "function.yaml").read_text())
    assert settings["metadata"]["name"] == "pth-facebookresearch-sam-vit-h"
    assert settings["metadata"]["annotations"]["type"] == "interactor"
    assert settings["spec"]["handler"] == "main:handler"
    assert "decoder.onnx" in (cvat / "README.md").read_text()


@pytest.mark.parametrize("size", [(96, 128), (48, 64)], ids=["as the frame", "half of it"])
def test_xanylabeling_from_image_to_mask(nano, xanylabeling, size):
    """Its own warp into a fixed frame, its own empty mask of 256, its first mask."""
    image = picture(*size)
    config = yaml.safe_load((xanylabeling / "model.yaml").read_text())
    assert config["type"] == "segment_anything"
    encoder, decoder = (
        onnxruntime.InferenceSession(xanylabeling / config[f"{part}_model_path"])
        for part in ("encoder", "decoder")
    )
    frame = config["max_height"], config["max_width"]
    assert frame == (96, 128)
    scale = min(frame[1] / size[1], frame[0] / size[0])
    matrix = np.array([[scale, 0, 0], [0, scale, 0], [0, 0, 1]])
    warped = cv2.warpAffine(image, matrix[:2], frame[::-1], flags=cv2.INTER_LINEAR)
    embedding = encoder.run(None, {"input_image": warped.astype(np.float32)})[0]
    click = (size[1] // 3, size[0] // 2)
    points = np.array([[*click, 1], [0, 0, 1]]) @ matrix.T
    masks, _, _ = decoder.run(
        None,
        {
            "image_embeddings": embedding,
            "point_coords": points[None, :, :2].astype(np.float32),
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(frame, np.float32),
        },
    )
    assert masks.shape == (1, 1, *frame)
    back = cv2.warpAffine(masks[0, 0], np.linalg.inv(matrix)[:2], size[::-1])
    expected = expected_mask(nano, image, points=[click], labels=[1])
    assert expected.any()
    # Its warp is half a pixel off and reads black beyond the edge; without a warp all is the same.
    assert overlap(back > 0, expected) > (0.99 if scale == 1 else 0.6)


def backend(folder, from_folder, monkeypatch):
    """The exported module, with a stand-in for the package it runs in."""

    class LabelStudioMLBase:
        def __init__(self, tags):
            self.tags, self.values = tags, {}
            self.setup()

        def set(self, name, value):
            self.values[name] = value

        def get_first_tag_occurence(self, control, tag):
            assert (control, tag) == ("BrushLabels", "Image")
            return self.tags

        def get_local_path(self, url, task_id=None):
            return url

    package, module = ModuleType("label_studio_ml"), ModuleType("label_studio_ml.model")
    module.LabelStudioMLBase = LabelStudioMLBase
    monkeypatch.setitem(sys.modules, "label_studio_ml", package)
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", module)
    return from_folder(folder, "model").SamftBackend(("mask", "image", "image"))


@pytest.mark.parametrize("kind", ["keypointlabels", "rectanglelabels"])
def test_label_studio_from_percent_to_brush(
    nano, labelstudio, image, from_folder, monkeypatch, tmp_path, kind
):
    file = tmp_path / "image.png"
    Image.fromarray(image).save(file)
    model = backend(labelstudio, from_folder, monkeypatch)
    height, width = SIZE
    x, y = POINT if kind == "keypointlabels" else BOX[:2]
    value = {"x": 100 * x / width, "y": 100 * y / height, kind: ["cell"]}
    if kind == "rectanglelabels":
        value["width"] = 100 * (BOX[2] - BOX[0]) / width
        value["height"] = 100 * (BOX[3] - BOX[1]) / height
    context = {"result": [{"type": kind, "value": value, "is_positive": 1}]}
    (answer,) = model.predict([{"id": 1, "data": {"image": str(file)}}], context)
    (region,) = answer["result"]
    assert json.loads(json.dumps(answer)) == answer
    assert (region["original_width"], region["original_height"]) == (width, height)
    assert (region["type"], region["value"]["format"]) == ("brushlabels", "rle")
    assert region["value"]["brushlabels"] == ["cell"]
    mask = decode(region["value"]["rle"]).reshape(height, width, 4)[..., 3] > 0
    prompt = {"points": [POINT], "labels": [1]} if kind == "keypointlabels" else {"box": BOX}
    expected = expected_mask(nano, image, **prompt)
    assert expected.any()
    assert overlap(mask, expected) > 0.97


def test_label_studio_has_nothing_to_say_without_prompts(labelstudio, from_folder, monkeypatch):
    model = backend(labelstudio, from_folder, monkeypatch)
    assert model.predict([{"data": {}}], None) == []
    assert model.predict([{"data": {}}], {"result": []}) == []
