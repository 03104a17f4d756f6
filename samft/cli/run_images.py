"""A few validation images of a run, for commands that ask its model something."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from samft.cli.quiet_log import at_least
from samft.errors import SamftError
from samft.runs import Run
from samft.types import Sample

_logger = logging.getLogger(__name__)


def validation_samples(run: Run, count: int) -> list[Sample]:
    """Return images of a run's validation split, spread over it.

    Args:
        run: A run folder, or a checkpoint on its own.
        count: How many at most.

    Returns:
        Fewer, or none, where the run's data is not there; why is logged.
    """
    if run.config is None:
        _logger.info("the checkpoint lies outside a run folder: its data is not known")
        return []
    try:
        samples = _validation_split(run.config)
        step = max(1, len(samples) // count)
        return [samples[index] for index in range(0, len(samples), step)[:count]]
    except (SamftError, OSError) as error:
        _logger.info("the run's own images are not there: %s", str(error).splitlines()[0])
        return []


def _validation_split(config: Path) -> Any:  # Any: a data set of samples, of several classes
    """Build the datamodule that a configuration names, and return its validation split."""
    from jsonargparse import ArgumentParser

    from samft.data.base import BaseDataModule
    from samft.errors import ConfigError

    data = (yaml.safe_load(config.read_text()) or {}).get("data")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    try:
        module = parser.instantiate_classes(parser.parse_object({"data": data}))["data"]
    except Exception as error:
        raise ConfigError("the run's data settings cannot be read", where=config) from error
    if not hasattr(module, "dataset"):
        raise ConfigError("the run's data has no validation split", where=config)
    with at_least("samft.data", logging.WARNING):  # how many images there are is of no interest
        module.prepare_index()
        return module.dataset("val")
