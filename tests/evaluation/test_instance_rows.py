"""Where instances overlap, the better one has the pixel."""

import numpy as np

from samft.evaluation.instance_scoring import disjoint_labels


def test_the_first_mask_has_the_pixel() -> None:
    masks = np.zeros((3, 2, 4), dtype=bool)
    masks[0, 0, :2] = masks[1, :, 1:3] = masks[2, 0] = True
    assert disjoint_labels(masks).tolist() == [[[1, 1, 2, 3], [0, 2, 2, 0]]]


def test_no_instances_at_all() -> None:
    assert disjoint_labels(np.zeros((0, 2, 3), dtype=bool)).tolist() == [[[0, 0, 0], [0, 0, 0]]]
