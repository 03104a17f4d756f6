import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.errors import ConfigError
from samft.prompts.mask_prompts import LOGIT, Lasso, WrongMask, masks_to_logits, shrink_masks

SIDE = 64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def disc(draws=100, radius=20, centre=(32, 30)):
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    mask = (y - centre[1]) ** 2 + (x - centre[0]) ** 2 <= radius**2
    return mask.expand(draws, SIDE, SIDE), torch.zeros(draws, dtype=torch.int64)


def ious(prompts, clean):
    given_masks = prompts.mask_logits[:, 0] > 0
    common = (given_masks & clean).flatten(1).sum(dim=1)
    return common / (given_masks | clean).flatten(1).sum(dim=1)


def test_logits_are_plus_and_minus_ten():
    # Neither 0 and 1 nor probabilities, which other trainers feed: those say "undecided".
    masks = torch.rand(2, 4, 4, generator=seeded()) < 0.5
    logits = masks_to_logits(masks)
    assert logits.shape == (2, 1, 4, 4)
    assert logits.dtype == torch.float32
    assert torch.equal(logits[:, 0] > 0, masks)
    assert logits.abs().unique().tolist() == [LOGIT]
    assert torch.sigmoid(logits).max() > 0.9999


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_cell_is_object_when_half_of_it_is(stride):
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 4:8] = masks[0, 8 : 8 + stride // 2] = True
    small = shrink_masks(masks, stride)
    rows = small[0].all(dim=1)
    assert torch.equal(rows, small[0].any(dim=1))
    last = (8 + (stride > 1) * stride) // stride
    assert rows.nonzero()[:, 0].tolist() == list(range(4 // stride, last))
    assert not small[1].any()


def test_small_objects_do_not_vanish():
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, 13, 22] = True
    assert shrink_masks(masks, 4)[0].nonzero().tolist() == [[3, 5]]


def test_a_stride_that_does_not_divide_the_side_is_refused():
    with pytest.raises(ConfigError, match="31 pixels, 4 per logit"):
        shrink_masks(torch.zeros(1, 31, 31, dtype=torch.bool), 4)


def test_no_damage_is_the_object():
    masks, images = disc(3)
    prompts = WrongMask(stride=4, damage=0.0)(masks, images, generator=seeded())
    assert torch.equal(prompts.mask_logits[:, 0] > 0, shrink_masks(masks, 4))


def test_masks_are_wrong_but_not_hopeless():
    masks, images = disc()
    clean = shrink_masks(masks, 2)
    light, heavy = (
        ious(WrongMask(stride=2, damage=damage)(masks, images, generator=seeded()), clean)
        for damage in (0.1, 0.3)
    )
    assert 0.6 < light.mean() < 0.9
    assert light.min() > 0.3
    assert heavy.mean() < light.mean() - 0.1


def test_masks_grow_shrink_move_and_get_holes():
    masks, images = disc(300)
    clean = shrink_masks(masks, 2)
    wrong = WrongMask(stride=2)(masks, images, generator=seeded()).mask_logits[:, 0] > 0
    areas = wrong.flatten(1).sum(dim=1) / clean.flatten(1).sum(dim=1)
    assert areas.max() > 1.2
    assert areas.min() < 0.7
    columns = wrong.any(dim=1).to(torch.uint8)
    middle = (columns.argmax(dim=1) + 31 - columns.flip(1).argmax(dim=1)) / 2
    assert (middle.amin(), middle.amax()) < (15, 18)
    assert middle.std() > 0.5
    inner = clean[0] & (shrink_masks(disc(1, radius=8)[0], 2)[0])
    assert (~wrong[:, inner]).any(dim=1).float().mean() > 0.1  # a hole where nothing else reaches


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), slack=st.floats(0, 1), stride=st.sampled_from([1, 2, 4]))
def test_a_lasso_encloses_its_object(seed, slack, stride):
    random = seeded(seed)
    masks = torch.zeros(9, SIDE, SIDE, dtype=torch.bool)
    for row in range(1, 9):
        x0, y0, width, height = torch.randint(1, 40, (4,), generator=random).tolist()
        masks[row, y0 : y0 + height, x0 : x0 + width] = True
    masks &= torch.rand(masks.shape, generator=random) < 0.6
    lasso = Lasso(stride=stride, slack=slack)(
        masks, torch.zeros(9, dtype=torch.int64), generator=random
    )
    clean, inside = shrink_masks(masks, stride), lasso.mask_logits[:, 0] > 0
    assert (inside | ~clean).all()
    assert torch.equal(lasso.has_mask, clean.flatten(1).any(dim=1))
    assert not inside[0].any()


def test_a_lasso_is_loose_filled_and_not_everything():
    masks, images = disc(50)
    masks = masks & ~disc(50, radius=10)[0]  # a ring: the outline cannot leave the hole out
    filled = shrink_masks(disc(50)[0], 2)
    prompts = Lasso(stride=2, slack=0.2)(masks, images, generator=seeded())
    assert ((prompts.mask_logits[:, 0] > 0) | ~filled).all()
    overlap = ious(prompts, filled)
    assert overlap.min() > 0.6
    assert overlap.max() < 0.95
