"""The IoU of masks and the error of its prediction."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import case
from torchmetrics.functional.classification import binary_jaccard_index

from samft.losses import iou_loss, mask_iou


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_iou_against_torchmetrics(seed):
    logits, targets, _ = case(3, 2, seed=seed)
    values = mask_iou(logits, targets)
    for prompt in range(3):
        for mask in range(2):
            expected = binary_jaccard_index(
                (logits[prompt, mask] > 0).int(), targets[prompt, 0].int()
            )
            assert values[prompt, mask].item() == pytest.approx(expected.item())


def test_iou_rules():
    empty, full = torch.full((1, 1, 4, 4), -5.0), torch.full((1, 1, 4, 4), 5.0)
    nothing, everything = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    assert mask_iou(empty, nothing).item() == 1
    assert mask_iou(full, nothing).item() == 0
    assert mask_iou(empty, everything).item() == 0
    assert mask_iou(full, everything).item() == 1
    assert mask_iou(torch.zeros(1, 1, 4, 4), everything).item() == 0  # 0 is not above 0
    assert not mask_iou(full.requires_grad_(), everything).requires_grad


def test_iou_loss_is_a_squared_error():
    predicted = torch.tensor([[0.5, 1.2]], requires_grad=True)
    actual = torch.tensor([[1.0, 1.0]], requires_grad=True)
    values = iou_loss(predicted, actual)
    assert torch.allclose(values, torch.tensor([[0.25, 0.04]]))
    values.sum().backward()
    assert torch.allclose(predicted.grad, torch.tensor([[-1.0, 0.4]]))
    assert actual.grad is None


def test_gradients_of_the_iou_loss():
    predicted = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    actual = torch.rand(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: iou_loss(x, actual), (predicted,))


def test_iou_loss_as_sam_2_has_it():
    predicted = torch.tensor([[0.5, 1.2]], requires_grad=True)
    actual = torch.tensor([[1.0, 1.0]], requires_grad=True)
    values = iou_loss(predicted, actual, error="l1")
    assert torch.allclose(values, torch.tensor([[0.5, 0.2]]))
    values.sum().backward()
    assert predicted.grad.tolist() == [[-1.0, 1.0]]
    assert actual.grad is None
