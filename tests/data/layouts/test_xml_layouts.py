"""One XML file for each image: ImageScope and iPhotoDraw; GeoJSON beside them."""

import json
import logging
from pathlib import Path

import pytest
import tifffile
from PIL import Image

from samft.data.layouts.aperio import AperioLayout
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.geojson import GeoJsonLayout
from samft.data.layouts.iphotodraw import IPhotoDrawLayout
from samft.data.layouts.listing import Listing
from samft.data.layouts.per_image import PerImageLayout
from samft.errors import DatasetError

VERTICES = "".join(f'<{{tag}} X="{x}" Y="{y}"/>' for x, y in ((2, 2), (10, 2), (10, 10), (2, 10)))
APERIO = (
    '<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="{name}"><Regions><Region Id="1" '
    f'Type="0"><Vertices>{VERTICES.replace("{tag}", "Vertex")}</Vertices></Region></Regions>'
    "</Annotation></Annotations>"
)
IPHOTODRAW = (
    '\ufeff<!--Document--><Document FileVersion="1.0"><ImageOptions Rotation="0"/><Layers><Layer '
    'Name="{name}"><Shapes><Shape Type="Polygon"><Data Rotation="0"><Points>'
    f"{VERTICES.replace('{tag}', 'Point')}</Points></Data></Shape></Shapes></Layer></Layers>"
    "</Document>"
)
GEOJSON = json.dumps(
    {"type": "FeatureCollection", "features": [{"type": "Feature", "properties":
     {"classification": {"name": "NAME"}}, "geometry": {"type": "Polygon",
     "coordinates": [[[2, 2], [10, 2], [10, 10], [2, 10], [2, 2]]]}}]}
).replace("{", "{{").replace("}", "}}").replace("NAME", "{name}")  # fmt: skip

KINDS = [
    (AperioLayout, APERIO, "{}.xml"),
    (IPhotoDrawLayout, IPHOTODRAW, "{}_data.xml"),
    (GeoJsonLayout, GEOJSON, "{}.tif.geojson"),
    (GeoJsonLayout, GEOJSON, "{}.json"),
]


def build(root: Path, text: str, pattern: str) -> None:
    for folder, names in (("train", ("1", "2")), ("test", ("1",))):
        (root / folder / "images").mkdir(parents=True)
        (root / folder / "marks").mkdir()
        for name in names:
            image = Image.new("RGB", (30, 20))
            image.save(root / folder / "images" / f"{name}.tif")
            path = root / folder / "marks" / pattern.format(name)
            path.write_text(text.format(name=f"class {name}"), encoding="utf-8")


@pytest.mark.parametrize(("layout_class", "text", "pattern"), KINDS)
def test_images_and_labels_in_sibling_folders(
    tmp_path: Path, layout_class: type[PerImageLayout], text: str, pattern: str
) -> None:
    build(tmp_path, text, pattern)
    listing = Listing.of(tmp_path)
    assert layout_class.recognise(listing) is not None
    others = {kind for kind, _, _ in KINDS} - {layout_class}
    assert [kind for kind in others if kind.recognise(listing)] == []
    layout = layout_class(tmp_path, LayoutSettings())
    records = layout.records()
    assert [record.sample_id for record in records] == [
        "test/images/1.tif",
        "train/images/1.tif",
        "train/images/2.tif",
    ]
    assert all(record.images[0].parts[-3] == record.labels[0].parts[-3] for record in records)
    assert layout.class_names == ("class 1", "class 2")
    objects = [layout.truth(record).objects("component") for record in records]
    assert [item.object_class.tolist() for item in objects] == [[0], [0], [1]]
    assert [int((item.layers == 1).sum()) for item in objects] == [64, 64, 64]
    layout.check(records)


@pytest.mark.parametrize(("layout_class", "text", "pattern"), KINDS)
def test_a_label_file_that_was_cut_off(
    tmp_path: Path, layout_class: type[PerImageLayout], text: str, pattern: str
) -> None:
    build(tmp_path, text, pattern)
    path = tmp_path / "train/marks" / pattern.format("1")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        layout_class(tmp_path, LayoutSettings()).records()
    assert caught.value.where == path


def test_a_label_file_that_changed_its_kind(tmp_path: Path) -> None:
    build(tmp_path, APERIO, "{}.xml")
    layout = AperioLayout(tmp_path, LayoutSettings())
    (record, *_) = layout.records()
    record.labels[0].write_text("<annotations/>")
    with pytest.raises(DatasetError, match="the file is not Aperio") as caught:
        layout.truth(record)
    assert caught.value.where == record.labels[0]
    assert "data.layout" in str(caught.value.fix)


def test_masks_beside_the_images_are_no_images_without_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, APERIO, "{}.xml")
    (tmp_path / "train/masks").mkdir()
    Image.new("L", (30, 20)).save(tmp_path / "train/masks/1_bin.png")
    with caplog.at_level(logging.WARNING):
        assert len(AperioLayout(tmp_path, LayoutSettings()).records()) == 3
    assert caplog.text == ""


def test_many_channels_are_an_image_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", [[[0] * 30] * 20] * 5, photometric="minisblack",
                     metadata={"axes": "CYX"}, dtype="uint8")  # fmt: skip
    (tmp_path / "a.xml").write_text(APERIO.format(name="cell"))
    layout = AperioLayout(tmp_path, LayoutSettings())
    (record,) = layout.records()
    assert layout.truth(record).size == (20, 30)


def test_gbm40(real_data: Path) -> None:
    root = real_data / "microscopy/GBM40_HE"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    assert "iPhotoDraw" in str(IPhotoDrawLayout.recognise(Listing.of(root)))
    layout = IPhotoDrawLayout(root, LayoutSettings())
    records = layout.records()
    counts = [layout.truth(record).objects("component").object_class.size for record in records]
    assert [record.images[0].name for record in records] == ["01.tif", "10.tif", "20.tif", "30.tif"]
    assert counts == [102, 105, 177, 125]
    assert sum(counts) == 509
    assert layout.class_names == ("object",)
