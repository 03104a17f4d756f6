"""Label files that were cut, or in which bytes were changed: refused or read, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samft.data.readers.aperio import read_aperio
from samft.data.readers.cvat import read_cvat
from samft.data.readers.geojson import read_geojson
from samft.data.readers.iphotodraw import read_iphotodraw
from samft.data.readers.labelme import read_labelme
from samft.data.readers.voc import read_class_names, read_image_list, read_stated_size
from samft.errors import DatasetError

CVAT = (
    "<annotations><meta><task><labels><label><name>a</name></label></labels><original_size><width>9"
    '</width><height>9</height></original_size></task></meta><image id="0" name="a.png" width="9" '
    'height="9"><polygon label="a" points="1,1;5,1;5,5" z_order="1" group_id="1"/><mask label="a" '
    'rle="1, 2, 1" left="1" top="1" width="2" height="2"/><box label="a" xtl="1" ytl="1" xbr="4" '
    'ybr="5" rotation="9"/><ellipse label="a" cx="1" cy="1" rx="4" ry="5"/></image>'
    '<track id="0" label="a"><polygon frame="1" outside="0" points="1,1;5,1;5,5"/></track>'
    "</annotations>"
)
APERIO = (
    '<Annotations><Annotation Id="1" Name=""><Attributes><Attribute Name="Description" Value="x"/>'
    '</Attributes><Regions><Region Type="0" NegativeROA="0"><Vertices><Vertex X="1" Y="2"/><Vertex '
    'X="5" Y="2"/><Vertex X="5" Y="9"/></Vertices></Region><Region Type="2" NegativeROA="1">'
    '<Vertices><Vertex X="1" Y="2"/><Vertex X="5" Y="7"/></Vertices></Region></Regions>'
    "</Annotation></Annotations>"
)
IPHOTODRAW = (
    '<Document><ImageOptions Rotation="0"/><Layers><Layer Name="a"><Shapes><Shape Type="Polygon">'
    '<Data Rotation="3"><Points><Point X="1" Y="2"/><Point X="5" Y="2"/><Point X="5" Y="9"/>'
    '</Points></Data></Shape><Shape Type="Ellipse"><Data Rotation="0"><Extent X="1" Y="2" Width="3"'
    ' Height="4"/></Data></Shape></Shapes></Layer></Layers></Document>'
)
VOC = "<annotation><size><width>9</width><height>8</height></size></annotation>"
SHAPES = [
    {"label": "a", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon", "group_id": 1},
    {"label": "a", "points": [[1, 1], [5, 1]], "shape_type": "circle"},
    {"label": "_background_", "points": [[1, 1], [5, 4]], "shape_type": "rectangle"},
]
LABELME = json.dumps({"imagePath": "a.png", "imageHeight": 9, "imageWidth": 9, "shapes": SHAPES})
RING = [[1, 1], [5, 1], [5, 5], [1, 1]]
GEOJSON = json.dumps(
    {"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [RING]},
         "properties": {"classification": {"name": "a"}}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[RING], [RING]]},
         "properties": None}]}
)  # fmt: skip

CASES: list[tuple[Callable[[Path], object], str]] = [
    (read_cvat, CVAT),
    (read_aperio, APERIO),
    (read_iphotodraw, IPHOTODRAW),
    (read_stated_size, VOC),
    (read_labelme, LABELME),
    (read_geojson, GEOJSON),
    (read_class_names, "_background_\ncat\ndog\n"),
    (read_image_list, "a\nb 1\n"),
]
PIECES = st.sampled_from(
    [
        "",
        "-",
        "0",
        "nan",
        "1e999",
        "9" * 400,
        "null",
        "[]",
        "{}",
        "true",
        '"x"',
        "\0",
        "é",
        "<",
        ";",
    ]
)


@pytest.mark.parametrize(("read", "text"), CASES, ids=lambda value: getattr(value, "__name__", ""))
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.floats(0, 1), length=st.integers(0, 12), piece=PIECES, cut=st.booleans())
def test_only_dataset_errors(
    tmp_path: Path,
    read: Callable[[Path], object],
    text: str,
    start: float,
    length: int,
    piece: str,
    cut: bool,
) -> None:
    at = round(start * len(text))
    changed = text[:at] + piece + ("" if cut else text[at + length :])
    path = tmp_path / "label"
    path.write_bytes(changed.encode())
    try:
        read(path)
    except DatasetError as error:
        assert error.where == path
        assert len(str(error).splitlines()) <= 3
