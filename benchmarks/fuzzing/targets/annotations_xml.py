"""Targets: annotation files in XML, and the images that they are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.fuzzing.target import Target
from benchmarks.fuzzing.text_mutation import mutate_xml
from benchmarks.fuzzing.whole_sets import SIZE, all_of, draw, png, use_any, use_set
from samft.data.readers.aperio import read_aperio
from samft.data.readers.cvat import read_cvat
from samft.data.readers.iphotodraw import read_iphotodraw
from samft.data.readers.outlines import LabelledImage
from samft.data.readers.voc import read_stated_size

_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
_SIZE: Final = f'width="{SIZE[1]}" height="{SIZE[0]}"'
_SHARED: Final = 'label="car" source="manual" occluded="0"'
_META: Final = (
    "<version>1.1</version><meta><task><id>7</id><mode>{mode}</mode><labels>"
    "<label><name>car</name><type>any</type></label>"
    "<label><name>elbow</name><type>points</type><parent>pose</parent></label></labels>"
    "<original_size><width>12</width><height>10</height></original_size></task></meta>"
)
_DRAWN: Final = (
    f'<polygon {_SHARED} points="1.00,1.00;6.00,1.00;6.00,6.00" z_order="1" group_id="2"/>',
    f'<box {_SHARED} xtl="1.0" ytl="2.0" xbr="7.0" ybr="6.0" rotation="30.0" z_order="0"/>',
    f'<ellipse {_SHARED} cx="6" cy="5" rx="4" ry="2" rotation="45.0" z_order="-1"/>',
    f'<mask {_SHARED} rle="3, 3, 8, 1" left="6" top="2" width="5" height="3" z_order="0"/>',
    f'<points {_SHARED} points="1,1"/>',
)


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    one = {"a.png": png()}
    frames = {f"images/frame_{number:06d}.PNG": png() for number in range(2)}
    voc = {
        "JPEGImages/a.png": png(),
        "SegmentationClass/a.png": png(mask=True),
        "SegmentationObject/a.png": png(mask=True),
    }
    return (
        _target("cvat", "annotations.xml", _cvat, _cvat_seeds, one | {"b.png": png()}),
        _target("cvat_video", "annotations.xml", _cvat, _video_seeds, frames),
        _target("iphotodraw", "a.xml", partial(_drawn, "iphotodraw"), _iphotodraw_seeds, one),
        _target("aperio", "a.xml", partial(_drawn, "aperio"), _aperio_seeds, one),
        _target("voc_xml", "Annotations/a.xml", _voc, _voc_seeds, voc),
        _target("recognised_xml", "a.xml", lambda path: use_any(path.parent), _all_seeds, one),
    )


def _target(
    name: str,
    file_name: str,
    read: Callable[[Path], object],
    seeds: Callable[[Path], Sequence[bytes]],
    around: dict[str, bytes],
) -> Target:
    return Target(name, file_name, read, seeds, mutate_xml, around=around)


def _cvat(path: Path) -> None:
    def every_shape() -> None:
        file = read_cvat(path)
        for image in () if file is None else file.images:
            draw(image.shapes(path), image.size, path)

    all_of(every_shape, lambda: use_set("cvat", path.parent, on_missing="skip"))


def _cvat_seeds(_: Path) -> Sequence[bytes]:
    meta = _META.format(mode="annotation")
    images = (
        f'<image id="0" name="a.png" subset="Train" {_SIZE}>{"".join(_DRAWN)}</image>'
        f'<image id="1" name="b.png" {_SIZE}></image>'
    )
    short = f'<annotations><image id="0" name="a.png" {_SIZE}>{_DRAWN[0]}</image></annotations>'
    return [f"{_HEAD}<annotations>{meta}{images}</annotations>".encode(), short.encode("utf-16")]


def _video_seeds(_: Path) -> Sequence[bytes]:
    frames = [
        shape.replace(_SHARED, f'frame="{number % 2}" outside="0" keyframe="1" occluded="0"')
        for number, shape in enumerate(_DRAWN)
    ]
    gone = frames[0].replace('outside="0"', 'outside="1"')
    tracks = "".join(
        f'<track id="{number}" label="car" source="manual">{shape}</track>'
        for number, shape in enumerate([*frames, gone])
    )
    meta = _META.format(mode="interpolation")
    return [f"{_HEAD}<annotations>{meta}{tracks}</annotations>".encode()]


def _drawn(layout: str, path: Path) -> None:
    def every_shape() -> None:
        reader: Callable[[Path], LabelledImage | None] = (
            read_aperio if layout == "aperio" else read_iphotodraw
        )
        found = reader(path)
        if found is not None:
            draw(found.shapes, found.size, path)

    all_of(every_shape, lambda: use_set(layout, path.parent))


def _iphotodraw_seeds(_: Path) -> Sequence[bytes]:
    def shape(kind: str, data: str, text: str = "") -> str:
        return (
            f'<Shape Type="{kind}"><Settings><Fill FillType="Color"/></Settings>'
            f"<BlockText><Text>{text}</Text></BlockText>{data}</Shape>"
        )

    corners = "".join(f'<Point X="{x}" Y="{y}"/>' for x, y in ((1, 1), (6, 1), (6, 6), (1, 6)))
    polygon = f'<Data Rotation="0"><Points>{corners}</Points></Data>'
    box = '<Data Rotation="15"><Extent X="2" Y="4" Width="6" Height="3"/></Data>'
    shapes = (
        shape("SmoothPolygon", polygon),
        shape("Polygon", polygon.replace('Rotation="0"', 'Rotation="40"'), "nucleus"),
        shape("Ellipse", box),
        shape("Rectangle", box),
        shape("Line", polygon),
    )
    document = (
        '<Document FileVersion="1.0"><ImageOptions IsNegative="False" Rotation="0">'
        '<Flip HorizontalFlip="False" VerticalFlip="False"/></ImageOptions><Layers>'
        '<Layer Name="{}"><Shapes>{}</Shapes></Layer></Layers></Document>'
    )
    return [
        document.format("Layer1", "".join(shapes)).encode("utf-8-sig"),
        document.format("dirt", shapes[0]).encode(),
    ]


def _aperio_seeds(_: Path) -> Sequence[bytes]:
    def region(kind: str, *points: tuple[float, float], hole: int = 0, text: str = "") -> str:
        vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
        return (
            f'<Region Id="1" Type="{kind}" Text="{text}" NegativeROA="{hole}"><Attributes/>'
            f"<Vertices>{vertices}</Vertices></Region>"
        )

    large = ((1, 1), (9, 1), (9, 9), (1, 9))
    small = ((3, 3), (5, 3), (5, 5), (3, 5))
    regions = (
        region("0", *large, text="tumour"),
        region("0", *small, hole=1),
        region("1", *large),
        region("1", (2, 2), (6, 6)),
        region("2", (2, 2), (6, 6)),
        region("3", (2, 2), (6, 6)),
    )
    described = '<Attributes><Attribute Name="Description" Value="gland"/></Attributes>'
    layers = "".join(
        f'<Annotation Id="1" Name="{name}">{described if not name else ""}<Regions>'
        f"<RegionAttributeHeaders/>{''.join(regions)}</Regions></Annotation>"
        for name in ("", "epithelium")
    )
    halo = (
        '<Annotations><Annotation Name="Layer 1" Visible="True"><Regions>'
        f"{region('Polygon', *large).replace('Vertex', 'V')}"
        f"{region('Ellipse', (2, 2), (6, 6))}</Regions></Annotation></Annotations>"
    )
    whole = f'<Annotations MicronsPerPixel="0.25">{layers}</Annotations>'
    return [whole.encode(), halo.encode()]


def _voc(path: Path) -> None:
    all_of(lambda: read_stated_size(path), lambda: use_set("voc", path.parents[1]))


def _voc_seeds(_: Path) -> Sequence[bytes]:
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    thing = f"<object><name>cat</name><difficult>0</difficult>{box}</object>"
    body = f"<folder>VOC2012</folder><filename>a.jpg</filename>{size}{thing}"
    return [
        f"<annotation>{body}</annotation>".encode(),
        b"<annotation><filename>a.jpg</filename></annotation>",
    ]


def _all_seeds(folder: Path) -> Sequence[bytes]:
    makers = (_cvat_seeds, _iphotodraw_seeds, _aperio_seeds)
    return [seed for make in makers for seed in make(folder)]
