"""Images and recorded prompts for prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_data import discs, picture, save
from lightning.pytorch import LightningModule, Trainer

from samft.data.geometry import boxes_to_original, points_to_original
from samft.data.prompted import PromptedBatch, find_source
from samft.data.prompted_datamodule import PromptedImagesDataModule
from samft.errors import ConfigError, DatasetError, PromptError, SamftError
from samft.types import ABSENT


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of different sizes, one in a subfolder."""
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.tif")):
        size = (48 + 4 * number, 64)
        save(tmp_path / "photos" / name, picture(discs(number, size=size), number))
    return tmp_path / "photos"


def batches(source: Path | str, prompts: Path | None = None, **settings) -> list[PromptedBatch]:
    data = PromptedImagesDataModule(
        source=str(source),
        prompts=None if prompts is None else str(prompts),
        **({"image_size": 32, "batch_size": 4} | settings),
    )
    return list(data.predict_dataloader())


def write(folder: Path, content: object, name: str = "prompts.json") -> Path:
    path = folder.parent / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def message(source: Path, content: object, name: str = "prompts.json") -> str:
    with pytest.raises(SamftError) as caught:
        batches(source, write(source, content, name))
    assert isinstance(caught.value, PromptError)
    text = str(caught.value)
    assert name in text
    assert len(text.splitlines()) <= 4
    return text


def test_json(photos: Path) -> None:
    content = {
        "a.png": [
            {"box": [10, 5, 30, 25]},
            {"points": [[20, 15], [3.5, 4]], "labels": [1, 0], "id": "nucleus", "class": "cell"},
        ],
        "sub/c.tif": [{"box": [0, 0, 64, 56], "points": [[1, 2]], "id": 17}],
    }
    (batch,) = batches(photos, write(photos, content))
    assert batch.sample_ids == ("a.png", "sub/c.tif")
    assert batch.prompt_ids == (1, "nucleus", 17)
    assert batch.prompt_classes == (None, "cell", None)
    assert [path.name for path in batch.paths] == ["a.png", "c.tif"]
    prompts = batch.prompts
    assert prompts.image_index.tolist() == [0, 0, 1]
    assert prompts.has_box.tolist() == [True, False, True]
    assert prompts.labels.tolist() == [[ABSENT] * 2, [1, 0], [1, ABSENT]]
    first, last = batch.frames
    assert boxes_to_original(prompts.boxes[0], first).tolist() == pytest.approx([10, 5, 30, 25])
    assert points_to_original(prompts.points[1], first).flatten().tolist() == pytest.approx(
        [20, 15, 3.5, 4]
    )
    assert boxes_to_original(prompts.boxes[2], last).tolist() == pytest.approx([0, 0, 64, 56])


def test_csv_of_boxes_and_points(photos: Path) -> None:
    boxes = "image,x1,y1,x2,y2\na.png,1,2,30,40\na.png,5,5,9.5,9\nb.jpg,0,0,64,52\n"
    (batch,) = batches(photos, write(photos, boxes, "p.csv"))
    assert batch.prompt_ids == (1, 2, 1)
    assert batch.prompts.points is None
    assert batch.prompts.has_box is None
    points = "image,x,y,label,object\na.png,1,2,1,x\na.png,5,6,0,x\na.png,8,9,,y\nb.jpg,3,3,1,x\n"
    (batch,) = batches(photos, write(photos, points, "p.csv"))
    assert batch.prompt_ids == ("x", "y", "x")
    assert batch.prompts.labels.tolist() == [[1, 0], [1, ABSENT], [1, ABSENT]]
    assert batch.prompts.boxes is None
    mixed = "image,object,x1,y1,x2,y2,x,y\na.png,k,1,1,9,9,,\na.png,k,,,,,4,4\n"
    (batch,) = batches(photos, write(photos, "\ufeff" + mixed, "p.csv"))
    assert batch.prompt_ids == ("k",)
    assert batch.prompts.num_prompts == 1
    assert batch.prompts.points.shape == (1, 1, 2)


def test_images_of_the_batch(photos: Path) -> None:
    (batch,) = batches(photos)
    assert batch.sample_ids == ("a.png", "b.jpg", "sub/c.tif")
    assert batch.images.shape == (3, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert batch.prompts.num_prompts == 0
    assert batch.prompts.points is batch.prompts.boxes is None
    assert batch.input_sizes.tolist() == [[24, 32], [26, 32], [28, 32]]
    assert [o.shape for o in batch.originals] == [(48, 64, 3), (52, 64, 3), (56, 64, 3)]
    assert np.array_equal(batch.originals[0][..., 1], picture(discs(0), 0))


def test_only_named_images_are_predicted(photos: Path) -> None:
    (batch,) = batches(photos, write(photos, {"b.jpg": [{"box": [1, 1, 5, 5]}]}))
    assert batch.sample_ids == ("b.jpg",)


def test_sources(photos: Path, monkeypatch) -> None:
    monkeypatch.chdir(photos.parent)
    names = {
        "photos": ["a.png", "b.jpg", "sub/c.tif"],
        "photos/a.png": ["a.png"],
        "photos/*.png": ["a.png"],
        "photos/**/*.tif": ["sub/c.tif"],
        "*/b.*": ["photos/b.jpg"],
        str(photos / "sub"): ["c.tif"],
    }
    for source, expected in names.items():
        root, paths = find_source(source)
        assert [p.relative_to(root).as_posix() for p in paths] == expected, source


def test_source_problems(photos: Path) -> None:
    (photos.parent / "empty").mkdir()
    for source, text in (
        ("phots", "does not exist"),
        ("empty", "no images to predict"),
        ("photos/*.gif", "no file matches"),
    ):
        with pytest.raises(DatasetError, match=text) as caught:
            find_source(str(photos.parent / source))
        assert str(photos.parent) in str(caught.value)


def test_broken_image_is_found_before_anything_runs(photos: Path) -> None:
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:200])
    data = PromptedImagesDataModule(source=str(photos))
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        data.prepare_index()
    assert "a.png" in str(caught.value)


JSON_MISTAKES = [
    ("{", "no valid JSON", "line 1"),
    ("[1]", "does not map images to prompts", "found: a list"),
    ({"x.png": []}, "there is no image 'x.png'", "3 images"),
    ({"a.pgn": []}, "there is no image 'a.pgn'", "such as 'a.png'"),
    ({"../photos/a.png": []}, "there is no image '../photos/a.png'", ""),
    ({"/etc/passwd": []}, "there is no image '/etc/passwd'", ""),
    ({}, "holds no prompts", "at least one image"),
    ({"a.png": []}, "holds no prompts", "at least one image"),
    ({"a.png": {}}, "prompts are no list", "'a.png'"),
    ({"a.png": [3]}, "a prompt is no object", "'a.png'[0]"),
    ({"a.png": [{}]}, "neither box nor points", "'a.png'[0]"),
    ({"a.png": [{"box": [1, 1, 5, 5]}, {"bbox": []}]}, "unknown key 'bbox'", "'a.png'[1]"),
    ({"a.png": [{"box": [1, 2, 3]}]}, "the box is incomplete", "expected: 4 numbers"),
    ({"a.png": [{"box": [5, 5, 5, 9]}]}, "the box is empty", "x1 < x2"),
    ({"a.png": [{"box": [9, 5, 2, 9]}]}, "the box is empty", "[9.0, 5.0, 2.0, 9.0]"),
    ({"a.png": [{"box": [1, 1, 65, 5]}]}, "the box lies outside", "x from 0 to 64, y from 0 to 48"),
    ({"a.png": [{"box": [1, -1, 5, 5]}]}, "the box lies outside", "y -1"),
    ({"a.png": [{"box": [1, 1, "x", 5]}]}, "no number", "'x'"),
    ({"a.png": [{"box": [1, 1, True, 5]}]}, "no number", "True"),
    ('{"a.png": [{"box": [1, 1, NaN, 5]}]}', "no number", "nan"),
    ({"a.png": [{"points": [[1, 2]], "labels": [1, 0]}]}, "differ in number", "1 points, 2 labels"),
    ({"a.png": [{"points": [[1, 2]], "labels": 1}]}, "differ in number", "one label per point"),
    ({"a.png": [{"points": [[1, 2]], "labels": [2]}]}, "label is unknown", "found: 2"),
    ({"a.png": [{"points": [[1, 2]], "labels": [True]}]}, "label is unknown", "found: True"),
    ({"a.png": [{"points": [[70, 2]]}]}, "the point lies outside", "x 70, y 2"),
    ({"a.png": [{"points": [7, 2]}]}, "the point is incomplete", "found: 7"),
    ({"a.png": [{"points": {"x": 1}}]}, "points are no list", "an object"),
    ({"a.png": [{"box": [1, 1, 5, 5], "id": [1]}]}, "the id is neither", "[1]"),
    ({"a.png": [{"box": [1, 1, 5, 5], "class": 3}]}, "the class is no text", "3"),
]


@pytest.mark.parametrize(("content", "what", "detail"), JSON_MISTAKES)
def test_json_mistakes(photos: Path, content: object, what: str, detail: str) -> None:
    text = message(photos, content)
    assert what in text
    assert detail in text


CSV_MISTAKES = [
    ("", "columns are missing", "an empty file"),
    ("image,x\na.png,3\n", "columns are missing", "found: image, x"),
    ("x1,y1,x2,y2\n1,1,5,5\n", "columns are missing", "expected: image and"),
    ("image,x,y,lable\na.png,3,3,1\n", "unknown column 'lable'", "did you mean 'label'?"),
    ("image,x,y\na.png,3,3\nq.png,3,3\n", "there is no image 'q.png'", "line 3"),
    ("image,x,y\na.png,3,3\na.png,,\n", "neither box nor point", "line 3"),
    ("image,x,y\na.png,3,q\n", "no number", "line 2"),
    ("image,x,y\na.png,3,99\n", "the point lies outside", "line 2"),
    ("image,x,y,label\na.png,3,3,fg\n", "label is unknown", "'fg'"),
    ("image,x1,y1,x2,y2\na.png,3,3,9\n", "no number", "line 2"),
    ("image,x1,y1,x2,y2,object\na.png,3,3,9,9,k\na.png,1,1,5,5,k\n", "two boxes", "line 3"),
    ('image,x,y\n"a.png,3,3\n', "no valid CSV", ""),
]


@pytest.mark.parametrize(("content", "what", "detail"), CSV_MISTAKES)
def test_csv_mistakes(photos: Path, content: str, what: str, detail: str) -> None:
    text = message(photos, content, "p.csv")
    assert what in text
    assert detail in text


def test_file_mistakes(photos: Path) -> None:
    assert "neither JSON nor CSV" in message(photos, "x", "prompts.txt")
    (photos.parent / "bin.json").write_bytes(b"\xff\xfe\x00\x81")
    for name, what in (("gone.json", "cannot be read"), ("bin.json", "cannot be read")):
        with pytest.raises(PromptError, match=what) as caught:
            batches(photos, photos.parent / name)
        assert name in str(caught.value)


def test_same_name_in_two_folders_needs_the_path(photos: Path) -> None:
    save(photos / "sub" / "a.png", picture(discs(3), 3))
    assert "such as " in message(photos, {"A.png": []})
    (batch,) = batches(photos, write(photos, {"a.png": [{"box": [1, 1, 9, 9]}]}))
    assert batch.sample_ids == ("a.png",)
    save(photos / "deep" / "c.tif", picture(discs(3), 3))
    assert "there is no image 'c.tif'" in message(photos, {"c.tif": []})


class Echo(LightningModule):
    """Returns what it is given."""

    image_size = 48

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def predict_step(self, batch, batch_idx):
        return batch


@pytest.mark.parametrize("workers", [0, 1])
def test_through_a_trainer(photos: Path, workers: int) -> None:
    path = write(photos, {"a.png": [{"box": [1, 1, 9, 9]}], "b.jpg": [{"box": [1, 1, 9, 9]}]})
    data = PromptedImagesDataModule(source=str(photos), prompts=str(path), num_workers=workers)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    results = trainer.predict(Echo(), datamodule=data)
    assert [r.sample_ids for r in results] == [("a.png",), ("b.jpg",)]
    assert results[0].images.shape == (1, 3, 48, 48)


def test_settings(photos: Path) -> None:
    with pytest.raises(ConfigError, match="data.batch_size"):
        PromptedImagesDataModule(source=str(photos), batch_size=0)


def test_moves_to_a_device(photos: Path) -> None:
    (batch,) = batches(photos, write(photos, {"a.png": [{"box": [1, 1, 9, 9]}]}))
    moved = batch.to("meta")
    assert moved.images.is_meta
    assert moved.prompts.boxes.is_meta
    assert moved.originals is batch.originals
