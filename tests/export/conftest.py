"""Models and their exports, written once for all tests of the folder."""

from __future__ import annotations

import shutil

import pytest
from export_models import model_of, tiny_vit

from samft.export import cvat, onnx, xanylabeling
from samft.export.questions import drawn_samples, questions_about
from samft.export.registry import export
from samft.export.target import ExportOptions


@pytest.fixture(scope="session", autouse=True)
def encoders(tmp_path_factory):
    """An encoder depends on nothing but its model: the second time, copy it (seconds each)."""
    written = {}
    write = onnx.write_encoder

    def write_or_copy(model, path):
        if id(model) in written:
            shutil.copy(written[id(model)], path)
            return
        write(model, path)
        written[id(model)] = shutil.copy(path, tmp_path_factory.mktemp("encoder"))
        kept.append(model)

    kept = []  # an id is not given again while its model lives
    with pytest.MonkeyPatch.context() as patch:
        for module in (cvat, onnx, xanylabeling):
            patch.setattr(module, "write_encoder", write_or_copy)
        yield


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
