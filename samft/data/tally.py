"""Counts what is dropped on the way from a file to a batch, over all worker processes."""

from __future__ import annotations

import logging
import multiprocessing

_log = logging.getLogger(__name__)


class Tally:
    """Objects that a split lost, counted once per loaded image.

    The counters are shared between processes: loader workers add, the main process reports.

    Args:
        split: Name of the split, for the report.
        min_area: The rule that drops small objects, for the report.
    """

    def __init__(self, split: str, *, min_area: int) -> None:
        self.split = split
        self.min_area = min_area
        self._counts = multiprocessing.Array("q", 3)
        self._reported = False

    @property
    def small(self) -> int:
        """Objects below `min_area`, dropped when the image was read."""
        return int(self._counts[0])

    @property
    def vanished(self) -> int:
        """Objects without a pixel left after augmentation and resizing, dropped from the batch."""
        return int(self._counts[1])

    @property
    def images(self) -> int:
        """Images loaded so far."""
        return int(self._counts[2])

    def add(self, *, small: int = 0, vanished: int = 0, images: int = 0) -> None:
        """Add to the counters."""
        with self._counts.get_lock():
            for index, count in enumerate((small, vanished, images)):
                self._counts[index] += count

    def report(self) -> None:
        """Log once what was dropped, if anything was."""
        if self._reported or not (self.small or self.vanished):
            return
        self._reported = True
        _log.info(
            "%s: in %d loaded images, %d objects smaller than data.min_area (%d pixels) became "
            "background, and %d vanished by augmentation or at the input size",
            self.split,
            self.images,
            self.small,
            self.min_area,
            self.vanished,
        )
