"""Hugging Face data sets, written with pyarrow as the package `datasets` writes them."""

import io
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import discs, picture, save
from PIL import Image

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.hf_dataset import HfDatasetLayout
from samft.data.layouts.listing import Listing
from samft.data.preprocessing import Preprocessing
from samft.errors import ConfigError, DatasetError, DependencyError

FEATURES = {"image": {"_type": "Image"}, "mask": {"_type": "Image"}}
SETTINGS = {"classes": ["one", "two"]}


@pytest.fixture
def arrow():
    """pyarrow, where it is installed."""
    return pytest.importorskip("pyarrow")


def encode(array: np.ndarray, kind: str = "PNG") -> dict[str, object]:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": None}


def rows(count: int, **more: list[object]):
    pa = pytest.importorskip("pyarrow")
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images, masks = [], []
    for number in range(count):
        labels = discs(number, count=2)
        images.append(encode(picture(labels, number)))
        masks.append(encode(labels.astype(np.uint8)))
    columns = {"image": pa.array(images, cell), "mask": pa.array(masks, cell)}
    features = FEATURES | {name: {"_type": "Value", "dtype": "string"} for name in more}
    table = pa.table(columns | {name: pa.array(values) for name, values in more.items()})
    noted = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": noted})


def save_arrow(folder: Path, table, *, shards: int = 1, options=None) -> None:
    """Write what `Dataset.save_to_disk` writes."""
    pa = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{n:05d}-of-{shards:05d}.arrow" for n in range(shards)]
    size = -(-table.num_rows // shards)
    for number, name in enumerate(names):
        part = table.slice(number * size, size)
        with (
            pa.OSFile(str(folder / name), "wb") as file,
            pa.ipc.new_stream(file, table.schema, options=options) as writer,
        ):
            writer.write_table(part, max_chunksize=2)
    info = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    (folder / "dataset_info.json").write_text(json.dumps(info))
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))


def layout(root: Path, **settings: object) -> HfDatasetLayout:
    return HfDatasetLayout(root, LayoutSettings(**settings))


def check_rows(found: HfDatasetLayout, records) -> None:
    found = pickle.loads(pickle.dumps(found))
    found.check(records)
    for number, record in enumerate(records):
        truth = found.truth(record)
        objects = truth.objects("component")
        expected = discs(number, count=2)
        assert truth.size == (48, 64)
        assert objects.object_class.tolist() == [0, 1]
        np.testing.assert_array_equal(objects.layers[0], expected)
        source = found.source(record, Preprocessing())
        assert source.space is None
        assert source.size(0) == (48, 64)
        np.testing.assert_array_equal(source.picture(0)[0], picture(expected, number))
        assert len({found.source(r, Preprocessing()).digest() for r in records}) == len(records)


def test_saved_to_disk(arrow, tmp_path: Path) -> None:
    save_arrow(tmp_path, rows(5), shards=2)
    reason = HfDatasetLayout.recognise(Listing.of(tmp_path))
    assert reason == "dataset_info.json is of a Hugging Face data set with columns of images"
    found = layout(tmp_path, **SETTINGS)
    records = found.records()
    assert [(r.sample_id, r.entry, r.split) for r in records][2:4] == [
        ("data-00000-of-00002.arrow/000002", "2", None),
        ("data-00001-of-00002.arrow/000000", "0", None),
    ]
    assert found.class_names == ("one", "two")
    check_rows(found, records)


def test_splits_saved_to_disk(arrow, tmp_path: Path, caplog) -> None:
    for split in ("train", "validation", "unsupervised"):
        save_arrow(tmp_path / split, rows(2, patient_id=["a", "b"]))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    records = layout(tmp_path, **SETTINGS).records()
    assert [(r.case_id, r.split) for r in records] == [
        ("a", "train"), ("b", "train"), ("a", "val"), ("b", "val"),
    ]  # fmt: skip
    assert "unsupervised/data-00000-of-00001.arrow" in caplog.text


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001-0123456789abcdef.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train.parquet", "test.parquet"),
    ],
)
def test_parquet_of_the_hub(arrow, tmp_path: Path, names: tuple[str, str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows(5), tmp_path / name, row_group_size=2)
    assert "2 Parquet files" in str(HfDatasetLayout.recognise(Listing.of(tmp_path)))
    found = layout(tmp_path, **SETTINGS)
    records = found.records()
    assert [r.split for r in records] == ["test"] * 5 + ["train"] * 5
    check_rows(found, records[5:])


def test_names_of_the_values(arrow, tmp_path: Path) -> None:
    save_arrow(tmp_path, rows(1))
    (tmp_path / "id2label.json").write_text('{"0": "unlabeled", "1": "road", "2": "tree"}')
    found = layout(tmp_path)
    (record,) = found.records()
    assert found.class_names == ("road", "tree")
    assert found.truth(record).objects("component").object_class.tolist() == [0, 1]


def test_lists_of_masks(arrow, tmp_path: Path) -> None:
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    labels = discs(0, count=2)
    masks = [encode((labels == v).astype(np.uint8) * 255) for v in (1, 2)] + [encode(labels > 0)]
    table = arrow.table({
        "img": arrow.array([encode(picture(labels, 0))] * 2, cell),
        "masks": arrow.array([masks, []], arrow.list_(cell)),
        "depth": arrow.array([b"", b""], arrow.string()),
    })  # fmt: skip
    save_arrow(tmp_path, table)
    (tmp_path / "dataset_info.json").unlink()
    found = layout(tmp_path)
    records = found.records()
    objects = found.truth(records[0]).objects("component")
    assert objects.object_class.tolist() == [0, 0, 0]
    assert objects.layers.shape[0] == 2
    assert found.truth(records[1]).objects("component").object_class.size == 0


def test_columns_by_name(arrow, tmp_path: Path) -> None:
    table = rows(1).append_column("depth", rows(1).column("mask")).rename_columns(["a", "b", "c"])
    save_arrow(tmp_path, table.replace_schema_metadata(None))
    with pytest.raises(DatasetError, match="not plain which columns") as caught:
        layout(tmp_path).records()
    assert "found: a, b, c" in str(caught.value)
    assert "data.images and data.labels" in str(caught.value)
    assert len(layout(tmp_path, images=("a",), labels="b").records()) == 1
    with pytest.raises(ConfigError, match="no column of images of this name") as caught:
        layout(tmp_path, images=("z",), labels="b").records()
    assert "choose from a, b, c" in str(caught.value)


def test_images_in_files_beside(arrow, tmp_path: Path) -> None:
    labels = discs(0, count=2)
    save(tmp_path / "files" / "a.png", picture(labels, 0))
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    for name in ("files/a.png", "../a.png", "/etc/passwd", "gone.png"):
        table = arrow.table({
            "image": arrow.array([{"bytes": None, "path": name}], cell),
            "mask": arrow.array([encode(labels.astype(np.uint8))], cell),
        })  # fmt: skip
        folder = tmp_path / "set"
        save_arrow(folder, table)
        found = layout(tmp_path, **SETTINGS)
        (record,) = found.records()
        if name == "files/a.png":
            assert found.source(record, Preprocessing()).size(0) == (48, 64)
            continue
        with pytest.raises(DatasetError, match="outside the data root|does not exist") as caught:
            found.source(record, Preprocessing()).size(0)
        assert "row 0, image" in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0"]
)
def test_bytes_that_are_no_image(arrow, tmp_path: Path, data: bytes) -> None:
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    column = arrow.array([{"bytes": data, "path": None}], cell)
    save_arrow(tmp_path, arrow.table({"image": column, "mask": column}))
    found = layout(tmp_path, **SETTINGS, objects="class")
    (record,) = found.records()
    with pytest.raises(DatasetError) as caught:
        found.truth(record)
    assert "data-00000-of-00001.arrow: row 0, mask" in str(caught.value)


def test_compressed_arrow_is_refused(arrow, tmp_path: Path) -> None:
    options = arrow.ipc.IpcWriteOptions(compression="zstd")
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    column = arrow.array([{"bytes": b"\0" * 2**24, "path": None}], cell)
    save_arrow(tmp_path, arrow.table({"image": column, "mask": column}), options=options)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        layout(tmp_path).records()
    assert "compressed columns" in str(caught.value)


def test_a_parquet_bomb(arrow, tmp_path: Path, monkeypatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    image = encode(picture(discs(0), 0))
    heavy = {"bytes": image["bytes"] + b"\0" * 2**20, "path": None}
    column = arrow.array([heavy] * 64, cell)
    table = arrow.table({"image": column, "mask": column})
    parquet.write_table(table, tmp_path / "train.parquet", compression="zstd", use_dictionary=True)
    assert (tmp_path / "train.parquet").stat().st_size < 2**20
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(2**25))
    with pytest.raises(DatasetError, match="more memory than allowed") as caught:
        layout(tmp_path).records()
    assert "train.parquet" in str(caught.value)


def test_damaged_files(arrow, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    save_arrow(tmp_path / "arrow", rows(3))
    (tmp_path / "parquet").mkdir()
    parquet.write_table(rows(3), tmp_path / "parquet" / "a.parquet")
    files = [next((tmp_path / "arrow").glob("*.arrow")), tmp_path / "parquet" / "a.parquet"]
    rng = np.random.default_rng(0)
    for path in files:
        good = path.read_bytes()
        for cut in (0, 3, 9, len(good) // 2, len(good) - 5):
            path.write_bytes(good[:cut])
            with pytest.raises(DatasetError) as caught:
                layout(path.parent, **SETTINGS).records()
            assert str(path) in str(caught.value)
        for _ in range(20):
            damaged = np.frombuffer(good, np.uint8).copy()
            damaged[rng.integers(0, damaged.size, 8)] ^= 255
            path.write_bytes(damaged.tobytes())
            try:
                found = layout(path.parent, **SETTINGS)
                found.truth(found.records()[0])
            except DatasetError as error:
                assert str(path) in str(error)


def test_what_is_not_there(arrow, tmp_path: Path) -> None:
    save_arrow(tmp_path / "a", rows(1))
    for name in ("gone.arrow", "../../x.arrow", None, 7):
        state = {"_data_files": [{"filename": name}]}
        (tmp_path / "a" / "state.json").write_text(json.dumps(state))
        with pytest.raises(DatasetError, match="a file of the data set is not there") as caught:
            layout(tmp_path / "a").records()
        assert str(name) in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no rows of a Hugging Face data set"):
        layout(tmp_path / "empty").records()


def test_several_configurations(arrow, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for config in ("full", "tiny"):
        (tmp_path / config / "train").mkdir(parents=True)
        parquet.write_table(rows(1), tmp_path / config / "train" / "0000.parquet")
    with pytest.raises(DatasetError, match="several configurations") as caught:
        layout(tmp_path).records()
    assert "found: full, tiny" in str(caught.value)
    assert len(layout(tmp_path / "tiny", **SETTINGS).records()) == 1


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_image_folder(tmp_path: Path, ending: str) -> None:
    for split in ("train", "test"):
        for number in range(2):
            labels = discs(number, count=2)
            save(tmp_path / split / f"{number}.png", picture(labels, number))
            save(tmp_path / split / "masks" / f"{number}.png", labels.astype(np.uint8))
        pairs = [(f"{n}.png", f"masks/{n}.png") for n in range(2)]
        text = "file_name,mask_file_name\n" + "".join(f"{a},{b}\n" for a, b in pairs)
        if ending == "jsonl":
            text = "".join(
                json.dumps({"file_name": a, "mask_file_name": b}) + "\n" for a, b in pairs
            )
        (tmp_path / split / f"metadata.{ending}").write_text(text)
    reason = HfDatasetLayout.recognise(Listing.of(tmp_path))
    assert reason == f"test/metadata.{ending} names images and masks, as in an image folder"
    found = layout(tmp_path, **SETTINGS)
    records = found.records()
    assert [(r.sample_id, r.split) for r in records] == [
        ("test/0.png", "test"), ("test/1.png", "test"), ("train/0.png", "train"),
        ("train/1.png", "train"),
    ]  # fmt: skip
    assert found.truth(records[0]).objects("component").object_class.tolist() == [0, 1]
    assert found.source(records[0], Preprocessing()).size(0) == (48, 64)
    found.check(records)


def test_without_pyarrow(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    assert HfDatasetLayout.recognise(Listing.of(tmp_path)) is not None
    with pytest.raises(DependencyError, match="'pyarrow' is needed to read") as caught:
        layout(tmp_path).records()
    assert 'pip install "samft[datasets]"' in str(caught.value)
