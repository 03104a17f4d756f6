"""All targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from benchmarks.fuzzing.target import Target
from benchmarks.fuzzing.targets import (
    annotations,
    annotations_xml,
    archives,
    checkpoints,
    described_sets,
    dicom,
    folders,
    images,
    result_files,
    settings_files,
    stores,
    tiff,
    training_runs,
    volumes,
    zarr,
)

_FAMILIES: Final[tuple[Callable[[], Sequence[Target]], ...]] = (
    annotations.targets,
    annotations_xml.targets,
    described_sets.targets,
    settings_files.targets,
    result_files.targets,
    volumes.targets,
    images.targets,
    tiff.targets,
    dicom.targets,
    zarr.targets,
    checkpoints.targets,
    training_runs.targets,
    archives.targets,
    folders.targets,
    stores.targets,
)


@cache
def all_targets() -> dict[str, Target]:
    """Return all targets by name."""
    found: dict[str, Target] = {}
    for family in _FAMILIES:
        for target in family():
            if target.name in found:
                raise ValueError(f"two targets are called {target.name}")
            found[target.name] = target
    return found


def find_target(name: str) -> Target:
    """Return a target.

    Args:
        name: Of the target.

    Raises:
        ValueError: if there is none of that name.
    """
    known = all_targets()
    if name not in known:
        raise ValueError(f"no target is called {name}: expected one of {', '.join(known)}")
    return known[name]
