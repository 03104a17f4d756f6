"""Write a module as an ONNX file, and open one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from samft._deps import require
from samft.errors import CheckpointError

OPSET: Final = 18
"""The oldest that torch's exporter writes without converting; onnxruntime reads it since 1.14, and
onnxruntime-web too, which CVAT's browser plugin uses."""
_IR_VERSION: Final = 8  # the format of that time; newer ones are refused by older runtimes
_SINGLE_FILE_BYTES: Final = 1_900_000_000  # protobuf ends at 2 GiB
_PURPOSE: Final = "export to ONNX"

Sizes = Mapping[str, Mapping[int, str]]
"""Names of the axes whose length is free, by tensor."""


def save_onnx(
    graph: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    sizes: Mapping[str, Mapping[int, torch.export.Dim]],
    named: Sizes,
    metadata: Mapping[str, str],
) -> None:
    """Trace a module and write it; a file beyond 2 GB gets its weights in another one beside it.

    Args:
        graph: The module.
        inputs: Examples, in the order of its arguments.
        outputs: Names of what it returns.
        path: The file.
        sizes: Input axes whose length is free, with their range.
        named: Output axes whose length is free, with a name.
        metadata: Facts about the model.

    Raises:
        DependencyError: if the packages of the `export` extra are not installed.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, extra="export", purpose=_PURPOSE)
    num_bytes = sum(tensor.nbytes for tensor in graph.state_dict().values())
    with _quiet_exporter(), torch.no_grad():
        # torch.export rather than tracing by example: sizes that come as values, such as that of
        # the original image, stay values.
        torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=tuple(sizes.get(name) for name in inputs),
            external_data=num_bytes > _SINGLE_FILE_BYTES,
            verbose=False,
        )
    _finish(path, named=named, metadata=metadata)


def open_session(path: Path) -> Any:  # Any: onnxruntime has no types
    """Open a file in onnxruntime, on the CPU.

    Raises:
        CheckpointError: if onnxruntime refuses it.
    """
    runtime = require("onnxruntime", extra="export", purpose="check an exported ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise CheckpointError(
            "onnxruntime refuses the file", where=path, found=str(error).splitlines()[0][:200]
        ) from error


def runtime_name() -> str:
    """Return `onnxruntime` with its version."""
    runtime = require("onnxruntime", extra="export", purpose="check an exported ONNX file")
    return f"onnxruntime {runtime.__version__}"


def _finish(path: Path, *, named: Sizes, metadata: Mapping[str, str]) -> None:
    """Take out what the exporter notes about this machine, name axes, say what the model is."""
    onnx = require("onnx", extra="export", purpose=_PURPOSE)
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # stack traces, with the paths of source files
        part.doc_string = ""
    for described in (graph, model):
        del described.metadata_props[:]
        described.doc_string = ""
    del graph.value_info[:]  # derived, and large
    for output in graph.output:
        for axis, name in named.get(output.name, {}).items():
            output.type.tensor_type.shape.dim[axis].dim_param = name
    model.ir_version = _IR_VERSION
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except onnx.checker.ValidationError as error:
        raise CheckpointError(
            "the ONNX file is not valid", where=path, found=str(error).splitlines()[0][:200]
        ) from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep off the terminal what is no news to anybody who exports a model.

    That torchvision is missing, which no graph here uses; that a size has one name in two inputs;
    what torch will change inside.
    """
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name", UserWarning)
            yield
    finally:
        log.setLevel(before)
