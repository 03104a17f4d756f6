"""Models of a zero-shot experiment: runs, checkpoints, weights files and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.cli.predicting.model import Model, load_model
from samft.cli.zeroshot.data import unique_names
from samft.data.records import Split
from samft.errors import ConfigError, did_you_mean
from samft.evaluation.opening import source_of
from samft.models.huggingface import is_hub_id
from samft.models.weights import WEIGHTS
from samft.runs import Run, load_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A model that takes part.

    Args:
        name: For tables and files; unique.
        source: Where its weights come from, for people; no absolute path.
        model: On the CPU until its turn comes.
        run: The run that it comes from; `None` for plain weights.
    """

    name: str
    source: str
    model: Model
    run: Run | None = None

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return what a result says of it."""
        sam = self.model.sam
        parameters = sum(each.numel() for each in sam.parameters())
        return {
            "name": self.name,
            "source": self.source,
            **self.model.identity(),
            "num_parameters": parameters,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Given:
    name: str
    path: str
    arch: str | None
    run: Run | None


def load_contestants(words: list[str], arch: str | None) -> list[Contestant]:
    """Load all models; nothing is loaded before every name was understood.

    Args:
        words: Run folders, checkpoints, weights files or names, each perhaps as `NAME=PATH`.
        arch: Architecture of the weights files among them.

    Raises:
        SamftError: if one is not there, or cannot be loaded.
    """
    found = [_understood(word, arch) for word in words]
    names = unique_names(item.name for item in found)
    return [_loaded(item, name) for item, name in zip(found, names, strict=True)]


def training_notes(splits: Sequence[Split], tuned: Sequence[str], *, own: bool) -> list[str]:
    """Return what must be said of images that models may have been trained with.

    Args:
        splits: What the images are taken from.
        tuned: Names of the models that were trained.
        own: The data is that of one of them.
    """
    if not tuned or "train" not in splits:
        return []
    what = "includes training images" if own else "may include images"
    return [f"the data {what} that {', '.join(tuned)} was tuned on"]


def _understood(word: str, arch: str | None) -> _Given:
    name, given = _named(word)
    path = Path(given).expanduser()
    if given in WEIGHTS and not path.exists():
        return _Given(name=name or given, path=given, arch=WEIGHTS[given].arch, run=None)
    if path.suffix == ".ckpt" or path.name == "checkpoints" or (path / "checkpoints").is_dir():
        run = load_run(path)
        return _Given(name=name or _run_name(run), path=given, arch=None, run=run)
    if not path.exists() and not is_hub_id(given):
        raise ConfigError(
            "there is no such model",
            where=given,
            expected="a run folder, a .ckpt, a weights file or a name",
            fix=did_you_mean(given, WEIGHTS),
        )
    if arch is None:
        raise ConfigError(
            "the architecture of the weights is not known", where=given, fix="add --arch vit_b"
        )
    return _Given(name=name or path.stem, path=given, arch=arch, run=None)


def _named(word: str) -> tuple[str | None, str]:
    """Split `NAME=PATH`; a path that exists as it is has no name."""
    name, equals, path = word.partition("=")
    if not equals or Path(word).expanduser().exists():
        return None, word
    if not name or not path:
        raise ConfigError(
            "a model has no name or no path", where="MODEL", found=word, expected="NAME=PATH"
        )
    return name, path


def _run_name(run: Run) -> str:
    if run.folder is None:
        return run.checkpoint.stem
    folder = run.folder.absolute()
    return f"{folder.parent.name}/{folder.name}"


def _loaded(given: _Given, name: str) -> Contestant:
    if given.run is not None:
        model = load_model(str(given.run.checkpoint), None, None, device="cpu")
        return Contestant(name=name, source=source_of(given.run), model=model, run=given.run)
    model = load_model(None, given.path, given.arch, device="cpu")
    return Contestant(name=name, source=Path(given.path).name, model=model)
