"""Segmenters for images that are too large for the model's input: tile by tile."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.recorded_prompt import RecordedPrompt
from samft.data.sources import Source
from samft.inference.array_sources import ImageSource
from samft.inference.automatic import AutomaticMasks
from samft.inference.label_stores import remove
from samft.inference.overlay import picture
from samft.inference.predictions import ImagePrediction, ObjectPrediction
from samft.inference.predictor import Predictor
from samft.inference.run_lengths import RunLengths
from samft.inference.tile_settings import TileSettings
from samft.inference.tiled import TiledMasks
from samft.inference.tiled_predictor import TiledPredictor


class TiledAutomaticSegmenter:
    """Finds all objects of large planes; every pixel belongs to one object at most.

    Args:
        generator: What finds the objects of a tile.
        settings: How planes are cut.
        work: Folder for what is finished of a plane, so that a stopped call goes on with the next
            tile.
    """

    def __init__(self, generator: AutomaticMasks, settings: TileSettings, work: Path) -> None:
        self.tiled = TiledMasks(generator, settings=settings)
        self.work = work

    def wants(self, source: Source, plane: str) -> bool:  # noqa: ARG002  # the protocol's
        """See `Segmenter`."""
        return True

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """See `Segmenter`."""
        image = source.picture(index)
        out = self._place(source, index)
        result = self.tiled.label(_as_source(image), out)
        labels = np.load(out, mmap_mode="r", allow_pickle=False)
        objects = _objects(labels, result.scores.tolist())
        remove(out)
        return _prediction(source, index, image, objects)

    def _place(self, source: Source, index: int) -> Path:
        """Return where the labels of a plane are made, with what is left of all others removed."""
        identity = f"{source.planes[index]} {source.digest()}"
        name = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.work.mkdir(parents=True, exist_ok=True)
        for path in self.work.iterdir():
            # A complete array is of no use without the scores, which the killed process had.
            if path.name == f"{name}.npy" or not path.name.startswith(name):
                remove(path)
        return self.work / f"{name}.npy"


class TiledRecordedSegmenter:
    """Answers prompts about large planes, each in the tile it points to.

    Args:
        predictor: Answers prompts about a tile.
        prompts: The prompts of each plane, in its pixels.
        settings: How planes are cut.
    """

    def __init__(
        self,
        predictor: Predictor,
        prompts: Mapping[str, Sequence[RecordedPrompt]],
        settings: TileSettings,
    ) -> None:
        self.tiled = TiledPredictor(predictor, settings=settings)
        self.prompts = prompts

    def wants(self, source: Source, plane: str) -> bool:  # noqa: ARG002  # the protocol's
        """See `Segmenter`."""
        return bool(self.prompts.get(plane))

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        """See `Segmenter`."""
        image = source.picture(index)
        prompts = self.prompts[source.planes[index]]
        alike: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            alike[prompt.box is not None, len(prompt.points)].append(row)
        objects: dict[int, ObjectPrediction] = {}
        for (has_box, points), rows in alike.items():
            chosen = [prompts[row] for row in rows]
            answers = self.tiled.predict(
                _as_source(image),
                points=[p.points for p in chosen] if points else None,
                labels=[p.labels for p in chosen] if points else None,
                boxes=[p.box for p in chosen] if has_box else None,
                # A lone point may mean several things; see `samft.inference.masks.answer`.
                multimask=points == 1 and not has_box,
            )
            for found in answers:
                runs = found.runs((image.shape[1], image.shape[2]))
                objects[rows[found.prompt]] = _answer(chosen[found.prompt], runs, found.score)
        return _prediction(source, index, image, [objects[row] for row in sorted(objects)])


def _as_source(image: NDArray[np.generic]) -> ImageSource:
    whole = image.dtype == np.uint8
    return ImageSource(image, axes="CYX", value_range=None if whole else (0, 255))


def _objects(labels: NDArray[np.int32], scores: Sequence[float]) -> list[ObjectPrediction]:
    found = []
    boxes = ndimage.find_objects(labels, max_label=len(scores))
    for number, (box, score) in enumerate(zip(boxes, scores, strict=True), start=1):
        rows, columns = box
        runs = RunLengths.encode(
            labels[box] == number, origin=(columns.start, rows.start), size=labels.shape
        )
        found.append(
            ObjectPrediction(rle=runs.coco(), score=float(score), prompt={}, prompt_id=number)
        )
    return found


def _answer(prompt: RecordedPrompt, runs: RunLengths, score: float) -> ObjectPrediction:
    asked = {"box": prompt.box, "points": prompt.points, "labels": prompt.labels}
    return ObjectPrediction(
        rle=runs.coco(),
        score=score,
        prompt={name: list(value) for name, value in asked.items() if value},
        prompt_id=prompt.prompt_id,
        class_name=prompt.class_name,
        object_id=prompt.object_id,
    )


def _prediction(
    source: Source, index: int, image: NDArray[np.generic], objects: list[ObjectPrediction]
) -> ImagePrediction:
    return ImagePrediction(
        sample_id=source.planes[index],
        size=(image.shape[1], image.shape[2]),
        objects=objects,
        image=picture(torch.from_numpy(image)),
        in_volume=source.space is not None,
    )
