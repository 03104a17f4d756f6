"""Models one after another over the same cases, on one process and on two."""

import os
import pickle
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from evaluated_scene import Knowing, scene
from lightning.pytorch.utilities.model_helpers import is_overridden
from quick_trainer import quick_trainer

from samft.data.records import Split
from samft.data.split_datamodule import Samples, SplitDataModule
from samft.errors import ConfigError, DatasetError
from samft.evaluation.data_facts import SampleFacts
from samft.evaluation.evaluator import (
    Entrant,
    Evaluation,
    Evaluator,
    check_strategy,
    end_processes,
    evaluate,
    merged,
    once,
)
from samft.evaluation.rows import ObjectRow, Rows
from samft.evaluation.settings import EvaluationSettings
from samft.types import Sample

SETTINGS = EvaluationSettings(prompts=("box", "point"), distances=False, automatic=True)


class Scenes(list[Sample]):
    """A list of samples as a data set: samplers ask with keys."""

    def __getitem__(self, key: object) -> Sample:  # type: ignore[override]
        return super().__getitem__(getattr(key, "index", key))


@dataclass(kw_only=True, eq=False, repr=False)
class SceneData(SplitDataModule):
    """Five images of four cases to test on, two to validate with."""

    def dataset(self, split: Split, *, augment: bool = False) -> Samples:
        counts = {"train": 1, "val": 2, "test": 5}
        return Scenes(
            scene(
                f"{split}{n}",
                boxes=((4 + n, 4, 14 + 2 * n, 14), (30, 20, 40, 30 + n))[: n + 1],
                case=f"case{max(n, 1)}",
            )
            for n in range(counts[split])
        )

    @property
    def class_names(self) -> Sequence[str]:
        return ["cell"]

    def prepare_index(self) -> None:
        pass

    def _size(self, split: Split) -> int:
        return len(self.dataset(split))

    def _no_split(self, what: str, *, split: Split) -> DatasetError:
        return DatasetError(what)


class Sized(Knowing):
    """Wants images at a size of its own."""

    image_size = 32


def run(folder: Path, split: str = "test", **trainer: object) -> Evaluation:
    entrants = [
        Entrant(name="right", open=lambda: Knowing("right")),
        Entrant(name="moved", open=lambda: Knowing("moved", shift=3)),
    ]
    return evaluate(
        entrants,
        quick_trainer(folder, **trainer),
        data=SceneData(eval_batch_size=2),
        split=split,
        settings=SETTINGS,
        image_size=64,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return run(tmp_path_factory.mktemp("alone"))


def test_rows_of_all_models_sorted(alone: Evaluation) -> None:
    keys = [(row.model, row.prompt, row.sample_id, row.object_id) for row in alone.rows.objects]
    names = [f"test{n}" for n in range(5)]
    expected = [
        (model, prompt, name, value)
        for model in ("right", "moved")
        for prompt in ("box", "point1")
        for n, name in enumerate(names)
        for value in range(1, min(n + 1, 2) + 1)
    ]
    assert keys == expected
    assert {row.scores["iou"] for row in alone.rows.objects if row.model == "right"} == {1.0}
    assert all(row.scores["iou"] < 1 for row in alone.rows.objects if row.model == "moved")
    assert {row.prompt for row in alone.rows.images} == {"auto", "box", "point1"}
    assert [facts.sample_id for facts in alone.samples] == names


def test_records(alone: Evaluation) -> None:
    assert [record.name for record in alone.records] == ["right", "moved"]
    assert {record.prompts for record in alone.records} == {("box", "point1")}
    assert {record.kind for record in alone.records} == {"baseline"}
    assert all(record.seconds > 0 for record in alone.records)


def test_validation_can_stand_in(tmp_path: Path) -> None:
    assert [facts.sample_id for facts in run(tmp_path, "val").samples] == ["val0", "val1"]


def test_each_model_gets_images_of_its_size(tmp_path: Path) -> None:
    opened: list[Knowing] = []

    def opening(kind: type[Knowing]) -> Knowing:
        opened.append(kind(kind.__name__))
        return opened[-1]

    data = SceneData(image_size=48)
    evaluate(
        [
            Entrant(name="Sized", open=lambda: opening(Sized)),
            Entrant(name="Knowing", open=lambda: opening(Knowing)),
        ],
        quick_trainer(tmp_path),
        data=data,
        split="val",
        settings=SETTINGS,
        image_size=64,
    )
    assert [set(each.sides) for each in opened] == [{32}, {64}]
    assert data.image_size == 48


def work(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
    }
    found = run(Path(folder), devices=2, strategy="ddp")
    Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps((found.rows, found.samples)))
    end_processes()
    assert not torch.distributed.is_initialized()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_two_processes_find_what_one_finds(alone: Evaluation, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(work, args=(str(tmp_path), port), nprocs=2, start_method="fork")
    for rank in range(2):
        rows, samples = pickle.loads((tmp_path / f"{rank}.pkl").read_bytes())
        assert rows.objects == alone.rows.objects  # to the last bit
        assert rows.images == alone.rows.images
        assert samples == alone.samples


def test_what_two_processes_have_counts_once() -> None:
    def row(sample: str, prompt: str, number: int) -> ObjectRow:
        return ObjectRow(
            model="m",
            prompt=prompt,
            sample_id=sample,
            case_id=sample,
            object_id=number,
            class_name="",
            area=1,
            unit="px",
            scores={"iou": 1.0},
            predicted_iou=0.5,
        )

    first = Rows(objects=[row("b", "point10", 1), row("a", "box", 2), row("a", "box", 1)])
    second = Rows(objects=[row("b", "point9", 1), row("a", "box", 1)])
    found = merged([first, second]).objects
    assert [(each.sample_id, each.prompt, each.object_id) for each in found] == [
        ("a", "box", 1),
        ("a", "box", 2),
        ("b", "point9", 1),
        ("b", "point10", 1),
    ]
    facts = [SampleFacts(sample_id=name, case_id="c", sha256="0") for name in "bab"]
    assert [each.sample_id for each in once(facts, lambda each: each.sample_id)] == ["a", "b"]


def test_processes_that_take_their_rows_along_are_refused(tmp_path: Path) -> None:
    spawning = quick_trainer(tmp_path, devices=2, strategy="ddp_spawn")
    with pytest.raises(ConfigError, match="cannot hand results back") as caught:
        check_strategy(spawning)
    assert caught.value.where == "trainer.strategy"
    assert "ddp" in caught.value.fix
    check_strategy(quick_trainer(tmp_path))


def test_a_strategy_for_shards_takes_it() -> None:
    evaluator = Evaluator(Knowing("knows"), EvaluationSettings(), (), image_size=32)
    assert is_overridden("configure_model", evaluator)  # what such a strategy insists on
    whole = list(evaluator.parameters())
    evaluator.configure_model()
    assert list(evaluator.parameters()) == whole
