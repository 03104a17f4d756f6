"""Prompts of an image depend on its name, the step and the seed, not on its neighbours."""

import pytest
import torch

from samft.data.collate import collate
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import build_simulator
from samft.prompts.streams import ImageStreams, StreamedPrompts, by_image, uniform
from samft.types import Sample

SETTINGS = PromptSettings.from_dict({"mix": {"point": 0.4, "box": 0.3, "scribble": 0.3}})


def sample(name: str, count: int) -> Sample:
    layer = torch.zeros(64, 64, dtype=torch.int32)
    for index in range(count):
        layer[8 * index : 8 * index + 6, 5:50] = index + 1
    return Sample(
        image=torch.zeros(3, 64, 64, dtype=torch.uint8),
        layers=layer[None],
        object_layer=torch.zeros(count, dtype=torch.int64),
        object_class=torch.zeros(count, dtype=torch.int64),
        sample_id=name,
        case_id=name,
    )


def prompts(names: dict[str, int], *, step: int = 3):
    batch = collate([sample(name, count) for name, count in names.items()], image_size=64)
    streams = ImageStreams(7, step, batch.sample_ids)
    simulator = StreamedPrompts(build_simulator(SETTINGS), streams)
    made = simulator(batch.masks(), batch.image_index, generator=streams.common)
    return batch, made


def test_neighbours_change_nothing() -> None:
    batch, together = prompts({"a": 3, "b": 5, "c": 1})
    for image, (name, count) in enumerate({"a": 3, "b": 5, "c": 1}.items()):
        _, alone = prompts({name: count})
        rows = (batch.image_index == image).nonzero()[:, 0]
        own = together.select(rows)
        for field in ("boxes", "has_box"):
            assert torch.equal(getattr(own, field), getattr(alone, field)), field
        slots = alone.labels.shape[1]  # more of them where a neighbour has more points
        assert torch.equal(own.labels[:, :slots], alone.labels)
        shown = alone.labels >= 0
        assert torch.equal(own.points[:, :slots][shown], alone.points[shown])


def test_steps_seeds_and_repeated_images_differ() -> None:
    index = torch.tensor([0, 0, 1])
    first = uniform(ImageStreams(7, 3, ("a", "a")), index)
    assert first[0] != first[2]  # the same name again is another stream
    assert not torch.equal(first, uniform(ImageStreams(7, 4, ("a", "a")), index))
    assert not torch.equal(first, uniform(ImageStreams(8, 3, ("a", "a")), index))
    assert torch.equal(first, uniform(ImageStreams(7, 3, ("a", "a")), index))


def test_state_goes_back_exactly() -> None:
    streams = ImageStreams(7, 3, ("a", "b"))
    state, index = streams.get_state(), torch.tensor([1, 0, 1])
    first = uniform(streams, index)
    assert not torch.equal(first, uniform(streams, index))
    streams.set_state(state)
    assert torch.equal(first, uniform(streams, index))


def test_one_generator_serves_all_rows_at_once() -> None:
    generator = torch.Generator().manual_seed(1)
    found = list(by_image(generator, torch.tensor([0, 1, 1])))
    assert [rows.tolist() for rows, _ in found] == [[0, 1, 2]]
    assert found[0][1] is generator


@pytest.mark.parametrize("names", [{}, {"a": 0}])
def test_no_objects_are_no_prompts(names: dict[str, int]) -> None:
    if not names:
        assert uniform(ImageStreams(0, 0, ()), torch.zeros(0, dtype=torch.int64)).shape == (0,)
        return
    _, made = prompts(names)
    assert made.num_prompts == 0
