"""Models and their exports, written once for all tests of the folder."""

from __future__ import annotations

import shutil

import pytest
from export_models import model_of, shallow_nano, tiny_vit

from samft.export import cvat, onnx, xanylabeling
from samft.export.questions import drawn_samples, questions_about
from samft.export.registry import export
from samft.export.target import ExportOptions


@pytest.fixture(scope="session", autouse=True)
def graphs_written_once(tmp_path_factory):
    """A file depends on its model and a few settings alone: the second time, copy it (seconds)."""
    kept = {}  # with the model: an id is not given again while it lives
    write_encoder, write_decoder = onnx.write_encoder, onnx.write_decoder

    def copied(model, path, settings, write):
        key = (id(model), *settings)
        if key in kept:
            shutil.copy(kept[key][0], path)
            return
        write()
        kept[key] = shutil.copy(path, tmp_path_factory.mktemp("graph")), model

    def encoder(model, path):
        copied(model, path, (), lambda: write_encoder(model, path))

    def decoder(graph, model, path, **more):
        plain = getattr(graph, "decoder", graph)
        settings = type(graph), plain.single_mask, plain.client, str(more)
        copied(model, path, settings, lambda: write_decoder(graph, model, path, **more))

    with pytest.MonkeyPatch.context() as patch:
        for module in (cvat, onnx, xanylabeling):
            patch.setattr(module, "write_encoder", encoder)
            patch.setattr(module, "write_decoder", decoder)
        yield


@pytest.fixture(scope="session")
def vit():
    return model_of(tiny_vit())


@pytest.fixture(scope="session")
def nano():
    return model_of(shallow_nano(), seed=3)


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
