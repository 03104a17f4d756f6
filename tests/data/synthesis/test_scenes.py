"""Every look: valid labels, visible borders, all that the data needs to be learnt from."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.data.synthesis.canvas import MAX_OBJECTS, MIN_AREA
from samft.data.synthesis.scenes import LOOKS, Look, draw_scene

SHIFTS = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]


def borders(labels: np.ndarray) -> np.ndarray:
    values = labels.astype(np.float32)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.dilate(values, cross) != cv2.erode(values, cross)


def steepness(image: np.ndarray) -> np.ndarray:
    planes = image.astype(np.float32)
    across = np.gradient(planes, axis=2) ** 2 + np.gradient(planes, axis=1) ** 2
    return np.sqrt(across.sum(0))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    look=st.sampled_from(LOOKS),
    size=st.sampled_from([64, 150, 256]),
)
def test_labels_are_valid(seed: int, look: Look, size: int) -> None:
    scene = draw_scene(seed, size=size, look=look)
    objects = scene.objects
    assert scene.image.shape == (3, size, size)
    assert scene.image.dtype == np.uint8
    count = objects.object_layer.size
    assert 1 <= count <= MAX_OBJECTS
    assert objects.layers.dtype == np.int32
    assert 1 <= objects.layers.shape[0] <= 3
    assert objects.layers.shape[1:] == (size, size)
    assert (objects.object_class == LOOKS.index(look)).all()
    for number, layer in enumerate(objects.layers):
        mine = np.flatnonzero(objects.object_layer == number) + 1
        found, areas = np.unique(layer[layer != 0], return_counts=True)
        assert np.array_equal(found, mine)
        assert areas.min() >= MIN_AREA


@pytest.mark.parametrize("look", LOOKS)
def test_the_same_seed_draws_the_same_image(look: Look) -> None:
    first, again, other = (draw_scene(seed, size=96, look=look) for seed in (7, 7, 8))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.objects.layers, again.objects.layers)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("look", LOOKS)
def test_images_change_at_the_borders_of_masks(look: Look) -> None:
    """Summed over images, the steepest place is the border itself, not a pixel beside it."""
    at_border, elsewhere = np.zeros(len(SHIFTS)), 0.0
    for seed in range(30):
        scene = draw_scene(seed, size=128, look=look)
        steep = steepness(scene.image)
        steep /= steep.mean() + 1e-6
        edge = borders(scene.objects.layers[0])
        edge[:3], edge[-3:], edge[:, :3], edge[:, -3:] = 0, 0, 0, 0
        if not edge.any():
            continue
        far = cv2.distanceTransform(1 - edge.astype(np.uint8), cv2.DIST_L2, 3) > 4
        at_border += [np.roll(steep, (-y, -x), (0, 1))[edge].mean() for y, x in SHIFTS]
        elsewhere += steep[far].mean() if far.any() else 0.0
    best = SHIFTS[int(at_border.argmax())]
    assert best == (0, 0), f"the image is {best} pixels (y, x) away from its masks"
    assert at_border[SHIFTS.index((0, 0))] > 1.4 * elsewhere


def test_images_are_neither_black_nor_all_alike() -> None:
    for look in LOOKS:
        spreads = [draw_scene(seed, size=96, look=look).image.std() for seed in range(30)]
        assert np.median(spreads) > 4, look
        assert max(spreads) > 2 * min(spreads), look


def test_nuclei_are_bright_and_cells_have_nuclei_within() -> None:
    brighter = 0
    for seed in range(20):
        scene = draw_scene(seed, size=128, look="fluorescence")
        inside = scene.objects.layers[0] > 0
        grey = scene.image.mean(0)
        brighter += grey[inside].mean() > grey[~inside].mean()
    assert brighter >= 16
    nested = [draw_scene(seed, size=128, look="tissue").objects for seed in range(20)]
    with_nuclei = [objects for objects in nested if objects.layers.shape[0] == 2]
    assert len(with_nuclei) >= 5
    for objects in with_nuclei:
        assert (objects.layers[0][objects.layers[1] > 0] > 0).all()


def test_parts_and_wholes_overlap_in_different_layers() -> None:
    for look in ("ct", "mr", "photo"):
        scenes = [draw_scene(seed, size=128, look=look) for seed in range(12)]
        assert sum(scene.objects.layers.shape[0] > 1 for scene in scenes) >= 4, look
