"""The samples of a data set as sources: planes that come with their true objects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.volumes import probe_volume
from samft.data.records import Record
from samft.data.sources import Source, VolumeSpace
from samft.types import Sample


class Samples(Protocol):
    """A data set of samples in the original frame."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> Sample: ...


class TruthSource(Source):
    """One image of a data set, or those slices of a volume that are in it.

    Args:
        name: Identifier.
        rows: For every plane in the data set, by its identifier, its row.
        samples: The data set.
        record: The first of its records, where the data set has any.
    """

    def __init__(
        self, name: str, rows: dict[str, int], samples: Samples, record: Record | None
    ) -> None:
        files: tuple[Path, ...] = () if record is None else (*record.images, *record.labels)
        super().__init__(name, files)
        self.rows = rows
        self.samples = samples
        self.record = record

    @cached_property
    def space(self) -> VolumeSpace | None:
        """See `Source`."""
        record = self.record
        if record is None or record.slice_index is None:
            return None
        geometry = probe_volume(record.images[0])
        return VolumeSpace(
            kind="volume",
            shape=geometry.shape,
            axis=record.axis,
            files=record.images,
            geometry=geometry,
        )

    def size(self, index: int) -> tuple[int, int]:
        """See `Source`."""
        return self.truth(index).size

    def picture(self, index: int) -> NDArray[Any]:
        """See `Source`."""
        return np.asarray(self.truth(index).image.numpy())

    def truth(self, index: int) -> Sample:
        """See `Source`."""
        return self.samples[self.rows[self.planes[index]]]


def truth_sources(samples: Samples) -> list[TruthSource]:
    """Return the samples of a data set, the slices of a volume together."""
    records: Sequence[Record] | None = getattr(samples, "records", None)
    if records is None:  # images that are made, not read
        names = [samples[row].sample_id for row in range(len(samples))]
        return [TruthSource(name, {name: row}, samples, None) for row, name in enumerate(names)]
    found: dict[str, TruthSource] = {}
    for row, record in enumerate(records):
        name = record.sample_id
        if record.slice_index is not None:
            name = name.rpartition("/")[0]
        source = found.setdefault(name, TruthSource(name, {}, samples, record))
        source.rows[record.sample_id] = row
    return list(found.values())
