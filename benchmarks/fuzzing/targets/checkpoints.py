"""Targets: weights files and folders, as users pass them with `--model.weights`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save
from torch import Tensor, nn

from benchmarks.fuzzing.mutation import mutate_json, mutate_member, mutate_tree
from benchmarks.fuzzing.pickles import mutate_pickle, opcodes
from benchmarks.fuzzing.target import Target
from samft.cli.commands.convert import main as convert
from samft.errors import CheckpointError, SamftError
from samft.export.record import stored_protocol
from samft.models.checkpoint import read_state_dict
from samft.models.config import SamConfig, VitEncoder
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.models.strict import load_state_dict
from samft.safe_checkpoint import check_archive

SMALLEST: Final = SamConfig(
    name="smallest",
    encoder=VitEncoder(dim=4, depth=1, heads=1, global_blocks=(0,), window_size=2),
    image_size=32,
    embed_dim=8,
    decoder_depth=1,
    decoder_heads=1,
    decoder_mlp_dim=4,
)
"""A whole SAM of a few kilobytes."""
_STORED_BYTES: Final = 16_384


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (
        Target("torch_file", "w.pth", _read_torch, _torch_seeds, mutate_torch_file),
        Target("torch_pickle", "w.pth", _load, _pickle_seeds, mutate_pickle, around_pickle),
        Target("legacy_torch_file", "old.ckpt", _convert, _legacy_seeds, _mutate_stream),
        Target(
            "legacy_torch_pickle", "old.ckpt", _convert, _pickle_seeds, mutate_pickle, around_pickle
        ),
        Target("safetensors", "w.safetensors", _load, _safetensors_seeds, mutate_safetensors),
        Target(
            "weights_index",
            "model/model.safetensors.index.json",
            lambda path: read_state_dict(path.parent),
            _index_seeds,
            mutate_json,
            around=_weights_around(),
        ),
        Target("weights_record", "w.pth.json", _read_record, _record_seeds, mutate_json),
    )


# --- what is read -----------------------------------------------------------------------------


def _read_torch(path: Path) -> object:
    with contextlib.suppress(SamftError):  # a wrong checksum; torch can write without any
        check_archive(path)
    return _load(path)


def _load(path: Path) -> object:
    state, _ = read_state_dict(path)
    with contextlib.suppress(CheckpointError):  # most inputs lack what a whole SAM needs
        load_state_dict(_empty_sam(), state, source=path)
    return stored_protocol(path)


def _convert(path: Path) -> object:
    trusted = hashlib.sha256(path.read_bytes()).hexdigest()
    out = path.with_name("out.safetensors")
    with contextlib.redirect_stdout(io.StringIO()):
        convert([str(path), str(out), "--trust-sha256", trusted, "--entry", "model"])
    return read_state_dict(out)


def _read_record(path: Path) -> object:
    protocol = stored_protocol(path.with_suffix(""))
    return None if protocol is None else protocol.describe()


def _empty_sam() -> Sam:
    return build_from_config(SMALLEST)


# --- seeds ------------------------------------------------------------------------------------


@cache
def smallest_state() -> Mapping[str, Tensor]:
    """Return the weights of the smallest SAM, all of them views of one storage."""
    stored = torch.linspace(-1, 1, _STORED_BYTES // 4)
    return {
        key: stored[: tensor.numel()].view(tensor.shape)
        for key, tensor in _empty_sam().state_dict().items()
    }


def saved(content: object, *, old: bool = False) -> bytes:
    """Return the bytes of a file of `torch.save`."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def pickle_of(content: object) -> bytes:
    """Return the pickle in a file of `torch.save`."""
    with zipfile.ZipFile(io.BytesIO(saved(content))) as archive:
        return archive.read("archive/data.pkl")


def around_pickle(data: bytes, *, stored: Sequence[int] = (_STORED_BYTES, 4096)) -> bytes:
    """Return a file of `torch.save` with such a pickle, and storages of so many bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for number, size in enumerate(stored):
            archive.writestr(f"archive/data/{number}", bytes(size))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _contents() -> list[Any]:  # Any: what training scripts save
    state = dict(smallest_state())
    few = dict(list(state.items())[:4])
    entry = {"model": {f"module.{key}": value for key, value in few.items()}, "epoch": 3}
    theirs = {"vision_encoder.pos_embed": few["image_encoder.pos_embed"]}
    return [
        {"model": few},
        {**entry, "optimizer": {"step": torch.tensor(3.0), "lr": 0.5, "betas": (0.9, 0.99)}},
        {"model": theirs},
        {"model": state},
    ]


def _torch_seeds(_: Path) -> Sequence[bytes]:
    return [*map(saved, _contents()), saved(_contents()[0]["model"])]


def _pickle_seeds(_: Path) -> Sequence[bytes]:
    return list(map(pickle_of, _contents()))


def _legacy_seeds(_: Path) -> Sequence[bytes]:
    return [
        *(saved(content, old=True) for content in _contents()[:2]),
        *(saved({"model": _small_module(), "args": Path("a")}, old=old) for old in (True, False)),
    ]


def _small_module() -> nn.Module:
    """Return a module that has the keys of a SAM; its classes' source goes into old files."""
    return nn.ModuleDict({"image_encoder": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))})


def _safetensors_seeds(_: Path) -> Sequence[bytes]:
    state = {key: value.clone() for key, value in smallest_state().items()}
    few = dict(list(state.items())[:4])
    protocol = '{"shares": {"box": 1.0}, "clicks": 0, "feeds_back": false, "multimask": "all"}'
    described = {"format": "pt", "prompt_protocol": protocol}
    prefixed = {f"sam.{key}": value for key, value in few.items()}
    return [save(few, described), save(prefixed), save(state)]


def _weights_around() -> Mapping[str, bytes]:
    items = [(key, value.clone()) for key, value in smallest_state().items()]
    half = len(items) // 2
    return {
        "model/model-1-of-2.safetensors": save(dict(items[:half])),
        "model/model-2-of-2.safetensors": save(dict(items[half:])),
        "secret.safetensors": save(dict(items)),
    }


def _index_seeds(_: Path) -> Sequence[bytes]:
    names = [f"model-{number}-of-2.safetensors" for number in (1, 2)]
    table = dict(zip(("image_encoder.pos_embed", "b"), names, strict=True))
    return [json.dumps({"metadata": {"total_size": 5}, "weight_map": table}).encode()]


def _record_seeds(_: Path) -> Sequence[bytes]:
    protocol = {"shares": {"box": 1.0}, "clicks": 0, "feeds_back": False, "multimask": "all"}
    return [json.dumps({"prompt_protocol": json.dumps(protocol)}).encode()]


# --- changes that keep the form ---------------------------------------------------------------


def mutate_torch_file(data: bytes, seed: int) -> bytes:
    """Change the pickle in a file of `torch.save`, or what its list of members says."""
    if seed % 2:
        return mutate_member("data.pkl", mutate_pickle)(data, seed)
    return mutate_zip_directory(data, seed)


def mutate_zip_directory(data: bytes, seed: int) -> bytes:
    """Change a number in a header of a zip archive: sizes, places, kinds, counts."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    places = [
        place
        for sign in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
        for place in _all_places(data, sign)
    ]
    if not places:
        return data
    place = chance.choice(places) + 4 + 2 * chance.randrange(21)
    form = chance.choice(("<H", "<I"))
    changed = bytearray(data)
    top = 2 ** (8 * struct.calcsize(form)) - 1
    value = chance.choice((0, 1, 8, 12, 99, len(data), len(data) - 1, top, top - 1, top // 2))
    if place + struct.calcsize(form) <= len(changed):
        struct.pack_into(form, changed, place, value & top)
    return bytes(changed)


def _all_places(data: bytes, sign: bytes) -> list[int]:
    found, place = [], data.find(sign)
    while place >= 0:
        found.append(place)
        place = data.find(sign, place + 1)
    return found


def _mutate_stream(data: bytes, seed: int) -> bytes:
    """Change one of the pickles that follow each other, or of the archive."""
    if data.startswith(b"PK"):
        return mutate_torch_file(data, seed)
    pieces, rest = [], data
    while rest.startswith(b"\x80") and len(pieces) < 5:
        parts, after = opcodes(rest)
        if not parts:
            break
        pieces.append(b"".join(parts))
        rest = after
    if not pieces:
        return data
    place = random.Random(seed).randrange(len(pieces))  # noqa: S311  (no secret)
    pieces[place] = mutate_pickle(pieces[place], seed)
    return b"".join(pieces) + rest


def mutate_safetensors(data: bytes, seed: int) -> bytes:
    """Change the JSON header of a safetensors file; the length in front of it stays right."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= len(data) - 8:
        return data
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return data
    text = json.dumps(mutate_tree(header, seed)).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
