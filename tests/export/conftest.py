"""Models and their exports, written once for all tests of the folder."""

from __future__ import annotations

import pytest
from export_models import model_of, tiny_vit

from samft.export.questions import drawn_samples, questions_about
from samft.export.registry import export
from samft.export.target import ExportOptions


@pytest.fixture(scope="session")
def vit():
    return model_of(tiny_vit())


@pytest.fixture(scope="session")
def nano():
    from samft.models.registry import build_sam

    return model_of(build_sam("vit_nano", image_size=128), seed=3)


@pytest.fixture(scope="session")
def questions(vit):
    return questions_about(vit.sam, drawn_samples())


@pytest.fixture(scope="session")
def onnx_folder(vit, tmp_path_factory):
    """All four masks, and an encoder in 8 bits."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    return export(vit, out, to="onnx", options=ExportOptions(quantize=True))


@pytest.fixture(scope="session")
def nano_folder(nano, tmp_path_factory):
    return export(nano, tmp_path_factory.mktemp("nano_onnx") / "out", to="onnx")
