"""All targets by name, and the one way to export: written aside, read back, then moved."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from samft.errors import ConfigError, MachineError, OutputError, did_you_mean
from samft.export.comparison import Comparison, require_same
from samft.export.cvat import CvatTarget
from samft.export.huggingface import HuggingfaceTarget
from samft.export.labelstudio import LabelStudioTarget
from samft.export.official import OfficialTarget
from samft.export.onnx import OnnxTarget
from samft.export.questions import drawn_samples, questions_about
from samft.export.safetensors import SafetensorsTarget
from samft.export.target import ExportOptions, Target
from samft.export.tuned import TunedModel
from samft.export.xanylabeling import XAnyLabelingTarget
from samft.types import Sample

_ALL: Final[tuple[Target, ...]] = (
    OfficialTarget(),
    SafetensorsTarget(),
    HuggingfaceTarget(),
    OnnxTarget(),
    XAnyLabelingTarget(),
    CvatTarget(),
    LabelStudioTarget(),
)
TARGETS: Final[dict[str, Target]] = {target.name: target for target in _ALL}
"""Every target by the name that people type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written, and how far it is from the model.

    Args:
        out: The file or folder.
        comparisons: One for each program that read it.
        notes: What else there is to say, a line each.
    """

    out: Path
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]


def find_target(name: str) -> Target:
    """Return the target of that name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in TARGETS:
        raise ConfigError(f"there is no export called {name!r}", fix=did_you_mean(name, TARGETS))
    return TARGETS[name]


def export(
    model: TunedModel,
    out: str | Path,
    *,
    to: str,
    options: ExportOptions | None = None,
    samples: Sequence[Sample] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Export a model; `out` appears only once its answers were compared with the model's.

    Args:
        model: The model.
        out: The file or folder to write.
        to: Name of the target, see `TARGETS`.
        options: What may be chosen.
        samples: Images to ask about, best the model's own; default: drawn ones.
        overwrite: Replace what is there.

    Raises:
        ConfigError: if there is no such target, or it does not know an option.
        OutputError: if `out` exists, or the model cannot go there.
        CheckpointError: if the export answers differently than the model; nothing is left of it.
        DependencyError: if a package is missing.
        MachineError: if the disk fails.
    """
    target, out, options = find_target(to), Path(out), options or ExportOptions()
    _check_options(target, options)
    _check_out(target, out, overwrite=overwrite)
    target.check(model)
    questions = questions_about(model.sam, samples or drawn_samples(model.sam.num_channels))
    staging = out.absolute().parent / f".{out.name}.unproven"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        made = staging / out.name
        (staging if target.suffix else made).mkdir(parents=True)
        target.write(model, made, options)
        back = target.read(model, made, options, questions)
        require_same(back.comparisons, out)
        _move(staging, out.absolute().parent)
    except OSError as error:
        raise MachineError(
            "the export cannot be written",
            where=out,
            found=str(error)[:160],
            fix="check the free disk space and the permissions of the folder",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(out=out, comparisons=tuple(back.comparisons), notes=tuple(back.notes))


def _check_options(target: Target, options: ExportOptions) -> None:
    given = [item.name for item in fields(options) if getattr(options, item.name) is True]
    for name in given:
        if name not in target.knows:
            others = ", ".join(other.name for other in _ALL if name in other.knows)
            raise ConfigError(f"--{name} means nothing to {target.name}", expected=f"--to {others}")


def _check_out(target: Target, out: Path, *, overwrite: bool) -> None:
    if target.suffix and out.suffix != target.suffix:
        raise ConfigError(
            f"--to {target.name} writes a file of another kind",
            where=out,
            found=out.suffix or "no ending",
            expected=target.suffix,
        )
    if out.is_dir() and target.suffix:
        raise OutputError("OUT is a folder", where=out, expected=f"a {target.suffix} file")
    if out.is_file() and not target.suffix:
        raise OutputError("OUT is a file", where=out, expected="a folder")
    if out.exists() and not overwrite:
        raise OutputError("OUT exists already", where=out, fix="pass --overwrite")


def _move(staging: Path, folder: Path) -> None:
    """Give what was proven its name; what had it before goes."""
    for item in sorted(staging.iterdir()):
        place = folder / item.name
        if place.is_dir():
            shutil.rmtree(place)
        item.replace(place)
