"""What a weights file says about itself: in a safetensors, or beside a `.pth`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from samft.prompts.protocol import METADATA_KEY, PromptProtocol

_MOST_BYTES: Final = 1 << 20


def record_beside(weights: Path) -> Path:
    """Return where the record of a `.pth` lies: `tuned.pth.json` beside `tuned.pth`."""
    return weights.with_name(f"{weights.name}.json")


def stored_protocol(weights: Path) -> PromptProtocol | None:
    """Return how the model in a weights file was prompted in training.

    Args:
        weights: A file that samft exported, or any other.

    Returns:
        `None` where the file does not say.

    Raises:
        CheckpointError: if it says something that cannot be read.
    """
    text = _record(weights).get(METADATA_KEY)
    return PromptProtocol.from_json(text) if isinstance(text, str) else None


def _record(weights: Path) -> dict[str, object]:
    if weights.suffix == ".safetensors":
        return _metadata(weights)
    beside = record_beside(weights)
    try:
        if not beside.is_file() or beside.stat().st_size > _MOST_BYTES:
            return {}
        found = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _metadata(weights: Path) -> dict[str, object]:
    try:
        with safe_open(weights, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}  # whoever loads the weights says what is wrong with the file
