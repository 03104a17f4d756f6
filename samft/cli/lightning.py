"""The thin LightningCLI behind `samft fit`, `validate`, `test` and `predict`."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)

import samft
from samft.allocator import keep_freed_memory
from samft.callbacks.checkpoint_files import BestCheckpoint
from samft.callbacks.curves import Curves
from samft.callbacks.duration import TrainingTime
from samft.callbacks.empty_masks import StopEmptyMasks
from samft.callbacks.overlays import Overlays
from samft.callbacks.throughput import Throughput
from samft.checkpoints import read_checkpoint
from samft.cli.configs import resolve_config_arguments, values_to_give
from samft.cli.differences import warn_of_differences
from samft.cli.messages import explain
from samft.cli.run_arguments import complete_from_run
from samft.cli.run_safety import SAFETY_CLASSES, add_safety_arguments, run_callbacks, run_log
from samft.cli.summary import ShowTrained, print_comparison, print_scores
from samft.cli.testing.arguments import HELP as TEST_HELP
from samft.cli.world_checks import check_world
from samft.data.base import BaseDataModule
from samft.data.split_datamodule import SplitDataModule
from samft.errors import ConfigError, SamftError, did_you_mean
from samft.evaluation.settings import EvaluationSettings
from samft.losses import SamLossSettings
from samft.module import SamModule
from samft.module_checks import check_channels, check_length
from samft.optim import OptimizerSettings
from samft.planning.batch_size import settle_batch_size
from samft.prompts.settings import PromptSettings
from samft.runs import load_run, new_run_folder

_SUBCOMMANDS = ("fit", "validate", "test", "predict")
_NOISE = (
    "litlogger",
    "litmodels",
    "tensorboardX",
    "does not have many workers",
    "TPU available",
    "isinstance(treespec, LeafSpec)",
    "args parameter is intended to run from within Python",
    "is smaller than the logging interval",
    "to estimate number of stepping batches",
    "__array__ implementation doesn't accept a copy keyword",
    "`weights_only` was not set",
    "module(s) in eval mode at the start",  # frozen parts are
    "gemm_4bit_forward",  # which nothing here calls
    "doesn't support sharding model layers",
    "Grad strides do not match bucket view",
    "register_pre_backward_hook",
)


_PLAN = "--plan"
_PLAN_HELP = "--plan, with any options: show what would be trained, memory and time; train nothing."


class _Refused(SystemExit):
    """Carries the first complaint out of the parser, which swallows ordinary exceptions."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class SamftParser(LightningArgumentParser):
    """A parser that hands its complaint on instead of printing its usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Stop parsing with the complaint; `SamftCLI.parse_arguments` explains it."""
        raise _Refused(message) from ex


class SamftCLI(LightningCLI):
    """LightningCLI with samft's run folders, checkpoints and error messages."""

    def __init__(self, arguments: list[str]) -> None:
        first = arguments[0] if arguments else ""
        self._wanted = (first,) if first in _SUBCOMMANDS else _SUBCOMMANDS
        super().__init__(
            model_class=SamModule,
            datamodule_class=BaseDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=SamftParser,
            parser_kwargs={"allow_abbrev": False}
            | {name: {"allow_abbrev": False} for name in _SUBCOMMANDS}
            | {"fit": {"allow_abbrev": False, "epilog": _PLAN_HELP}}
            | {"test": {"allow_abbrev": False, "epilog": TEST_HELP}},
            save_config_callback=SaveSettledConfig,
            save_config_kwargs={"config_filename": "config.yaml"},
            trainer_defaults={
                "num_sanity_val_steps": -1,
                "log_every_n_steps": 10,
                "enable_model_summary": False,  # ShowTrained says more
                "callbacks": [
                    *run_callbacks(),
                    ShowTrained(),
                    Throughput(),
                    TrainingTime(),
                    Curves(),
                ],
            },
            args=arguments,
        )

    def _prepare_subcommand_parser(
        self,
        klass: type,
        subcommand: str,
        **kwargs: Any,  # Any: Lightning's signature
    ) -> LightningArgumentParser:
        """Give options to the subcommand asked for alone: each takes a tenth of a second."""
        if subcommand not in self._wanted:
            return self.init_parser(**kwargs)
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder, checkpoints and overlays, all configurable."""
        parser.add_argument("--runs", type=str, default="runs", help="Folder for all run folders.")
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val/iou",
                "checkpoint.mode": "max",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.add_lightning_class_args(Overlays, "overlays")
        parser.add_lightning_class_args(StopEmptyMasks, "empty_masks")
        add_safety_arguments(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and explain what the parser refuses.

        Raises:
            ConfigError: if an option or a setting is unknown, missing or of the wrong kind.
        """
        try:
            super().parse_arguments(parser, args)
        except _Refused as refused:
            raise explain(refused.message, setting_names()) from refused

    def before_instantiate_classes(self) -> None:
        """Refuse what is incomplete or unsafe, and settle what only fit needs."""
        config = self.config[self.subcommand]
        missing = sorted(set(values_to_give(config.as_dict())))
        if missing:
            raise ConfigError(
                "a setting must be given",
                where=", ".join(missing),
                fix=" ".join(f"--{name} VALUE" for name in missing),
            )
        if config.get("weights_only") is False:
            raise ConfigError(
                "checkpoints are only read with weights_only",
                where="weights_only",
                found=False,
                fix="leave it out; a checkpoint that needs it off could run code on this machine",
            )
        config.weights_only = True
        self.save_config_kwargs["config_filename"] = f"config.{self.subcommand}.yaml"
        if self.subcommand == "fit":
            return
        self.save_config_callback = None  # it needs a log folder; see save_config
        config.trainer.logger = config.trainer.logger or False
        if "verbose" in config:
            config.verbose = False  # after_validate prints the scores
        if config.get("ckpt_path"):
            # The checkpoint brings the weights; the file they were tuned from may be gone.
            config.model.init_args.weights = None
            warnings.filterwarnings("ignore", message="The dirpath has changed")

    def instantiate_classes(self) -> None:
        """Build everything; what samft itself refuses comes out as it was raised.

        Raises:
            SamftError: if a setting or a file is refused.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, SamftError):
                cause = cause.__cause__
            raise (cause or error) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # Any: Lightning's signature
        """Give a fit without a logger of its own a fresh run folder.

        Raises:
            ConfigError: if the machine has not what the trainer is to use.
        """
        config = self.config[self.subcommand]
        if self.subcommand == "fit" and config.trainer.logger is None:
            files = config.get("config") or []
            name = Path(str(files[0])).stem if files else "run"
            folder = new_run_folder(Path(config.runs), name)
            kwargs.setdefault("logger", run_log(Path(config.runs), name, folder.name))
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError) as error:
            raise ConfigError(
                str(error).splitlines()[0].rstrip(".!"),
                where="trainer",
                found=f"trainer.accelerator {config.trainer.accelerator}",
                fix="set what this machine has, such as --trainer.accelerator cpu",
            ) from error

    def before_fit(self) -> None:
        """Report every problem of the data before a folder is made or a step is taken."""
        check_world(self.trainer)
        if type(self.model) is SamModule:  # somebody's own subclass may log more
            watching = (*self.trainer.checkpoint_callbacks, *self.trainer.early_stopping_callbacks)
            for callback in watching:
                check_monitor(getattr(callback, "monitor", None), self.model.score_names)
            check_plateau(self.model, self.trainer)
            if self.subcommand == "fit":
                check_length(self.model, self.trainer)
        if isinstance(self.datamodule, BaseDataModule):
            check_channels(self.model.sam, self.datamodule)
            self.datamodule.prepare_index()

        if isinstance(self.trainer.accelerator, CPUAccelerator):
            keep_freed_memory()

    before_validate = before_test = before_predict = before_fit

    def after_fit(self) -> None:
        """Print zero-shot against tuned, and where the run is."""
        if self.trainer.is_global_zero:
            print_comparison(self.trainer, self.model)

    def after_validate(self) -> None:
        """Print the scores and keep the configuration in the run folder."""
        if self.trainer.is_global_zero:
            print_scores(self.trainer)
            path = self.config[self.subcommand].get("ckpt_path")
            folder = load_run(path).folder if path else None
            if folder is not None:
                self.save_config(folder)

    def save_config(self, folder: Path) -> None:
        """Write the resolved configuration of this command to `folder`."""
        self._parser(self.subcommand).save(
            self.config[self.subcommand],
            folder / f"config.{self.subcommand}.yaml",
            skip_none=False,
            overwrite=True,
            multifile=False,
        )

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint's hyper-parameters silently override the command line.
        config = self.config[self.config.subcommand]
        path = config.get("ckpt_path")
        if path and path not in ("best", "last"):
            stored = read_checkpoint(Path(path))["hyper_parameters"]
            warn_of_differences(stored, config.model.init_args.as_dict())


class SaveSettledConfig(SaveConfigCallback):
    """Saves the configuration with the batch size that `auto` has become."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See the class."""
        data = getattr(trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, SplitDataModule) and data.batch_size == "auto":
            if isinstance(pl_module, SamModule):
                settle_batch_size(pl_module, data, trainer)
            self.config.data.init_args.batch_size = data.batch_size
        super().setup(trainer, pl_module, stage)


def check_monitor(monitor: str | None, scores: list[str]) -> None:
    """Refuse a score that nothing logs, which would otherwise fail after the first epoch.

    Raises:
        ConfigError: if it is not among `scores`.
    """
    if monitor is not None and monitor not in scores:
        raise ConfigError(
            f"there is no score called {monitor!r}",
            where="monitor of a callback, such as checkpoint.monitor",
            fix=did_you_mean(monitor, scores),
        )


def check_plateau(module: SamModule, trainer: Trainer) -> None:
    """Refuse a schedule that waits for a score which does not come every epoch.

    Raises:
        ConfigError: if there is no such score or validation is too rare.
    """
    settings = module.optimizer_settings
    if settings.schedule != "plateau":
        return
    check_monitor(settings.plateau_monitor, module.score_names)
    if trainer.check_val_every_n_epoch != 1:
        raise ConfigError(
            "the plateau schedule needs a score after every epoch",
            where="trainer.check_val_every_n_epoch",
            found=trainer.check_val_every_n_epoch,
            expected=1,
        )


def setting_names() -> set[str]:
    """Return the names of all settings of the model, the data modules and the trainer."""
    classes: Iterable[type] = (
        SamModule,
        PromptSettings,
        SamLossSettings,
        OptimizerSettings,
        samft.FolderDataModule,
        samft.MedicalDataModule,
        samft.MicroscopyDataModule,
        samft.UnderwaterDataModule,
        samft.PromptedImagesDataModule,
        samft.ShardedDataModule,
        samft.SyntheticDataModule,
        samft.WindowSettings,
        samft.AdaptationSettings,
        samft.LoraSettings,
        samft.AdapterSettings,
        samft.ChannelSettings,
        *SAFETY_CLASSES,
        Overlays,
        StopEmptyMasks,
        EvaluationSettings,
    )
    names = {"config", "runs", "seed_everything", "ckpt_path"}
    for kind in (*classes, Trainer):
        names |= set(inspect.signature(kind).parameters)
    return names


def quiet() -> None:
    """Show samft's own log, and keep what is not about the user's work off the terminal."""
    for text in _NOISE:
        warnings.filterwarnings("ignore", message=f".*{re.escape(text)}.*")
    log = logging.getLogger("samft")
    log.setLevel(logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)

    def interesting(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in _NOISE)

    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.fabric.utilities.seed",
        "bitsandbytes.backends.cpu.ops",
    ):
        logging.getLogger(name).addFilter(interesting)


def run(arguments: list[str], kind: Callable[[list[str]], SamftCLI] = SamftCLI) -> SamftCLI:
    """Run one Lightning subcommand and return the finished command line object.

    Args:
        arguments: The subcommand and its options.
        kind: What runs it.
    """
    quiet()
    torch.set_float32_matmul_precision("high")
    return kind(resolve_config_arguments(complete_from_run(arguments)))


def main(arguments: list[str]) -> int:
    """Run `fit`, `validate` or `test` and return the exit code; problems are raised."""
    if arguments[0] == "fit" and _PLAN in arguments:
        from samft.cli.plan import PlanCLI

        run([word for word in arguments if word != _PLAN], PlanCLI)
        return 0
    if arguments[0] == "test":
        from samft.cli.testing.command import main as test

        return test(arguments)
    run(arguments)
    return 0
