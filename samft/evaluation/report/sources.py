"""What a report is made from: a run folder, results of a test, or both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from samft.data.readers.json_files import is_deep, read_json
from samft.data.readers.limits import unreadable
from samft.data.readers.yaml_files import YAML_ERRORS, read_yaml, unreadable_yaml
from samft.errors import ConfigError, DatasetError
from samft.evaluation.report.privacy import Privacy
from samft.evaluation.report.results import METRICS_FILE, Results, read_results
from samft.evaluation.report.training import Training, Weights, read_training, read_weights
from samft.runs import load_run

ENVIRONMENT_FILE: Final = "env.json"
DATA_FILE: Final = "data.json"
RESULT_FOLDERS: Final = ("test", "validate", "val")
"""Where results are looked for in a run folder, in this order."""
_CHECKPOINTS: Final = "checkpoints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What the user pointed at.

    Args:
        folder: Where the report goes by default.
        checkpoint: Of the run; `None` for results on their own.
        config: Of the run, where it is there.
        results: Folder of the results; `None` where there are none.
    """

    folder: Path
    checkpoint: Path | None = None
    config: Path | None = None
    results: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Everything a report says, read and made private.

    Args:
        place: Where it came from.
        privacy: Which names may be shown.
        label: How the run is called in commands.
        results: What the test found; `None` without one.
        training: History of the run.
        weights: What the checkpoint says of itself; `None` for results on their own.
        config: The resolved configuration.
        environment: Of the training, or else of the test.
        data: What is known of the training data.
    """

    place: Place
    privacy: Privacy
    label: str
    results: Results | None = None
    training: Training = field(default_factory=Training)
    weights: Weights | None = None
    config: Mapping[str, Any] = field(default_factory=dict)  # Any: YAML
    environment: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    data: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


def find(path: Path, results: Path | None = None, *, which: str = "best") -> Place:
    """Find out what a path is: a run, a checkpoint, or a folder of results.

    Args:
        path: What the user pointed at.
        results: Folder of results to use in place of those in the run.
        which: The checkpoint of a run folder that has both.

    Raises:
        CheckpointError: if it is none of these.
        DatasetError: if the results that were asked for are not there.
    """
    place = path.expanduser()
    if results is not None and not (results / METRICS_FILE).is_file():
        raise DatasetError(
            "there are no results of a test in this folder",
            where=results.absolute(),
            expected=METRICS_FILE,
            fix=f"make them with: samft test {path} --evaluation.out {results}",
        )
    if place.is_dir() and not _is_run(place) and (place / METRICS_FILE).is_file():
        # Absolute without following links: `.` has a parent too.
        parent = Path(os.path.abspath(place)).parent  # noqa: PTH100
        if not _is_run(parent):
            return Place(folder=place, results=results or place)
        place, results = parent, results or place
    run = load_run(place, which="last" if which == "last" else "best")
    folder = run.folder or _home_of(run.checkpoint)
    found = results or next(
        (folder / name for name in RESULT_FOLDERS if (folder / name / METRICS_FILE).is_file()), None
    )
    return Place(folder=folder, checkpoint=run.checkpoint, config=run.config, results=found)


def read(place: Place, *, keep_names: bool = False) -> Sources:
    """Read everything there is.

    Args:
        place: From `find`.
        keep_names: Show ids, folders and users as they are.

    Raises:
        SamftError: if a file is there and cannot be read.
    """
    is_run = place.checkpoint is not None
    privacy = Privacy(place.folder if is_run else None, keep_names=keep_names)
    results = None if place.results is None else read_results(place.results, privacy)
    label = privacy.run_label(place.folder.absolute())
    if place.checkpoint is None:
        environment = {} if results is None else results.content["environment"]
        return Sources(
            place=place, privacy=privacy, label=label, results=results, environment=environment
        )
    environment = _object(place.folder / ENVIRONMENT_FILE, "the environment of a run")
    tested = {} if results is None else results.content["environment"]
    return Sources(
        place=place,
        privacy=privacy,
        label=label,
        results=results,
        training=read_training(place.folder, place.checkpoint),
        weights=_private(read_weights(place.checkpoint), privacy),
        config=privacy.clean(_config(place.config)),
        environment=privacy.clean(environment) or tested,
        data=_object(place.folder / DATA_FILE, "the data of a run"),
    )


def _is_run(folder: Path) -> bool:
    return (folder / _CHECKPOINTS).is_dir()


def _home_of(checkpoint: Path) -> Path:
    parent = checkpoint.parent
    return parent.parent if parent.name == _CHECKPOINTS else parent


def _private(weights: Weights, privacy: Privacy) -> Weights:
    return Weights(
        base=privacy.last_part(weights.base),
        base_sha256=weights.base_sha256,
        settings=privacy.clean(dict(weights.settings)),
        epoch=weights.epoch,
        steps=weights.steps,
    )


def _object(path: Path, expected: str) -> dict[str, Any]:  # Any: JSON
    """Return what a JSON file holds; a list of things under the name `files`; nothing without."""
    if not path.is_file():
        return {}
    content = read_json(path, expected)
    if is_deep(content):
        raise unreadable(path, "values deep in each other", expected)
    return content if isinstance(content, dict) else {"files": content}


def _config(path: Path | None) -> dict[str, Any]:  # Any: YAML
    if path is None:
        return {}
    try:
        content = read_yaml(path)
    except YAML_ERRORS as error:
        raise unreadable_yaml(
            error,
            path,
            "the configuration of the run cannot be read",
            fix="restore the file, or move it away to make the report without it",
        ) from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(
            "the configuration of the run cannot be read",
            where=path,
            found=type(content).__name__,
            expected="settings by name",
            fix="restore the file, or move it away to make the report without it",
        )
    return content or {}
