"""A few validation images of a run, for commands that ask its model something."""

from __future__ import annotations

import logging
from pathlib import Path

from samft.cli.data_opening import data_sections, open_module
from samft.data.split_datamodule import Samples
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


def _validation_split(config: Path) -> Samples:
    ((section, root),) = data_sections([str(config)], [])
    return open_module(section, root, where=str(config)).dataset("val")
