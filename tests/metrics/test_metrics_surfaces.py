"""Surface distances against values by hand, brute force, and MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from samft.errors import ConfigError
from samft.metrics.surfaces import SurfaceScores, bounding_box, surface, surface_distances


def ellipsoid(shape, centre, radii) -> np.ndarray:
    grid = np.indices(shape)
    return sum(((grid[i] - centre[i]) / radii[i]) ** 2 for i in range(len(shape))) <= 1


VOLUMES = (
    ellipsoid((12, 16, 20), (5, 7, 9), (3.2, 5.1, 6.3)),
    ellipsoid((12, 16, 20), (6, 8, 8.5), (4.1, 4.4, 7.2)),
)
IMAGES = (ellipsoid((30, 40), (12, 15), (8.3, 11.2)), ellipsoid((30, 40), (14, 19), (9.6, 9.1)))

# HD, HD95, ASSD and NSD at 1 mm of MONAI 1.6.1 (surface distances symmetric, no subvoxels).
MONAI = [
    (VOLUMES, (2.5, 0.7, 0.7), (5.048762321, 3.033387661, 0.959741771, 0.681818187)),
    (IMAGES, (0.5, 1.5), (9.055385590, 8.319149017, 2.187363625, 0.365384609)),
]


@pytest.mark.parametrize(("masks", "spacing", "expected"), MONAI)
def test_values_of_monai(masks, spacing, expected) -> None:
    metric = SurfaceScores(tolerances=(1.0,))
    metric.update(*(each[None] for each in masks), case_id="a", spacing_mm=spacing)
    result = metric.compute()
    names = ("hd_mm", "hd95_mm", "assd_mm", "nsd_1mm")
    assert [result[name].item() for name in names] == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_monai_on_random_masks(seed) -> None:
    monai = pytest.importorskip("monai.metrics")
    generator = np.random.default_rng(seed)
    shape = (24, 30) if seed % 2 else (8, 14, 12)
    noise = (ndimage.gaussian_filter(generator.random(shape), 1.5) for _ in range(2))
    masks = [each > np.quantile(each, 0.6) for each in noise]
    spacing = generator.uniform(0.5, 4, len(shape)).tolist()
    ours = surface_distances(*masks, spacing=spacing)
    pair = [torch.from_numpy(each)[None, None] for each in masks]
    hd95 = monai.compute_hausdorff_distance(
        *pair, include_background=True, percentile=95, spacing=spacing
    )
    nsd = monai.compute_surface_dice(*pair, [2.0], include_background=True, spacing=spacing)
    assert ours.hausdorff(95) == pytest.approx(hd95.item(), rel=1e-4)
    assert ours.within(2.0) == pytest.approx(nsd.item(), rel=1e-5)


def test_by_hand() -> None:
    predicted, target = np.zeros((2, 1, 5), bool)[:, None]
    predicted[0, 0, 0] = True
    target[0, 0, 1:] = True
    apart = surface_distances(predicted[0], target[0], spacing=(3.0, 2.0))
    # One row: every pixel is surface. Forward 2; backward 2, 4, 6, 8.
    assert apart.forward.tolist() == [2.0]
    assert apart.backward.tolist() == [2.0, 4.0, 6.0, 8.0]
    assert apart.hausdorff() == 8.0
    assert apart.hausdorff(50) == 5.0
    assert apart.hausdorff(50, pooled=True) == 4.0
    assert apart.average() == pytest.approx(22 / 5)
    assert apart.within(2.0) == pytest.approx(2 / 5)
    assert apart.within(1.999) == 0


PAIR = arrays(bool, (2, 4, 5, 3), elements=st.booleans())


@settings(max_examples=25, deadline=None)
@given(PAIR, st.tuples(*[st.floats(0.3, 5)] * 3))
def test_brute_force(pair, spacing) -> None:
    assume(pair[0].any() and pair[1].any())
    edges = []
    for mask in pair:
        padded = np.pad(mask, 1)
        kept = ndimage.binary_erosion(padded)[1:-1, 1:-1, 1:-1]
        assert np.array_equal(surface(mask), mask & ~kept)
        edges.append(np.argwhere(mask & ~kept) * np.array(spacing))
    table = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=2)
    ours = surface_distances(*pair, spacing=spacing)
    assert ours.forward == pytest.approx(table.min(axis=1))
    assert ours.backward == pytest.approx(table.min(axis=0))
    assert ours.within(0) == pytest.approx(
        ((table.min(axis=1) == 0).sum() + (table.min(axis=0) == 0).sum()) / sum(table.shape)
    )


def test_bounding_box() -> None:
    mask = np.zeros((5, 6, 7), bool)
    assert mask[bounding_box(mask)].size == 0
    mask[1, 2:4, 6] = True
    assert bounding_box(mask) == (slice(1, 2), slice(2, 4), slice(6, 7))


def test_cases_without_distance() -> None:
    one, none = torch.ones(1, 3, 4).bool(), torch.zeros(1, 3, 4).bool()
    results = {}
    for one_empty in ("skip", "diagonal"):
        metric = SurfaceScores(tolerances=(2,), one_empty=one_empty)
        for name, pair in {"a": (one, one), "b": (none, none), "c": (none, one)}.items():
            metric.update(*pair, case_id=name, spacing_mm=(2.0, 2.0))
        metric.update(None, one, case_id="d", spacing_mm=(2.0, 2.0))
        results[one_empty] = metric.compute()
    # Rows of 3 x 4 pixels of 2 mm: the diagonal is 10 mm.
    assert results["skip"]["hd_mm"] == 0
    assert results["diagonal"]["hd_mm"] == pytest.approx((0 + 0 + 10 + 10) / 4)
    for result in results.values():
        assert result["nsd_2mm"] == pytest.approx((1 + 1 + 0 + 0) / 4)
        assert result["num_missed"] == result["num_missing"] == result["num_both_empty"] == 1


def test_spacing_has_to_fit() -> None:
    mask = torch.ones(1, 3, 4).bool()
    with pytest.raises(ConfigError, match="pixel size of a case") as error:
        SurfaceScores().update(mask, mask, case_id="case_7")
    assert "case_7" in str(error.value)
    assert 'unit="px"' in str(error.value)
    for spacing in ((1.0,), (1.0, 0.0), (1.0, math.nan), (1.0, math.inf)):
        with pytest.raises(ConfigError, match="2 sizes in mm"):
            SurfaceScores().update(mask, mask, case_id="a", spacing_mm=spacing)
    with pytest.raises(ConfigError, match="expected: none"):
        SurfaceScores(unit="px").update(mask, mask, case_id="a", spacing_mm=(1.0, 1.0))


def test_pixels_and_names() -> None:
    metric = SurfaceScores(["x"], unit="px", percentile=90, tolerances=(1.5,))
    moved = torch.zeros(1, 5, 9).bool()
    moved[0, 1:4, 1:4] = True
    metric.update(moved, moved.roll(2, dims=2), case_id="a")
    result = metric.compute()
    assert result["hd_px"] == result["hd_px/x"] == 2
    assert {"hd90_px", "assd_px", "nsd_1.5px"} <= set(result)


def test_large_volumes_cost_their_surface() -> None:
    mask = np.zeros((160, 256, 256), bool)
    mask[70:90, 100:150, 100:150] = True
    moved = np.roll(mask, 3, axis=2)
    apart = surface_distances(moved, mask, spacing=(1.0, 0.5, 0.5))
    assert apart.hausdorff() == 1.5
