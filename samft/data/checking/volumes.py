"""What is odd about where a volume lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samft._deps import require
from samft.data.checking.findings import Finding
from samft.data.readers.limits import reading
from samft.data.readers.nrrd import NRRD_SUFFIXES
from samft.data.readers.volumes import probe_volume

_LEAST_MM, _MOST_MM = 1e-4, 100.0
_MOST_RATIO = 100.0


def check_space(path: Path, name: str) -> list[Finding]:
    """Find voxel sizes that are not stated, or cannot be.

    Args:
        path: A NIfTI or NRRD volume that can be read.
        name: Its name below the data root.
    """
    if not _states_space(path):
        return [
            Finding(
                code="spacing-unknown",
                file=name,
                found="no position and no voxel size in the header, so 1 mm is assumed",
                expected="an affine (NIfTI: qform or sform code above 0; NRRD: space directions)",
                fix="convert the images again from DICOM, or set the header; scores in "
                "millimetres mean nothing until then",
            )
        ]
    spacing = probe_volume(path).spacing_mm
    low, high = min(spacing), max(spacing)
    if low >= _LEAST_MM and high <= _MOST_MM and high <= _MOST_RATIO * low:
        return []
    return [
        Finding(
            code="spacing-odd",
            file=name,
            found=" x ".join(f"{side:.4g}" for side in spacing) + " mm (z, y, x)",
            expected=f"{_LEAST_MM:g} to {_MOST_MM:g} mm, sides alike within a factor of "
            f"{_MOST_RATIO:g}",
            fix="correct the header, which may be in micrometres or metres",
        )
    ]


def _states_space(path: Path) -> bool:
    if path.name.lower().endswith(NRRD_SUFFIXES):
        nrrd = require("nrrd", extra="medical", purpose="read NRRD files")
        with reading(path, "an NRRD volume"):
            header = nrrd.read_header(str(path))
            directions = header.get("space directions", header.get("spacings"))
            return directions is not None and _any_finite(directions)
    nibabel = require("nibabel", extra="medical", purpose="read NIfTI files")
    with reading(path, "a NIfTI volume"):
        header = nibabel.load(path).header
        stated = int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
        # Analyze-like writers state sizes alone; all of them 1 is what nobody measured.
        zooms = np.asarray(header.get_zooms()[:3], np.float64)
        return stated or not bool((zooms == 1).all())


def _any_finite(values: Any) -> bool:  # Any: numbers, or words of the header
    try:
        return bool(np.isfinite(np.asarray(values, dtype=np.float64)).any())
    except (TypeError, ValueError):
        return True  # a list with "none" for the axis of channels
