"""From the names in `evaluation.against` to models that are loaded when their turn comes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from samft.checkpoints import load_module
from samft.errors import CheckpointError, ConfigError, MachineError, did_you_mean
from samft.evaluation.box_baselines import BASELINES, BoxBaselineCompetitor
from samft.evaluation.competitor import Competitor
from samft.evaluation.evaluator import Entrant
from samft.evaluation.sam_competitor import SamCompetitor
from samft.models.weights import WEIGHTS
from samft.module import SamModule
from samft.runs import Run, load_run

_log = logging.getLogger(__name__)

ZERO_SHOT: Final = "zero-shot"
"""The weights that a run began with, in a model built as the run's."""
UNET: Final = "unet"
"""The U-Net that `samft baseline` trained on the same data."""
TUNED: Final = "tuned"
"""What the model of a run is called."""

_AGAINST = "evaluation.against"
_BASELINES = "baselines"  # where `samft baseline` puts what it trains
# What says how an image is shown to the model stays as in the run; what is about training does not
# matter here, and some of it takes time or memory.
_UNTUNED: Final[dict[str, Any]] = {
    "adapt": "frozen",
    "cache_embeddings": "off",
    "checkpoint_blocks": False,
    "compile_encoder": False,
    "drop_path": 0.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The model that is tested.

    Args:
        name: For tables and files.
        module: With its weights loaded.
        source: Where these come from, for people.
        folder: Its run folder, if it has one.
    """

    name: str
    module: SamModule
    source: str
    folder: Path | None = None

    def competitor(self) -> SamCompetitor:
        """Return it as it takes part."""
        self.module.eval()
        facts = {"adapt": self.module.adapted.settings.preset} if self.name == TUNED else {}
        return SamCompetitor(self.name, self.module.sam, source=self.source, facts=facts)

    @property
    def unet(self) -> Path | None:
        """Where `samft baseline` puts the U-Net of the run."""
        return None if self.folder is None else self.folder / _BASELINES / "unet.ckpt"

    @property
    def unfinished_unet(self) -> Path | None:
        """Where the best so far is of a U-Net whose training goes on or was interrupted."""
        return None if self.unet is None else self.unet.with_name("unet.part.ckpt")


def entrants(
    tested: Subject, against: Sequence[str] | None = None, more: Sequence[str] = ()
) -> list[Entrant]:
    """Return all that take part, the tested model first; nothing is loaded yet.

    Args:
        tested: The model.
        against: What else, see `EvaluationSettings.against`; `None` for the default.
        more: Further names or paths, after those.

    Raises:
        ConfigError: if a name is unknown or stands for two.
    """
    words = [*(default_against(tested) if against is None else against), *more]
    found = [Entrant(name=tested.name, open=tested.competitor)]
    found += [_entrant(word, tested) for word in words]
    names = [each.name for each in found]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(
            "two models have the same name",
            where=_AGAINST,
            found=double,
            fix="name one of them yourself: NAME=PATH",
        )
    return found


def default_against(tested: Subject) -> list[str]:
    """Return what a model is compared with where nothing else is asked for."""
    words = [*BASELINES]
    if tested.unet is not None and tested.unet.is_file():
        words.append(UNET)
    elif tested.unfinished_unet is not None and tested.unfinished_unet.is_file():
        _log.warning(
            "the U-Net of this run was never finished and does not take part; what there is of it: "
            "--%s '[..., %s=%s]'",
            _AGAINST,
            UNET,
            tested.unfinished_unet,
        )
    if tested.name != TUNED:
        return words
    if not tested.module.base_weights:
        _log.info("trained from random weights: there is no zero-shot model to compare with")
        return words
    return [ZERO_SHOT, *words]


def source_of(run: Run) -> str:
    """Return what people call a checkpoint: its path from the folder above its run on."""
    if run.folder is None:
        return run.checkpoint.name
    folder = run.folder.absolute()
    inside = run.checkpoint.absolute().relative_to(folder).as_posix()
    return "/".join(part for part in (folder.parent.name, folder.name, inside) if part)


def _entrant(word: str, tested: Subject) -> Entrant:
    """Return what a word in `against` means."""
    name, given = _named(word)
    if (name or given) == ZERO_SHOT:
        if not tested.module.base_weights:
            raise ConfigError(
                "this model has no base weights to compare with",
                where=_AGAINST,
                found=ZERO_SHOT,
                expected="a run that began with weights",
                fix="leave it out, or name the weights: NAME=PATH",
            )
        return Entrant(name=ZERO_SHOT, open=partial(_zero_shot, tested, given if name else None))
    if given in BASELINES and name is None:
        return Entrant(name=given, open=partial(BoxBaselineCompetitor, given))
    if (name or given) == UNET:
        return Entrant(name=UNET, open=partial(_unet, _unet_path(tested, given if name else None)))
    return _model(name, given, tested)


def _named(word: str) -> tuple[str | None, str]:
    """Split `NAME=PATH`; a path that exists as it is has no name."""
    name, equals, path = word.partition("=")
    if not equals or Path(word).expanduser().exists():
        return None, word
    if not name or not path:
        raise ConfigError(
            "a model to compare with has no name or no path",
            where=_AGAINST,
            found=word,
            expected="NAME=PATH",
        )
    return name, path


def _model(name: str | None, given: str, tested: Subject) -> Entrant:
    path = Path(given).expanduser()
    if path.suffix == ".ckpt" and path.parent.name == _BASELINES and path.is_file():
        # Of another run, or one of several.
        shown = name or f"{path.absolute().parents[1].name}/{path.name.partition('.')[0]}"
        return Entrant(name=shown, open=partial(_unet, path, shown))
    if path.suffix == ".ckpt" or _is_run(path):
        run = load_run(path)
        shown = name or _name_of(run, whole=path.is_dir())
        return Entrant(name=shown, open=partial(_checkpoint, shown, run))
    if path.exists():
        shown = name or path.stem
        return Entrant(name=shown, open=partial(_weights, shown, str(path), tested))
    if given in WEIGHTS:
        shown = name or given
        return Entrant(name=shown, open=partial(_weights, shown, given, tested))
    known = [ZERO_SHOT, *BASELINES, UNET, *WEIGHTS]
    raise ConfigError(
        f"there is nothing called {given!r} to compare with",
        where=_AGAINST,
        expected="a run folder, a .ckpt, a weights file or a name",
        fix=did_you_mean(given, known),
    )


def _is_run(path: Path) -> bool:
    return path.name == "checkpoints" or (path / "checkpoints").is_dir()


def _name_of(run: Run, *, whole: bool) -> str:
    """Return such as `medical/3`, and with the checkpoint where that one was asked for."""
    folder = run.folder or (run.checkpoint.parents[1] if whole else None)
    if folder is None:
        return run.checkpoint.stem
    folder = folder.absolute()
    shown = f"{folder.parent.name}/{folder.name}"
    return shown if whole else f"{shown}/{run.checkpoint.stem}"


def _checkpoint(name: str, run: Run) -> Competitor:
    return SamCompetitor(name, load_module(run.checkpoint).sam, source=source_of(run))


def _weights(name: str, weights: str, tested: Subject) -> Competitor:
    """Load plain weights into a model that is built as the tested one."""
    hparams = dict(tested.module.hparams)
    arch = WEIGHTS[weights].arch if weights in WEIGHTS else str(hparams["arch"])
    if arch != hparams["arch"]:
        hparams |= {"arch": arch, "image_size": None}
    module = _untuned(hparams, weights)
    return SamCompetitor(name, module.sam, source=Path(weights).name)


def _zero_shot(tested: Subject, given: str | None) -> Competitor:
    base = tested.module.base_weights
    source = given or base["source"]
    try:
        module = _untuned(tested.module.hparams, source)
    except (CheckpointError, MachineError) as error:
        raise ConfigError(
            "the weights that this run began with cannot be loaded",
            where=source,
            found=error.what,
            fix=_FIX,
        ) from error
    found = module.base_weights["sha256"]
    if found != base["sha256"]:
        raise ConfigError(
            "these are not the weights that this run began with",
            where=source,
            found=f"sha256 {found[:12]}...",
            expected=f"{base['sha256'][:12]}...",
            fix=_FIX,
        )
    return SamCompetitor(
        ZERO_SHOT,
        module.sam,
        source=Path(source).name,
        facts={"file_sha256": found},
    )


_FIX = (
    f"say where they are, --{_AGAINST} '[{ZERO_SHOT}=PATH, {', '.join(BASELINES)}]', "
    f"or leave {ZERO_SHOT} out of that list"
)


def _untuned(hparams: Mapping[str, Any], weights: str) -> SamModule:  # Any: settings
    module = SamModule(**{**hparams, **_UNTUNED, "weights": weights})
    return module.eval()


def _unet_path(tested: Subject, given: str | None) -> Path:
    path = tested.unet if given is None else Path(given).expanduser()
    if path is None or not path.is_file():
        raise ConfigError(
            "there is no U-Net to compare with",
            where=_AGAINST,
            found=UNET if path is None else path,
            fix=f"train one with samft baseline RUN, or say where it is: {UNET}=PATH",
        )
    return path


def _unet(path: Path, name: str = UNET) -> Competitor:
    from samft.evaluation.unet.competitor import load_unet

    return load_unet(path, name)
