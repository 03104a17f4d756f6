"""MATLAB files through scipy: label maps and boundaries drawn by people, as in BSDS500."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.image import whole_numbers
from samft.data.readers.limits import check_declared_size, reading, unreadable
from samft.data.readers.mat_check import EXPECTED, check_mat

_TRUTH = "groundTruth"
_EXPECTED_TRUTH = "groundTruth, a cell array of structs with Segmentation and Boundaries"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Annotation:
    """What one person drew.

    Args:
        segmentation: (H, W) int32, the segments from 1 on; `None` where there is none.
        boundaries: (H, W) bool, `None` where there are none.
    """

    segmentation: NDArray[np.int32] | None
    boundaries: NDArray[np.bool_] | None


def read_mat(path: Path) -> dict[str, Any]:  # Any: what scipy makes of MATLAB's types
    """Read the variables of a MATLAB file of version 5 to 7.2.

    Raises:
        DatasetError: if it is of another version (7.3 is HDF5), damaged, or too large.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError, MatReadWarning

    with reading(path, EXPECTED, also=(MatReadError, MatReadWarning, NameError)):
        check_mat(path)
        variables: dict[str, Any] = loadmat(path)
        return {name: value for name, value in variables.items() if not name.startswith("__")}


def read_annotations(path: Path) -> list[Annotation]:
    """Read what each of the annotators of an image drew, as BSDS500 stores it.

    Raises:
        DatasetError: if the file is unreadable or holds no `groundTruth`.
    """
    found = read_mat(path).get(_TRUTH)
    if not isinstance(found, np.ndarray) or found.size == 0 or found.dtype != object:
        raise unreadable(path, "no groundTruth in it", _EXPECTED_TRUTH)
    annotations = [_annotation(path, cell) for cell in found.reshape(-1)]
    sizes = {
        array.shape
        for annotation in annotations
        for array in (annotation.segmentation, annotation.boundaries)
        if array is not None
    }
    if len(sizes) != 1:
        raise unreadable(path, f"annotations of sizes {sorted(sizes)}", _EXPECTED_TRUTH)
    return annotations


def read_boundaries(path: Path) -> list[NDArray[np.bool_]]:
    """Read the boundaries that each annotator drew: a list of (H, W) masks.

    Raises:
        DatasetError: if the file is unreadable or an annotation has none.
    """
    found = [annotation.boundaries for annotation in read_annotations(path)]
    drawn = [boundaries for boundaries in found if boundaries is not None]
    if len(drawn) < len(found):
        raise unreadable(path, "an annotation without Boundaries", _EXPECTED_TRUTH)
    return drawn


def _annotation(path: Path, cell: Any) -> Annotation:  # Any: as `read_mat`
    names = getattr(getattr(cell, "dtype", None), "names", None)
    if names is None or cell.size != 1 or not {"Segmentation", "Boundaries"} & set(names):
        raise unreadable(path, "a cell that is no annotation", _EXPECTED_TRUTH)
    entry = cell.reshape(-1)[0]
    segmentation = _plane(path, entry, "Segmentation", names)
    boundaries = _plane(path, entry, "Boundaries", names)
    return Annotation(
        segmentation=None if segmentation is None else whole_numbers(segmentation, path),
        boundaries=None if boundaries is None else boundaries > 0,
    )


def _plane(path: Path, entry: Any, name: str, names: Any) -> NDArray[Any] | None:  # Any: as above
    if name not in names:
        return None
    array = entry[name]
    if hasattr(array, "toarray"):  # a sparse matrix: mostly zeros, as boundaries are
        array = _dense(path, array)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf":
        raise unreadable(path, f"{name} is no matrix of numbers", _EXPECTED_TRUTH)
    return array


def _dense(path: Path, array: Any) -> NDArray[Any]:  # Any: scipy.sparse
    check_declared_size(path, array.shape, 8)
    with reading(path, EXPECTED):
        array.check_format(full_check=True)  # what follows believes every row number
    return np.asarray(array.toarray())
