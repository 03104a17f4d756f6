import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.data.geometry import frame_for
from samft.prompts.background import background_clicks, padding
from samft.types import ABSENT, IGNORE, POSITIVE, SamBatch

SIDE = 64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(sizes=((64, 64), (32, 64), (64, 48))):
    """The first image is empty, the second has an object, the third an unknown region."""
    layers = torch.zeros(3, 2, SIDE, SIDE, dtype=torch.int32)
    layers[1, 1, 10:20, 12:30] = 1
    layers[2, 0, :, :10] = IGNORE
    return SamBatch(
        images=torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8),
        layers=layers,
        image_index=torch.tensor([1]),
        object_layer=torch.tensor([1]),
        object_value=torch.tensor([1], dtype=torch.int32),
        object_class=torch.tensor([0]),
        frames=tuple(frame_for(size, SIDE) for size in sizes),
        sample_ids=("a", "b", "c"),
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 20))
def test_clicks_are_on_nothing_inside_the_image(seed, count):
    data = batch()
    prompts, masks = background_clicks(data, count, generator=seeded(seed))
    assert prompts.image_index.tolist() == [0] * count + [1] * count + [2] * count
    assert prompts.points.shape == (3 * count, 1, 2)
    assert prompts.points.dtype == torch.float32
    assert prompts.labels.tolist() == [[POSITIVE]] * (3 * count)
    assert masks.shape == (3 * count, SIDE, SIDE)
    assert masks.dtype == torch.bool
    assert not masks.any()
    x, y = prompts.points[:, 0].long().unbind(1)
    assert not (data.layers[prompts.image_index, :, y, x] != 0).any()
    assert not padding(data)[prompts.image_index, y, x].any()


def test_clicks_keep_their_distance():
    data = batch()
    prompts, _ = background_clicks(data, 2000, generator=seeded(), margin_px=64)  # 4 pixels here
    beside = prompts.image_index == 1
    x, y = prompts.points[beside, 0].unbind(1)
    near = (x > 12 - 5) & (x < 29 + 5) & (y > 10 - 5) & (y < 19 + 5)
    assert not near.any()
    assert ((x == 12 - 5) & (y > 5) & (y < 24)).any()  # but no more distance than that
    assert prompts.points[prompts.image_index == 2, 0, 0].min() == 9 + 5


def test_only_empty_images():
    prompts, masks = background_clicks(batch(), 3, generator=seeded(), empty_images_only=True)
    assert prompts.image_index.tolist() == [0, 0, 0, 2, 2, 2]
    assert len(masks) == 6


def test_an_image_without_background_gets_absent_points():
    data = batch()
    data.layers[0] = IGNORE
    prompts, masks = background_clicks(data, 2, generator=seeded())
    assert prompts.labels[:, 0].tolist() == [ABSENT] * 2 + [POSITIVE] * 4
    assert not prompts.points[:2].any()
    assert len(masks) == 6


def test_the_padding_is_what_lies_outside_the_image():
    outside = padding(batch())
    assert not outside[0].any()
    assert outside[1, 32:].all()
    assert not outside[1, :32].any()
    assert outside[2, :, 48:].all()
    assert not outside[2, :, :48].any()


def test_the_seed_decides():
    def points(seed):
        return background_clicks(batch(), 5, generator=seeded(seed))[0].points

    assert torch.equal(points(1), points(1))
    assert not torch.equal(points(1), points(2))
