"""Automatic masks of volumes: slice by slice, linked in depth, resumable."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.inference.array_sources import ArrayLike, VolumeSource
from samft.inference.disjoint import LabelledMasks, disjoint_masks
from samft.inference.label_results import LabelResult, MaskGenerator, Progress, no_progress
from samft.inference.label_stores import Window, create_labels, publish
from samft.inference.linking import Gap, Load, Tracks, interpolated, link
from samft.inference.volume_settings import LinkSettings
from samft.inference.work_folder import WorkFolder, model_key, tensors_key, volume_key, writing


class VolumeMasks:
    """Finds all objects of a volume and writes them as one label volume.

    Every slice is segmented on its own; masks of neighbouring slices that overlap well are one
    object. Memory holds a few slices. What is finished is kept in `<out>.partial` and gone on with
    after a stop, as for `TiledMasks`.

    Args:
        generator: What finds the objects of a slice: `AutomaticMasks`.
        settings: How slices are linked; `None` for the defaults.
        changes: Single settings, by the names of `LinkSettings`.

    Raises:
        ConfigError: if a setting is unknown or out of range.

    Example:
        >>> volume = open_array("stack.zarr")
        >>> source = VolumeSource(volume, value_range=sampled_range(volume))
        >>> VolumeMasks(AutomaticMasks(sam), min_voxels=200).label(source, "labels.zarr").count
    """

    def __init__(
        self,
        generator: MaskGenerator,
        *,
        settings: LinkSettings | None = None,
        **changes: Any,  # Any: checked against the settings' types
    ) -> None:
        base = settings or LinkSettings()
        self.generator = generator
        self.settings = LinkSettings.from_dict({**base.to_dict(), **changes})

    def label(
        self,
        volume: ArrayLike | VolumeSource,
        out: str | Path,
        *,
        progress: Progress = no_progress,
    ) -> LabelResult:
        """Label all objects of a volume.

        Args:
            volume: (depth, height, width) uint8: a numpy array, a memory map, a zarr array
                (`open_array`), cut along its first axis. A `VolumeSource` for anything else.
            out: `.zarr`, `.tif` or `.npy`, which must not exist; of the volume's shape.
            progress: Told about every slice, first when it is segmented, then when it is written.

        Raises:
            OutputError: if the output exists or cannot be of this kind, or an unfinished run with
                other settings, weights or voxels lies beside it.
            DatasetError: if `volume` is no volume.
            MachineError: if the disk is full.
        """
        source = volume if isinstance(volume, VolumeSource) else VolumeSource(volume)
        work = WorkFolder(Path(out), self._key(source))
        with work.opened():
            for index in range(source.count):
                if work.load(_name(index)) is None:
                    records = self.generator.records(source.read(index))
                    masks = disjoint_masks(
                        records, source.slice_size, min_visible=self.settings.min_visible
                    )
                    work.save(_name(index), {"labels": masks.labels, "scores": masks.scores})
                progress(index + 1, 2 * source.count)
            scores = self._write(source, work, progress)
            with writing(work.out):
                publish(work.labels, work.out)
        return LabelResult(path=work.out, shape=source.shape, scores=scores)

    def _write(
        self, source: VolumeSource, work: WorkFolder, progress: Progress
    ) -> NDArray[np.float32]:
        @lru_cache(maxsize=2 * self.settings.max_gap + 2)
        def load(index: int) -> LabelledMasks:
            arrays = work.need(_name(index))
            return LabelledMasks(arrays["labels"], arrays["scores"])

        tracks = link(source.count, load, self.settings)
        numbers = tracks.numbers(self.settings)
        with writing(work.out):
            store = create_labels(work.labels, source.shape, slice_axis=source.position)
            for index in range(source.count):
                labels = _slice_labels(index, load, tracks, numbers)
                store.write(window_of_slice(source, index), np.expand_dims(labels, source.position))
                progress(source.count + index + 1, 2 * source.count)
        return tracks.scores[numbers[:-1] > 0].astype(np.float32)

    def _key(self, source: VolumeSource) -> dict[str, Any]:  # Any: plain data
        return {
            "what": "slices of a volume",
            "volume": volume_key(source),
            "model": model_key(self.generator.sam),
            "masks": self.generator.settings.to_dict(),
            "grids": tensors_key(self.generator.grids),
            "links": self.settings.to_dict(),
        }


def window_of_slice(source: VolumeSource, index: int) -> Window:
    """Return the window of a slice in the label volume."""
    window = [slice(0, side) for side in source.shape]
    window[source.position] = slice(index, index + 1)
    return tuple(window)


def _slice_labels(
    index: int, load: Load, tracks: Tracks, numbers: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return the labels of one slice, filled in where objects were missed."""
    masks = load(index)
    table = np.concatenate([[0], numbers[tracks.of_slice[index]]]).astype(np.int32)
    labels: NDArray[np.int32] = table[masks.labels]
    for gap in tracks.gaps:
        if gap.before[0] < index < gap.after[0] and numbers[gap.track] > 0:
            _fill(labels, index, gap, load, number=int(numbers[gap.track]))
    return labels


def _fill(labels: NDArray[np.int32], index: int, gap: Gap, load: Load, *, number: int) -> None:
    (first, first_label), (last, last_label) = gap.before, gap.after
    before, after = load(first).labels == first_label, load(last).labels == last_label
    rows, columns = (np.flatnonzero((before | after).any(axis=axis)) for axis in (1, 0))
    # One pixel more on every side, so that there is an outside to measure from.
    part = tuple(slice(max(int(line[0]) - 1, 0), int(line[-1]) + 2) for line in (rows, columns))
    mask = interpolated(before[part], after[part], (index - first) / (last - first))
    labels[part][mask & (labels[part] == 0)] = number


def _name(index: int) -> str:
    return f"slice-{index:06d}"
