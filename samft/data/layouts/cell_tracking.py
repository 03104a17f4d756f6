"""The Cell Tracking Challenge: frames in `01/`, cell masks in `01_GT/SEG/` or `01_ST/SEG/`."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from samft.data.files import list_files, match_files, name_some, relative_name
from samft.data.layouts.listing import Listing
from samft.data.layouts.mask_kind import MaskKind
from samft.data.layouts.pairs import PairsLayout
from samft.data.pairing import report_lonely
from samft.data.records import Record
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_FRAME = re.compile(r"(.*/)?(\d{2,})/t(\d{3,})\.tiff?", re.IGNORECASE)
_MASK = re.compile(r"(.*/)?(\d{2,})_(GT|ST)/SEG/man_seg_?(\d{3,})\.tiff?", re.IGNORECASE)
_SLICE = re.compile(r"(?:.*/)?\d{2,}_(?:GT|ST)/SEG/man_seg_?\d{3,}_\d{3,}\.tiff?", re.IGNORECASE)


class _Frame(NamedTuple):
    """Which frame of which sequence a file belongs to.

    Args:
        sequence: The folder of the sequence below the root, such as `Fluo-N2DH-SIM+/01`.
        number: The number of the frame.
    """

    sequence: str
    number: int


class CellTrackingLayout(PairsLayout):
    """`01/t000.tif` with `01_GT/SEG/man_seg000.tif`, the gold truth, or else the silver (`_ST`).

    Few frames have a gold truth; the others are left out, with their number logged. The silver
    truth is chosen with `layout: cell_tracking` and `labels: '*_ST/SEG/*.tif'`. Each value of a
    mask is a cell. A sequence is a case; of a single one, each frame.

    Source: the challenge's conventions, https://celltrackingchallenge.net/datasets/.
    """

    name: ClassVar[str] = "cell_tracking"

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        names = listing.ending(".tif", ".tiff")
        masks = [name for name in names if _MASK.fullmatch(name) or _SLICE.fullmatch(name)]
        frames = [name for name in names if _FRAME.fullmatch(name)]
        if not masks or not frames:
            return None
        return f"{len(frames)} frames such as {frames[0]} and masks such as {masks[0]}"

    def records(self) -> list[Record]:
        """See `Layout`."""
        frames, masks = self._frames(), self._masks()
        self._table = self._class_table(list(masks.values()))
        self._kind = self._find_kind(list(masks.values()))
        unframed = [path for frame, path in masks.items() if frame not in frames]
        report_lonely(self.root, unframed, "mask", "frame", on_missing=self.settings.on_missing)
        both = [frame for frame in sorted(frames) if frame in masks]
        if not both:
            raise DatasetError(
                "no frame has a mask",
                where=self.root,
                found=f"{len(frames)} frames, {len(masks)} masks of whole frames",
                expected="01/t000.tif and 01_GT/SEG/man_seg000.tif, or 01_ST/SEG",
                fix="set data.root to the folder that holds 01/ and 01_GT/, or choose the silver "
                "truth with data.layout: cell_tracking and data.labels: '*_ST/SEG/*.tif'",
            )
        _log.info("%d of %d frames have a mask, the others are left out", len(both), len(frames))
        several = len({frame.sequence for frame in both}) > 1
        if not several:
            _log.warning("there is one sequence: its frames are split as if they were independent")
        found = ((frame, self._record((frames[frame],), masks[frame])) for frame in both)
        return [
            replace(record, case_id=frame.sequence) if several else record
            for frame, record in found
        ]

    def _find_kind(self, labels: Sequence[Path]) -> MaskKind:
        plain = self.settings.objects == "auto" and self.settings.classes is None
        return "instances" if plain else super()._find_kind(labels)

    def _frames(self) -> dict[_Frame, Path]:
        patterns = self.settings.images
        if patterns is None:
            files = list_files(self.root)
        else:
            files = match_files(self.root, patterns[0], setting="data.images")
        named = ((path, _FRAME.fullmatch(relative_name(self.root, path))) for path in files)
        return {_Frame((m[1] or "") + m[2], int(m[3])): path for path, m in named if m}

    def _masks(self) -> dict[_Frame, Path]:
        """Return the masks of whole frames, of the better truth that a sequence has."""
        pattern = self.settings.labels
        if pattern is None:
            files = list_files(self.root)
        else:
            files = match_files(self.root, pattern, setting="data.labels")
        names = {path: relative_name(self.root, path) for path in files}
        slices = [path for path, name in names.items() if _SLICE.fullmatch(name)]
        if slices:
            _log.warning(
                "%d masks of single slices of volumes left out: %s",
                len(slices),
                name_some(self.root, slices),
            )
        named = [(path, m) for path, name in names.items() if (m := _MASK.fullmatch(name))]
        gold = {_sequence(m) for _, m in named if m[3].upper() == "GT"}
        return {
            _Frame(_sequence(m), int(m[4])): path
            for path, m in named
            if m[3].upper() == "GT" or _sequence(m) not in gold
        }


def _sequence(match: re.Match[str]) -> str:
    return (match[1] or "") + match[2]
