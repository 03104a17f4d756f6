"""Objects, points in them and their boxes through every augmentation, the batch, and back.

Every pixel of a second label layer carries its own number, so that wherever it ends up, it tells
where it came from. The layer of the objects is sampled at the same places, so that what it says
must be what the original says there: exactly, without any tolerance. Images are compared with the
labels by coordinates as colours, and by brightness where colours change.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional as F

from samft.data.augmentation.adapter import AlbumentationsTransform, albumentations
from samft.data.augmentation.base import Transform
from samft.data.augmentation.foreground_crop import ForegroundCrop
from samft.data.augmentation.large_scale_jitter import LargeScaleJitter
from samft.data.augmentation.presets import DOMAINS, SCALES
from samft.data.augmentation.registry import build_transform
from samft.data.collate import collate
from samft.data.geometry import boxes_to_original, points_to_original
from samft.types import SamBatch, Sample

SIDE = 48
EVERY: list[str | list[str]] = [
    *DOMAINS,
    *SCALES,
    ["foreground_crop", "microscopy"],
    ["lsj", "underwater"],
    ["mr", "lsj", "flip"],
]
TRANSFORMS: dict[str, Transform] = {
    str(names): transform
    for names in EVERY
    if (transform := build_transform(names, side=SIDE)) is not None
}
quick = settings(deadline=None, max_examples=15)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Bright rectangles on dark ground, two layers: the objects, and the number of every pixel."""
    height, width = draw(st.integers(20, 90)), draw(st.integers(20, 90))
    labels = np.zeros((height, width), np.int32)
    count = draw(st.integers(1, 4))
    for value in range(1, count + 1):
        high, wide = draw(st.integers(6, 18)), draw(st.integers(6, 18))
        top, left = draw(st.integers(0, height - 6)), draw(st.integers(0, width - 6))
        place = labels[top : top + high, left : left + wide]
        if value == 1 or not place.any():  # no slivers: they may fall between sampled pixels
            place[:] = value
    numbers = np.arange(height * width, dtype=np.int32).reshape(height, width) + 1 + count
    bright = np.where(labels > 0, 225, 30).astype(np.uint8)
    ramp = np.linspace(0, 12, width, dtype=np.uint8)  # not grey, as nothing may be quicker by it
    total = count + height * width
    return Sample(
        image=torch.from_numpy(np.stack([bright, bright - ramp, bright])),
        layers=torch.from_numpy(np.stack([labels, numbers])),
        object_layer=torch.cat([torch.zeros(count), torch.ones(total - count)]).long(),
        object_class=torch.arange(total) % 3,
        sample_id="a",
        case_id="a",
    )


def num_objects(sample: Sample) -> int:
    return int((sample.object_layer == 0).sum())


def origins(sample: Sample, numbers: Tensor) -> Tensor:
    """Return the values of the original objects at the pixels that `numbers` (any shape) name."""
    return sample.layers[0].flatten()[(numbers - 1 - num_objects(sample)).long()]


@pytest.mark.parametrize("name", TRANSFORMS)
@quick
@given(sample=samples(), seed=st.integers(0, 2**62))
def test_every_labelled_pixel_comes_from_its_object(name: str, sample: Sample, seed: int) -> None:
    result = TRANSFORMS[name](sample, seed)
    assert result.num_objects == sample.num_objects
    assert torch.equal(result.object_layer, sample.object_layer)
    assert torch.equal(result.object_class, sample.object_class)
    for maps in (result.layers, collate([result], image_size=SIDE).layers[0]):
        inside = maps[1] > 0  # the others came in from outside of the image
        assert torch.equal(maps[0][inside], origins(sample, maps[1][inside]))
        assert not maps[0][~inside].any()


@pytest.mark.parametrize("name", TRANSFORMS)
@quick
@given(sample=samples(), seed=st.integers(0, 2**62), data=st.data())
def test_points_and_boxes_in_the_batch_lie_on_the_original_object(
    name: str, sample: Sample, seed: int, data: st.DataObject
) -> None:
    result = TRANSFORMS[name](sample, seed)
    batch = collate([result], image_size=SIDE, keep_samples=True)
    objects = [k for k in range(num_objects(sample)) if bool((batch.layers[0, 0] == k + 1).any())]
    if not objects:
        return
    value = data.draw(st.sampled_from(objects)) + 1
    rows, columns = (batch.layers[0, 0] == value).nonzero().T
    at = data.draw(st.integers(0, len(rows) - 1))
    point = torch.stack([columns[at], rows[at]]).float()
    near = around(batch, result, points_to_original(point, batch.frames[0]))
    assert bool((near[0] == value).any())
    numbers = near[1][near[0] == value]
    assert bool((origins(sample, numbers) == value).all())
    box = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()]).float()
    back = boxes_to_original(box, batch.frames[0])
    down, right = (result.layers[0] == value).nonzero().T
    whole = torch.stack([right.min(), down.min(), right.max(), down.max()]).float()
    beyond = (back - whole) * torch.tensor([-1, -1, 1, 1])
    reach = tolerance(batch)
    assert bool((beyond <= reach).all())  # all of it is on the object, and but for a tip it is all
    assert bool((beyond >= -2 * reach - 1).all())


def tolerance(batch: SamBatch) -> float:
    """A pixel of the original, or of the input, whichever is larger: labels are sampled there."""
    frame = batch.frames[0]
    return max(1.0, *(o / n for o, n in zip(frame.original_size, frame.input_size, strict=True)))


def around(batch: SamBatch, sample: Sample, point: Tensor) -> Tensor:
    """Return the labels (2, ...) no farther from a point of the original than the tolerance."""
    reach = tolerance(batch)
    first = (point - reach).ceil().clamp(min=0).int().tolist()
    last = (point + reach).floor().int().tolist()
    return sample.layers[:, first[1] : last[1] + 1, first[0] : last[0] + 1].flatten(1)


@pytest.mark.parametrize("name", TRANSFORMS)
@quick
@given(
    sides=st.tuples(st.integers(60, 99), st.integers(60, 99)),
    top=st.integers(5, 25),
    left=st.integers(5, 25),
    seed=st.integers(0, 2**62),
)
def test_the_image_moves_with_its_labels(
    name: str, sides: tuple[int, int], top: int, left: int, seed: int
) -> None:
    """By brightness: a pixel off the border, what is of the object is bright, all else is dark."""
    labels = torch.zeros(1, *sides, dtype=torch.int32)
    labels[:, top : top + 32, left : left + 32] = 1
    bright = torch.where(labels[0] == 1, 225, 60).to(torch.uint8)
    given = Sample(
        image=torch.stack([bright, bright, bright - 9]),
        layers=torch.cat([labels, torch.ones_like(labels)]),  # the second: within the image
        object_layer=torch.tensor([0, 1]),
        object_class=torch.tensor([0, 0]),
        sample_id="a",
        case_id="a",
    )
    result = TRANSFORMS[name](given, seed)
    grey = result.image.float().mean(dim=0)
    blurred = 3  # pixels: out of focus, at most, and a pixel of tolerance
    inside = eroded(result.layers[0] == 1, blurred)
    outside = eroded((result.layers[0] == 0) & (result.layers[1] == 1), blurred)
    if min(inside.sum(), outside.sum()) > 20:
        threshold = float(grey[inside].median() + grey[outside].median()) / 2
        assert float((grey[inside] > threshold).float().mean()) > 0.97
        assert float((grey[outside] < threshold).float().mean()) > 0.97


def eroded(mask: Tensor, pixels: int) -> Tensor:
    """Return what lies so far inside of a mask (H, W), and of the image."""
    inverse = F.pad((~mask)[None].float(), (1, 1, 1, 1), value=1.0)
    grown = F.max_pool2d(inverse, 2 * pixels + 1, stride=1, padding=pixels)[0, 1:-1, 1:-1]
    return grown == 0


def moved_by_albumentations() -> Transform:
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    affine = A.Affine(scale=(0.8, 1.25), rotate=(-45, 45), translate_percent=(-0.1, 0.1), p=1.0)
    return AlbumentationsTransform([A.D4(p=1.0), affine])


MOVING = {
    "flip": build_transform("flip"),
    "affine": moved_by_albumentations(),
    "lsj": LargeScaleJitter(SIDE, low=0.4),
    "crop": ForegroundCrop(SIDE),
    "window": ForegroundCrop(SIDE, by="side", window=17),
}


@pytest.mark.parametrize("name", MOVING)
@quick
@given(sample=samples(), seed=st.integers(0, 2**62))
def test_coordinates_as_an_image_agree_with_the_labels(
    name: str, sample: Sample, seed: int
) -> None:
    """Every pixel tells its place by its colour, and by its number: half a pixel apart at most.

    That is between a nearest neighbour and an interpolation; a twentieth more for OpenCV, which
    places pixels on 32 steps.
    """
    height, width = sample.size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    coded = sample.replace(image=torch.stack([x, y, torch.full_like(x, 255)]).float())
    result = MOVING[name](coded, seed)
    known = eroded((result.layers[1] > 0) & (result.image[2] > 254.99), 2)
    numbers = result.layers[1][known] - 1 - num_objects(sample)
    for plane, came in ((0, numbers % width), (1, numbers // width)):
        assert bool(((result.image[plane][known] - came).abs() <= 0.55).all())
