"""Builds weights files and archives that mean harm, and checks that they are refused cheaply."""

from __future__ import annotations

import io
import os
import pickle
import resource
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from samft.errors import CheckpointError, SamftError
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


def refused_by(read, path, *words, kind=SamftError):
    """Check that a reader refuses a file: our error, three lines, bounded memory, nothing made."""
    before, files = _peak_mb(), _tree(path.parent)
    with pytest.raises(kind) as error:
        read(path)
    assert _peak_mb() - before < GROWTH_LIMIT_MB
    assert _tree(path.parent) == files
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    assert path.name in text, text
    for word in words:
        assert word in text, text
    return error.value


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _tree(folder):
    """Return all files below a folder and beside it, with their sizes; caches do not count."""
    found = {one: one.lstat().st_size for one in folder.rglob("*") if one.is_file()}
    found |= {one: one.lstat().st_size for one in folder.parent.iterdir() if one.is_file()}
    return {one: size for one, size in found.items() if "cache" not in one.parts}


# --- tar files ---------------------------------------------------------------------------------


def tar_header(name, *, size=b"00000000000", kind=b"0", link=b"", prefix=b"", magic=b"ustar\x0000"):
    """Return a header of a tar as it stands in the file, with the right checksum."""
    name = name if isinstance(name, bytes) else name.encode()
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108], header[108:116], header[116:124] = (b"0000644\0", *(2 * (b"0000000\0",)))
    header[124:136] = size.ljust(12, b"\0")[:12]
    header[136:148], header[156:157] = b"00000000000\0", kind
    header[157 : 157 + len(link)] = link
    header[257:265] = magic
    header[345 : 345 + len(prefix)] = prefix
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def tar_member(name, content=b"", **fields):
    """Return a member of a tar: its header and its content."""
    padding = bytes(-len(content) % 512)
    return tar_header(name, size=b"%011o" % len(content), **fields) + content + padding


def pax_record(text):
    """Return a record of a pax header, such as `path=a.jpg`, with its length before it."""
    content = text.encode("utf-8", "surrogateescape")
    length = len(content) + 2
    while len(str(length)) + len(content) + 2 != length:
        length = len(str(length)) + len(content) + 2
    return b"%d %s\n" % (length, content)


def named(name, content, how):
    """Return a member of a tar whose name is written in one of the ways there are."""
    if how == "prefix":
        folder, _, last = name.rpartition("/")
        return tar_member(last, content, prefix=folder.encode())
    if how == "long name":
        return tar_member("././@LongLink", name.encode() + b"\0", kind=b"L") + tar_member(
            "a.jpg", content
        )
    if how == "pax":
        return tar_member("pax", pax_record(f"path={name}"), kind=b"x") + tar_member(
            "a.jpg", content
        )
    return tar_member(name, content)


def tar_file(path, *members):
    """Write a tar that ends as it should."""
    with path.open("wb") as file:
        for member in members:
            file.write(member)
        file.write(bytes(1024))
    return path


def make_special(path, what):
    """Put something that is no file in a file's place; nothing at all for `gone`."""
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "ring":
        path.symlink_to(path)
    elif what == "link to a pipe":
        os.mkfifo(path.parent / "pipe")
        path.symlink_to(path.parent / "pipe")
