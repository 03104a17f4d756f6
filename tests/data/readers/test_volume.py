"""Which way a volume is cut."""

from pathlib import Path

import numpy as np
import pytest

from samft.data.readers.volume import AXES, geometry_for
from samft.data.readers.volumes import is_volume


def geometry(*spacing_xyz: float):
    return geometry_for(Path("a.nii"), shape=(7, 8, 9), affine=np.diag([*spacing_xyz, 1.0]))


@pytest.mark.parametrize(
    ("spacing_xyz", "expected"),
    [
        ((0.8, 0.8, 5.0), "axial"),
        ((0.8, 5.0, 0.8), "coronal"),
        ((3.0, 1.0, 1.0), "sagittal"),
        ((1.0, 1.0, 1.0), "axial"),
        ((1.0001, 1.0, 1.0), "axial"),  # rounding in a header must not decide
    ],
)
def test_auto_cuts_along_the_largest_voxel_side(spacing_xyz, expected: str) -> None:
    assert AXES[geometry(*spacing_xyz).slice_axis("auto")] == expected


@pytest.mark.parametrize(("axis", "count"), [("axial", 9), ("coronal", 8), ("sagittal", 7)])
def test_named_axes(axis, count: int) -> None:
    found = geometry(1, 1, 1)
    assert found.shape[found.slice_axis(axis)] == count


def test_names() -> None:
    names = ["a.nii", "a.NII.GZ", "a.nrrd", "b.seg.nrrd"]
    assert all(is_volume(Path(name)) for name in names)
    assert not is_volume(Path("a.png"))
    assert not is_volume(Path("a.gz"))
