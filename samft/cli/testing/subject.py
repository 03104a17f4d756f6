"""What `samft test` is about: the model, the split, and where the results go."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from samft.checkpoints import read_checkpoint
from samft.data.split_datamodule import SplitDataModule
from samft.errors import CheckpointError, ConfigError, OutputError
from samft.evaluation.evaluator import EvaluatedSplit
from samft.evaluation.opening import TUNED, Subject, source_of
from samft.evaluation.writing import foreign_file
from samft.models.weights import WEIGHTS
from samft.module import SamModule
from samft.runs import load_run

_log = logging.getLogger(__name__)

_RANDOM = "random"


def load_subject(module: object, checkpoint: str | None) -> Subject:
    """Load the tested weights into the module that the command line built.

    Args:
        module: The module.
        checkpoint: Path of a checkpoint; `None` to test the weights that the module has.

    Raises:
        ConfigError: if it is not a `SamModule`.
        CheckpointError: if the checkpoint cannot be read or does not fit.
    """
    if not isinstance(module, SamModule):
        raise ConfigError(
            "only a SamModule can be compared with others",
            where="model",
            found=type(module).__name__,
            fix="let trainer.test run your own module, without this command",
        )
    if checkpoint is None:
        return _with_own_weights(module)
    stored = read_checkpoint(Path(checkpoint))
    try:
        module.load_state_dict(stored["state_dict"])
    except RuntimeError as error:
        raise CheckpointError(
            "the checkpoint does not fit the model",
            where=checkpoint,
            found=" ".join(str(error).split())[:200],
            fix="leave out the options that change the model",
        ) from error
    module.on_load_checkpoint(stored)
    run = load_run(checkpoint)
    return Subject(name=TUNED, module=module, source=source_of(run), folder=run.folder)


def chosen_split(data: object) -> tuple[SplitDataModule, EvaluatedSplit]:
    """Return the data and its test split, or else validation, loudly.

    Raises:
        ConfigError: if the data has no truth.
        DatasetError: if it has neither split.
    """
    if not isinstance(data, SplitDataModule):
        raise ConfigError(
            "the data has no truth to compare answers with",
            where="data",
            found=type(data).__name__,
            expected="a datamodule of images with masks",
        )
    if data.predict_split() == "test":
        return data, "test"
    _log.warning(
        "THERE IS NO TEST SPLIT: the validation split is scored instead. Training chose its best "
        "checkpoint by these images, so the tuned scores flatter; set data.test_fraction before "
        "training, or test on other data with --data.root."
    )
    return data, "val"


def results_folder(out: str | None, run: Path | None) -> Path:
    """Return where the results go, after a look whether they can be written there.

    Args:
        out: The folder that was asked for.
        run: The run folder.

    Raises:
        OutputError: if there is a file in the way, the folder cannot be written to, or it holds
            files of something else that would be overwritten.
    """
    if out is not None:
        folder = Path(out).expanduser()
    else:
        folder = Path("test") if run is None else run / "test"
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    problem = _why_not(there)
    if problem is not None:
        raise OutputError(
            "the results cannot be written",
            where=folder,
            found=problem,
            fix="name another folder with --evaluation.out",
        )
    foreign = foreign_file(folder)
    if foreign is not None:
        raise OutputError(
            "the results would overwrite something that samft test has not written",
            where=foreign,
            fix="name another folder with --evaluation.out",
        )
    return folder


def _why_not(place: Path) -> str | None:
    """Return what keeps a folder from being written to; `None` if nothing does.

    Trying is the only way to know: rights say nothing of disks that are full or read-only.
    """
    if not place.is_dir():
        return "a file"
    try:
        with TemporaryDirectory(dir=place, prefix=".samft-"):
            return None
    except OSError as error:
        return f"{error.strerror or error} in {place}"


def _with_own_weights(module: SamModule) -> Subject:
    if not module.base_weights:
        _log.warning("neither a run nor weights are given: a model of random weights is tested")
        return Subject(name=_RANDOM, module=module, source="random weights")
    source = module.base_weights["source"]
    name = source if source in WEIGHTS else Path(source).stem
    return Subject(name=name, module=module, source=Path(source).name)
