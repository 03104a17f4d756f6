"""What stored activations depend on, as hashes: one changed bit anywhere gives another key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor

from samft.embeddings.storage_types import StorageType, raw_bytes
from samft.errors import ConfigError
from samft.models.config import SamConfig

FORMAT: Final = 1
"""Version of the files and of what the encoder computes from the same weights; part of every key.
To be raised when either changes, so that older stores are no longer found."""

_NAME_LENGTH: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreKey:
    """Everything the content of a store depends on, except the images.

    Args:
        weights: sha256 of the tensors that are run, see `weights_hash`.
        model: What else decides the result, see `model_parts`; plain data.
        preprocessing: How an image becomes input, augmentation included; plain data.
        dtype: Type of the stored values.
    """

    weights: str
    model: Mapping[str, Any]  # Any: plain data, checked when it is hashed
    preprocessing: Mapping[str, Any]  # Any: likewise
    dtype: StorageType = "float16"

    def parts(self) -> dict[str, Any]:  # Any: plain data
        """Return all parts as plain data, the format version among them."""
        return {"format": FORMAT, **asdict(self)}

    @property
    def digest(self) -> str:
        """sha256 of all parts, hexadecimal.

        Raises:
            ConfigError: if a part is not plain data.
        """
        return hashlib.sha256(_canonical_json(self.parts()).encode()).hexdigest()

    @property
    def folder_name(self) -> str:
        """Name of the store's folder: the first 16 digits of `digest`."""
        return self.digest[:_NAME_LENGTH]


@dataclass(frozen=True, slots=True)
class EntryKey:
    """One input of the frozen part.

    Args:
        content: sha256 of the image, 32 bytes, see `content_hash`.
        variant: Number of the augmented variant, 0 to 2^32 - 1.
    """

    content: bytes
    variant: int = 0

    @classmethod
    def of(cls, image: Tensor | bytes, variant: int = 0) -> Self:
        """Return the key of one variant of an image."""
        return cls(content_hash(image), variant)


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes of tensors, hexadecimal.

    Contiguous tensors on the CPU are read in place, others one at a time through a copy. The order
    of the mapping does not count.

    Args:
        tensors: What is run, parameters and buffers, by name.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        for part in _parts_of(name, tensors[name]):
            digest.update(part)
    return digest.hexdigest()


def content_hash(image: Tensor | bytes) -> bytes:
    """Return the sha256 of an image, 32 bytes.

    Args:
        image: A tensor, of which type and shape count too, or the bytes of a file.
    """
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    digest = hashlib.sha256()
    for part in _parts_of("image", image):
        digest.update(part)
    return digest.digest()


def model_parts(
    config: SamConfig, *, cut_block: int | None = None, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:  # Any: plain data
    """Return what, besides the weights, decides the activations of a frozen image encoder.

    Args:
        config: The model's numbers, with the image size it is run at; the decoder's do not count.
        cut_block: The first trainable block; `None` if the whole encoder is frozen.
        dtype: The type the frozen part computes in, autocast included.
    """
    return {
        "arch": config.name,
        "encoder": asdict(config.encoder),
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.embed_dim,
        "cut_block": cut_block,
        "compute_dtype": str(dtype).removeprefix("torch."),
    }


def _parts_of(name: str, tensor: Tensor) -> Iterator[bytes | memoryview]:
    # The header's length comes first, and the header tells how many bytes follow it: different
    # tensors cannot give the same stream.
    header = _canonical_json([name, str(tensor.dtype), list(tensor.shape)]).encode()
    yield len(header).to_bytes(8, "little")
    yield header
    yield raw_bytes(tensor)


def _canonical_json(value: Any) -> str:  # Any: plain data or an error
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "a part of the cache key is not plain data",
            found=error,
            expected="text, finite numbers, booleans, lists and dictionaries of these",
            fix="describe the transform by its name and its numbers",
        ) from error
