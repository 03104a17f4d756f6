"""Folders as CVAT exports them."""

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.cvat import CvatLayout
from samft.data.layouts.listing import Listing
from samft.errors import ConfigError, DatasetError

LABELS = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in ("car", "road"))
META = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
    "<mode>{mode}</mode><labels>" + LABELS + "</labels><original_size><width>30</width>"
    "<height>20</height></original_size></task></meta>{body}</annotations>"
)
SQUARE = 'occluded="0" points="2.00,2.00;10.00,2.00;10.00,10.00;2.00,10.00" z_order="0"'


def export(root: Path, body: str, *, mode: str = "annotation") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "annotations.xml"
    path.write_text(META.format(mode=mode, body=body))
    return path


def entry(name: str, *labels: str, more: str = "") -> str:
    shapes = "".join(f'<polygon label="{label}" {SQUARE}></polygon>' for label in labels)
    return f'<image id="0" name="{name}" {more} width="30" height="20">{shapes}</image>'


def track(label: str, *frames: int, outside: int | None = None) -> str:
    shapes = [
        f'<polygon frame="{frame}" keyframe="1" outside="{int(frame == outside)}" {SQUARE}>'
        "</polygon>"
        for frame in frames
    ]
    return f'<track id="0" label="{label}" source="manual">{"".join(shapes)}</track>'


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20)).save(root / name)


def layout_of(root: Path, **settings: Any) -> CvatLayout:
    return CvatLayout(root, LayoutSettings(**settings))


def found(root: Path, **settings: Any) -> list[str]:
    return [record.sample_id for record in layout_of(root, **settings).records()]


def test_an_export_for_images(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.jpg", "images/sub/b.png", "images/frame_000007.PNG")
    export(
        tmp_path, entry("a.jpg", "road", "car") + entry("sub\\b.png") + entry("frame_000007", "car")
    )
    assert "annotations.xml" in str(CvatLayout.recognise(Listing.of(tmp_path)))
    layout = layout_of(tmp_path)
    records = layout.records()
    assert layout.class_names == ("car", "road")
    assert [record.sample_id for record in records] == [
        "images/a.jpg",
        "images/frame_000007.PNG",
        "images/sub/b.png",
    ]
    again = pickle.loads(pickle.dumps(layout))
    classes = [again.truth(r).objects("component").object_class.tolist() for r in records]
    assert classes == [[1, 0], [0], []]
    assert [record.case_id for record in records] == [record.sample_id for record in records]
    again.check(records)


@pytest.mark.parametrize("where", ["a.jpg", "images/a.jpg", "data/x/a.jpg", "deep/down/a.jpg"])
def test_where_images_are_looked_for(tmp_path: Path, where: str) -> None:
    pictures(tmp_path, where)
    export(tmp_path / "deep", entry("a.jpg", "car"))
    assert found(tmp_path) == [where]


def test_subsets_of_a_project_and_several_exports(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pictures(tmp_path / name, "images/Train/a.jpg", "images/Test/a.jpg")
        export(
            tmp_path / name,
            entry("a.jpg", "car", more='subset="Train" task_id="1"')
            + entry("a.jpg", "road", more='subset="Test" task_id="2"'),
        )
    layout = layout_of(tmp_path)
    records = layout.records()
    classes = {r.sample_id: layout.truth(r).objects("value").object_class.tolist() for r in records}
    assert classes == {
        "one/images/Train/a.jpg": [0], "one/images/Test/a.jpg": [1],
        "two/images/Train/a.jpg": [0], "two/images/Test/a.jpg": [1],
    }  # fmt: skip


def test_the_frames_of_a_video(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"images/frame_{frame:06d}.png" for frame in range(4)))
    export(tmp_path, track("car", 0, 1, 2, outside=2) + track("road", 1), mode="interpolation")
    layout = layout_of(tmp_path)
    records = layout.records()
    counts = [layout.truth(r).objects("component").object_class.tolist() for r in records]
    assert counts == [[0], [0, 1], [], []]
    assert {record.case_id for record in records} == {"annotations.xml"}
    layout.check(records)


def test_frames_beside_the_folder_of_the_annotations(tmp_path: Path) -> None:
    pictures(tmp_path, "video/0001.png", "video/0002.png")
    export(tmp_path / "marks", track("car", 2), mode="interpolation")
    layout = layout_of(tmp_path)
    counts = [layout.truth(r).objects("class").object_class.size for r in layout.records()]
    assert counts == [0, 1]


def test_frames_that_are_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path, "images/frame_000000.png")
    export(tmp_path, track("car", 0, 9), mode="interpolation")
    with pytest.raises(DatasetError, match="1 annotated frame has no image") as caught:
        found(tmp_path)
    assert "frame_000009" in str(caught.value.found)
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, on_missing="skip") == ["images/frame_000000.png"]
    assert "frame_000009" in caplog.text


@pytest.mark.parametrize("names", [("cat.png",), ("a_1.png", "b_01.png")])
def test_frames_that_cannot_be_told(tmp_path: Path, names: tuple[str, ...]) -> None:
    pictures(tmp_path, *names)
    path = export(tmp_path, track("car", 1), mode="interpolation")
    with pytest.raises(DatasetError, match="cannot be told by their names") as caught:
        found(tmp_path)
    assert caught.value.where == path
    assert "data.images" in str(caught.value.fix)


def test_images_that_are_not_there_or_not_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path, "images/a.jpg", "images/c.jpg")
    export(tmp_path, entry("a.jpg", "car") + entry("b.jpg", "car"))
    with pytest.raises(DatasetError, match="1 listed image has no file"):
        found(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, on_missing="skip") == ["images/a.jpg"]
    assert "b.jpg" in caplog.text
    assert "images/c.jpg" in caplog.text
    export(tmp_path, entry("a.jpg", "car"))
    with pytest.raises(DatasetError, match="1 image has no entry in a label file"):
        found(tmp_path)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/a.jpg", "C:\\a.jpg", ""])
def test_names_never_lead_out(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, "secret.jpg", "data/a.jpg")
    path = export(tmp_path / "data", entry(name, "car"))
    with pytest.raises(DatasetError, match="outside the data folder") as caught:
        found(tmp_path / "data")
    assert caught.value.where == path


def test_an_image_annotated_twice(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.jpg")
    export(tmp_path, entry("a.jpg", "car") + entry("images/a.jpg", "car"))
    with pytest.raises(DatasetError, match="annotated twice") as caught:
        found(tmp_path)
    assert caught.value.where == tmp_path / "images/a.jpg"


def test_a_doubtful_image(tmp_path: Path) -> None:
    pictures(tmp_path, "x/a.jpg", "y/a.jpg")
    export(tmp_path, entry("a.jpg", "car"))
    with pytest.raises(DatasetError, match="several images have the name") as caught:
        found(tmp_path)
    assert "x/a.jpg, y/a.jpg" in str(caught.value.found)


def test_a_size_that_is_not_the_image_s(tmp_path: Path) -> None:
    Image.new("RGB", (31, 20)).save(tmp_path / "a.png")
    path = export(tmp_path, entry("a.png", "car"))
    layout = layout_of(tmp_path)
    records = layout.records()
    for look in (lambda: layout.truth(records[0]), lambda: layout.check(records)):
        with pytest.raises(DatasetError, match="sizes differ") as caught:
            look()
        assert caught.value.where == path


def test_the_user_s_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    export(tmp_path, entry("a.jpg", "car", "road"))
    layout = layout_of(tmp_path, classes=["road"])
    (record,) = layout.records()
    assert layout.truth(record).objects("component").object_class.tolist() == [0]
    with pytest.raises(ConfigError, match="no label file has a label of this name") as caught:
        found(tmp_path, classes=["roads"])
    assert "did you mean 'road'" in str(caught.value.fix)


def test_lines_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path, "a.jpg")
    line = '<polyline label="car" points="1,1;2,2"></polyline>'
    export(tmp_path, f'<image id="0" name="a.jpg" width="30" height="20">{line * 3}</image>')
    with caplog.at_level(logging.WARNING):
        found(tmp_path)
    assert caplog.messages == ["shapes left out: 3 of polyline, which has no area"]


def test_other_xml(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "a.xml").write_text("<annotation/>")
    assert CvatLayout.recognise(Listing.of(tmp_path)) is None
    with pytest.raises(DatasetError, match="the file is not CVAT's XML") as caught:
        found(tmp_path)
    assert "data.layout" in str(caught.value.fix)
    export(tmp_path, entry("a.jpg", "car"))
    assert found(tmp_path) == ["a.jpg"]
    with pytest.raises(DatasetError, match="the file is not CVAT's XML"):
        found(tmp_path, labels="*.xml")
