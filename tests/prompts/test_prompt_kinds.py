"""What every kind of simulated prompt promises, whatever the masks hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.data.geometry import frame_for
from samft.models.registry import build_sam
from samft.prompts.ambiguity import answers_for, is_ambiguous
from samft.prompts.background import background_clicks
from samft.prompts.combining import GivenPrompts
from samft.prompts.rounds import interactive_rounds
from samft.prompts.settings import FIELDS, PromptSettings
from samft.prompts.simulators import build_simulator
from samft.types import ABSENT, NEGATIVE, POSITIVE, SamBatch

SIDE = 24
STRIDE = 2
KINDS = (*FIELDS, "box+points", "mask+point", "lasso+scribble")
COMMON = dict.fromkeys(("point", "points", "scribble", "box", "mask+point"), 0.2)
NAMES = ("points", "labels", "boxes", "has_box", "mask_logits", "has_mask")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def simulator(kind, **options):
    mix = COMMON if kind == "mix" else {kind: 1.0}
    chosen = PromptSettings(mix=mix, negative_share=0.6, **options)
    return build_simulator(chosen, mask_stride=STRIDE)


@st.composite
def objects(draw):
    """(P, S, S) bool masks, empty over a pixel to full, and as many unknown regions beside them."""
    kinds = draw(st.lists(st.sampled_from(["empty", "pixel", "line", "blob", "noise", "full"]),
                          max_size=7))  # fmt: skip
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = np.zeros((len(kinds), SIDE, SIDE), dtype=bool)
    y, x = np.ogrid[:SIDE, :SIDE]
    for mask, kind in zip(masks, kinds, strict=True):
        cy, cx = random.integers(SIDE, size=2)
        if kind == "pixel":
            mask[cy, cx] = True
        elif kind == "line":
            mask[cy, cx // 2 :] = True
        elif kind == "blob":
            mask[:] = (y - cy) ** 2 + (x - cx) ** 2 <= random.integers(1, 90)
        elif kind == "noise":
            mask[:] = random.random((SIDE, SIDE)) < 0.3
        elif kind == "full":
            mask[:] = True
    ignored = (random.random(masks.shape) < 0.3) & ~masks
    return torch.from_numpy(masks), torch.from_numpy(ignored)


@pytest.mark.parametrize("kind", [*KINDS, "mix"])
@settings(deadline=None, max_examples=25)
@given(given_objects=objects(), seed=st.integers(0, 2**31))
def test_prompts_mean_their_object(kind, given_objects, seed):
    masks, ignored = given_objects
    images = torch.arange(len(masks)) // 3
    prompts = simulator(kind)(masks, images, generator=seeded(seed), ignored=ignored)
    assert torch.equal(prompts.image_index, images)
    there = masks.flatten(1).any(dim=1)
    prompted = torch.zeros_like(there)
    if prompts.points is not None:
        check_points(prompts, masks, ignored)
        prompted |= (prompts.labels == POSITIVE).any(dim=1)
    if prompts.boxes is not None:
        check_boxes(prompts)
        prompted |= prompts.has_box
    if prompts.mask_logits is not None:
        check_mask_logits(prompts)
        prompted |= prompts.has_mask
    assert torch.equal(prompted, there if kind != "none" else torch.zeros_like(there))


def check_points(prompts, masks, ignored):
    points, labels = prompts.points, prompts.labels
    assert points.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert points.shape == (*labels.shape, 2)
    assert torch.equal(points, points.round())
    x, y = points.long().unbind(dim=2)
    rows = torch.arange(len(masks))[:, None]
    assert masks[rows, y, x][labels == POSITIVE].all()
    assert not (masks | ignored)[rows, y, x][labels == NEGATIVE].any()
    assert not points[labels == ABSENT].any()
    assert torch.isin(labels, torch.tensor([POSITIVE, NEGATIVE, ABSENT])).all()
    # A negative point alone would mean nothing.
    assert (labels == POSITIVE).any(dim=1)[(labels == NEGATIVE).any(dim=1)].all()


def check_boxes(prompts):
    boxes = prompts.boxes
    assert boxes.dtype == torch.float32
    assert prompts.has_box.dtype == torch.bool
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert len(boxes) == 0 or (boxes.min() >= 0 and boxes.max() <= SIDE - 1)
    assert not boxes[~prompts.has_box].any()


def check_mask_logits(prompts):
    logits = prompts.mask_logits
    assert logits.dtype == torch.float32
    assert logits.shape == (prompts.num_prompts, 1, SIDE // STRIDE, SIDE // STRIDE)
    assert (logits[prompts.has_mask].flatten(1) > 0).any(dim=1).all()
    assert not (logits[~prompts.has_mask] > 0).any()


@pytest.mark.parametrize("kind", [*KINDS, "mix"])
def test_shapes_do_not_depend_on_the_masks(kind):
    images = torch.zeros(3, dtype=torch.int64)
    simulate = simulator(kind)
    shapes = []
    for masks in (
        torch.zeros(3, SIDE, SIDE, dtype=torch.bool),
        torch.ones(3, SIDE, SIDE, dtype=torch.bool),
        torch.eye(SIDE, dtype=torch.bool).expand(3, SIDE, SIDE),
    ):
        prompts = simulate(masks, images, generator=seeded())
        values = [getattr(prompts, name) for name in NAMES]
        shapes.append([None if value is None else (value.shape, value.dtype) for value in values])
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("kind", [*KINDS, "mix"])
def test_the_generator_decides_and_nothing_is_changed(kind):
    masks = torch.zeros(30, SIDE, SIDE, dtype=torch.bool)
    masks[:, 4:16, 5:20] = True
    ignored = torch.zeros_like(masks)
    ignored[:, 18:] = True
    copies, images = (masks.clone(), ignored.clone()), torch.zeros(30, dtype=torch.int64)

    def values(seed):
        simulate = simulator(kind, mask_damage=0.5)
        prompts = simulate(masks, images, generator=seeded(seed), ignored=ignored)
        return [value for name in NAMES if (value := getattr(prompts, name)) is not None]

    first = values(1)
    torch.manual_seed(5)  # the global generator has no part
    assert all(map(torch.equal, first, values(1)))
    if kind not in ("center", "frame", "none"):
        assert not all(map(torch.equal, first, values(2)))
    assert all(map(torch.equal, (masks, ignored), copies))


def test_a_kind_of_probability_0_still_sets_its_fields():
    masks = torch.ones(4, SIDE, SIDE, dtype=torch.bool)
    settings_ = PromptSettings(mix={"point": 1.0, "box": 0.0, "mask": 0.0})
    simulate = build_simulator(settings_, mask_stride=STRIDE)
    prompts = simulate(masks, torch.zeros(4, dtype=torch.int64), generator=seeded())
    assert (prompts.labels == POSITIVE).all()
    assert not prompts.has_box.any()
    assert not prompts.has_mask.any()


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=64).eval()


@pytest.mark.parametrize("kind", [*KINDS, "mix"])
@pytest.mark.parametrize("count", [0, 5])
def test_the_model_takes_every_kind(kind, count, sam):
    masks = torch.zeros(count, 64, 64, dtype=torch.bool)
    masks[1:, 20:45, 10:50] = True
    chosen = PromptSettings(mix=COMMON if kind == "mix" else {kind: 1.0})
    simulate = build_simulator(chosen, mask_stride=sam.config.patch_size // 4)
    prompts = simulate(masks, torch.zeros(count, dtype=torch.int64), generator=seeded())
    embeddings = torch.randn(1, sam.config.embed_dim, 8, 8, generator=seeded())
    with torch.no_grad():
        several = sam.decode(embeddings, prompts, multimask=True)
        single = sam.decode(embeddings, prompts, multimask=False)
        every = sam.decode(embeddings, prompts, multimask=None)
    assert several.logits.shape == (count, 3, 32, 32)
    assert several.logits.isfinite().all()
    ambiguous = is_ambiguous(prompts)
    answers = answers_for(every, ambiguous)
    for row in range(count):
        expected = several if ambiguous[row] else single
        assert torch.allclose(
            answers.logits[row], expected.logits[row].expand(3, -1, -1), atol=1e-5
        )
        assert torch.allclose(answers.iou[row], expected.iou[row].expand(3), atol=1e-5)


def test_objects_and_background_clicks_go_through_the_rounds_together(sam):
    layers = torch.zeros(2, 1, 64, 64, dtype=torch.int32)
    layers[1, 0, 20:45, 10:50] = 1
    batch = SamBatch(
        images=torch.zeros(2, 3, 64, 64, dtype=torch.uint8),
        layers=layers,
        image_index=torch.tensor([1]),
        object_layer=torch.tensor([0]),
        object_value=torch.tensor([1], dtype=torch.int32),
        object_class=torch.tensor([0]),
        frames=(frame_for((64, 64), 64),) * 2,
        sample_ids=("empty", "one"),
    )
    clicks, nothing = background_clicks(batch, 2, generator=seeded())
    masks = torch.cat([batch.masks(), nothing])
    images = torch.cat([batch.image_index, clicks.image_index])
    first = GivenPrompts([(torch.arange(1, 5), clicks)], build_simulator(PromptSettings()))
    embeddings = torch.randn(2, sam.config.embed_dim, 8, 8, generator=seeded())

    def decode(prompts, multimask):
        return sam.decode(embeddings, prompts, multimask=multimask)

    rounds = interactive_rounds(
        decode,
        masks,
        images,
        PromptSettings(rounds=2, extra_passes=0),
        simulator=first,
        generator=seeded(),
    )
    *_, last = rounds
    assert last.prompts.image_index.tolist() == [1, 0, 0, 1, 1]
    assert (last.prompts.labels[1:, 0] == POSITIVE).all()
    assert torch.isin(last.prompts.labels[1:, 1:], torch.tensor([NEGATIVE, ABSENT])).all()
    assert last.output.logits.isfinite().all()
