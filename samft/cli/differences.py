"""Says what is set otherwise than in the run that a checkpoint comes from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from samft.models.adaptation.presets import settle

_COMPARED: Final = ("arch", "image_size", "channels", "adapt", "prompts", "loss", "optimizer")


def warn_of_differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:  # Any: YAML
    """Warn when the model is built differently from how the checkpoint was trained.

    Args:
        stored: The settings of the model in the checkpoint.
        given: Those of the command line and its files.
    """
    different = []
    for name in _COMPARED:
        if name not in stored or given.get(name) is None:
            continue
        now = _adaptation(given[name], stored[name]) if name == "adapt" else given[name]
        if now != stored[name]:
            different.append(f"{name}: {stored[name]!r} in the checkpoint, {now!r} now")
    if different:
        logging.getLogger("samft").warning(
            "settings differ from the checkpoint's; the ones given now are used\n  %s",
            "\n  ".join(different),
        )


def _adaptation(given: Any, stored: Any) -> Any:  # Any: YAML
    """Return settings as a checkpoint holds them: in full, where people give a preset's name."""
    from_scratch = isinstance(stored, Mapping) and bool(stored.get("update_statistics"))
    return settle(given, from_scratch=from_scratch).to_dict()
