"""`samft test`: opens a run as Lightning's `test` would, and evaluates it with everything else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch.cli import LightningArgumentParser

from samft.cli.lightning import SamftCLI, run
from samft.cli.testing.arguments import split_words
from samft.cli.testing.subject import chosen_split, load_subject, results_folder
from samft.data.split_datamodule import SplitDataModule
from samft.errors import ConfigError
from samft.evaluation.competitor import Competitor
from samft.evaluation.data_facts import data_facts
from samft.evaluation.evaluator import (
    Entrant,
    EvaluatedSplit,
    Evaluation,
    check_strategy,
    end_processes,
    evaluate,
)
from samft.evaluation.opening import ZERO_SHOT, Subject, entrants
from samft.evaluation.settings import EvaluationSettings
from samft.module_checks import check_channels


class EvaluationCLI(SamftCLI):
    """Builds model, data and trainer as Lightning's `test` would, and evaluates instead.

    Args:
        arguments: `test` and its options.
        more: What else is to answer, by the words of `EvaluationSettings.against`.
    """

    def __init__(self, arguments: list[str], more: Sequence[str] = ()) -> None:
        self.more = tuple(more)
        super().__init__(arguments)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the settings of the evaluation."""
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(EvaluationSettings, "evaluation", fail_untyped=False)

    def _run_subcommand(self, subcommand: str) -> None:
        settings: EvaluationSettings = self._get(self.config_init, "evaluation")
        settings.validate()
        if not self.trainer.is_global_zero:
            logging.getLogger("samft").setLevel(logging.ERROR)  # once is enough
        tested = load_subject(self.model, self.config[subcommand].get("ckpt_path"))
        self.before_test()
        data, split = chosen_split(self.datamodule)
        folder = results_folder(settings.out, tested.folder)
        check_strategy(self.trainer)
        everyone = entrants(tested, settings.against, self.more)
        check_all(everyone, data)
        found = evaluate(
            everyone,
            self.trainer,
            data=data,
            split=split,
            settings=settings,
            image_size=tested.module.image_size,
        )
        end_processes()
        if self.trainer.is_global_zero:
            self._report(found, everyone, tested, data=data, split=split, folder=folder)
            if tested.folder is not None:
                self.save_config(tested.folder)

    def _report(
        self,
        found: Evaluation,
        everyone: Sequence[Entrant],
        tested: Subject,
        *,
        data: SplitDataModule,
        split: EvaluatedSplit,
        folder: Path,
    ) -> None:
        """Write tables and pictures, and print what was found."""
        from samft.evaluation.gallery import draw_gallery
        from samft.evaluation.tables import print_summary
        from samft.evaluation.writing import write_results

        settings: EvaluationSettings = self._get(self.config_init, "evaluation")
        names = [record.name for record in found.records]
        summary = write_results(
            found.rows,
            folder=folder,
            competitors=found.records,
            settings=settings,
            data=data_facts(
                found.samples,
                root=str(getattr(data, "root", type(data).__name__)),
                split=split,
                classes=data.class_names,
            ),
            reference=ZERO_SHOT if ZERO_SHOT in names else None,
            device=_device_name(self.trainer.strategy.root_device),
        )
        print_summary(summary)
        draw_gallery(
            summary,
            found.rows,
            folder=folder,
            dataset=data.dataset(split),
            open_competitor=partial(self._open, everyone),
            settings=settings,
            image_size=tested.module.image_size,
            class_names=data.class_names,
        )

    def _open(self, everyone: Sequence[Entrant], name: str) -> Competitor:
        """Load a model once more, where the trainer had it."""
        entrant = next(each for each in everyone if each.name == name)
        return entrant.open().to(self.trainer.strategy.root_device).eval()


def check_all(everyone: Sequence[Entrant], data: SplitDataModule) -> None:
    """Load every model once, so that what is wrong with the last is not found after hours.

    Raises:
        SamftError: what is wrong with a model.
    """
    for entrant in everyone:
        competitor = entrant.open()
        sam = getattr(competitor, "sam", None)
        if sam is not None:
            check_channels(sam, data)
        check_classes(competitor, data)


def check_classes(competitor: Competitor, data: SplitDataModule) -> None:
    """Refuse a model that names classes when they are not the data's.

    Raises:
        ConfigError: with the classes of both.
    """
    known = getattr(competitor, "class_names", None)
    if known is not None and list(known) != list(data.class_names):
        raise ConfigError(
            f"{competitor.name} was trained for other classes than those of the data",
            where="evaluation.against",
            found=", ".join(known),
            expected=", ".join(data.class_names),
            fix="train it on this data with samft baseline, or leave it out",
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main(arguments: list[str]) -> int:
    """Run `samft test` and return the exit code; problems are raised."""
    options, more = split_words(arguments)
    run(options, kind=partial(EvaluationCLI, more=more))
    return 0
