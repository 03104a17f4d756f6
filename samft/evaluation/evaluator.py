"""Runs models over a split with Lightning's trainer, one after another, on the same cases."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import distributed
from torch.utils.data import DataLoader

from samft.data.split_datamodule import SplitDataModule
from samft.errors import ConfigError
from samft.evaluation.competitor import Competitor
from samft.evaluation.data_facts import SampleFacts, sample_facts
from samft.evaluation.facts import CompetitorRecord
from samft.evaluation.rows import ImageRow, ObjectRow, Rows
from samft.evaluation.scoring import score_batch
from samft.evaluation.settings import EvaluationSettings
from samft.types import SamBatch

_log = logging.getLogger(__name__)

EvaluatedSplit = Literal["test", "val"]
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A model that is to take part, and is loaded when its turn comes.

    Args:
        name: Unique in the evaluation; also the name of what is opened.
        open: Loads it, on the CPU, in evaluation mode.
    """

    name: str
    open: Callable[[], Competitor]


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """What an evaluation found; the same on every process.

    Args:
        rows: Of all models, in their order, each once.
        records: The models.
        samples: The images.
    """

    rows: Rows = field(default_factory=Rows)
    records: list[CompetitorRecord] = field(default_factory=list)
    samples: list[SampleFacts] = field(default_factory=list)


class Evaluator(LightningModule):
    """Lets one model answer the test batches, and keeps the scores as rows.

    After the epoch `rows` and `samples` are those of all processes, each once, sorted.

    Args:
        competitor: The model.
        settings: What is asked of it.
        class_names: The classes of the data.
        image_size: S, side of the input square, for models that have no size of their own.
    """

    def __init__(
        self,
        competitor: Competitor,
        settings: EvaluationSettings,
        class_names: Sequence[str],
        *,
        image_size: int,
    ) -> None:
        super().__init__()
        self.competitor = competitor
        self.settings = settings
        self.class_names = tuple(class_names)
        self.image_size = input_size_of(competitor, image_size)
        self.trim_to: int | None = getattr(competitor, "trim_to", None)
        self.rows = Rows()
        self.samples: list[SampleFacts] = []

    def configure_model(self) -> None:
        """Leave the model whole, also where the strategy is for shards: it only answers."""

    def on_test_epoch_start(self) -> None:
        """Begin anew."""
        self.rows, self.samples = Rows(), []

    def test_step(self, batch: SamBatch, batch_idx: int) -> None:  # noqa: ARG002  # Lightning names it
        """Score the answers about a batch."""
        assert batch.samples is not None  # evaluation loaders keep the samples
        self.samples += [sample_facts(sample) for sample in batch.samples]
        self.rows.extend(score_batch(self.competitor, batch, self.settings, self.class_names))

    def on_test_epoch_end(self) -> None:
        """Put the rows of all processes together."""
        parts = gathered((self.rows, self.samples))
        self.rows = merged(rows for rows, _ in parts)
        self.samples = once((each for _, part in parts for each in part), _sample_key)


def evaluate(
    entrants: Sequence[Entrant],
    trainer: Trainer,
    *,
    data: SplitDataModule,
    split: EvaluatedSplit,
    settings: EvaluationSettings,
    image_size: int,
) -> Evaluation:
    """Run models over a split, one after another, one in memory at a time.

    Args:
        entrants: The models.
        trainer: Knows device, precision and number of processes.
        data: Its split is gone through once for every model.
        split: Which split.
        settings: What is asked of every model.
        image_size: S, side of the input square, for models that have no size of their own.

    Raises:
        ConfigError: if the trainer's strategy cannot hand results back.
    """
    check_strategy(trainer)
    found = Evaluation()
    for number, entrant in enumerate(entrants, start=1):
        _log.info("%d of %d: %s", number, len(entrants), entrant.name)
        evaluator = Evaluator(entrant.open(), settings, data.class_names, image_size=image_size)
        found.records.append(_run(evaluator, trainer, data=data, split=split))
        found.rows.extend(evaluator.rows)
        found.samples = evaluator.samples
        del evaluator.competitor  # the trainer keeps the evaluator until the next one comes
    return found


def _run(
    evaluator: Evaluator, trainer: Trainer, *, data: SplitDataModule, split: EvaluatedSplit
) -> CompetitorRecord:
    competitor, configured = evaluator.competitor, data.image_size
    description = competitor.describe()
    began = time.perf_counter()
    try:
        data.image_size = evaluator.image_size
        trainer.test(evaluator, datamodule=SplitToTest(data, split), verbose=False)
    finally:
        data.image_size = configured
    return CompetitorRecord(
        name=competitor.name,
        kind=competitor.kind,
        prompts=answered(evaluator.rows, competitor, evaluator.settings),
        seconds=time.perf_counter() - began,
        description=description,
    )


class SplitToTest(LightningDataModule):
    """Gives a trainer's test loop one split of a datamodule.

    Args:
        data: Where the split comes from.
        split: Which.
    """

    def __init__(self, data: SplitDataModule, split: EvaluatedSplit) -> None:
        super().__init__()
        self.data = data
        self.split = split

    def setup(self, stage: str) -> None:
        """Let the data know the trainer, whose model and processes it asks for."""
        self.data.trainer = self.trainer
        self.data.setup(stage)

    def test_dataloader(self) -> DataLoader[SamBatch] | list[object]:
        """Return the loader of the split."""
        return self.data.test_dataloader() if self.split == "test" else self.data.val_dataloader()

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Do as the data itself does. Any: Lightning's signature."""
        return self.data.transfer_batch_to_device(batch, device, dataloader_idx)

    def teardown(self, stage: str) -> None:
        """Let the data finish."""
        self.data.teardown(stage)


def input_size_of(competitor: Competitor, default: int) -> int:
    """Return the side of the square that a model wants images in."""
    return int(getattr(competitor, "image_size", None) or default)


def check_strategy(trainer: Trainer) -> None:
    """Refuse processes that end with the test loop, and what they found with them.

    Raises:
        ConfigError: for `ddp_spawn` and its kind.
    """
    launcher, processes = trainer.strategy.launcher, trainer.num_devices * trainer.num_nodes
    if processes > 1 and getattr(launcher, "_start_method", None) is not None:
        raise ConfigError(
            "this strategy cannot hand results back",
            where="trainer.strategy",
            found="processes that are spawned or forked",
            fix="set trainer.strategy to ddp",
        )


def end_processes() -> None:
    """Wait for all processes, and let this one go on as if it were alone.

    What follows an evaluation is the first process's business, and takes long: metrics must not
    wait for others there, and the others need not wait for it.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def answered(rows: Rows, competitor: Competitor, settings: EvaluationSettings) -> tuple[str, ...]:
    """Return the prompts that were answered; without any object, those that would have been."""
    found = sorted({row.prompt for row in rows.objects}, key=_prompt_key)
    return tuple(found) or tuple(
        "point1" if name == "point" else name
        for name in settings.prompts
        if name in competitor.prompts
    )


def gathered(part: _Item) -> list[_Item]:
    """Return what every process has, in the order of their ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [part]
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, part)
    return parts


def merged(parts: Iterable[Rows]) -> Rows:
    """Return the rows of one model from several processes: each once, sorted.

    By prompt, as it was asked, then by image and object or class.
    """
    every = Rows()
    for part in parts:
        every.extend(part)
    return Rows(
        objects=once(every.objects, _object_key),
        images=once(every.images, _image_key),
    )


def once(items: Iterable[_Item], key: Callable[[_Item], Any]) -> list[_Item]:
    """Return the items sorted by a key, of equals the first one. Any: what can be compared."""
    found: dict[Hashable, _Item] = {}
    for item in items:
        found.setdefault(key(item), item)
    return sorted(found.values(), key=key)


def _object_key(row: ObjectRow) -> tuple[str, tuple[str, int], str, int]:
    return row.model, _prompt_key(row.prompt), row.sample_id, row.object_id


def _image_key(row: ImageRow) -> tuple[str, tuple[str, int], str, str]:
    return row.model, _prompt_key(row.prompt), row.sample_id, row.class_name


def _sample_key(facts: SampleFacts) -> tuple[str, str]:
    return facts.sample_id, facts.case_id


def _prompt_key(prompt: str) -> tuple[str, int]:
    """Return what `point10` comes after `point9` by."""
    found = re.fullmatch(r"(\D+)(\d*)", prompt)
    return (found[1], int(found[2] or 0)) if found else (prompt, 0)
