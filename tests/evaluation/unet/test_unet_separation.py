"""Touching objects come apart along the borders."""

import numpy as np

from samft.evaluation.unet.separation import label_layers, separate


def _discs(*centres, radius=8, size=(40, 40)):
    y, x = np.indices(size)
    return [(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in centres]


def test_touching_objects_come_apart_and_keep_every_pixel() -> None:
    left, right = _discs((20, 12), (20, 27))
    mask, border = left | right, np.zeros((40, 40), bool)
    border[:, 19:21] = True
    labels, count = separate(mask, border)
    assert count == 2
    assert ((labels > 0) == mask).all()
    for disc in (left, right):
        value = labels[disc][0]
        alone = labels == value
        assert (alone & disc).sum() / (alone | disc).sum() > 0.97


def test_without_a_border_they_stay_one() -> None:
    left, right = _discs((20, 12), (20, 27))
    labels, count = separate(left | right, np.zeros((40, 40), bool))
    assert count == 1
    assert ((labels == 1) == (left | right)).all()


def test_a_piece_covered_by_borders_is_one_object() -> None:
    (disc,) = _discs((10, 10))
    labels, count = separate(disc, np.ones((40, 40), bool))
    assert (count, labels.max()) == (1, 1)


def test_pieces_that_do_not_touch_never_share_pixels() -> None:
    # The upper piece is cut in two; the lower one lies close to its left part.
    mask = np.zeros((20, 30), bool)
    mask[2:8], mask[10:14, :10] = True, True
    border = np.zeros_like(mask)
    border[:9, 20:22] = True
    labels, count = separate(mask, border)
    assert count == 3
    assert len(set(labels[10:14, :10].ravel())) == 1
    assert set(labels[2:8].ravel()).isdisjoint(labels[10:14, :10].ravel())
    assert labels[4, 0] != labels[4, 29]


def test_specks_that_a_border_cuts_off_are_no_objects() -> None:
    (disc,) = _discs((20, 20))
    border = np.zeros((40, 40), bool)
    border[13] = True  # above it lie the top row and a part of the next
    above = disc[:13].sum()
    assert 0 < above <= 3
    labels, count = separate(disc, border)
    assert count == 1
    assert ((labels == 1) == disc).all()


def test_nothing() -> None:
    labels, count = separate(np.zeros((5, 5), bool), np.ones((5, 5), bool))
    assert count == 0
    assert not labels.any()


def test_objects_are_numbered_through_all_classes() -> None:
    classes = np.zeros((3, 10, 10), bool)
    classes[0, 1:4, 1:4], classes[0, 6:9, 6:9], classes[2, 1:9, 1:3] = True, True, True
    layers = label_layers(classes, np.zeros((10, 10), bool))
    assert [sorted(set(layer.ravel())) for layer in layers] == [[0, 1, 2], [0], [0, 3]]
    assert ((layers > 0) == classes).all()
