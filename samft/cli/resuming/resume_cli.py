"""The command line of a fit that goes on in the folder of a run that has stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import yaml
from lightning.pytorch import Trainer

from samft.callbacks.metrics_log import Resumed, RunLog
from samft.callbacks.run_record import environment_of
from samft.checkpoints import read_checkpoint
from samft.cli.lightning import SamftCLI
from samft.cli.resuming.changes import (
    PROLONGING,
    prolonging_changes,
    refuse_changes,
    setting_changes,
)
from samft.cli.resuming.prolonged import SayProlonged
from samft.cli.resuming.stopped_run import StoppedRun
from samft.inference.output_folder import write_atomically
from samft.run_data import DATA_RECORD, data_changes, describe_data
from samft.run_environment import (
    ENVIRONMENT_RECORD,
    Settings,
    environment_changes,
    flat_settings,
    read_record,
    read_settings,
    recorded_settings,
    settings_changes,
    write_record,
)
from samft.runs import FIT_CONFIG

_log = logging.getLogger(__name__)


class AlreadyFinished(Exception):  # noqa: N818  (no error)
    """The run has nothing left to do."""


class ResumeCLI(SamftCLI):
    """A `SamftCLI` for `fit` that compares, and then goes on where the run stopped.

    The class attributes are set by `resuming`, because Lightning's constructor does all the work.
    """

    stopped: ClassVar[StoppedRun]
    allow_changed: ClassVar[bool] = False

    def before_instantiate_classes(self) -> None:
        """Refuse other settings, and a run that is finished.

        Raises:
            ConfigError: if settings have changed.
            AlreadyFinished: if the run is.
        """
        super().before_instantiate_classes()
        self._given = self.config["fit"].clone()
        self._changes = settings_changes(self._recorded_settings(), self._settings_now())
        trainer = self.config["fit"].trainer
        if self.stopped.finished(max_epochs=trainer.max_epochs, max_steps=trainer.max_steps):
            raise AlreadyFinished
        if self.stopped.stopped_early and not self._changes:
            raise AlreadyFinished
        refuse_changes(
            "settings",
            setting_changes(self._changes),
            allowed=self.allow_changed,
            where=self.stopped.folder,
        )
        self.save_config_callback = None  # the file is there; see _settle
        if self.stopped.checkpoint is not None:
            self._start_from(read_checkpoint(self.stopped.checkpoint)["hyper_parameters"])

    def _start_from(self, stored: dict[str, Any]) -> None:  # Any: hyper-parameters
        """Build the model without the weights it was tuned from, which may be gone."""
        settings = self.config["fit"].model.init_args
        if settings.get("weights") and "adapt" in stored:
            settings.weights = None
            # Settled: whether batch norms keep their statistics depends on there being weights.
            settings.adapt = dict(stored["adapt"])

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # Any: Lightning's signature
        """Let the run log into its old folder, beside loggers that were asked for."""
        resumed = Resumed(steps=self.stopped.step, validates=self.stopped.validates)
        others = self.config_init["fit"].trainer.logger
        logger = RunLog(self.stopped.folder, resumed)
        if others:
            kwargs["logger"] = [logger, *(others if isinstance(others, list) else [others])]
        else:
            kwargs["logger"] = logger
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Index the data, refuse it where it has changed, and say what goes on.

        Raises:
            ConfigError: if the data has changed.
        """
        super().before_fit()
        record = read_record(self.stopped.folder / DATA_RECORD)
        changes = [] if record is None else data_changes(record, self.datamodule)
        refuse_changes("data", changes, allowed=self.allow_changed, where=self.stopped.folder)
        if any(name in self._changes for name in PROLONGING[:2]):
            old = self._recorded_settings()
            vars(self.trainer)["callbacks"].insert(
                0, SayProlonged(old.get(PROLONGING[0]), old.get(PROLONGING[1]))
            )
        if self.trainer.is_global_zero:
            self._say(changes)
            self._settle(data_changed=bool(changes))

    def _settings_now(self) -> Settings:
        parser = self._parser("fit")
        text = parser.dump(self._given, skip_none=False)
        return flat_settings(yaml.safe_load(text))

    def _recorded_settings(self) -> Settings:
        record = read_record(self.stopped.folder / ENVIRONMENT_RECORD) or {}
        return recorded_settings(record, self.stopped.folder) or read_settings(self.stopped.config)

    def _say(self, data: list[str]) -> None:
        record = read_record(self.stopped.folder / ENVIRONMENT_RECORD) or {}
        others = environment_changes(record, environment_of(self.trainer, self.model))
        if others:
            _log.warning("not as it was, results may differ a little: %s", "; ".join(others))
        for title, changes in (
            ("settings that have changed", setting_changes(self._changes)),
            ("data that has changed", data),
            ("another length", prolonging_changes(self._changes)),
        ):
            if changes:
                _log.warning("%s: %s", title, "; ".join(changes))
        _log.info("goes on after step %d, in epoch %d", self.stopped.step, self.stopped.epoch)

    def _settle(self, *, data_changed: bool) -> None:
        """Let the records say what the run is from now on."""
        folder = self.stopped.folder
        path = folder / ENVIRONMENT_RECORD
        now = environment_of(self.trainer, self.model)
        record = read_record(path) or now
        record["settings"] = self._settings_now()
        before = record.get("resumed")
        record["resumed"] = [
            *(before if isinstance(before, list) else ()),
            now | {"step": self.stopped.step},
        ]
        write_record(path, record)
        if data_changed or not (folder / DATA_RECORD).is_file():
            write_record(folder / DATA_RECORD, describe_data(self.datamodule))
        if self._changes:
            config = self._given.clone()
            config.ckpt_path = None
            text = self._parser("fit").dump(config, skip_none=False)
            write_atomically(folder / FIT_CONFIG, lambda part: Path(part).write_text(text))


def resuming(run: StoppedRun, *, allow_changed: bool) -> type[ResumeCLI]:
    """Return the command line that goes on with one run."""

    class Resuming(ResumeCLI):
        stopped = run

    Resuming.allow_changed = allow_changed
    return Resuming
