"""`samft predict --source`: anything on disk, one device, one image at a time.

Not through Lightning's `predict`: going on after a stop, and going on past a bad file, are about
single images, which a loop over sources knows and a loader of batches hides.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
import yaml

import samft
from samft.cli.lightning import quiet
from samft.cli.predicting.model import Model, load_model
from samft.cli.predicting.report import run_with_report
from samft.data.intensity import window_limits
from samft.data.label_prompts import LabelFiles
from samft.data.preprocessing import Preprocessing
from samft.data.prompt_files import read_prompts
from samft.data.readers.yaml_files import load_yaml
from samft.data.recorded_prompt import RecordedPrompt, Size
from samft.data.source_files import FoundSources, find_sources
from samft.data.sources import PlaneSource, Source
from samft.errors import ConfigError, PromptError, SamftError
from samft.inference.automatic import AutomaticMasks
from samft.inference.automatic_settings import AutomaticMaskSettings
from samft.inference.formats.coco import CocoNumbers
from samft.inference.formats.dicom_codes import DicomCodes
from samft.inference.formats.registry import FormatOptions
from samft.inference.predictor import Predictor
from samft.inference.segmenters import (
    AutomaticSegmenter,
    LabelSegmenter,
    RecordedSegmenter,
    Segmenter,
)
from samft.inference.tile_settings import TileSettings
from samft.inference.tiled_segmenters import TiledAutomaticSegmenter, TiledRecordedSegmenter
from samft.inference.volume_settings import LinkSettings
from samft.inference.writers import PredictionFiles
from samft.prompts.protocol import Use

_log = logging.getLogger(__name__)
_EVERYTHING = ("auto", "grid")
_LIKELY: Final = {
    "pred_iou_thresh": 0.6,
    "stability_score_thresh": 0.8,
    "max_mask_area_fraction": 0.95,
}
"""What auto keeps. The official thresholds are made for ViT-H: tuned and small models, which rate
themselves by what they reach on their own data, would keep next to nothing."""
_MOST_POINTS: Final = 32
_CELL: Final = 16  # pixels of the input: what the model tells apart


def predict(options: argparse.Namespace) -> int:
    """Predict what `--source` names; see `samft.cli.commands.predict.main`."""
    quiet()
    torch.set_float32_matmul_precision("high")
    model = load_model(options.run, options.weights, options.arch, device=options.device)
    preprocessing = _preprocessing(options, model.config)
    found = find_sources(options.source, preprocessing)
    if model.config is None and not options.window and any(map(_has_planes, found.sources)):
        _log.info(
            "nothing is known of the model's training: values are scaled by the percentiles "
            "0.5 and 99.5 of each volume; --window changes that"
        )
    segmenter, asked = _segmenter(options, model, found)
    tiles, links = _tiles(options), LinkSettings() if options.link else None
    codes = DicomCodes.read(Path(options.dicom_codes)) if options.dicom_codes else None
    plan = {
        "samft": samft.__version__,
        "model": model.identity(),
        "source": str(found.root),
        "prompts": asked,
        "preprocessing": preprocessing.to_dict(),
        "formats": sorted(set(options.format)),
        "tiles": None if tiles is None else tiles.to_dict(),
        "links": None if links is None else links.to_dict(),
        "dicom_codes": None if codes is None else repr(codes),
        "coco_ids": _hash_of(options.coco_ids),
    }
    files = PredictionFiles(
        Path(options.out),
        options.format,
        overwrite=options.overwrite,
        plan=plan,
        options=FormatOptions(
            coco_numbers=CocoNumbers.read(Path(options.coco_ids)) if options.coco_ids else None,
            dicom_codes=codes,
        ),
        linking=links,
        sources=found.sources,
    )
    return run_with_report(found.sources, segmenter, files, failures=found.failures)


def _has_planes(source: Source) -> bool:
    return isinstance(source, PlaneSource)


def _preprocessing(options: argparse.Namespace, config: Path | None) -> Preprocessing:
    preprocessing = Preprocessing.of_config(config)
    if options.window:
        limits = window_limits(_window(options.window), where="--window")
        preprocessing = replace(preprocessing, limits=limits)
    return replace(preprocessing, axis=options.axis) if options.axis else preprocessing


def _window(text: str) -> Any:  # Any: checked by `window_limits`
    try:
        return [float(part) for part in text.split(",")] if "," in text else text
    except ValueError:
        return text


def _tiles(options: argparse.Namespace) -> TileSettings | None:
    return None if options.tile is None else TileSettings.from_dict({"tile_side": options.tile})


def _segmenter(
    options: argparse.Namespace, model: Model, found: FoundSources
) -> tuple[Segmenter, dict[str, Any]]:
    """Return what asks, and the settings of it that results depend on."""
    prompts = options.prompts
    if prompts in _EVERYTHING:
        return _everything(options, model)
    if options.automatic:
        raise ConfigError(
            "--automatic goes with automatic masks",
            where="--prompts",
            found=prompts,
            expected="auto or grid",
        )
    path = Path(prompts).expanduser()
    if path.is_dir() or prompts.startswith("package:"):
        if options.tile is not None:
            raise ConfigError(
                "--tile does not go with a folder of label images",
                where="--prompts",
                found=prompts,
                fix="give their boxes as a JSON or CSV file",
            )
        labels = LabelFiles(prompts)
        _tell_missing(prompts, [s for s in found.sources if not _has(labels, s)], found)
        model.warn_of("mask" if options.mask_prompts else "box")
        return LabelSegmenter(model.sam, labels, as_masks=options.mask_prompts), {
            "folder": str(labels.root),
            "masks": options.mask_prompts,
        }
    if not path.exists():
        raise PromptError(
            "there are no such prompts",
            where=path,
            found="no file or folder of that name",
            expected="auto, grid, a JSON or CSV file, or a folder of label images",
        )
    recorded = _recorded(path, found)
    for use in _uses(recorded):
        model.warn_of(use)
    asked = {"file": _hash_of(prompts)}
    tiles = _tiles(options)
    if tiles is None:
        return RecordedSegmenter(model.sam, recorded), asked
    return TiledRecordedSegmenter(Predictor(model.sam), recorded, tiles), asked


def _everything(options: argparse.Namespace, model: Model) -> tuple[Segmenter, dict[str, Any]]:
    model.warn_of("automatic")
    changes = _automatic_changes(options.automatic)
    if options.prompts == "auto":
        side = min(_MOST_POINTS, max(1, model.sam.image_size // _CELL))
        changes = {"points_per_side": side, **_LIKELY, **changes}
    settings = AutomaticMaskSettings.from_dict(changes)
    generator = AutomaticMasks(model.sam, settings=settings)
    asked = {"automatic": settings.to_dict()}
    tiles = _tiles(options)
    if tiles is None:
        return AutomaticSegmenter(generator), asked
    work = Path(options.out) / ".samft" / "tiles"
    return TiledAutomaticSegmenter(generator, tiles, work), asked


def _automatic_changes(words: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(
                "a setting of automatic masks has no value",
                where="--automatic",
                found=word,
                expected="NAME=VALUE, such as points_per_side=16",
            )
        try:
            changes[name] = load_yaml(value)
        except yaml.YAMLError:
            changes[name] = value  # refused with the setting's own words
    return changes


def _recorded(path: Path, found: FoundSources) -> dict[str, list[RecordedPrompt]]:
    """Read a prompt file about the planes of all sources."""
    places, unreadable = _places(found)
    names = _PlaneNames({plane: plane for plane in places}, unreadable)
    for name in _unique_file_names(found.sources):
        names.setdefault(name.rpartition("/")[2], name)

    def size_of(plane: str) -> Size | None:
        if plane not in places:
            return None
        source, index = places[plane]
        try:
            return source.size(index)
        except SamftError:
            return None  # said when its turn comes

    prompts = read_prompts(path, names, size_of)
    if not any(prompts.values()):
        raise PromptError(
            "the prompt file holds no prompts",
            where=path,
            expected="a box or a point for at least one image",
        )
    silent = [s for s in found.sources if not any(prompts.get(p) for p in _planes(s))]
    _tell_missing(path, silent, found)
    return prompts


def _places(found: FoundSources) -> tuple[dict[str, tuple[Source, int]], set[str]]:
    """Return where every plane is, and the sources whose planes are not known."""
    places: dict[str, tuple[Source, int]] = {}
    unreadable = set(found.failures)
    for source in found.sources:
        planes = _planes(source)
        if not planes:
            unreadable.add(source.name)
        places |= {plane: (source, index) for index, plane in enumerate(planes)}
    return places, unreadable


class _PlaneNames(dict[str, str]):
    """Planes by the names a prompt file may use; those of unreadable sources are taken as given.

    Args:
        names: The planes that are known.
        unreadable: Sources of which they are not.
    """

    def __init__(self, names: Mapping[str, str], unreadable: set[str]) -> None:
        super().__init__(names)
        self._unreadable = unreadable

    def get(self, name: str, default: Any = None) -> Any:  # Any: as dict's
        known = super().get(name)
        if known is not None:
            return known
        of_bad = name in self._unreadable or name.rpartition("/")[0] in self._unreadable
        return name if of_bad else default


def _planes(source: Source) -> tuple[str, ...]:
    try:
        return source.planes
    except SamftError:
        return ()


def _has(labels: LabelFiles, source: Source) -> bool:
    try:
        return labels.has(source)
    except SamftError:
        return True  # said when its turn comes


def _unique_file_names(sources: Sequence[Source]) -> list[str]:
    """Return the names of pictures that no other one shares the last part of."""
    last = [source.name.rpartition("/")[2] for source in sources]
    return [
        source.name
        for source, name in zip(sources, last, strict=True)
        if last.count(name) == 1 and _planes(source) == (source.name,)
    ]


def _tell_missing(prompts: object, silent: Sequence[Source], found: FoundSources) -> None:
    if silent and len(silent) == len(found.sources):
        raise PromptError(
            "no image of the source has prompts",
            where=prompts,
            found=f"images such as {silent[0].name}",
            expected="prompts or labels by the same relative names",
        )
    if silent:
        count = len(found.sources)
        _log.info("%d of %d images have prompts in %s", count - len(silent), count, prompts)


def _uses(prompts: Mapping[str, Sequence[RecordedPrompt]]) -> list[Use]:
    every = [prompt for of_image in prompts.values() for prompt in of_image]
    uses: list[Use] = []
    if any(prompt.box is not None for prompt in every):
        uses.append("box")
    if any(prompt.box is None and len(prompt.points) == 1 for prompt in every):
        uses.append("point")
    return uses


def _hash_of(path: str | None) -> str | None:
    if not path:
        return None
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            "the file cannot be read", where=path, found=error.strerror or error
        ) from error
