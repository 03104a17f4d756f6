"""The contact sheet of `samft check --preview`: images as the model sees them, with prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from samft.data.checking.runner import Report
from samft.data.checking.showing import Example
from samft.data.collate import collate
from samft.data.folder import FolderDataModule
from samft.data.layouts.base import Layout
from samft.data.objects import ObjectMode, drop_small, make_sample
from samft.data.preprocessing import Preprocessing
from samft.errors import ConfigError
from samft.inference.output_folder import write_atomically
from samft.inference.overlay import (
    PALETTE,
    Marks,
    draw_marks,
    picture,
    side_by_side,
    stack_rows,
)
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import build_simulator
from samft.types import IGNORE, NEGATIVE, PromptBatch, SamBatch, Sample

_HEIGHT = 300
_PER_ROW = 4
_MOST_PROMPTS = 12
_OPACITY = 0.35
_UNKNOWN: Final = (128, 128, 128)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def check_target(path: Path) -> None:
    """Refuse a preview that is no picture, before anything is read.

    Raises:
        ConfigError: if its name does not end like one.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            "the preview is a picture", where="--preview", found=str(path), expected="OUT.png"
        )


def draw_preview(
    path: Path,
    data: FolderDataModule,
    report: Report,
    *,
    image_size: int,
    count: int,
    model: Mapping[str, Any],
) -> str:
    """Draw some images of a data set, plain and as training may show them, with prompts.

    Args:
        path: The picture to write.
        data: Knows scaling and augmentation.
        report: Knows which images can be read, and what they hold.
        image_size: Side of the square the model sees, pixels.
        count: How many images.
        model: The recipe's settings of the model, for its prompts.

    Returns:
        What was drawn, in words.

    Raises:
        SamftError: if an image cannot be read any more, or the picture cannot be written.
    """
    chosen = report.examples.choose(count)
    if report.indexed is None or not chosen:
        return "no preview: there is no image that could be drawn"
    each = -(-count // len(chosen))  # of a few volumes, several slices
    layout = report.indexed
    samples = [sample for one in chosen for sample in _samples(layout, data, one, each)][:count]
    prompts = _prompt_settings(model)
    names = list(report.indexed.class_names)
    rows = _rows(samples, image_size, prompts, names)
    data.image_size = image_size  # which augmentation may ask for
    transform = data.transform
    if transform is not None:
        augmented = [transform(sample, seed) for seed, sample in enumerate(samples)]
        rows += [_text_row(f"with augmentation: data.transforms {data.transforms}")]
        rows += _rows(augmented, image_size, prompts, names)
    sheet = stack_rows([*_legend(names), *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda target: _save(sheet, target, path.suffix))
    return f"{len(samples)} images with masks and simulated prompts: {path}"


def _save(sheet: NDArray[np.uint8], target: Path, suffix: str) -> None:
    kind = {".png": "PNG", ".webp": "WEBP"}.get(suffix.lower(), "JPEG")
    Image.fromarray(sheet).save(target, format=kind)


def _samples(layout: Layout, data: FolderDataModule, example: Example, count: int) -> list[Sample]:
    """Read an image; of a volume, some slices spread over those with objects."""
    record = example.record
    source = layout.source(record, Preprocessing.of_settings(vars(data)))
    truth = layout.truth(record)
    mode: ObjectMode = "component" if data.objects == "auto" else data.objects
    space = source.space
    places = [None] if space is None else [(space.axis, row) for row in range(space.planes)]
    found = [(at, truth.objects(mode, at=at)) for at in places]
    filled = [item for item in found if item[1].object_class.size] or found
    few = min(count, len(filled))
    samples = []
    for number in range(few):
        at, objects = filled[(2 * number + 1) * len(filled) // (2 * few)]
        index = 0 if at is None else at[1]
        sample = make_sample(record, source.picture(index), objects)
        named = sample.replace(sample_id=source.planes[index])
        samples.append(drop_small(named, data.min_area)[0])
    return samples


def _prompt_settings(model: Mapping[str, Any]) -> PromptSettings:
    given = (model.get("init_args") or {}).get("prompts")
    return PromptSettings(**given) if isinstance(given, dict) else PromptSettings()


def _rows(
    samples: Sequence[Sample], image_size: int, prompts: PromptSettings, names: Sequence[str]
) -> list[NDArray[np.uint8]]:
    panels = []
    for seed, sample in enumerate(samples):
        batch = collate([sample], image_size=image_size)
        panels.append(_pair(batch, prompts, seed, by_class=len(names) > 1))
    rows = [side_by_side(panels[i], height=_HEIGHT) for i in range(len(panels))]
    return [
        np.concatenate([_spaced(row) for row in rows[start : start + _PER_ROW // 2]], axis=1)
        for start in range(0, len(rows), _PER_ROW // 2)
    ]


def _spaced(row: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.pad(row, ((0, 0), (0, 14), (0, 0)), constant_values=255)


def _pair(
    batch: SamBatch, settings: PromptSettings, seed: int, *, by_class: bool
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return an image as the model sees it, and the same with outlines and prompts."""
    height, width = batch.frames[0].input_size
    plain = picture(batch.images[0, :3, :height, :width])
    scale = _HEIGHT / height
    size = (max(1, round(width * scale)), _HEIGHT)
    shown = np.asarray(Image.fromarray(plain).resize(size, Image.Resampling.BILINEAR))
    marked = _outlined(shown, batch, (height, width), by_class=by_class)
    asked = _prompted(batch, settings, seed)
    for row in range(asked.num_prompts):
        marked = draw_marks(marked, _marks(asked, row, scale), weight=0.6)
    title = f"{width} x {height}, {batch.num_objects} objects"
    return [(batch.sample_ids[0][-34:], shown), (title, marked)]


def _outlined(
    shown: NDArray[np.uint8], batch: SamBatch, inner: tuple[int, int], *, by_class: bool
) -> NDArray[np.uint8]:
    height, width = shown.shape[:2]
    rows = ((np.arange(height) + 0.5) * inner[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * inner[1] / width).astype(np.intp)
    canvas = shown.astype(np.float32)
    classes = np.zeros(int(batch.layers.max()) + 1, np.int64)
    classes[batch.object_value.numpy()] = batch.object_class.numpy()
    for layer in batch.layers[0].numpy()[:, rows[:, None], columns[None, :]]:
        kinds = classes[layer.clip(min=0)] if by_class else layer - 1
        colours = np.array(PALETTE, np.float32)[kinds % len(PALETTE)]
        colours[layer == IGNORE] = _UNKNOWN
        inside = layer != 0
        canvas[inside] = (1 - _OPACITY) * canvas[inside] + _OPACITY * colours[inside]
        edge = _edge(layer) & inside
        canvas[edge] = colours[edge]
    return canvas.astype(np.uint8)


def _edge(layer: NDArray[np.int32]) -> NDArray[np.bool_]:
    edge = np.zeros(layer.shape, bool)
    edge[1:] |= layer[1:] != layer[:-1]
    edge[:-1] |= layer[1:] != layer[:-1]
    edge[:, 1:] |= layer[:, 1:] != layer[:, :-1]
    edge[:, :-1] |= layer[:, 1:] != layer[:, :-1]
    return edge


def _prompted(batch: SamBatch, settings: PromptSettings, seed: int) -> PromptBatch:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(batch.num_objects, generator=generator)[:_MOST_PROMPTS]
    few = batch.select(order.sort().values)
    simulator = build_simulator(settings)
    return simulator(few.masks(), few.image_index, generator=generator, ignored=few.ignored())


def _marks(prompts: PromptBatch, row: int, scale: float) -> Marks:
    boxes = points = labels = None
    if prompts.boxes is not None and (prompts.has_box is None or bool(prompts.has_box[row])):
        boxes = (scale * prompts.boxes[row : row + 1]).numpy()
    if prompts.points is not None and prompts.labels is not None:
        used = prompts.labels[row] >= NEGATIVE
        points = (scale * prompts.points[row][used]).numpy()
        labels = prompts.labels[row][used].numpy()
    return Marks(boxes=boxes, points=points, labels=labels)


def _legend(names: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Return a line with the colour of every class; one class has a colour for each object."""
    if len(names) < 2:
        return [_text_row(f"{''.join(names)}: one colour for each object")]
    entries = [(name, PALETTE[index % len(PALETTE)]) for index, name in enumerate(names)]
    lines = [entries[start : start + 6] for start in range(0, min(len(entries), 72), 6)]
    return [_legend_line(line) for line in lines]


def _legend_line(entries: Sequence[tuple[str, tuple[int, int, int]]]) -> NDArray[np.uint8]:
    canvas = Image.new("RGB", (210 * len(entries), 24), (255, 255, 255))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for place, (name, colour) in enumerate(entries):
        left = 210 * place
        pen.rectangle((left + 4, 5, left + 18, 19), fill=colour)
        pen.text((left + 24, 3), name[:24], fill=(0, 0, 0), font=font)
    return np.asarray(canvas)


def _text_row(text: str) -> NDArray[np.uint8]:
    canvas = Image.new("RGB", (max(200, 9 * len(text)), 24), (255, 255, 255))
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(canvas).text((4, 3), text, fill=(0, 0, 0), font=font)
    return np.asarray(canvas)
