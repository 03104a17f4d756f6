"""Builds weights files that mean harm and checks that they are refused cheaply."""

from __future__ import annotations

import io
import pickle
import resource
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from samft.errors import CheckpointError
from samft.models.checkpoint import read_state_dict

KEY = "image_encoder.patch_embed.proj.weight"
GROWTH_LIMIT_MB = 300


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Storage:
    """Pickles as torch's reference to the bytes of a member of the archive."""

    def __init__(self, *, name="0", count=4, kind=torch.FloatStorage):
        self.identity = ("storage", kind, name, "cpu", count)


class Shadowed:
    """Pickles as a dictionary whose methods are hidden behind attributes."""

    def __reduce__(self):
        hidden = {"keys": "no method", "items": "no method"}
        return OrderedDict, (), hidden, None, iter([(KEY, rebuild())])


class TorchPickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None


def pickled(content, protocol=2):
    buffer = io.BytesIO()
    TorchPickler(buffer, protocol=protocol).dump(content)
    return buffer.getvalue()


def archive(path, pickle_bytes, *, compression=zipfile.ZIP_STORED, extra=()):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickle_bytes)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/data/0", bytes(16))
        file.writestr("archive/version", "3\n")
        for name, data in extra:
            file.writestr(name, data)
    return path


def rebuild(*, storage=None, offset=0, size=(2, 2), stride=(2, 1)):
    return Call(
        torch._utils._rebuild_tensor_v2,
        storage or Storage(),
        offset,
        size,
        stride,
        False,
        OrderedDict(),
    )


def refused(path, *words):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as error:
        read_state_dict(path)
    assert time.perf_counter() - start < 5
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < GROWTH_LIMIT_MB
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    for word in words:
        assert word in text, text
