import torch

from samft.prompts.combining import GivenPrompts, JoinedPrompts, MixedPrompts, NoPrompt
from samft.prompts.simulators import CenterPoint, SeveralPoints, TightBox, WrongMask
from samft.types import ABSENT, NEGATIVE, POSITIVE, PromptBatch


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def squares(count=6, side=16):
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    masks[:, 4:9, 5:10] = True
    return masks, torch.arange(count) // 2


def test_joined_prompts_give_all_to_everybody():
    masks, images = squares()
    masks[1] = False
    joined = JoinedPrompts([TightBox(), CenterPoint(), WrongMask(), CenterPoint()])
    prompts = joined(masks, images, generator=seeded())
    there = torch.tensor([True, False, True, True, True, True])
    assert torch.equal(prompts.has_box, there)
    assert torch.equal(prompts.has_mask, there)
    assert prompts.mask_logits.shape == (6, 1, 4, 4)
    assert torch.equal((prompts.labels == POSITIVE).all(dim=1), there)
    assert prompts.points[there].tolist() == [[[7, 6], [7, 6]]] * 5


def test_joined_prompts_pass_on_where_no_click_may_fall():
    masks, images = squares(200)
    ignored = torch.zeros_like(masks)
    ignored[:, :, 10:] = True
    joined = JoinedPrompts([TightBox(), SeveralPoints(fewest=4, most=4, negative_share=1.0)])
    for simulator in (joined, MixedPrompts([joined], [1.0]), GivenPrompts([], joined)):
        prompts = simulator(masks, images, generator=seeded(), ignored=ignored)
        negative = prompts.points[prompts.labels == NEGATIVE]
        assert len(negative) == 600
        assert negative[:, 0].max() <= 9


def test_given_prompts_go_to_their_objects_and_the_rest_is_simulated():
    masks, images = squares()
    clicks = PromptBatch(
        image_index=images[[4, 1]],
        points=torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [0.0, 0.0]]]),
        labels=torch.tensor([[POSITIVE, NEGATIVE], [POSITIVE, ABSENT]]),
    )
    simulator = GivenPrompts([(torch.tensor([4, 1]), clicks)], TightBox())
    prompts = simulator(masks, images, generator=seeded())
    assert torch.equal(prompts.image_index, images)
    assert prompts.has_box.tolist() == [True, False, True, True, False, True]
    assert prompts.labels[4].tolist() == [POSITIVE, NEGATIVE]
    assert prompts.points[1].tolist() == [[5, 6], [0, 0]]
    assert (prompts.labels[[0, 2, 3, 5]] == ABSENT).all()


def test_all_given_and_no_objects():
    masks, images = squares(1)
    clicks = CenterPoint()(masks, images, generator=seeded())
    everything = GivenPrompts([(torch.tensor([0]), clicks)], TightBox())
    prompts = everything(masks, images, generator=seeded())
    assert prompts.labels.tolist() == [[POSITIVE]]
    assert prompts.has_box.tolist() == [False]
    nothing = JoinedPrompts([TightBox(), CenterPoint()])(masks[:0], images[:0], generator=seeded())
    assert nothing.labels.shape == (0, 1)


def test_no_prompt_is_no_field_but_marks_its_rows_in_a_mix():
    masks, images = squares(400)
    assert NoPrompt()(masks, images, generator=seeded()) == PromptBatch(image_index=images)
    mixed = MixedPrompts([CenterPoint(), NoPrompt()], [0.5, 0.5])
    labels = mixed(masks, images, generator=seeded()).labels[:, 0]
    assert set(labels.tolist()) == {POSITIVE, ABSENT}
    assert 150 < (labels == ABSENT).sum() < 250
