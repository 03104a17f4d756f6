"""The conventions around SAM's state dicts: where weights sit in a file and what they are named.

Whatever wraps the weights, the official names are in there somewhere: training scripts put the
state dict into an entry of a larger dictionary, and wrapper modules put a prefix before
`image_encoder.`. Both are found by looking for the image encoder, not by knowing each tool.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from samft.errors import CheckpointError
from samft.models.huggingface import from_huggingface
from samft.models.recognise import family_of

_logger = logging.getLogger(__name__)

MAX_ENTRIES: Final = 20_000
"""Entries a state dict may have; `vit_h` has 594."""

_ENCODER_KEY = re.compile(r"((?:.*?\.)?)(?:image_encoder|vision_encoder)\.")
_COMPILED = "_orig_mod."  # torch.compile puts it before, but also inside, SAM's own names
_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where in a file the weights were found.

    Args:
        layout: Whose key names the file has: `official` or `huggingface`.
        entry: The entry of the file that holds the weights, such as `model_state`; empty when the
            file holds nothing else.
        prefix: What stood before `image_encoder.`, such as `module.`.
        ignored: Names of weights that are in the file but are not SAM's, such as `decoder_state`.
    """

    layout: str
    entry: str
    prefix: str
    ignored: tuple[str, ...]


def to_official(content: object, source: Path) -> tuple[dict[str, Tensor], Origin]:
    """Find SAM's weights in what a file holds and give them their official names.

    Args:
        content: What was read from the file.
        source: The file, for messages.

    Returns:
        The state dict with official keys, its tensors floating point and finite but for single
        int64 counters, and where it was found.

    Raises:
        CheckpointError: if there are no weights of a SAM in it, more than one SAM, or values that
            are not finite floating point tensors.
    """
    entry, found, siblings = _find_weights(content, source)
    _check_keys(found, source)
    prefix, values, outside = _strip_prefix(found, source)
    state = {key: _checked(key, value, source) for key, value in values.items()}
    layout = "official"
    if any(key.startswith("vision_encoder.") for key in state):
        layout, state = "huggingface", from_huggingface(state)
    ignored = (*siblings, *outside)
    if ignored:
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        _logger.warning("%s: not part of SAM, ignored: %s%s", source, ", ".join(ignored[:5]), more)
    return state, Origin(layout=layout, entry=entry, prefix=prefix, ignored=ignored)


def _find_weights(
    content: object, source: Path
) -> tuple[str, dict[object, object], tuple[str, ...]]:
    """Return the entry that holds the SAM, what it holds, and the names of weights beside it."""
    top = _plain_dict(content)
    if _has_encoder(top):
        return "", top, ()
    entries = {str(key): _plain_dict(value) for key, value in top.items()}
    found = [key for key, value in entries.items() if _has_encoder(value)]
    if len(found) > 1:
        raise _several(source, "entries", found)
    if not found:
        raise _no_weights(top or type(content).__name__, source)
    siblings = [
        key
        for key, value in entries.items()
        if key != found[0] and any(isinstance(item, Tensor) for item in value.values())
    ]
    return found[0], entries[found[0]], tuple(siblings)


def _plain_dict(value: object) -> dict[object, object]:
    # dict.items, because an unpickled OrderedDict can carry an attribute of that name.
    return dict(dict.items(value)) if isinstance(value, dict) else {}


def _has_encoder(mapping: dict[object, object]) -> bool:
    return any(isinstance(key, str) and _ENCODER_KEY.match(key) for key in mapping)


def _check_keys(mapping: dict[object, object], source: Path) -> None:
    if len(mapping) > MAX_ENTRIES:
        raise CheckpointError(
            "the weights file has far more entries than a SAM",
            where=source,
            found=f"{len(mapping)} entries",
            expected=f"at most {MAX_ENTRIES}",
        )
    for key in mapping:
        if not isinstance(key, str):
            raise CheckpointError(
                "a key of the state dict is not a name",
                where=f"{source}: {str(key)[:60]}",
                found=type(key).__name__,
                expected="str",
            )


def _strip_prefix(
    found: dict[object, object], source: Path
) -> tuple[str, dict[str, object], tuple[str, ...]]:
    """Return what stands before `image_encoder.`, the values without it, and the keys outside."""
    named = {str(key).replace(_COMPILED, ""): value for key, value in found.items()}
    prefixes = {match[1] for key in named if (match := _ENCODER_KEY.match(key))}
    if len(prefixes) > 1 or len(named) != len(found):
        raise _several(source, "prefixes", sorted(prefixes))
    prefix = prefixes.pop()
    inside = {
        key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)
    }
    return prefix, inside, tuple(key for key in named if not key.startswith(prefix))


def _checked(key: str, value: object, source: Path) -> Tensor:
    """Return `value` without gradient if it is a plain tensor of finite floats, or a counter."""
    if not isinstance(value, Tensor):
        raise _bad_value(key, source, type(value).__name__)
    tensor = value.detach()
    if tensor.ndim == 0 and tensor.dtype == torch.int64:
        return tensor  # how many batches a batch norm has seen
    if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
        raise _bad_value(key, source, f"{tensor.dtype} tensor")
    # A stride of 0 lets a few bytes pose as any shape.
    if tensor.untyped_storage().nbytes() < tensor.nbytes:
        raise _bad_value(key, source, f"{tensor.untyped_storage().nbytes()} bytes of values")
    if tensor.numel() and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
        raise _bad_value(key, source, "NaN or infinite values")
    return tensor


def _bad_value(key: str, source: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "the weights file holds a value that cannot be a weight",
        where=f"{source}: {key}",
        found=found,
        expected="a tensor of finite floating point values",
        fix="save the weights again; NaN means that the training had diverged",
    )


def _several(source: Path, what: str, names: list[str]) -> CheckpointError:
    return CheckpointError(
        "the file holds more than one SAM",
        where=source,
        found=f"{what} {', '.join(map(repr, names))}",
        expected="one",
        fix="save the one you want by itself: torch.save(model.state_dict(), FILE)",
    )


def _no_weights(found: dict[object, object] | str, source: Path) -> CheckpointError:
    family = None if isinstance(found, str) else family_of(_all_keys(found))
    if family is not None:
        shown = f"{family} weights, which samft does not support"
    elif isinstance(found, str):
        shown = found
    else:
        shown = "keys such as " + ", ".join(repr(key)[:60] for key in list(found)[:3])
    return CheckpointError(
        "there are no weights of a SAM in the file",
        where=source,
        found=shown,
        expected="keys such as image_encoder.patch_embed.proj.weight",
        fix="pass a SAM checkpoint: official .pth, safetensors, or a Hugging Face SamModel folder",
    )


def _all_keys(top: dict[object, object]) -> list[object]:
    return [*top, *(key for value in top.values() for key in _plain_dict(value))]
