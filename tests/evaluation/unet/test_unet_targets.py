"""What the U-Net learns from objects."""

import numpy as np
import torch
from evaluation.unet.painted_unet import batch_of, sample_of

from samft.evaluation.unet.targets import batch_targets, sample_targets, touching
from samft.types import IGNORE, NO_CLASS


def _dark(size):
    return [np.zeros(size, bool)] * 3


def test_each_class_gets_the_pixels_of_all_its_objects() -> None:
    labels = np.zeros((32, 32), np.int32)
    labels[2:8, 2:8], labels[12:20, 2:8], labels[2:8, 20:30] = 1, 2, 3
    batch = batch_of(sample_of(_dark((32, 32)), labels, [0, 1, 0]), image_size=32)
    targets = batch_targets(batch, num_classes=2, border_px=1)
    assert (targets.masks[0, 0].numpy() == np.isin(labels, (1, 3))).all()
    assert (targets.masks[0, 1].numpy() == (labels == 2)).all()
    assert not targets.border.any()
    assert targets.valid.all()


def test_ignored_pixels_objects_without_class_and_padding_teach_nothing() -> None:
    labels = np.zeros((16, 32), np.int32)
    labels[:4], labels[6:9, 6:9], labels[6:9, 20:24] = IGNORE, 1, 2
    sample = sample_of(_dark((16, 32)), labels, [0, NO_CLASS])
    targets = batch_targets(batch_of(sample, image_size=32), num_classes=1, border_px=1)
    valid = targets.valid[0, 0].numpy()
    assert not valid[16:].any()  # the padding
    assert (valid[:16] == ((labels != IGNORE) & (labels != 2))).all()
    masks, known = sample_targets(sample, num_classes=1)
    assert (masks[0].numpy() == (labels == 1)).all()
    assert (known.numpy() == valid[:16]).all()


def test_layers_may_overlap() -> None:
    layers = np.zeros((2, 32, 32), np.int32)
    layers[0, 4:20, 4:20], layers[1, 8:12, 8:12] = 1, 2
    sample = sample_of(_dark((32, 32)), layers, [0, 1]).replace(object_layer=torch.tensor([0, 1]))
    masks, _ = sample_targets(sample, num_classes=2)
    assert (masks.numpy() == (layers > 0)).all()
    targets = batch_targets(batch_of(sample, image_size=32), num_classes=2, border_px=1)
    assert (targets.masks[0].numpy() == (layers > 0)).all()
    assert not targets.border.any()  # of two classes, each with a channel of its own


def test_borders_lie_where_two_objects_of_a_class_are_near() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 0, 0, 1, 2, 3], (12, 14)).astype(np.int32)
    for radius in (1, 2):
        found = touching(torch.from_numpy(labels)[None, None], radius)[0, 0].numpy()
        padded = np.pad(labels, radius)
        side = 2 * radius + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
        wanted = [[len(set(w.ravel()) - {0}) > 1 for w in row] for row in windows]
        assert (found == np.array(wanted)).all()


def test_an_object_that_vanished_at_the_input_size_and_an_empty_image() -> None:
    labels = np.zeros((256, 256), np.int32)
    labels[1, 1] = 1  # not on the grid of a sixteenth
    gone = batch_of(sample_of(_dark((256, 256)), labels, [0]), image_size=32)
    assert gone.num_objects == 1
    assert not batch_targets(gone, num_classes=1, border_px=1).masks.any()
    empty = batch_of(sample_of(_dark((32, 32)), labels[:32, :32] * 0, []), image_size=32)
    targets = batch_targets(empty, num_classes=2, border_px=1)
    assert not targets.masks.any()
    assert targets.valid.all()
