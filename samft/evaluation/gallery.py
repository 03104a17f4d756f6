"""Pictures of the objects that tell most: best, worst, most improved, most worsened."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from samft.data.collate import collate
from samft.data.split_datamodule import Samples
from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.evaluator import input_size_of
from samft.evaluation.gallery_choice import Choice, choose_objects, gallery_prompts
from samft.evaluation.gallery_panels import Picture, Scene
from samft.evaluation.rows import Rows
from samft.evaluation.settings import PROMPT_NAMES, EvaluationSettings
from samft.evaluation.summary import GalleryPicture, Summary
from samft.evaluation.truth import TruthOfImage
from samft.evaluation.verdict import first_model
from samft.evaluation.writing import GALLERY, write_metrics
from samft.inference.output_folder import write_atomically
from samft.types import SamBatch, Sample

_log = logging.getLogger(__name__)

_QUALITIES: Final = (85, 75, 65, 50, 35)
_LARGEST: Final = 80_000  # bytes of a picture: 48 of them stay below 4 MB


def draw_gallery(
    summary: Summary,
    rows: Rows,
    *,
    folder: Path,
    dataset: Samples,
    open_competitor: Callable[[str], Competitor],
    settings: EvaluationSettings,
    image_size: int,
    class_names: Sequence[str],
) -> Summary:
    """Draw `gallery/*.jpg` and name the pictures in `metrics.json`.

    Only the images that are drawn are answered once more, by the first model and the reference,
    one in memory at a time.

    Args:
        summary: What was found.
        rows: What it was found from.
        folder: With `metrics.json`.
        dataset: The split, in the original frame.
        open_competitor: Loads a model by its name in the evaluation, on the device to run on.
        settings: Of the evaluation; `gallery` pictures of each kind and prompt.
        image_size: S, side of the input square, for models that have no size of their own.
        class_names: The classes of the data: an object that is of another class now than when it
            was scored has no picture.

    Returns:
        The summary with its gallery.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    choices = _choices(summary, rows, settings.gallery)
    models = _models(summary)
    indices = find_samples(dataset, {choice.sample_id for choice in choices})
    asked = _asked(settings, choices)
    scenes: dict[int, Scene] = {}
    for name in models if indices else ():
        competitor = open_competitor(name).eval()
        size = input_size_of(competitor, image_size)
        for sample_id, index in indices.items():
            wanted = {n: c for n, c in enumerate(choices) if c.sample_id == sample_id}
            sample = dataset[index]
            _set_scenes(scenes, wanted, sample, class_names)
            batch = collate([sample], image_size=size, keep_samples=True)
            _answer(competitor, batch, asked, wanted, scenes)
        del competitor
    drawn = [(choice, scenes[number]) for number, choice in enumerate(choices) if number in scenes]
    if not drawn:
        return summary
    pictures: dict[str, bytes] = {}
    entries = []
    for choice, scene in drawn:
        name = f"{choice.prompt}_{choice.kind}_{choice.rank:02d}.jpg"
        shown = [(model, choice.iou[model]) for model in reversed(models)]
        pictures[name] = _jpeg(scene.draw(shown, prompt=f"prompt: {choice.prompt}"))
        entries.append(_entry(choice, f"{GALLERY}/{name}"))
    write_atomically(folder / GALLERY, lambda path: _write(path, pictures))
    summary = replace(summary, gallery=tuple(entries))
    write_metrics(summary, folder)
    return summary


def find_samples(dataset: Samples, wanted: set[str]) -> dict[str, int]:
    """Return where samples stand in a data set, by name; those that are not there are left out.

    The names are taken from the records where there are any; otherwise samples are read one after
    another until all are found.

    Args:
        dataset: Where to look.
        wanted: Names of samples.
    """
    found: dict[str, int] = {}
    records: Sequence[Any] = getattr(dataset, "records", ())  # Any: not every kind has a name
    named = len(records) == len(dataset) > 0 and hasattr(records[0], "sample_id")
    for index in range(len(dataset)):
        if len(found) == len(wanted):
            break
        name = records[index].sample_id if named else dataset[index].sample_id
        if name in wanted:
            found.setdefault(name, index)
    for name in sorted(wanted - found.keys()):
        _log.warning("%s is not in the data any more: it has no picture", name)
    return dict(sorted(found.items()))


def _choices(summary: Summary, rows: Rows, count: int) -> list[Choice]:
    first = first_model(summary)
    prompts = gallery_prompts(summary.scores)
    if first is None or not count:
        return []
    drawn = [row for row in rows.objects if row.prompt in prompts]
    return choose_objects(drawn, first=first, reference=summary.reference, count=count)


def _models(summary: Summary) -> list[str]:
    """Return what is drawn, the first model first."""
    names = [first_model(summary), summary.reference]
    known = {record.name for record in summary.competitors}
    return list(dict.fromkeys(name for name in names if name in known and name is not None))


def _asked(settings: EvaluationSettings, choices: Sequence[Choice]) -> EvaluationSettings:
    """Return settings that ask no more than what is drawn."""
    used = {choice.prompt for choice in choices}
    clicks = [int(name.removeprefix("point")) for name in used if name.startswith("point")]
    prompts = tuple(
        name for name in PROMPT_NAMES if name in used or (name == "point" and bool(clicks))
    )
    asked = prompts or settings.prompts
    return replace(settings, prompts=asked, clicks=max(clicks, default=1), automatic=False)


def _set_scenes(
    scenes: dict[int, Scene], wanted: Mapping[int, Choice], sample: Sample, names: Sequence[str]
) -> None:
    """Take what is drawn of the objects of a sample, the first time it is read."""
    classes = TruthOfImage(sample, names).classes
    for number, choice in wanted.items():
        row = choice.object_id - 1
        if number in scenes:
            continue
        same = 0 <= row < len(classes) and classes[row] == choice.class_name
        scene = Scene.of(sample, row) if same else None
        if scene is None:
            _log.warning(
                "%s: object %d is not what was scored: it has no picture",
                choice.sample_id,
                choice.object_id,
            )
        else:
            scenes[number] = scene


def _answer(
    competitor: Competitor,
    batch: SamBatch,
    settings: EvaluationSettings,
    wanted: Mapping[int, Choice],
    scenes: Mapping[int, Scene],
) -> None:
    """Keep the answers about the objects that are drawn."""
    device = next((each.device for each in competitor.parameters()), torch.device("cpu"))
    moved = batch.to(device)
    values = batch.object_value.cpu()
    with torch.inference_mode():
        for answer in competitor.answers(moved, settings):
            objects = values[answer.rows.cpu()].tolist()
            for number, choice in wanted.items():
                same = answer.prompt == choice.prompt and choice.object_id in objects
                if same and number in scenes:
                    _keep(scenes[number], competitor.name, answer, objects.index(choice.object_id))


def _keep(scene: Scene, model: str, answer: Answer, row: int) -> None:
    scene.answers[model] = scene.view.mask(answer.masks[row].cpu().numpy().astype(np.bool_))
    if not scene.mark:  # of the first model; a first click is the same for all
        scene.mark = answer.marks[row]


def _entry(choice: Choice, picture: str) -> GalleryPicture:
    return GalleryPicture(
        picture=picture,
        kind=choice.kind,
        sample_id=choice.sample_id,
        object_id=choice.object_id,
        class_name=choice.class_name,
        prompt=choice.prompt,
        iou=dict(choice.iou),
    )


def _jpeg(picture: Picture) -> bytes:
    """Return a picture as JPEG, coarser where it would be large."""
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=quality, optimize=True)
        data = buffer.getvalue()
        if len(data) <= _LARGEST:
            break
    return data


def _write(folder: Path, pictures: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
