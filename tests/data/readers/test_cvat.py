"""CVAT's XML "for images" and "for video", as its exporter writes them."""

from pathlib import Path

import numpy as np
import pytest

from samft.data.readers.cvat import CvatFile, is_cvat, read_cvat
from samft.data.readers.xml_files import tags_in
from samft.data.shapes import Shape, ShapeTruth
from samft.errors import DatasetError

LABELS = """<labels>
  <label><name>car</name><color>#ff0000</color><type>any</type><attributes>
    <attribute><name>colour</name><values>red</values></attribute></attributes></label>
  <label><name>road</name><color>#00ff00</color><type>polygon</type><attributes/></label>
  <label><name>pose</name><type>skeleton</type><attributes/></label>
  <label><name>elbow</name><type>points</type><attributes/><parent>pose</parent></label>
</labels>"""
META = """<meta><task><id>7</id><name>street</name><size>2</size><mode>{mode}</mode>{labels}
{more}<owner><username>me</username></owner></task><dumped>2024-01-01</dumped></meta>"""
SHARED = 'label="car" source="manual" occluded="0"'
SQUARE = '<polygon {} points="2.00,2.00;12.00,2.00;12.00,12.00;2.00,12.00" z_order="0"></polygon>'


def write(folder: Path, body: str, *, mode: str = "annotation", more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "annotations.xml"
    meta = META.format(mode=mode, labels=LABELS, more=more)
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n{meta}\n'
        f"{body}\n</annotations>\n",
        encoding="utf-8",
    )
    return path


def image(*shapes: str, name: str = "a.jpg", size: str = 'width="40" height="30"') -> str:
    return f'<image id="0" name="{name}" {size}>{"".join(shapes)}</image>'


def read(path: Path) -> CvatFile:
    found = read_cvat(path)
    assert found is not None
    return found


def shapes(folder: Path, *drawn: str) -> tuple[Shape, ...]:
    path = write(folder, image(*drawn))
    (listed,) = read(path).images
    return listed.shapes(path)


def areas(found: tuple[Shape, ...]) -> list[int]:
    objects = ShapeTruth(found, (30, 40), {"car": 0, "road": 1}).objects("component")
    return [int((objects.layers == k + 1).sum()) for k in range(objects.object_class.size)]


def test_images_and_labels(tmp_path: Path) -> None:
    path = write(tmp_path, image(SQUARE.format(SHARED)) + image(name="b/c.png"))
    assert is_cvat(tags_in(path.read_bytes()[:4096]))
    found = read(path)
    assert found.labels == ("car", "road")
    assert not found.is_video
    assert [(i.name, i.size, len(i.shapes(path))) for i in found.images] == [
        ("a.jpg", (30, 40), 1),
        ("b/c.png", (30, 40), 0),
    ]
    assert areas(found.images[0].shapes(path)) == [100]


def test_boxes_and_ellipses_turn_clockwise(tmp_path: Path) -> None:
    found = shapes(
        tmp_path,
        f'<box {SHARED} xtl="2.00" ytl="4.00" xbr="22.00" ybr="14.00" z_order="0"></box>',
        f'<box {SHARED} xtl="2.0" ytl="4.0" xbr="22.0" ybr="14.0" rotation="90.00"></box>',
        f'<ellipse {SHARED} cx="12" cy="9" rx="10" ry="5" z_order="0"></ellipse>',
        f'<ellipse {SHARED} cx="12" cy="9" rx="8" ry="2" rotation="45.00"></ellipse>',
    )
    assert areas(found)[:2] == [200, 190]  # the second reaches out of the image by a pixel
    turned = found[1].outer[0]
    assert (turned.min(axis=0).tolist(), turned.max(axis=0).tolist()) == (
        pytest.approx([7, -1]),
        pytest.approx([17, 19]),
    )
    assert areas(found)[2] == pytest.approx(np.pi * 50, rel=0.05)
    tilted = found[3].outer[0]
    assert tilted[tilted[:, 0].argmin()][1] < tilted[tilted[:, 0].argmax()][1]


def test_masks_go_along_the_rows_of_their_box(tmp_path: Path) -> None:
    expected = np.zeros((3, 5), bool)
    expected[0, 3:] = expected[1, 0] = expected[2, 4] = True
    (found,) = shapes(
        tmp_path,
        f'<mask {SHARED} rle="3, 3, 8, 1" left="6" top="2" width="5" height="3"></mask>',
    )
    assert found.bitmap is not None
    assert np.array_equal(found.bitmap, expected)
    assert found.bitmap_at == (6, 2)
    (full,) = shapes(
        tmp_path / "b", f'<mask {SHARED} rle="0, 6" left="38" top="27" width="2" height="3"></mask>'
    )
    assert areas((full,)) == [6]


def test_groups_and_height(tmp_path: Path) -> None:
    low = SQUARE.format(SHARED).replace('z_order="0"', 'z_order="-1"')
    group = SHARED + ' group_id="3"'
    found = shapes(
        tmp_path,
        SQUARE.format(group),
        SQUARE.format(group.replace("car", "road")),
        SQUARE.format(group),
        low,
        SQUARE.format(SHARED + ' group_id="0"'),
    )
    assert [s.group for s in found] == [None, "car 3", "road 3", "car 3", None]
    assert len(areas(found)) == 4


def test_what_has_no_area_is_counted(tmp_path: Path) -> None:
    skeleton = f'<skeleton {SHARED}><points label="elbow" points="1,1"></points></skeleton>'
    path = write(
        tmp_path,
        image(
            f'<polyline {SHARED} points="1,1;5,5"></polyline>',
            f'<points {SHARED} points="1,1"></points>',
            f'<cuboid {SHARED} xtl1="1"></cuboid>',
            skeleton,
            '<tag label="car" source="manual"></tag>',
            f'<polygon {SHARED} points="1,1;5,5"></polygon>',
            f"<hologram {SHARED}></hologram>",
        ),
    )
    found = read(path)
    assert found.images[0].drawn == ()
    assert found.left_out == {
        "polyline, which has no area": 1,
        "points, which has no area": 1,
        "cuboid, which has no area": 1,
        "skeleton, which has no area": 1,
        "tag, which has no area": 1,
        "outline without area": 1,
        "<hologram>, which is not known": 1,
    }


SIZE = "<original_size><width>40</width><height>30</height></original_size>"


def tracked(frame: int, *, outside: int = 0) -> str:
    return SQUARE.format(f'frame="{frame}" keyframe="1" outside="{outside}" occluded="0"')


def test_tracks_of_a_video(tmp_path: Path) -> None:
    tracks = (
        f'<track id="0" label="car" source="manual">{tracked(0)}{tracked(1)}'
        f"{tracked(2, outside=1)}</track>"
        f'<track id="1" label="road" source="manual" group_id="4">{tracked(1)}</track>'
    )
    path = write(tmp_path, tracks, mode="interpolation", more=SIZE)
    found = read(path)
    assert found.is_video
    assert [(i.name, i.frame, i.size) for i in found.images] == [
        ("frame_000000", 0, (30, 40)),
        ("frame_000001", 1, (30, 40)),
    ]
    assert [(s.class_name, s.group) for s in found.images[1].shapes(path)] == [
        ("car", None),
        ("road", "road 4"),
    ]


def test_videos_of_several_tasks_are_refused(tmp_path: Path) -> None:
    tracks = "".join(
        f'<track id="{i}" label="car" task_id="{i}">{tracked(0)}</track>' for i in (1, 2)
    )
    path = write(tmp_path, tracks)
    with pytest.raises(DatasetError, match="several tasks") as caught:
        read(path)
    assert caught.value.where == path
    assert "each task by itself" in str(caught.value.fix)


def test_labels_that_are_not_declared_come_last(tmp_path: Path) -> None:
    path = write(tmp_path, image(SQUARE.format(SHARED.replace("car", "aardvark"))))
    assert read(path).labels == ("car", "road", "aardvark")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, image())).images) == 1
    assert len(read(write(tmp_path, image() + image(name="b.jpg"))).images) == 2


@pytest.mark.parametrize("text", ["<annotation/>", "<Annotations><meta/></Annotations>"])
def test_other_xml_is_told_apart(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    assert read_cvat(path) is None
    assert not is_cvat(tags_in(text.encode()))


OVERFLOW = ",".join([str(2**62)] * 4 + ["15"])  # 15 modulo 2^64


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        (SQUARE.format('occluded="0"'), "a polygon without label"),
        (f'<polygon {SHARED} points="1,1;a,5;3,3"></polygon>', "points"),
        (f'<polygon {SHARED} points="1,1;2;3,3"></polygon>', "points"),
        (f'<polygon {SHARED} points="1,1,1;2,2,2;3,3,3"></polygon>', "shape"),
        (f'<mask {SHARED} rle="3, 3" left="1" top="1" width="5" height="3"></mask>', "do not fill"),
        (
            f'<mask {SHARED} rle="-3, 18" left="1" top="1" width="5" height="3"></mask>',
            "do not fill",
        ),
        (f'<mask {SHARED} rle="a" left="1" top="1" width="5" height="3"></mask>', "run lengths"),
        (f'<mask {SHARED} rle="6" left="39" top="1" width="2" height="3"></mask>', "a mask of"),
        (
            f'<mask {SHARED} rle="9" left="0" top="0" width="3000000" height="3"></mask>',
            "a mask of",
        ),
        (
            f'<mask {SHARED} rle="{OVERFLOW}" left="1" top="1" width="5" height="3"></mask>',
            "do not",
        ),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, drawn: str, text: str) -> None:
    path = write(tmp_path, image(drawn))
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_cvat(path)
    assert text in str(caught.value.found)
    assert caught.value.where == path


@pytest.mark.parametrize(
    "drawn",
    [
        f'<box {SHARED} xtl="nan" ytl="1" xbr="3" ybr="4"></box>',
        f'<box {SHARED} xtl="1" ytl="1" xbr="3"></box>',
        f'<ellipse {SHARED} cx="1" cy="inf" rx="3" ry="4"></ellipse>',
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, drawn: str) -> None:
    with pytest.raises(DatasetError, match="is not a number"):
        read_cvat(write(tmp_path, image(drawn)))


def test_masks_are_limited_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = f'<mask {SHARED} rle="0, 1000000" left="0" top="0" width="1000" height="1000"></mask>'
    path = write(tmp_path, image(*[mask] * 20, size='width="1000" height="1000"'))
    (listed,) = read(path).images
    assert len(listed.shapes(path)) == 20
    monkeypatch.setenv("SAMFT_MAX_BYTES", "10000000")
    with pytest.raises(DatasetError, match="more memory than allowed"):
        listed.shapes(path)


def test_a_million_vertices_are_refused(tmp_path: Path) -> None:
    points = "1.00,2.00;" * 1_000_000
    with pytest.raises(DatasetError, match="more than 500000 vertices"):
        read_cvat(write(tmp_path, image(f'<polygon {SHARED} points="{points}3,4"></polygon>')))
