import torch

from samft.prompts.merging import merge_prompts
from samft.types import ABSENT, NEGATIVE, POSITIVE, PromptBatch

IMAGES = torch.tensor([0, 0, 1, 2])


def part(rows, **fields):
    rows = torch.tensor(rows)
    return rows, PromptBatch(image_index=IMAGES[rows], **fields)


def test_uneven_points_are_filled_with_absent_slots():
    merged = merge_prompts(
        [
            part([3, 0], points=torch.tensor([[[3.0, 3.0]], [[0.0, 1.0]]]),
                 labels=torch.tensor([[NEGATIVE], [POSITIVE]])),
            part([1], points=torch.tensor([[[5.0, 6.0], [7.0, 8.0]]]),
                 labels=torch.tensor([[POSITIVE, NEGATIVE]])),
        ],
        IMAGES,
    )  # fmt: skip
    assert merged.points.tolist() == [
        [[0, 1], [0, 0]],
        [[5, 6], [7, 8]],
        [[0, 0], [0, 0]],
        [[3, 3], [0, 0]],
    ]
    assert merged.labels.tolist() == [
        [POSITIVE, ABSENT],
        [POSITIVE, NEGATIVE],
        [ABSENT, ABSENT],
        [NEGATIVE, ABSENT],
    ]
    assert merged.labels.dtype == torch.int64
    assert merged.boxes is merged.has_box is merged.mask_logits is merged.has_mask is None
    assert torch.equal(merged.image_index, IMAGES)


def test_boxes_and_masks_are_marked():
    logits = torch.randn(2, 1, 4, 4)
    merged = merge_prompts(
        [
            part([0], boxes=torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
            part([2, 3], boxes=torch.ones(2, 4), has_box=torch.tensor([False, True])),
            part([1, 2], mask_logits=logits, has_mask=torch.tensor([True, False])),
        ],
        IMAGES,
    )
    assert merged.has_box.tolist() == [True, False, False, True]
    assert merged.boxes[0].tolist() == [1, 2, 3, 4]
    assert merged.has_mask.tolist() == [False, True, False, False]
    assert torch.equal(merged.mask_logits[1:3], logits)
    assert not merged.mask_logits[[0, 3]].any()
    assert merged.points is None


def test_a_field_given_for_no_object_is_kept():
    merged = merge_prompts(
        [part([0, 1, 2, 3], boxes=torch.ones(4, 4)),
         (torch.zeros(0, dtype=torch.int64),
          PromptBatch(image_index=IMAGES[:0], points=torch.zeros(0, 1, 2),
                      labels=torch.zeros(0, 1, dtype=torch.int64)))],
        IMAGES,
    )  # fmt: skip
    assert merged.has_box.all()
    assert merged.labels.tolist() == [[ABSENT]] * 4
