"""Read and write weights files.

What a file is, is decided by its first bytes, never by its name.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import samft
from samft.errors import CheckpointError, MachineError, OutputError
from samft.models.channels import ADAPTER, channels_in
from samft.models.recognise import EncoderShape
from samft.models.sam import Sam
from samft.models.state_dict import Origin, to_official
from samft.models.torch_file import MAX_HEADER_BYTES, read_torch_file

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
_OFFICIAL_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")

_AGAIN = "copy or download it again"
# First bytes (in lower case) of files that are taken for weights: what they are, what to do.
_LOOKS: Final = (
    (b"<!doctype html", "a web page, such as an error or log-in page", _AGAIN),
    (b"<html", "a web page, such as an error or log-in page", _AGAIN),
    (b"<?xml", "an XML page, such as an error of the server", _AGAIN),
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself", "run: git lfs pull"),
    (
        b"\x80\x02\x8a\nl\xfc\x9cf\xf9 j\xa8p\x19.",
        "a file of torch before 1.6",
        "load it with the program that wrote it and save it again with torch.save",
    ),
    (b"\x89hdf", "an HDF5 (Keras, TensorFlow) file", "convert it to safetensors"),
    (b"model_checkpoint_path", "a TensorFlow checkpoint list", "convert it to safetensors"),
    (b"{", "a JSON file", "pass the weights, or the folder in which they lie beside it"),
    (b"\x80", "a bare Python pickle, which could run code", "ask for safetensors"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"pk\x05\x06", "an empty zip archive", _AGAIN),
    (b"\x93numpy", "a NumPy array", "pass the weights, not an image or embedding"),
    (b"\x89png", "a PNG picture", "pass the weights, not an image"),
)
_LEVELDB_END = bytes.fromhex("57fb808b247547db")  # the index file of a TensorFlow checkpoint


def read_state_dict(source: str | Path) -> tuple[dict[str, Tensor], Origin]:
    """Read the weights of a SAM, whichever program wrote them, under their official names.

    Understood are files of `torch.save` and safetensors, in official or Hugging Face naming, plain
    or inside an entry of a larger dictionary, with any prefix before `image_encoder.`; and folders
    in Hugging Face's layout, in one file or in shards. No code in a file is ever run.

    Args:
        source: A file or a Hugging Face folder.

    Returns:
        The state dict, and where in the file it was found. The tensors may be views of the file:
        copy them before it changes.

    Raises:
        CheckpointError: if it is missing, unreadable, unsafe, or holds no weights of a SAM.
    """
    source = Path(source)
    files = weights_files(source)
    content = _read_file(files[0]) if len(files) == 1 else _read_shards(files)
    return to_official(content, source)


def weights_files(source: Path) -> list[Path]:
    """List the files that hold the weights: `source` itself, or those of a Hugging Face folder.

    Raises:
        CheckpointError: if `source` is missing, or a folder without weights.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise CheckpointError("there is no such weights file", where=source)
    for name in _FOLDER_FILES:
        if (source / name).is_file():
            return [source / name]
        if (source / f"{name}.index.json").is_file():
            return _shards(source / f"{name}.index.json")
    held = sorted(item.name for item in source.iterdir())
    raise CheckpointError(
        "there are no weights in the folder",
        where=source,
        found=", ".join(held[:5]) or "an empty folder",
        expected=" or ".join(_FOLDER_FILES),
        fix="pass the weights file itself",
    )


def _shards(index: Path) -> list[Path]:
    def problem(found: str) -> CheckpointError:
        return CheckpointError(
            "the index of the weights cannot be used",
            where=index,
            found=found,
            expected="a weight_map from keys to files of this folder",
            fix=_AGAIN,
        )

    if index.stat().st_size > MAX_HEADER_BYTES:
        raise problem(f"{index.stat().st_size} bytes")
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise problem(f"{type(error).__name__}: {str(error)[:80]}") from error
    for name in names:
        # A name from a file must not lead out of the folder; links made by the hub's cache may.
        if not isinstance(name, str) or not _is_plain_name(name):
            raise problem(f"the file name {str(name)[:60]!r}")
        if not (index.parent / name).is_file():
            raise problem(f"{name}, which is not there")
    if not names:
        raise problem("no files")
    return [index.parent / name for name in sorted(names)]


def _is_plain_name(name: str) -> bool:
    return 0 < len(name) < 256 and name not in {".", ".."} and not set(name) & set("/\\:\0")


def _read_shards(files: list[Path]) -> dict[str, object]:
    merged: dict[str, object] = {}
    for file in files:
        shard = _read_file(file)
        if not isinstance(shard, dict) or merged.keys() & shard.keys():
            raise CheckpointError(
                "the shards of the weights do not fit together",
                where=file,
                expected="a state dict with keys that no other shard has",
                fix=_AGAIN,
            )
        merged |= shard
    return merged


def _read_file(path: Path) -> object:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(max(0, size - len(_LEVELDB_END)))
            tail = file.read()
    except OSError as error:
        raise CheckpointError(
            "the weights file cannot be opened", where=path, found=error.strerror
        ) from error
    if head.startswith(b"PK\x03\x04"):
        return read_torch_file(path)
    if head[8:9] == b"{":
        return _read_safetensors(path, header_bytes=struct.unpack("<Q", head[:8])[0])
    raise _unknown(path, head, tail=tail)


def _read_safetensors(path: Path, *, header_bytes: int) -> dict[str, Tensor]:
    if header_bytes > min(MAX_HEADER_BYTES, path.stat().st_size):
        raise CheckpointError(
            "the safetensors file is cut short, or describes far more than a SAM",
            where=path,
            found=f"a header of {header_bytes} bytes in a file of {path.stat().st_size}",
            fix=_AGAIN,
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            "the safetensors file is cut short or damaged",
            where=path,
            found=str(error)[:160],
            fix=_AGAIN,
        ) from error


def _unknown(path: Path, head: bytes, *, tail: bytes) -> CheckpointError:
    found, fix = f"unknown content, starting with {head[:8]!r}", "pass a SAM checkpoint"
    if not head:
        found, fix = "an empty file", _AGAIN
    elif tail == _LEVELDB_END:
        found, fix = "the index of a TensorFlow checkpoint", "convert it to safetensors"
    for start, looks, remedy in _LOOKS:
        if head.lstrip().lower().startswith(start):
            found, fix = looks, remedy
            break
    return CheckpointError(
        "this is not a weights file",
        where=path,
        found=found,
        expected="a file of torch.save or safetensors",
        fix=fix,
    )


def save_state_dict(
    model_or_state: nn.Module | Mapping[str, Tensor],
    path: str | Path,
    *,
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights in the official layout, as a whole or not at all.

    A `.pth` is the plain state dict that every tool for SAM reads; a `.safetensors` also carries
    `format`, `arch`, `image_size` and `samft_version` as text, and a channel adapter if the model
    has one.

    Args:
        model_or_state: A model or its state dict, with official keys.
        path: Ends in `.pth`, `.pt` or `.safetensors`; missing folders are made.
        overwrite: Replace a file that is there already.
        metadata: More text for a `.safetensors`, such as the licence.

    Raises:
        OutputError: if the name has another ending, the file exists, a key is not official, or a
            channel adapter is to go into a stock file.
        MachineError: if the disk is full or cannot be written.
    """
    path = Path(path)
    given = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
    _check_output(given, path, overwrite=overwrite)
    state = {key: _standalone(tensor) for key, tensor in given.items()}
    with _written_whole(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(
                state, temporary, metadata=_describe(model_or_state, state) | dict(metadata or {})
            )
        else:
            with temporary.open("wb") as file:
                torch.save(state, file)


def _check_output(state: Mapping[str, Tensor], path: Path, *, overwrite: bool) -> None:
    if path.suffix not in {".pth", ".pt", ".safetensors"}:
        raise OutputError(
            "the ending of the file name says how weights are written",
            where=path,
            found=path.suffix or "none",
            expected=".pth, .pt or .safetensors",
        )
    if path.exists() and not overwrite:
        raise OutputError(
            "the weights file exists already", where=path, fix="choose another name, or overwrite"
        )
    check_stock(state, path)
    foreign = [key for key in state if not key.startswith((*_OFFICIAL_PARTS, ADAPTER))]
    if foreign:
        raise OutputError(
            "only SAM's own weights can be written in the official layout",
            where=path,
            found=f"{len(foreign)} other keys such as {foreign[0]}",
            expected="keys starting with " + ", ".join(_OFFICIAL_PARTS),
        )


def check_stock(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse to put a channel adapter into a file that other programs are to read.

    Raises:
        OutputError: if there is one and `path` is no safetensors.
    """
    if path.suffix != ".safetensors" and any(key.startswith(ADAPTER) for key in state):
        raise OutputError(
            "a stock SAM file cannot hold the channel adapter, without which the model is another",
            where=path,
            found=f"an adapter of {state[f'{ADAPTER}weight'].shape[1]} channels",
            expected="a .safetensors",
            fix="write a .safetensors, which samft loads with its adapter",
        )


def _standalone(tensor: Tensor) -> Tensor:
    """Return the tensor on the CPU with a storage of its own size: a view would save its base."""
    plain = tensor.detach().cpu().contiguous()
    return plain if plain.untyped_storage().nbytes() == plain.nbytes else plain.clone()


def _describe(
    model_or_state: nn.Module | Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, str]:
    text = {"format": "pt", "samft_version": samft.__version__}
    if isinstance(model_or_state, Sam):  # it knows its input size, not every state dict says it
        shape: EncoderShape | None = EncoderShape.from_config(model_or_state.config)
    else:
        shape = EncoderShape.of(state)
    if shape is not None:
        text["arch"] = shape.arch or "custom"
    if shape is not None and shape.image_size is not None:
        text["image_size"] = str(shape.image_size)
    channels = channels_in(state)
    return text if channels is None else text | {"channels": str(channels.count)}


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` that takes its place once it is safely on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)  # safetensors makes files that only their owner can read
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise MachineError(
            "the weights could not be written",
            where=path,
            found=str(error)[:160],
            fix="check the free disk space and the permissions of the folder",
        ) from error
