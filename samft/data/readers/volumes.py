"""Which reader opens a volume file."""

from __future__ import annotations

from pathlib import Path

from samft.data.readers.nifti import NIFTI_SUFFIXES, probe_nifti, read_nifti
from samft.data.readers.nrrd import NRRD_SUFFIXES, probe_nrrd, read_nrrd, read_segments
from samft.data.readers.volume import Segment, Volume, VolumeGeometry

VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES)
"""File name endings of the volume formats, lower case."""


def is_volume(path: Path) -> bool:
    """Tell by its name whether a file is a volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path) -> Volume:
    """Read a NIfTI or NRRD volume into canonical orientation."""
    return read_nrrd(path) if _is_nrrd(path) else read_nifti(path)


def probe_volume(path: Path) -> VolumeGeometry:
    """Return size and position of a NIfTI or NRRD volume from its header."""
    return probe_nrrd(path) if _is_nrrd(path) else probe_nifti(path)


def probe_segments(path: Path) -> tuple[Segment, ...]:
    """Return the segments that a file's header names; formats without names have none."""
    return read_segments(path) if _is_nrrd(path) else ()


def _is_nrrd(path: Path) -> bool:
    return path.name.lower().endswith(NRRD_SUFFIXES)
