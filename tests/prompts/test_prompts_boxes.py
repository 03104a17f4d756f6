import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.prompts.boxes import UniformBox, WholeFrame
from samft.prompts.sampling import tight_boxes

SIDE = 64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def offsets(simulator, *, draws=3000, side=SIDE):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[side // 2 - 5 : side // 2 + 5, side // 4 : 3 * side // 4] = True  # 10 high, side / 2 wide
    masks, images = mask.expand(draws, side, side), torch.zeros(draws, dtype=torch.int64)
    prompts = simulator(masks, images, generator=seeded())
    assert prompts.has_box.all()
    return prompts.boxes - tight_boxes(mask[None])[0]


def test_sam2s_shift_is_uniform_both_ways_up_to_a_tenth_of_the_side():
    moved = offsets(UniformBox(noise=0.1, max_px=1024))
    limits = torch.tensor([3.2, 1.0, 3.2, 1.0])
    assert (moved.abs() <= limits + 1e-5).all()
    assert moved.std(dim=0).tolist() == pytest.approx((limits / 3**0.5).tolist(), rel=0.05)
    assert (moved.mean(dim=0) / limits).abs().max() < 0.05


def test_the_cap_scales_with_the_input():
    moved = offsets(UniformBox(noise=0.5, max_px=20), side=256)
    assert moved.abs().amax(dim=0).tolist() == pytest.approx([5, 5, 5, 5], abs=0.05)


def test_medsams_shift_is_up_to_20_px_outward_whatever_the_size():
    moved = offsets(UniformBox(noise=1000, max_px=20, outward=True), side=512)
    assert (moved[:, :2] <= 0).all()
    assert (moved[:, 2:] >= 0).all()
    assert moved.abs().amax(dim=0).tolist() == pytest.approx([10] * 4, abs=0.1)
    assert moved.abs().mean(dim=0).tolist() == pytest.approx([5] * 4, abs=0.2)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    noise=st.floats(0, 3),
    outward=st.booleans(),
    corners=st.tuples(*[st.integers(0, 31)] * 4),
)
def test_boxes_stay_in_order_in_the_frame_and_around_the_object(seed, noise, outward, corners):
    (x0, x1), (y0, y1) = sorted(corners[:2]), sorted(corners[2:])
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    masks, images = mask.expand(20, 32, 32), torch.zeros(20, dtype=torch.int64)
    simulator = UniformBox(noise=noise, max_px=1024, outward=outward)
    boxes = simulator(masks, images, generator=seeded(seed)).boxes
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 31
    if outward:
        assert (boxes[:, :2] <= torch.tensor([x0, y0])).all()
        assert (boxes[:, 2:] >= torch.tensor([x1, y1])).all()


def test_the_whole_frame():
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[0, 3, 4] = masks[2] = True
    generator = seeded()
    before = generator.get_state()
    prompts = WholeFrame()(masks, torch.zeros(3, dtype=torch.int64), generator=generator)
    assert prompts.boxes.tolist() == [[0, 0, 15, 15], [0, 0, 0, 0], [0, 0, 15, 15]]
    assert prompts.has_box.tolist() == [True, False, True]
    assert torch.equal(generator.get_state(), before)
