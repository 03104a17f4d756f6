import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.errors import ConfigError
from samft.prompts.sampling import center_points, tight_boxes
from samft.prompts.settings import FIELDS, PromptSettings
from samft.prompts.simulators import (
    CenterPoint,
    JoinedPrompts,
    MixedPrompts,
    NoisyBox,
    Scribble,
    SeveralPoints,
    TightBox,
    UniformBox,
    UniformPoint,
    WrongMask,
    build_simulator,
)
from samft.types import ABSENT, POSITIVE, PromptBatch

RANDOM = (UniformPoint(), NoisyBox(), build_simulator(PromptSettings()))
FIXED = (CenterPoint(), TightBox())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def squares(side=32):
    """Five objects: a square, an empty one, one pixel in each far corner, everything."""
    masks = torch.zeros(5, side, side, dtype=torch.bool)
    masks[0, 5:20, 8:12] = True
    masks[2, 0, 0] = True
    masks[3, -1, -1] = True
    masks[4] = True
    return masks, torch.tensor([0, 0, 1, 1, 2])


def same(first, second):
    pairs = [
        (getattr(first, name), getattr(second, name))
        for name in ("image_index", "points", "labels", "boxes", "has_box")
    ]
    return all(a is b is None or (a is not None and torch.equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("simulator", [UniformPoint(), CenterPoint()])
def test_points_are_on_the_object_or_absent(simulator):
    masks, images = squares()
    prompts = simulator(masks, images, generator=seeded())
    assert prompts.points.shape == (5, 1, 2)
    assert prompts.points.dtype == torch.float32
    assert prompts.labels.tolist() == [[1], [ABSENT], [1], [1], [1]]
    assert torch.equal(prompts.image_index, images)
    assert prompts.boxes is None
    assert prompts.mask_logits is None
    for mask, (x, y) in zip(masks[[0, 2, 3, 4]], prompts.points[[0, 2, 3, 4], 0].int().tolist(),
                            strict=True):  # fmt: skip
        assert mask[y, x]


def test_center_point_is_the_centre():
    masks, images = squares()
    prompts = CenterPoint()(masks, images, generator=seeded())
    assert torch.equal(prompts.points[:, 0], center_points(masks)[0])


def test_tight_box_is_tight():
    masks, images = squares()
    prompts = TightBox()(masks, images, generator=seeded())
    assert prompts.boxes.tolist() == [
        [8, 5, 11, 19],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [31, 31, 31, 31],
        [0, 0, 31, 31],
    ]
    assert prompts.has_box.tolist() == [True, False, True, True, True]
    assert prompts.points is None


@pytest.mark.parametrize("simulator", FIXED)
def test_fixed_prompts_leave_the_generator_alone(simulator):
    masks, images = squares()
    generator = seeded()
    before = generator.get_state()
    first = simulator(masks, images, generator=generator)
    assert torch.equal(generator.get_state(), before)
    assert same(first, simulator(masks, images, generator=seeded(99)))


@pytest.mark.parametrize("simulator", RANDOM)
def test_random_prompts_are_a_function_of_the_seed(simulator):
    masks, images = squares()
    masks, images = masks.repeat(4, 1, 1), images.repeat(4)
    first = simulator(masks, images, generator=seeded(1))
    torch.manual_seed(5)  # the global generator has no part
    assert same(first, simulator(masks, images, generator=seeded(1)))
    assert not same(first, simulator(masks, images, generator=seeded(2)))


@pytest.mark.parametrize("simulator", RANDOM + FIXED)
def test_no_objects(simulator):
    masks, images = torch.zeros(0, 8, 8, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    prompts = simulator(masks, images, generator=seeded())
    assert prompts.num_prompts == 0
    for name in ("points", "labels", "boxes", "has_box"):
        value = getattr(prompts, name)
        assert value is None or len(value) == 0


def offsets(mask, simulator, draws=4000):
    masks = mask.expand(draws, *mask.shape)
    prompts = simulator(masks, torch.zeros(draws, dtype=torch.int64), generator=seeded())
    assert prompts.has_box.all()
    return prompts.boxes - tight_boxes(mask[None])[0]


def test_noise_is_a_tenth_of_each_side():
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[40:50, 30:70] = True  # 40 wide, 10 high
    noise = offsets(mask, NoisyBox(noise=0.1, max_px=1e6))
    assert noise.std(dim=0).tolist() == pytest.approx([4, 1, 4, 1], rel=0.05)
    assert noise.mean(dim=0).abs().max() < 0.2
    correlation = torch.corrcoef(noise.T) - torch.eye(4)
    assert correlation.abs().max() < 0.06  # the four coordinates move on their own


@pytest.mark.parametrize(("side", "cap"), [(1024, 20.0), (256, 5.0)])
def test_noise_is_capped_at_20_px_of_1024(side, cap):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[side // 8 : -side // 8, side // 8 : -side // 8] = True
    noise = offsets(mask, NoisyBox(), draws=32)
    assert noise.abs().max().item() == pytest.approx(cap, abs=1e-3)
    assert (noise.abs() > cap - 1e-3).float().mean() > 0.5  # sd is four times the cap


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    noise=st.floats(0, 3),
    corners=st.tuples(*[st.integers(0, 31)] * 4),
)
def test_noisy_boxes_stay_in_order_and_in_the_frame(seed, noise, corners):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    masks, images = mask.expand(20, 32, 32), torch.zeros(20, dtype=torch.int64)
    boxes = NoisyBox(noise=noise, max_px=1024)(masks, images, generator=seeded(seed)).boxes
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 31
    if noise == 0:
        assert torch.equal(boxes, tight_boxes(masks)[0])


def test_crossed_corners_fall_back_to_the_tight_box():
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[10, 10] = True
    noise = offsets(mask, NoisyBox(noise=0.5, max_px=1024), draws=400)
    crossed = (noise == 0).all(dim=1)
    assert 0.6 < crossed.float().mean() < 0.9  # each axis keeps its order half of the time
    assert (noise[~crossed] != 0).any(dim=1).all()


def test_empty_objects_get_no_noisy_box():
    masks, images = squares()
    prompts = NoisyBox()(masks, images, generator=seeded())
    assert prompts.has_box.tolist() == [True, False, True, True, True]
    assert prompts.boxes[1].tolist() == [0, 0, 0, 0]


def test_mixed_prompts_are_one_batch():
    masks = torch.zeros(2000, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 1:4] = True
    masks[:10] = False
    images = torch.arange(2000) // 50
    prompts = build_simulator(PromptSettings())(masks, images, generator=seeded())
    assert torch.equal(prompts.image_index, images)
    assert prompts.points.shape == (2000, 1, 2)
    assert prompts.boxes.shape == (2000, 4)
    by_point = prompts.labels[:, 0] == POSITIVE
    by_box = prompts.has_box
    assert not (by_point & by_box).any()
    assert torch.equal(by_point | by_box, masks.flatten(1).any(dim=1))
    assert (prompts.labels[~by_point] == ABSENT).all()
    assert by_point.float().mean().item() == pytest.approx(0.5, abs=0.04)
    x, y = prompts.points[by_point, 0].long().unbind(1)
    assert masks[by_point][torch.arange(len(x)), y, x].all()


def test_probabilities_are_kept_for_three_kinds():
    masks, images = torch.ones(3000, 4, 4, dtype=torch.bool), torch.zeros(3000, dtype=torch.int64)
    tagged = [_Tagged(value) for value in (1.0, 2.0, 3.0)]
    mixed = MixedPrompts(simulators=tagged, probabilities=[0.2, 0.0, 0.8])
    points = mixed(masks, images, generator=seeded()).points[:, 0, 0]
    shares = [(points == value).float().mean().item() for value in (1.0, 2.0, 3.0)]
    assert shares[0] == pytest.approx(0.2, abs=0.03)
    assert shares[1] == 0
    assert shares[2] == pytest.approx(0.8, abs=0.03)


class _Tagged:
    """Puts a recognisable value where the point would be."""

    def __init__(self, value):
        self.value = value

    def __call__(self, masks, image_index, *, generator, ignored=None):
        return PromptBatch(
            image_index=image_index,
            points=torch.full((len(masks), 1, 2), self.value),
            labels=torch.ones(len(masks), 1, dtype=torch.int64),
        )


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certain_kinds_keep_both_fields(probability):
    # The same fields in every batch: the same path through the model on every process.
    masks, images = squares()
    simulator = build_simulator(PromptSettings(point_probability=probability))
    prompts = simulator(masks, images, generator=seeded())
    assert (prompts.labels[:, 0] == POSITIVE).sum() == 4 * probability
    assert prompts.has_box.sum() == 4 * (1 - probability)
    assert prompts.points.shape == (5, 1, 2)


def test_settings_reach_the_box():
    masks, images = squares()
    simulator = build_simulator(PromptSettings(point_probability=0, box_noise=0.0))
    prompts = simulator(masks, images, generator=seeded())
    assert torch.equal(prompts.boxes, tight_boxes(masks)[0])


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match=r"prompts\.point_probability"):
        build_simulator(PromptSettings(point_probability=2))


@pytest.mark.parametrize("probabilities", [[0.5, 0.6], [-0.5, 1.5]])
def test_bad_probabilities_are_refused(probabilities):
    with pytest.raises(ConfigError) as caught:
        MixedPrompts(simulators=[TightBox(), CenterPoint()], probabilities=probabilities)
    assert "at least 0 and sum to 1" in str(caught.value)
    assert f"found: {probabilities}" in str(caught.value)


def test_probabilities_must_match_the_simulators():
    with pytest.raises(ConfigError) as caught:
        MixedPrompts(simulators=[TightBox()], probabilities=[0.5, 0.5])
    assert "one probability per simulator" in str(caught.value)
    assert "found: 2 probabilities, expected: 1" in str(caught.value)


def test_the_default_draws_the_same_prompts_as_ever():
    # Written down before there were other kinds of prompts: whoever repeats an old run gets it.
    masks = torch.zeros(6, 32, 32, dtype=torch.bool)
    for index in range(6):
        masks[index, 2 + index : 14 + 2 * index, 3 : 9 + 3 * index] = True
    masks[4] = False
    for same_mix in (PromptSettings(), PromptSettings(mix={"box": 0.5, "point": 0.5})):
        prompts = build_simulator(same_mix)(masks, torch.arange(6) // 2, generator=seeded(7))
        assert prompts.points[:, 0].tolist() == [[0, 0], [5, 3], [0, 0], [0, 0], [0, 0], [6, 10]]
        assert prompts.labels[:, 0].tolist() == [-10, 1, -10, -10, -10, 1]
        assert prompts.has_box.tolist() == [True, False, True, True, False, False]
        assert prompts.boxes.tolist() == [
            [2.7866249084472656, 2.625, 8.082903861999512, 12.375],
            [0.0, 0.0, 0.0, 0.0],
            [3.381213903427124, 4.185929775238037, 14.164789199829102, 17.33676528930664],
            [3.625, 5.625, 17.625, 19.30413818359375],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
        ]


def test_every_kind_has_a_builder():
    masks, images = squares()
    for kind, gives in FIELDS.items():
        simulator = build_simulator(PromptSettings(mix={kind: 1.0}))
        prompts = simulator(masks, images, generator=seeded())
        given = {
            "points": prompts.points is not None,
            "box": prompts.boxes is not None,
            "mask": prompts.mask_logits is not None,
        }
        assert [name for name, there in given.items() if there] == [gives] * (kind != "none"), kind


def test_settings_reach_their_simulators():
    settings = PromptSettings(
        mix={"points": 0.25, "scribble": 0.25, "box": 0.25, "mask+point": 0.25},
        min_points=2,
        max_points=3,
        negative_share=0.5,
        scribble_points=4,
        box_shift="outward",
        box_noise=0.2,
        box_noise_max_px=7.0,
        mask_damage=0.3,
    )
    mixed = build_simulator(settings, mask_stride=2)
    assert list(mixed.simulators) == [
        SeveralPoints(fewest=2, most=3, negative_share=0.5),
        Scribble(count=4, negative_share=0.5),
        UniformBox(noise=0.2, max_px=7.0, outward=True),
        JoinedPrompts([WrongMask(stride=2, damage=0.3), UniformPoint()]),
    ]


@pytest.mark.parametrize("stride", [2, 4])
def test_mask_prompts_have_the_side_of_the_decoders_logits(stride):
    masks, images = squares()
    simulator = build_simulator(PromptSettings(mix={"mask": 0.5, "lasso": 0.5}), mask_stride=stride)
    prompts = simulator(masks, images, generator=seeded())
    assert prompts.mask_logits.shape == (5, 1, 32 // stride, 32 // stride)
