import pytest
import torch

from samft.losses import SamLoss, SamLossSettings
from samft.prompts.ambiguity import answers_for, is_ambiguous
from samft.types import ABSENT, NEGATIVE, PADDING, POSITIVE, MaskOutput, PromptBatch

IMAGES = torch.zeros(4, dtype=torch.int64)


def test_a_lone_point_is_ambiguous():
    labels = torch.tensor([
        [POSITIVE, ABSENT], [POSITIVE, NEGATIVE], [ABSENT, ABSENT], [POSITIVE, PADDING]
    ])  # fmt: skip
    prompts = PromptBatch(image_index=IMAGES, points=torch.zeros(4, 2, 2), labels=labels)
    assert is_ambiguous(prompts).tolist() == [True, False, True, True]


@pytest.mark.parametrize("field", ["boxes", "mask_logits"])
def test_boxes_and_masks_are_clear(field):
    which = {"boxes": "has_box", "mask_logits": "has_mask"}[field]
    value = torch.zeros(4, 4) if field == "boxes" else torch.zeros(4, 1, 2, 2)
    some = torch.tensor([True, False, True, False])
    assert not is_ambiguous(PromptBatch(image_index=IMAGES, **{field: value})).any()
    prompts = PromptBatch(image_index=IMAGES, **{field: value, which: some})
    assert torch.equal(is_ambiguous(prompts), ~some)
    assert is_ambiguous(PromptBatch(image_index=IMAGES)).all()


def test_each_row_gets_its_masks():
    logits = torch.arange(4 * 4.0).reshape(4, 4, 1, 1).expand(4, 4, 2, 2)
    output = MaskOutput(logits=logits, iou=logits[..., 0, 0] / 16)
    chosen = answers_for(output, torch.tensor([True, False, True, False]))
    expected = [[1, 2, 3], [4, 4, 4], [9, 10, 11], [12, 12, 12]]
    assert chosen.logits.shape == (4, 3, 2, 2)
    assert chosen.logits[..., 0, 0].tolist() == expected
    assert (chosen.iou * 16).tolist() == expected


def test_three_times_the_same_mask_is_worth_one():
    def gradient(several):
        torch.manual_seed(0)
        logits = torch.randn(4, 4, 8, 8).requires_grad_()
        iou = torch.rand(4, 4).requires_grad_()
        output = MaskOutput(logits=logits, iou=iou)
        if several:
            output = answers_for(output, torch.zeros(4, dtype=torch.bool))
        else:
            output = MaskOutput(logits=logits[:, :1], iou=iou[:, :1])
        targets = (torch.rand(4, 1, 8, 8) < 0.5).float()
        total = SamLoss(SamLossSettings())(output, targets).total
        total.backward()
        return total.detach(), logits.grad, iou.grad

    for one, other in zip(gradient(several=True), gradient(several=False), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
