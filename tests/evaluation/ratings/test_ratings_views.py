"""The five views of a mask."""

import numpy as np
import pytest
from evaluation.ratings.rating_cases import targets

from samft.evaluation.ratings.jobs import RatedMask
from samft.evaluation.ratings.views import five_views

BLUE, EDGE = (20, 90, 255), (255, 235, 0)


def _rated(mask, prompt, grey=100) -> RatedMask:
    image = np.full((*mask.shape, 3), grey, np.uint8)
    return RatedMask(model="a", target=targets(1)[0], image=image, mask=mask, prompt=prompt)


def _count(page, colour) -> int:
    return int((page == np.array(colour, np.uint8)).all(axis=2).sum())


def _block(size, rows, columns):
    mask = np.zeros(size, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def test_image_overlay_mask_and_two_close_ups() -> None:
    mask = _block((120, 160), (40, 60), (50, 90))
    page = five_views(_rated(mask, {"points": [[60, 50]]}), max_side=2000)
    # 480 x 360 each above; below the window of mask and a quarter around it.
    above, below = page[20:380], page[408:]
    assert (above[5, 5] == 100).all()
    alone = above[:, 2 * (480 + 8) : 3 * 480 + 16]
    white = (alone == 255).all(axis=2)
    assert (white.sum() / white.size) == pytest.approx(mask.mean(), abs=0.002)
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert (rows[0] / 3, rows[-1] / 3) == pytest.approx((40, 59.7), abs=0.1)
    assert (columns[0] / 3, columns[-1] / 3) == pytest.approx((50, 89.7), abs=0.1)
    assert _count(above[:, :480], EDGE) == 0
    assert _count(above[:, 488:968], EDGE) > 200
    assert _count(below, EDGE) > 500
    assert _count(alone, BLUE) == 0
    assert all(_count(part, BLUE) > 50 for part in (above[:, :480], above[:, 488:968], below))


def test_a_dot_lies_where_it_was_clicked() -> None:
    mask = _block((100, 100), (10, 90), (10, 90))
    page = five_views(_rated(mask, {"points": [[80, 20]]}), max_side=2000)
    first = (page[20:380, :360] == np.array(BLUE, np.uint8)).all(axis=2)
    rows, columns = np.nonzero(first)
    assert (rows.mean() / 3.6 - 0.5, columns.mean() / 3.6 - 0.5) == pytest.approx((20, 80), abs=0.3)


def test_a_box_is_blue_and_white() -> None:
    mask = _block((100, 100), (30, 70), (30, 70))
    page = five_views(_rated(mask, {"box": [30, 30, 69, 69]}), max_side=2000)
    first = page[20:380, :360]
    blue = (first == np.array(BLUE, np.uint8)).all(axis=2)
    white = (first == 255).all(axis=2)
    rows = np.flatnonzero(blue.any(axis=1))
    assert (rows[0], rows[-1]) == pytest.approx((30 * 3.6, 70 * 3.6), abs=3)
    assert blue.sum() > 2 * 4 * 140
    assert white.sum() > 4 * 140


def test_large_images_are_shown_smaller() -> None:
    mask = _block((1000, 3000), (0, 500), (0, 1500))
    small = five_views(_rated(mask, {"points": [[600, 200]]}), max_side=300)
    whole = five_views(_rated(mask, {"points": [[600, 200]]}), max_side=4000)
    assert abs(small.shape[0] - whole.shape[0]) < 20
    alone = small[20:180, 976:1456]
    share = (alone == 255).all(axis=2).mean()
    assert share == pytest.approx(0.25, abs=0.01)
    first = (small[20:180, :480] == np.array(BLUE, np.uint8)).all(axis=2)
    rows, columns = np.nonzero(first)
    assert (columns.mean() / 480 * 3000, rows.mean() / 160 * 1000) == pytest.approx(
        (600, 200), abs=8
    )


@pytest.mark.parametrize("prompt", [{}, {"points": [[3, 4]]}, {"box": [0, 0, 0, 0]}])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 3), (9, 9)])
def test_small_narrow_and_empty_masks(prompt, size) -> None:
    for mask in (np.zeros(size, bool), np.ones(size, bool)):
        page = five_views(_rated(mask, prompt), max_side=300)
        assert page.dtype == np.uint8
        assert page.shape[2] == 3
        assert page.shape[1] <= 1500


def test_the_close_up_of_a_missed_object_is_around_the_prompt() -> None:
    mask = np.zeros((400, 400), bool)
    image = np.zeros((400, 400, 3), np.uint8)
    image[295:306, 95:106] = (0, 200, 0)
    rated = RatedMask(
        model="a", target=targets(1)[0], image=image, mask=mask, prompt={"points": [[100, 300]]}
    )
    below = five_views(rated, max_side=2000)[408:]
    assert (below[..., 1] == 200).mean() > 0.1
