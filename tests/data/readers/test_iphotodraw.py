"""XML of iPhotoDraw, as in GBM40."""

from pathlib import Path

import pytest

from samft.data.readers.iphotodraw import is_iphotodraw, read_iphotodraw
from samft.data.readers.outlines import LabelledImage
from samft.data.readers.xml_files import tags_in
from samft.errors import DatasetError

HEAD = """<!--Document-->
<Document FileVersion="1.0">
    <ExportImageSettings FileName="a_New.tif" JpegQuality="95" ResizeMode="KeepOriginalSize" />
    <ImageOptions IsNegative="False" IsGrayscale="False" IsSepia="False" Rotation="{rotation}">
        <Canvas><Box Left="0" Top="0" Width="512" Height="512" /></Canvas>
        <Flip HorizontalFlip="{flip}" VerticalFlip="False" />
    </ImageOptions>
    <Layers>
        <Layer Name="{layer}" Visible="True" LockedShapesIndex=""><Shapes>
"""
TAIL = "</Shapes></Layer></Layers><Snapshots />\n</Document>"
SETTINGS = """<Settings><MiscSettings GroupRendering="Unknown" /><Fill FillType="Color">
<GradientSettings Type="Linear" Angle="0" /><EmbeddedImage Align="Center" FileName="">
<StretchSettings><Offset X="0" Y="0" /></StretchSettings><ImageData><![CDATA[]]></ImageData>
</EmbeddedImage></Fill></Settings>"""
SQUARE = ((2, 3), (12, 3), (12, 13), (2, 13))


def shape(data: str, kind: str = "SmoothPolygon", *, text: str = "", rotation: str = "0") -> str:
    return (
        f'<Shape Type="{kind}">{SETTINGS}<BlockText Align="Center"><Text>{text}</Text>'
        f'<Margin Left="0" /></BlockText><Data Rotation="{rotation}">{data}</Data></Shape>'
    )


def points(*vertices: tuple[float, float]) -> str:
    inner = "".join(f'<Point X="{x}" Y="{y}" />' for x, y in vertices)
    return f"<Points>{inner}</Points>"


EXTENT = '<Extent X="2" Y="4" Width="20" Height="10" />'


def write(folder: Path, *shapes: str, layer: str = "Layer1", rotation: str = "0",
          flip: str = "False") -> Path:  # fmt: skip
    path = folder / "a_data.xml"
    head = HEAD.format(layer=layer, rotation=rotation, flip=flip)
    path.write_text(head + "".join(shapes) + TAIL, encoding="utf-8-sig")
    return path


def read(path: Path) -> LabelledImage:
    found = read_iphotodraw(path)
    assert found is not None
    return found


def test_polygons_between_centres_of_pixels(tmp_path: Path) -> None:
    path = write(tmp_path, shape(points(*SQUARE)), shape(points(*SQUARE), "Polygon"))
    assert is_iphotodraw(tags_in(path.read_bytes()[:4096]))
    found = read(path)
    assert [s.class_name for s in found.shapes] == ["object", "object"]
    assert found.shapes[0].outer[0].tolist() == [[x + 0.5, y + 0.5] for x, y in SQUARE]


@pytest.mark.parametrize(
    ("layer", "text", "name"),
    [("Layer1", "", "object"), ("Nuclei", "", "Nuclei"), ("Nuclei", "mitosis", "mitosis")],
)
def test_names_of_classes(tmp_path: Path, layer: str, text: str, name: str) -> None:
    path = write(tmp_path, shape(points(*SQUARE), text=text), layer=layer)
    assert [s.class_name for s in read(path).shapes] == [name]


def test_rectangles_ellipses_and_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        shape(EXTENT, "Rectangle"),
        shape(EXTENT, "Rectangle", rotation="90"),
        shape(EXTENT, "Ellipse"),
        shape('<Start X="1" Y="2" /><End X="3" Y="4" />', "Line"),
        shape(EXTENT, "TextBox", text="note"),
    )
    found = read(path)
    boxes = [(s.outer[0].min(axis=0), s.outer[0].max(axis=0)) for s in found.shapes]
    assert boxes[0][0].tolist() == [2.5, 4.5]
    assert boxes[1][0].tolist() == pytest.approx([7.5, -0.5])
    assert boxes[2][1].tolist() == pytest.approx([22.5, 14.5], abs=0.1)
    assert len(found.shapes) == 3
    assert found.left_out == {"Line, which has no area": 1, "TextBox, which has no area": 1}


@pytest.mark.parametrize("view", [{"rotation": "90"}, {"flip": "True"}])
def test_a_turned_picture_is_refused(tmp_path: Path, view: dict[str, str]) -> None:
    path = write(tmp_path, shape(points(*SQUARE)), **view)
    with pytest.raises(DatasetError, match="turned or flipped") as caught:
        read(path)
    assert caught.value.where == path
    assert "turn the picture back" in str(caught.value.fix)


def test_other_xml_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<Document><Body/></Document>")
    assert read_iphotodraw(path) is None
    path.write_text("<annotations/>")
    assert read_iphotodraw(path) is None
    assert not is_iphotodraw(tags_in(path.read_bytes()))


def test_a_point_without_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, shape('<Points><Point X="1" /></Points>'))
    with pytest.raises(DatasetError, match="'Y' is not a number"):
        read(path)


def test_a_million_vertices_are_refused(tmp_path: Path) -> None:
    many = '<Point X="1" Y="2" />' * 1_000_000
    path = write(tmp_path, shape(f"<Points>{many}</Points>"))
    with pytest.raises(DatasetError, match="more than 500000 vertices"):
        read(path)
