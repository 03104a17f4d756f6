"""`samft predict` without `--source`: the run's own test split, prompted from its truth."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import samft
from samft.checkpoints import read_checkpoint
from samft.cli.lightning import SamftCLI, run
from samft.cli.predicting.model import Model, chosen_device
from samft.cli.predicting.report import run_with_report
from samft.data.split_datamodule import SplitDataModule
from samft.data.truth_sources import truth_sources
from samft.errors import ConfigError
from samft.inference.formats.registry import FormatOptions
from samft.inference.segmenters import TruthSegmenter
from samft.inference.volume_settings import LinkSettings
from samft.inference.writers import PredictionFiles
from samft.runs import load_run
from samft.validation import simulate


class TruthCLI(SamftCLI):
    """Builds model and data as Lightning's `predict` would, and leaves it at that."""

    def _run_subcommand(self, subcommand: str) -> None:
        del subcommand  # always predict, whose options these are


def predict_truth(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Predict the test split of a run's data, or validation where there is none.

    Args:
        options: Those of `samft predict`.
        further: Options of `samft fit` that change the run's configuration.

    Raises:
        SamftError: if the data is not known or has no such split.
    """
    opened = load_run(options.run)
    if opened.config is None:
        raise ConfigError(
            "this checkpoint lies outside a run folder, so its data is not known",
            where=opened.checkpoint,
            fix="add --source DIR --prompts FILE",
        )
    words = ["--config", str(opened.config), "--ckpt_path", str(opened.checkpoint)]
    command = run(["predict", *words, *further], kind=TruthCLI)
    data, module = command.datamodule, command.model
    if not isinstance(data, SplitDataModule):
        raise ConfigError(
            "the data of the run has no truth to take prompts from",
            where="data",
            found=type(data).__name__,
            fix="add --source DIR --prompts FILE",
        )
    module.load_state_dict(read_checkpoint(opened.checkpoint)["state_dict"])
    device = chosen_device(options.device)
    model = Model(sam=module.sam.to(device).eval(), arch=str(module.hparams["arch"]))
    split, links = data.predict_split(), LinkSettings() if options.link else None
    kind = module.validation_prompts[0]
    sources = truth_sources(data.dataset(split))
    files = PredictionFiles(
        Path(options.out),
        options.format,
        overwrite=options.overwrite,
        plan={
            "samft": samft.__version__,
            "model": model.identity(),
            "data": _plain_data(command),
            "split": split,
            "prompts": {"gt": kind},
            "formats": sorted(set(options.format)),
            "links": None if links is None else links.to_dict(),
        },
        options=FormatOptions(class_names=tuple(data.class_names)),
        linking=links,
        sources=sources,
    )
    segmenter = TruthSegmenter(model.sam, partial(simulate, kind), data.class_names)
    return run_with_report(sources, segmenter, files)


def _plain_data(command: SamftCLI) -> dict[str, object]:
    data = command.config["predict"]["data"]
    found: dict[str, object] = data.as_dict() if hasattr(data, "as_dict") else dict(data)
    return found
