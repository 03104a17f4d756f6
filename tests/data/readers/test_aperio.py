"""XML of ImageScope, as in MoNuSeg, and of HALO."""

from pathlib import Path

import pytest

from samft.data.readers.aperio import is_aperio, read_aperio
from samft.data.readers.outlines import LabelledImage
from samft.data.readers.xml_files import tags_in
from samft.data.shapes import ShapeTruth
from samft.errors import DatasetError

HEAD = (
    '<Annotations MicronsPerPixel="0.252000">\n'
    '  <Annotation Id="1" Name="{name}" ReadOnly="0" LineColor="65280" Visible="1" Type="4">\n'
    "    <Attributes>{attributes}</Attributes>\n"
    "    <Regions><RegionAttributeHeaders>"
    '<AttributeHeader Id="9999" Name="Region" ColumnWidth="-1"/></RegionAttributeHeaders>\n'
)
TAIL = "    </Regions><Plots/>\n  </Annotation>\n</Annotations>\n"
DESCRIPTION = '<Attribute Name="Description" Id="0" Value="{}"/>'


def region(*points: tuple[float, float], kind: str = "0", hole: int = 0, text: str = "") -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return (
        f'<Region Id="1" Type="{kind}" Zoom="0.5" Selected="0" Length="1" Area="1" Text="{text}" '
        f'NegativeROA="{hole}" InputRegionId="0" Analyze="0" DisplayId="1"><Attributes/>'
        f"<Vertices>{vertices}</Vertices></Region>\n"
    )


def box(x: float, y: float, side: float) -> tuple[tuple[float, float], ...]:
    return (x, y), (x + side, y), (x + side, y + side), (x, y + side)


def write(folder: Path, *regions: str, name: str = "", attributes: str = "") -> Path:
    path = folder / "a.xml"
    head = HEAD.format(name=name, attributes=attributes)
    path.write_text(f"{head}{''.join(regions)}{TAIL}", encoding="utf-8")
    return path


def read(path: Path) -> LabelledImage:
    found = read_aperio(path)
    assert found is not None
    return found


def areas(path: Path) -> list[int]:
    shapes = read(path).shapes
    index = {name: i for i, name in enumerate(sorted({shape.class_name for shape in shapes}))}
    objects = ShapeTruth(shapes, (100, 100), index).objects("component")
    return [int((objects.layers == k + 1).sum()) for k in range(objects.object_class.size)]


def test_polygons_as_in_monuseg(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        region(*box(2, 3, 10)),
        region(*box(20.5, 30.25, 8)),
        region((1, 1), (2, 2)),
        attributes=DESCRIPTION.format(""),
    )
    found = read(path)
    assert is_aperio(tags_in(path.read_bytes()[:4096]))
    assert [shape.class_name for shape in found.shapes] == ["object", "object"]
    assert found.shapes[1].outer[0][0].tolist() == [20.5, 30.25]
    assert found.left_out == {"outline without area": 1}
    assert areas(path) == [100, 64]


@pytest.mark.parametrize(
    ("name", "attributes", "text", "expected"),
    [
        ("Tumor", DESCRIPTION.format("Epithelial"), "old", "Tumor"),
        ("", DESCRIPTION.format("Epithelial"), "old", "Epithelial"),
        ("", '<Attribute Name="Neutrophil" Id="0" Value=""/>', "", "Neutrophil"),  # MoNuSAC
        ("", DESCRIPTION.format(""), "gland", "gland"),
        ("", "", "", "object"),
    ],
)
def test_names_of_classes(
    tmp_path: Path, name: str, attributes: str, text: str, expected: str
) -> None:
    path = write(tmp_path, region(*box(2, 3, 10), text=text), name=name, attributes=attributes)
    assert [shape.class_name for shape in read(path).shapes] == [expected]


def test_layers_without_name_are_told_apart(tmp_path: Path) -> None:
    layer = '<Annotation Id="{}" Name=""><Regions>{}</Regions></Annotation>'
    path = tmp_path / "a.xml"
    first, second = (layer.format(i, region(*box(9, 9, 9))) for i in (1, 2))
    path.write_text(f"<Annotations>{first}{second}</Annotations>")
    assert [shape.class_name for shape in read(path).shapes] == ["object", "layer 2"]


def test_rectangles_and_ellipses(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        region(*box(2, 2, 10), kind="1"),
        region((20, 2), (30, 12), kind="1"),
        region((2, 40), (22, 50), kind="2"),
        region((40, 40), (60, 40), (60, 50), (40, 50), kind="2"),
        region((60, 60), kind="1"),
    )
    found = areas(path)
    assert found[:2] == [100, 100]
    assert found[2:] == [pytest.approx(157, abs=4)] * 2
    assert read(path).left_out == {"outline without area": 1}


def test_arrows_rulers_and_points_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, *(region((1, 1), (9, 9), (4, 8), kind=k) for k in ("3", "4", "5", "77")))
    assert read(path).left_out == {
        "arrow, which has no area": 1,
        "ruler, which has no area": 1,
        "point, which has no area": 1,
        "region of type 77, which has no area": 1,
    }


def test_negative_regions_are_holes_but_not_in_islands(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        region(*box(10, 10, 8), hole=1),  # before what it is cut from
        region(*box(2, 2, 30)),
        region(*box(12, 12, 4)),  # an island in the hole
        region(*box(60, 60, 10)),
        region(*box(90, 2, 3), hole=1),
    )
    assert areas(path) == [900 - 64, 16, 100]
    assert read(path).left_out == {"negative region in nothing": 1}


def test_halo(tmp_path: Path) -> None:
    path = tmp_path / "a.annotations"
    path.write_text(
        '<Annotations>\n<Annotation LineColor="65280" Name="Cortex" Visible="True"><Regions>'
        '<Region Type="Polygon" HasEndcaps="0" NegativeROA="0"><Vertices><V X="2" Y="2" />'
        '<V X="22" Y="2" /><V X="22" Y="22" /><V X="2" Y="22" /></Vertices><Comments /></Region>'
        '<Region Type="Ellipse" HasEndcaps="0" NegativeROA="1"><Vertices><V X="5" Y="5" />'
        '<V X="15" Y="15" /></Vertices></Region></Regions></Annotation></Annotations>'
    )
    assert [shape.class_name for shape in read(path).shapes] == ["Cortex"]
    assert areas(path) == [pytest.approx(400 - 79, abs=4)]


def test_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path, region(*box(2, 3, 10)).replace('"12"', '"12,5"'))
    assert read(path).shapes[0].outer[0].max() == 13


@pytest.mark.parametrize(
    "text", ["<Annotation/>", "<annotations/>", "<Document><Layers/></Document>"]
)
def test_other_xml_is_told_apart(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    assert read_aperio(path) is None
    assert not is_aperio(tags_in(text.encode()))


def test_nan_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, region((1, 1), (float("nan"), 2), (3, 4)))
    with pytest.raises(DatasetError, match="'X' is not a number") as caught:
        read(path)
    assert caught.value.where == path


def test_a_million_vertices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        "<Annotations><Annotation><Regions><Region><Vertices>"
        + '<Vertex X="1" Y="2"/>' * 1_000_000
        + "</Vertices></Region></Regions></Annotation></Annotations>"
    )
    with pytest.raises(DatasetError, match="more than 500000 vertices"):
        read(path)


def test_holes_over_each_other_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samft.data.readers.aperio._MOST_CUTS", 50)
    path = write(
        tmp_path,
        *(region(*box(1, 1, 50)) for _ in range(10)),
        *(region(*box(9, 9, 9), hole=1) for _ in range(10)),
    )
    with pytest.raises(DatasetError, match="negative regions over each other"):
        read(path)
