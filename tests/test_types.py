"""The vocabulary: objects in layers, selection, feeding back."""

import torch

from samft.types import ABSENT, IGNORE, Frame, MaskOutput, PromptBatch, SamBatch, Sample


def sample() -> Sample:
    layers = torch.zeros(2, 4, 6, dtype=torch.int32)
    layers[0, :2], layers[1, 1:3], layers[0, 3] = 1, 2, IGNORE
    return Sample(
        image=torch.zeros(3, 4, 6, dtype=torch.uint8),
        layers=layers,
        object_layer=torch.tensor([0, 1]),
        object_class=torch.tensor([0, 0]),
        sample_id="a",
        case_id="a",
    )


def test_overlapping_objects_keep_their_pixels() -> None:
    masks = sample().masks()
    assert masks.shape == (2, 4, 6)
    assert masks.sum(dim=(1, 2)).tolist() == [12, 12]
    assert (masks[0] & masks[1]).sum() == 6
    assert torch.equal(sample().masks(torch.tensor([1])), masks[1:])


def test_ignored_pixels_belong_to_their_layer() -> None:
    assert sample().ignored().sum(dim=(1, 2)).tolist() == [6, 0]
    assert sample().num_objects == 2
    assert sample().size == (4, 6)


def test_batch_masks_and_selection() -> None:
    one = sample()
    batch = SamBatch(
        images=one.image[None],
        layers=one.layers[None],
        image_index=torch.tensor([0, 0]),
        object_layer=one.object_layer,
        object_value=torch.tensor([1, 2], dtype=torch.int32),
        object_class=one.object_class,
        frames=(Frame(original_size=(4, 6), input_size=(4, 6), image_size=6),),
        sample_ids=("a",),
    )
    assert torch.equal(batch.masks(), one.masks())
    assert torch.equal(batch.ignored(), one.ignored())
    assert batch.input_sizes.tolist() == [[4, 6]]
    assert torch.equal(batch.select(torch.tensor([False, True])).masks(), one.masks()[1:])
    assert batch.select(torch.zeros(0, dtype=torch.int64)).num_objects == 0


def test_prompts_grow_and_are_selected() -> None:
    prompts = PromptBatch(image_index=torch.tensor([0, 1]))
    prompts = prompts.with_points(torch.ones(2, 1, 2), torch.tensor([[1], [0]]))
    prompts = prompts.with_points(torch.zeros(2, 2, 2), torch.full((2, 2), ABSENT))
    prompts = prompts.with_mask_logits(torch.zeros(2, 1, 8, 8))
    assert prompts.num_prompts == 2
    kept = prompts.select(torch.tensor([1]))
    assert kept.labels.tolist() == [[0, ABSENT, ABSENT]]
    assert kept.points.shape == (1, 3, 2)
    assert kept.mask_logits.shape == (1, 1, 8, 8)
    assert kept.boxes is None


def test_best_mask_by_predicted_iou() -> None:
    logits = torch.arange(2 * 3.0).reshape(2, 3, 1, 1)
    output = MaskOutput(logits=logits, iou=torch.tensor([[0.1, 0.9, 0.3], [0.5, 0.2, 0.1]]))
    assert output.best().logits.flatten().tolist() == [1.0, 3.0]
    assert output.best().iou.flatten().tolist() == torch.tensor([0.9, 0.5]).tolist()
