"""From the masks of slices to one label volume."""

from pathlib import Path

import numpy as np
import pytest

from samft.data.sources import VolumeSpace
from samft.errors import DatasetError
from samft.inference.predictions import ImagePrediction, ObjectPrediction, encode_rle
from samft.inference.volume_result import VolumeResult
from samft.inference.volume_settings import LinkSettings

SPACE = VolumeSpace(kind="stack", shape=(4, 6, 8), axis=0, files=(Path("x.tif"),))


def item(left: int, **named) -> ObjectPrediction:
    mask = np.zeros((6, 8), bool)
    mask[1:4, left : left + 3] = True
    return ObjectPrediction(rle=encode_rle(mask), score=0.5, prompt={}, prompt_id=1, **named)


def result(planes: list[list[ObjectPrediction] | None], **settings) -> VolumeResult:
    def plane(index: int) -> ImagePrediction | None:
        found = planes[index]
        if found is None:
            return None
        return ImagePrediction(sample_id=f"x/z{index:03d}", size=(6, 8), objects=found)

    return VolumeResult("x", SPACE, plane, **settings)


def labels_of(volume: VolumeResult) -> list[list[int]]:
    return [np.unique(plane[plane > 0]).tolist() for plane in volume.labels]


def test_objects_are_numbered_through_all_slices() -> None:
    volume = result([[item(0)], [item(0), item(4)], None, []])
    assert labels_of(volume) == [[1], [2, 3], [], []]
    assert volume.labels.dtype == np.uint8
    assert volume.labels[1, 2, 5] == 3
    assert [found.value for found in volume.objects] == [1, 2, 3]


def test_numbers_that_were_given_are_the_labels() -> None:
    volume = result(
        [[item(0, object_id=7)], [item(4, object_id=300), item(0, object_id=7)], [], []]
    )
    assert labels_of(volume) == [[7], [7, 300], [], []]
    assert volume.labels.dtype == np.uint16


def test_names_make_one_object_in_all_slices() -> None:
    planes = [[item(0, object_id="liver")], [item(4, object_id="spleen")]]
    planes += [[item(0, object_id="liver"), item(4)], []]
    assert labels_of(result(planes)) == [[1], [2], [1, 3], []]


def test_overlap_links_slices() -> None:
    planes = [[item(0), item(4)], [item(5), item(0)], [item(0)], [item(5)]]
    volume = result(planes, linking=LinkSettings(max_gap=1))
    assert labels_of(volume) == [[1, 2], [1, 2], [1], [2]]
    assert volume.labels[1, 2, 6] == 2
    assert len(volume.objects) == 2


def test_a_slice_of_another_size() -> None:
    space = VolumeSpace(kind="stack", shape=(1, 5, 5), axis=0, files=(Path("x.tif"),))
    plane = ImagePrediction(sample_id="x/z000", size=(6, 8), objects=[])
    with pytest.raises(DatasetError, match="not of the volume's size") as caught:
        _ = VolumeResult("x", space, lambda _: plane).labels
    assert "x/z000" in str(caught.value)
