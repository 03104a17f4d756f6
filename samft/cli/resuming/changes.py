"""What may be different when a run goes on, and what may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from samft.errors import ConfigError
from samft.run_environment import described_values

Changes = Mapping[str, tuple[Any, Any]]  # Any: YAML

PROLONGING: Final = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
"""How long a run is. Changing them is said, not refused."""

_FREE: Final = (
    *PROLONGING,
    "ckpt_path",
    "config",
    "data.check_files",
    "data.num_workers",
    "data.root",  # its files are compared one by one
    "empty_masks.",
    "model.cache_on_error",
    "model.max_prompts_per_step",
    "model.weights",  # the checkpoint holds them
    "non_finite.",
    "overlays.",
    "runs",
    "saving.",
    "trainer.default_root_dir",
    "trainer.enable_",
    "trainer.log_every_n_steps",
    "trainer.logger",
    "trainer.num_sanity_val_steps",
    "trainer.profiler",
    "weights_only",
)
_SHOWN: Final = 4


def counting_changes(changes: Changes) -> dict[str, tuple[Any, Any]]:
    """Return the changes of settings that make another result, or could."""
    return {name: pair for name, pair in changes.items() if not name.startswith(_FREE)}


def refuse_changes(what: str, changes: list[str], *, allowed: bool, where: object) -> None:
    """Refuse changes that were not allowed.

    Args:
        what: What has changed: settings, or data.
        changes: The changes in words.
        allowed: Whether `--allow-changed` was given.
        where: The run.

    Raises:
        ConfigError: naming the first few of them.
    """
    if not changes or allowed:
        return
    more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    raise ConfigError(
        f"the {what} of the run have changed, it would not go on as it was",
        where=where,
        found="; ".join(changes[:_SHOWN]) + more,
        fix="restore them; or add --allow-changed; or start anew with samft fit",
    )


def setting_changes(changes: Changes) -> list[str]:
    """Return the changes that count, in words."""
    return list(described_values(counting_changes(changes)))


def prolonging_changes(changes: Changes) -> list[str]:
    """Return the changes of the length of the run, in words."""
    return list(described_values({name: changes[name] for name in PROLONGING if name in changes}))
