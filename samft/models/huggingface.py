"""Hugging Face's `SamModel`: its key names, and weights by hub id.

Source: `transformers.SamModel`, against which the tests check the names in both directions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor

from samft._deps import require
from samft.errors import CheckpointError, MachineError, OutputError
from samft.models.recognise import EncoderShape

# Official name, Hugging Face name; `#` stands for a number. The first row that fits the start of a
# key counts; what follows the row's name is the same on both sides.
_ROWS: Final = (
    ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("image_encoder.blocks.#.norm1.", "vision_encoder.layers.#.layer_norm1."),
    ("image_encoder.blocks.#.norm2.", "vision_encoder.layers.#.layer_norm2."),
    ("image_encoder.blocks.#.", "vision_encoder.layers.#."),
    ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    ("image_encoder.", "vision_encoder."),
    (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    ("prompt_encoder.point_embeddings.#.", "prompt_encoder.point_embed.#."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("mask_decoder.transformer.layers.#.norm#.", "mask_decoder.transformer.layers.#.layer_norm#."),
    (
        "mask_decoder.transformer.norm_final_attn.",
        "mask_decoder.transformer.layer_norm_final_attn.",
    ),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    (
        "mask_decoder.output_hypernetworks_mlps.#.layers.0.",
        "mask_decoder.output_hypernetworks_mlps.#.proj_in.",
    ),
    (
        "mask_decoder.output_hypernetworks_mlps.#.layers.1.",
        "mask_decoder.output_hypernetworks_mlps.#.layers.0.",
    ),
    (
        "mask_decoder.output_hypernetworks_mlps.#.layers.2.",
        "mask_decoder.output_hypernetworks_mlps.#.proj_out.",
    ),
    ("mask_decoder.iou_prediction_head.layers.0.", "mask_decoder.iou_prediction_head.proj_in."),
    ("mask_decoder.iou_prediction_head.layers.1.", "mask_decoder.iou_prediction_head.layers.0."),
    ("mask_decoder.iou_prediction_head.layers.2.", "mask_decoder.iou_prediction_head.proj_out."),
)
_FOURIER = "prompt_encoder.shared_embedding.positional_embedding"
_FOURIER_COPY = "shared_image_embedding.positional_embedding"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".bin", ".safetensors"})
_SAFETENSORS_FILES = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
]
_TORCH_FILES = [
    "config.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-*-of-*.bin",
]


class _Renaming:
    """Renames keys by rows of (old name, new name)."""

    def __init__(self, rows: tuple[tuple[str, str], ...]) -> None:
        self._rows = [
            (re.compile(re.escape(old).replace(r"\#", r"(\d+)")), new) for old, new in rows
        ]

    def __call__(self, key: str) -> str:
        for pattern, new in self._rows:
            match = pattern.match(key)
            if match:
                return new.replace("#", "{}").format(*match.groups()) + key[match.end() :]
        return key


_to_huggingface = _Renaming(_ROWS)
_from_huggingface = _Renaming(tuple((theirs, official) for official, theirs in _ROWS))


def to_huggingface(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename official keys to those of `transformers.SamModel`; the tensors are shared.

    Keys that neither side knows keep their names. The Fourier matrix appears twice, as there.

    Args:
        state: Official keys.

    Returns:
        Keys that `SamModel.load_state_dict` takes strictly.

    Raises:
        OutputError: if the image encoder is one that `SamModel` does not have.
    """
    shape = EncoderShape.of(state)
    if shape is not None and shape.family != "ViT":
        raise OutputError(
            "Hugging Face's SamModel has no such image encoder",
            found=shape,
            expected="a plain ViT",
            fix="save the weights in the official layout",
        )
    renamed = {_to_huggingface(key): tensor for key, tensor in state.items()}
    if _FOURIER in renamed:
        renamed[_FOURIER_COPY] = renamed[_FOURIER]
    return renamed


def from_huggingface(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename keys of `transformers.SamModel` to the official ones; the tensors are shared.

    Keys that neither side knows keep their names. Of the Fourier matrix either copy will do, since
    safetensors files of transformers keep only one.

    Args:
        state: Keys as in `SamModel.state_dict()` or in its files.

    Returns:
        Official keys.

    Raises:
        CheckpointError: if the two copies of the Fourier matrix differ.
    """
    theirs = dict(state)
    copy = theirs.pop(_FOURIER_COPY, None)
    if copy is not None and not torch.equal(theirs.setdefault(_FOURIER, copy), copy):
        raise CheckpointError(
            "the two copies of the Fourier matrix differ, SAM has only one",
            where=_FOURIER_COPY,
            expected=f"the same values as {_FOURIER}",
            fix="save the model with tied weights, as transformers does by default",
        )
    return {_from_huggingface(key): tensor for key, tensor in theirs.items()}


def is_hub_id(source: str) -> bool:
    """Say whether `source` reads like `owner/name` on the hub rather than like a file."""
    return (
        _HUB_ID.fullmatch(source) is not None
        and Path(source).suffix not in _FILE_SUFFIXES
        and not Path(source).parent.exists()
    )


def download_snapshot(repo_id: str, *, offline: bool) -> Path:
    """Return a local folder with the weights of a hub repository, fetching it where needed.

    Only weights and `config.json` are fetched, and torch files only where there is no safetensors.

    Args:
        repo_id: Such as `facebook/sam-vit-base`.
        offline: Use only what is in the cache of huggingface_hub.

    Raises:
        CheckpointError: if the repository does not exist, has no weights, or is not in the cache
            while offline.
        DependencyError: if huggingface_hub is not installed.
        MachineError: if the hub cannot be reached.
    """
    require("huggingface_hub", extra="export", purpose=f"read {repo_id} from the hub")
    folder = _snapshot(repo_id, _SAFETENSORS_FILES, offline=offline)
    if not _has(folder, "model.safetensors*"):
        folder = _snapshot(repo_id, _TORCH_FILES, offline=offline)
    if not _has(folder, "model.safetensors*") and not _has(folder, "pytorch_model.bin*"):
        raise CheckpointError(
            "the hub repository has no weights that samft reads",
            where=repo_id,
            expected="model.safetensors or pytorch_model.bin",
            fix="choose another repository, such as facebook/sam-vit-base",
        )
    return folder


def _has(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))


def _snapshot(repo_id: str, patterns: list[str], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    # The base class is the error of the HTTP library that huggingface_hub happens to use.
    network_errors = cast("tuple[type[Exception], ...]", (OSError, *HfHubHTTPError.__bases__))
    try:
        folder = snapshot_download(repo_id, allow_patterns=patterns, local_files_only=offline)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"there is no such file, and no such hub repository for you: {repo_id}",
            where=repo_id,
            fix="check the spelling; for a gated one log in first: hf auth login",
        ) from error
    except LocalEntryNotFoundError as error:
        if not offline:
            raise _unreachable(repo_id, error) from error
        raise CheckpointError(
            f"the weights {repo_id} are not on this machine, and downloading is switched off",
            where=repo_id,
            fix="download them once without SAMFT_OFFLINE and HF_HUB_OFFLINE, or pass a folder",
        ) from error
    except network_errors as error:
        raise _unreachable(repo_id, error) from error
    return Path(folder)


def _unreachable(repo_id: str, error: Exception) -> MachineError:
    cause = str(error).strip().splitlines() or [type(error).__name__]
    return MachineError(
        "the weights could not be fetched from the hub",
        where=repo_id,
        found=cause[0][:160],
        fix="check the network and the free disk space, or pass a local folder",
    )
