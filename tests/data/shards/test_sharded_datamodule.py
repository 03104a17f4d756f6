"""Shards from end to end: packed, found, split, read, shuffled, resumed, shared by processes."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks

from samft.data.dataset import SampleKey
from samft.data.sharded_datamodule import ShardedDataModule
from samft.data.shards.order import ShardSampler
from samft.data.shards.writer import write_shards, write_split
from samft.data.synthetic import SyntheticDataModule
from samft.errors import ConfigError, DatasetError, OutputError
from samft.types import IGNORE, Sample

SIZE = (12, 16)


def encoded(pixels, kind="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def outlines(*masks, **more) -> bytes:
    annotations = []
    for mask in masks:
        rle = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle["counts"] = rle["counts"].decode()
        annotations.append({"segmentation": rle, "bbox": [0, 0, 1, 1], "area": 1})
    image = {"image_id": 1, "width": SIZE[1], "height": SIZE[0], "file_name": "sa_1.jpg"}
    return json.dumps({"image": image, "annotations": annotations} | more).encode()


def square(top: int, left: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + 4, left : left + 5] = True
    return mask


def pack(path, files) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four shards as SA-1B has them, with 3, 4, 5 and 6 samples of two objects that overlap."""
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    number = 0
    for shard in range(4):
        files = {}
        for _ in range(shard + 3):
            number += 1
            files[f"./sa_{number}.jpg"] = encoded(picture(number), "JPEG")
            files[f"./sa_{number}.json"] = outlines(square(2, 3), square(4, number % 8))
        pack(tmp_path / "sa" / f"sa_{shard:06d}.tar", files)
    return tmp_path / "sa"


def make(folder, **more) -> ShardedDataModule:
    settings = {"root": str(folder), "val_fraction": 0.25, "image_size": 16, "batch_size": 2}
    return ShardedDataModule(**settings | more)


def ids(loader) -> list[str]:
    return [name for batch in loader for name in batch.sample_ids]


def test_the_shards_of_sa1b(folder) -> None:
    data = make(folder)
    assert len(data.entries("val").shards) == 4
    assert sorted(map(len, (data.entries("train"), data.entries("val"))))[0] in (3, 4, 5, 6)
    assert len(data.entries("train")) + len(data.entries("val")) == 18
    for split in ("train", "val"):
        samples = data.dataset(split)
        for row in range(len(samples)):
            sample = samples[row]
            number = int(sample.sample_id.rpartition("_")[2])
            shard = sample.sample_id.partition("/")[0]
            assert shard == f"sa_{np.searchsorted([3, 7, 12, 18], number):06d}"
            expected = np.asarray(Image.open(io.BytesIO(encoded(picture(number), "JPEG"))))
            assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), expected)
            assert torch.equal(
                sample.masks(),
                torch.from_numpy(np.stack([square(2, 3), square(4, number % 8)])),
            )
            assert sample.object_class.tolist() == [0, 0]
    assert data.class_names == ("object",)
    # Whole shards are drawn.
    assert not {n.split("/")[0] for n in ids(data.train_dataloader())} & {
        n.split("/")[0] for n in ids(data.val_dataloader())
    }


def test_splits_by_sample_depend_on_names_alone(folder) -> None:
    first, again = (make(folder, split_by="sample", test_fraction=0.1) for _ in range(2))
    names = {s: set(ids_of(first, s)) for s in ("train", "val", "test")}
    assert [len(names[split]) for split in ("train", "val", "test")] == [12, 4, 2]
    assert len(set.union(*names.values())) == 18
    assert all(set(ids_of(again, split)) == names[split] for split in names)
    other = make(folder, split_by="sample", test_fraction=0.1, seed=1)
    assert set(ids_of(other, "val")) != names["val"]
    # A shard less moves few of the others.
    fewer = make(folder, split_by="sample", shards="sa_{000001..000003}.tar", val_fraction=0.25)
    assert len(set(ids_of(fewer, "val")) & names["val"]) >= len(names["val"]) - 3


def ids_of(data, split) -> list[str]:
    entries = data.entries(split)
    return [entries.name(entry) for entry in entries]


def test_splits_from_folders_and_names(folder) -> None:
    (folder / "train").mkdir()
    for number in (0, 1):
        name = f"sa_{number:06d}.tar"
        (folder / name).rename(folder / "train" / name)
    (folder / "sa_000002.tar").rename(folder / "val-2.tar")
    (folder / "sa_000003.tar").rename(folder / "test-3.tar")
    data = make(folder, split_by="sample")
    assert [len(data.entries(split)) for split in ("train", "val", "test")] == [7, 5, 6]
    assert len(make(folder, max_samples_per_split=3).entries("train")) == 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", ["full", "shards"])
def test_resuming_gives_the_batches_that_were_left(folder, shuffle, workers) -> None:
    settings = {"shuffle": shuffle, "mixed_shards": 2, "num_workers": workers}
    whole = make(folder, **settings).train_dataloader()
    whole.sampler.set_epoch(3)
    expected = [batch.sample_ids for batch in whole]
    stopped = make(folder, **settings).train_dataloader()
    stopped.sampler.set_epoch(3)
    iterator = iter(stopped)
    assert [next(iterator).sample_ids for _ in range(3)] == expected[:3]
    state = stopped.state_dict()
    resumed = make(folder, **settings).train_dataloader()
    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(3)
    assert [batch.sample_ids for batch in resumed] == expected[3:]
    other = make(folder, shuffle="full" if shuffle == "shards" else "shards").train_dataloader()
    with pytest.raises(ConfigError, match=r"data\.shuffle"):
        other.load_state_dict(state)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_every_process_reads_from_shards_of_its_own(world_size) -> None:
    sizes = (3, 0, 40, 40, 40, 37)
    parts = []
    for rank in range(world_size):
        sampler = ShardSampler(sizes, mixed=1, seed=4, rank=rank, world_size=world_size)
        sampler.set_epoch(2)
        parts.append([key.index for key in sampler])
        assert len(parts[-1]) == len(sampler)
    assert {index for part in parts for index in part} == set(range(160))
    assert sum(map(len, parts)) < 160 + world_size
    starts = np.cumsum([0, *sizes])
    for part in parts:
        shard_of = (np.searchsorted(starts, part, side="right") - 1).tolist()
        visits = 1 + sum(a != b for a, b in pairwise(shard_of))
        assert visits <= -(-5 // world_size) + 1


def test_orders_of_epochs_differ_and_neighbours_are_mixed() -> None:
    sampler = ShardSampler((50, 50, 50, 50), mixed=2, seed=0)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        orders.append([key.index for key in sampler])
    assert orders[0] != orders[1]
    for order in orders:
        assert sorted(order) == list(range(200))
        halves = [{index // 50 for index in half} for half in (order[:100], order[100:])]
        assert [len(half) for half in halves] == [2, 2]
        assert not halves[0] & halves[1]


def test_what_travels_to_a_worker_is_small(folder) -> None:
    data = make(folder)
    dataset = data.dataset("train")
    dataset.tally = None  # its counters travel only while a worker is started
    copied = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 4000
    assert torch.equal(copied[SampleKey(1, 7)].image, dataset[SampleKey(1, 7)].image)


def test_masks_classes_and_images_without_labels(tmp_path, folder) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[1:4, 1:4], mask[8:, 9:] = 7, 9
    pack(
        tmp_path / "w" / "a.tar",
        {
            "a/1.v2.png": encoded(picture(1)),
            "a/1.v2.mask.png": encoded(mask),
            "a/2.jpg": encoded(picture(2), "JPEG"),
            "a/2.png": encoded(mask),
            "a/2.cls": b"1\n",
            "a/3.webp": encoded(picture(3), "WEBP"),
            "a/3.txt": b"a fish",
            "a/4.png": encoded(picture(4)),
            "a/4.json": b"[]",
        },
    )
    root = tmp_path / "w"
    data = make(root, val_fraction=0.0, on_missing="skip")
    samples = [data.dataset("train")[row] for row in range(3)]
    assert [sample.sample_id for sample in samples] == ["a/a/1.v2", "a/a/2", "a/a/4"]
    assert [sample.num_objects for sample in samples] == [2, 2, 0]
    assert torch.equal(samples[0].masks()[1], torch.from_numpy(mask == 9))
    named = make(root, val_fraction=0.0, on_missing="skip", classes={7: "fish", 9: "diver"})
    assert named.dataset("train")[0].object_class.tolist() == [0, 1]
    assert named.dataset("train")[1].object_class.tolist() == [1, 1]
    with pytest.raises(DatasetError) as caught:
        make(root, val_fraction=0.0).prepare_index()
    assert "an image in a shard has no labels" in str(caught.value)
    assert "where: a/a/3, found: 1 of 4 images" in str(caught.value)
    assert "data.on_missing: skip" in str(caught.value)
    other = make(root, val_fraction=0.0, on_missing="skip", classes={7: "fish", 8: "rock"})
    with pytest.raises(DatasetError) as caught:
        other.prepare_index()
    assert "the mask holds values that have no class name" in str(caught.value)
    assert "a.tar/a/1.v2.mask.png" in str(caught.value)


def test_classes_of_whole_images(tmp_path, folder) -> None:
    root = tmp_path / "w"
    files = {}
    for number, text in enumerate([b"diver", b"0", b"2"]):
        files |= {f"{number}.png": encoded(picture(1)), f"{number}.cls": text}
        files[f"{number}.json"] = outlines(square(0, 0))
    pack(root / "a.tar", files)
    samples = make(root, val_fraction=0.0, classes=["object", "diver"]).dataset("train")
    assert [samples[row].object_class.tolist() for row in range(2)] == [[1], [0]]
    with pytest.raises(DatasetError) as caught:
        samples[2]
    assert "the class of an image is not known" in str(caught.value)
    assert "a.tar/2.cls, found: '2', expected: a number below 2" in str(caught.value)
    assert make(root, val_fraction=0.0).dataset("train")[2].object_class.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("1.json", b"{", "1.json"),
        ("1.json", b'{"annotations": 3}', "no list of annotations"),
        ("1.json", b'{"annotations": [3]}', "annotation 1 is no object"),
        ("1.json", b'{"annotations": [{"segmentation": 3}]}', "annotation 1: int as segmentation"),
        ("1.json", b"[" * 100_000, "1.json"),
        ("1.json", outlines(square(0, 0)).replace(b"12", b"13"), "1.json"),
        ("1.json", outlines(square(0, 0), categories=[{"id": 1, "name": "a"}]), "category None"),
        ("1.json", outlines(square(0, 0), categories=[{"id": []}]), "a category without id"),
        ("1.mask.png", b"no picture", "1.mask.png"),
        ("1.mask.png", encoded(np.ones((3, 3), np.uint8)), "1.mask.png"),
    ],
)
def test_labels_that_are_damaged(tmp_path, folder, name, content, text) -> None:
    pack(tmp_path / "w" / "a.tar", {"1.png": encoded(picture(1)), name: content})
    with pytest.raises(DatasetError) as caught:
        make(tmp_path / "w", val_fraction=0.0).prepare_index()
    assert text in str(caught.value)
    assert "samft-shard-" not in str(caught.value)  # where it was put to be read is no help
    assert len(str(caught.value).splitlines()) <= 3


def test_an_image_that_is_damaged(tmp_path, folder) -> None:
    pack(tmp_path / "w" / "a.tar", {"1.png": encoded(picture(1))[:90], "1.json": b"[]"})
    with pytest.raises(DatasetError) as caught:
        make(tmp_path / "w", val_fraction=0.0).prepare_index()
    assert str(tmp_path / "w" / "a.tar" / "1.png") in str(caught.value)
    assert "samft-shard-" not in str(caught.value)


def test_too_few_shards(folder) -> None:
    with pytest.raises(DatasetError) as caught:
        make(folder, shards="sa_000000.tar").prepare_index()
    assert str(caught.value) == (
        f"too few shards to split\n  where: {folder}, found: 1 shard, expected: at least 2\n"
        "  fix: draw samples instead with data.split_by: sample"
    )
    with pytest.raises(ConfigError, match=r"data\.mixed_shards"):
        make(folder, mixed_shards=0)


def test_a_split_is_packed_and_read_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    source = SyntheticDataModule(num_train=7, num_val=3, size=64, seed=5, image_size=64)
    out = tmp_path / "packed"
    shards = write_split(source, "train", out, max_bytes=40_000)
    assert [path.name for path in shards] == [f"{i:06d}.tar" for i in range(len(shards))]
    assert len(shards) > 1
    assert all(path.stat().st_size <= 40_000 + 10_240 for path in shards)
    write_split(source, "val", out, picture_format="webp")
    assert not list(out.rglob("*.part"))
    data = make(out)
    assert data.class_names == tuple(source.class_names)
    for split in ("train", "val"):
        expected, found = source.dataset(split), data.dataset(split)
        assert len(found) == len(expected)
        for row in range(len(expected)):
            old, new = expected[row], found[row]
            assert torch.equal(new.image, old.image)
            assert torch.equal(new.masks(), old.masks())
            assert torch.equal(new.object_class, old.object_class)
            assert (new.sample_id, new.case_id) == (old.sample_id, old.case_id)
    with pytest.raises(OutputError, match="there are shards already"):
        write_split(source, "train", out)


class Given(list):
    """Samples in a list."""


def one(**more) -> Sample:
    layers = torch.zeros(2, *SIZE, dtype=torch.int32)
    layers[0, 2:5, 2:6], layers[1, 4:9, 4:9], layers[0, 10:] = 1, 2, IGNORE
    settings = {
        "image": torch.from_numpy(picture(1)).permute(2, 0, 1),
        "layers": layers,
        "object_layer": torch.tensor([0, 1]),
        "object_class": torch.tensor([1, 0]),
        "sample_id": "../case.1/__z:003.png",
        "case_id": "case 1",
        "spacing_mm": (0.5, 0.75),
    }
    return Sample(**settings | more)


def test_names_spacing_and_the_unknown_survive(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "out" / "train"
    (path,) = write_shards(Given([one(), one()]), folder, class_names=["a", "b"])
    with tarfile.open(path) as tar:
        assert tar.getnames() == [
            f"case_1/{key}.{ending}"
            for key in ("z_003_png", "z_003_png_2")
            for ending in ("png", "json")
        ]
        assert not any(member.mtime for member in tar)
    (tmp_path / "out" / "classes.txt").write_text("a\nb\n")
    found = make(tmp_path / "out", val_fraction=0.0).dataset("train")[0]
    assert (found.sample_id, found.case_id) == ("../case.1/__z:003.png", "case 1")
    assert found.spacing_mm == (0.5, 0.75)
    assert torch.equal(found.masks(), one().masks())
    assert found.object_class.tolist() == [1, 0]
    assert found.ignored()[0, 10:].all()
    assert not found.ignored()[:, :10].any()


def test_what_cannot_be_packed(tmp_path) -> None:
    deep = one(image=torch.zeros(3, *SIZE))
    with pytest.raises(ConfigError, match="RGB images of 8 bits"):
        write_shards(Given([one(), deep]), tmp_path / "out", class_names=["a", "b"])
    assert list((tmp_path / "out").iterdir()) == []  # no half shard
    data = SyntheticDataModule(num_train=1, num_val=1, size=64)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "classes.txt").write_text("x\n")
    with pytest.raises(ConfigError, match="other classes"):
        write_split(data, "train", tmp_path / "other")
