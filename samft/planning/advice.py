"""What to do when memory has run out and nothing is left to be done without the user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from samft.errors import MachineError
from samft.planning.knobs import advice
from samft.planning.shapes import shape_of
from samft.planning.step import Trainable
from samft.sharding import is_sharded
from samft.types import SamBatch

_log = logging.getLogger(__name__)
_IN_SHARDS: Final = "set model.checkpoint_blocks: true, or lower data.batch_size"


@contextmanager
def advised(module: Trainable, batch: SamBatch) -> Iterator[None]:
    """Turn running out of memory into an error that names the settings which save most.

    Args:
        module: What is trained.
        batch: The batch it is trained on within.

    Raises:
        MachineError: instead of `torch.OutOfMemoryError`, which it comes from.
        torch.OutOfMemoryError: as it was, where no advice can be given.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        problem = _problem(module, batch)
        if problem is None:
            raise
        raise problem from error


def _problem(module: Trainable, batch: SamBatch) -> MachineError | None:
    shape = shape_of(module, batch)
    sharded = is_sharded(module.sam)
    try:
        fix = _IN_SHARDS if sharded else advice(module, shape)
    except Exception:  # noqa: BLE001  (the error that was there matters more than advice)
        _log.debug("no advice can be given", exc_info=True)
        return None
    if fix is None:
        return None
    return MachineError(
        "out of memory; an encoder in shards is not tried again with less"
        if sharded
        else "out of memory, also with the smallest pieces",
        where=str(batch.images.device),
        found=f"{shape.images} images, {shape.objects} objects, {shape.precision}",
        fix=fix,
    )
