"""Which value is which class."""

from pathlib import Path

import pytest

from samft.data.classes import class_table
from samft.data.readers.volume import Segment
from samft.errors import ConfigError, DatasetError

MASK = Path("labels/a.png")


def test_list_starts_at_one_or_where_told() -> None:
    assert class_table(["a", "b"]).of_values([0, 1, 2], MASK) == {1: 0, 2: 1}
    table = class_table(["ground", "a", "b"], first_value=0)
    assert table.names == ("a", "b")
    assert table.of_values([0, 1, 2], MASK) == {1: 0, 2: 1}


def test_mapping() -> None:
    table = class_table({255: "polyp", 7: "tool"})
    assert table.names == ("polyp", "tool")
    assert table.of_values([0, 7, 255], MASK) == {255: 0, 7: 1}


def test_every_class_real() -> None:
    table = class_table(["a", "b"], first_value=0, background=None, ignore_value=255)
    assert table.of_values([0, 1, 255, -1], MASK) == {0: 0, 1: 1}


def test_without_names_every_value_is_of_one_class() -> None:
    table = class_table(None)
    assert table.names == ("object",)
    assert table.of_values([0, 3, 200], MASK) == {3: 0, 200: 0}


def test_value_without_name() -> None:
    with pytest.raises(DatasetError) as caught:
        class_table(["liver", "spleen"]).of_values([0, 1, 2, 3, 255], MASK)
    text = str(caught.value)
    assert "values that have no class name" in text
    assert str(MASK) in text
    assert "found: 3, 255" in text
    assert "1 liver, 2 spleen" in text
    assert "data.classes" in text
    assert "data.ignore_value" in text
    assert len(text.splitlines()) <= 4


def test_a_picture_is_no_mask() -> None:
    with pytest.raises(DatasetError, match="looks like a picture") as caught:
        class_table(None).of_values(range(500), MASK)
    assert "499 different values" in str(caught.value)
    assert "data.threshold" in str(caught.value)


@pytest.mark.parametrize("names", [["a", "a"], [], {0: "ground"}])
def test_names_that_make_no_sense(names) -> None:
    with pytest.raises(ConfigError, match="data.classes"):
        class_table(names)


def test_segments_by_name_and_layer() -> None:
    table = class_table(["lung", "nodule"])
    segments = [
        Segment(name="nodule", value=1, layer=1),
        Segment(name="lung", value=5),
        Segment(name="table", value=6),
    ]
    assert table.of_segments(segments, 0) == {5: 0}
    assert table.of_segments(segments, 1) == {1: 1}
