"""The samples of a data set as sources: planes that come with their true objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samft.data.dataset import SampleDataset
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
        files: The files it is read from.
        volume: The volume or stack whose planes are in the data set; `None` for a flat image.
    """

    def __init__(
        self,
        name: str,
        rows: dict[str, int],
        samples: Samples,
        *,
        files: tuple[Path, ...] = (),
        volume: Source | None = None,
    ) -> None:
        super().__init__(name, files)
        self.rows = rows
        self.samples = samples
        self.volume = volume

    @property
    def space(self) -> VolumeSpace | None:
        """See `Source`."""
        return None if self.volume is None else self.volume.space

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
    if not isinstance(samples, SampleDataset):  # images that are made, not read
        names = [samples[row].sample_id for row in range(len(samples))]
        return [TruthSource(name, {name: row}, samples) for row, name in enumerate(names)]
    found: dict[str, TruthSource] = {}
    for row, record in enumerate(samples.records):
        is_slice = record.slice_index is not None
        name = record.sample_id.rpartition("/")[0] if is_slice else record.sample_id
        if name not in found:
            found[name] = TruthSource(
                name,
                {},
                samples,
                files=(*record.images, *record.labels),
                volume=samples.source(record) if is_slice and samples.source else None,
            )
        found[name].rows[record.sample_id] = row
    return list(found.values())
