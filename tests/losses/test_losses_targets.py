"""Masks at the resolution of the logits."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import seeded

from samft.losses import bce_loss, dice_loss, focal_loss, mask_iou, targets_at


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_averaged_targets_stand_for_the_full_resolution(seed):
    # Logits at a quarter of the resolution, constant on each 4 x 4 area, against a fine mask.
    random = seeded(seed)
    fine = torch.rand(3, 24, 24, generator=random) < torch.rand(3, 1, 1, generator=random)
    logits = 2 * torch.randn(3, 2, 6, 6, generator=random)
    coarse_targets, fine_targets = targets_at(fine, (6, 6)), fine[:, None].float()
    fine_logits = logits.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    for loss in (focal_loss, bce_loss, mask_iou):
        expected = loss(fine_logits, fine_targets)
        assert torch.allclose(loss(logits, coarse_targets), expected, atol=1e-5)
    dice = dice_loss(logits, coarse_targets, smooth=1 / 16)
    assert torch.allclose(dice, dice_loss(fine_logits, fine_targets), atol=1e-5)


def test_a_tiny_object_does_not_vanish():
    masks = torch.zeros(20, 64, 64, dtype=torch.bool)
    for index in range(20):
        masks[index, 3 * index, 63 - index] = True
    targets = targets_at(masks, (16, 16))
    assert targets.shape == (20, 1, 16, 16)
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(dim=(1, 2, 3)), torch.tensor(1 / 16))


def test_targets_keep_their_place_at_any_size():
    masks = torch.zeros(11, 8, 8, dtype=torch.bool)
    masks[:, :4, 4:] = True
    for size in ((2, 2), (4, 2), (8, 8), (16, 16)):
        targets = targets_at(masks, size)
        height, width = size
        assert targets.shape == (11, 1, *size)
        assert (targets[:, :, : height // 2, width // 2 :] == 1).all()
        assert targets.mean().item() == 0.25
    assert targets_at(masks[:0], (4, 4)).shape == (0, 1, 4, 4)
