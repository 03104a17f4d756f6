"""From one slice to the volume: a prompt is carried on, slice by slice, in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from samft.errors import PromptError
from samft.inference.array_sources import ArrayLike, VolumeSource
from samft.inference.label_results import LabelResult, Progress, no_progress
from samft.inference.label_stores import create_labels, publish
from samft.inference.slice_prompts import (
    SliceAnswers,
    SlicePredictor,
    VolumePrompt,
    answers_of,
    first_answer,
    next_prompt,
)
from samft.inference.volume_masks import window_of_slice
from samft.inference.volume_settings import PropagationSettings
from samft.inference.work_folder import WorkFolder, model_key, volume_key, writing

Ending = Literal["volume", "empty", "score", "overlap", "area", "limit"]
"""Why an object ends: the volume does, its mask is empty, its predicted IoU is low, it lies
elsewhere, its size jumps, or it has been followed far enough."""

_ENDINGS: Final[tuple[Ending, ...]] = ("volume", "empty", "score", "overlap", "area", "limit")
_DIRECTIONS: Final = {"down": -1, "up": 1}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PropagationResult(LabelResult):
    """A label volume of prompted objects: object k of the prompts, from 0, has the label k + 1.

    Args:
        spans: (count, 2) int64, first and last slice of every object; -1 for one without a pixel.
        endings: Why every object ends, before the first and after the last slice.
    """

    spans: NDArray[np.int64]
    endings: tuple[tuple[Ending, Ending], ...]


class VolumePropagation:
    """Segments objects of a volume that were shown in one slice each.

    From the slice of its prompt an object is followed in both directions: each slice is asked with
    box, mask and point of the mask before (`PropagationSettings`), and the object ends where the
    answer is no longer the same thing. Slices are encoded once for all objects. What is finished is
    kept in `<out>.partial` and gone on with after a stop, as for `TiledMasks`.

    Args:
        predictor: Answers prompts about one image; what is set in it is replaced.
        settings: How objects are followed; `None` for the defaults.
        changes: Single settings, by the names of `PropagationSettings`.

    Raises:
        ConfigError: if a setting is unknown or out of range.

    Example:
        >>> prompts = [VolumePrompt(slice=120, box=[80, 90, 140, 160])]
        >>> volume = VolumeSource(open_array("ct.npy"), value_range=(-160, 240))
        >>> VolumePropagation(Predictor(sam)).label(volume, prompts, "labels.zarr").spans
    """

    def __init__(
        self,
        predictor: SlicePredictor,
        *,
        settings: PropagationSettings | None = None,
        **changes: Any,  # Any: checked against the settings' types
    ) -> None:
        base = settings or PropagationSettings()
        self.predictor = predictor
        self.settings = PropagationSettings.from_dict({**base.to_dict(), **changes})

    def label(
        self,
        volume: ArrayLike | VolumeSource,
        prompts: Sequence[VolumePrompt],
        out: str | Path,
        *,
        progress: Progress = no_progress,
    ) -> PropagationResult:
        """Label the objects that prompts show.

        Args:
            volume: As for `VolumeMasks.label`.
            prompts: One for every object; they may be about different slices. Where objects
                overlap, the one with the higher predicted IoU in that slice is written.
            out: `.zarr`, `.tif` or `.npy`, which must not exist; of the volume's shape.
            progress: Told about every slice in each direction, and every slice written.

        Raises:
            PromptError: if a prompt is malformed, lies outside its slice, or there is none.
            OutputError: if the output exists or cannot be of this kind, or an unfinished run with
                other settings, prompts, weights or voxels lies beside it.
            DatasetError: if `volume` is no volume.
            MachineError: if the disk is full.
        """
        source = volume if isinstance(volume, VolumeSource) else VolumeSource(volume)
        if not prompts:
            raise PromptError("there is no prompt", expected="at least one object")
        for number, prompt in enumerate(prompts):
            prompt.check(source.count, source.slice_size, number)
        work = WorkFolder(Path(out), self._key(source, prompts))
        with work.opened():
            self._starts(source, prompts, work)
            endings = {
                name: self._follow(source, prompts, work, direction=name, progress=progress)
                for name in _DIRECTIONS
            }
            result = self._write(
                source, work, endings=endings, count=len(prompts), progress=progress
            )
            with writing(work.out):
                publish(work.labels, work.out)
        return result

    def _starts(
        self, source: VolumeSource, prompts: Sequence[VolumePrompt], work: WorkFolder
    ) -> None:
        """Answer the prompts themselves."""
        for index in sorted({prompt.slice for prompt in prompts}):
            if work.load(_name("start", index)) is not None:
                continue
            self.predictor.set_image(source.read(index))
            answers = [
                first_answer(self.predictor, prompt, number)
                for number, prompt in enumerate(prompts)
                if prompt.slice == index
            ]
            found = answers[0]
            for answer in answers[1:]:
                found = found.joined(answer)
            work.save(_name("start", index), found.arrays())

    def _follow(
        self,
        source: VolumeSource,
        prompts: Sequence[VolumePrompt],
        work: WorkFolder,
        *,
        direction: str,
        progress: Progress,
    ) -> list[Ending]:
        """Follow all objects in one direction; return why each ends."""
        step = _DIRECTIONS[direction]
        # An object whose first mask is empty is never met again.
        endings: list[Ending] = ["empty"] * len(prompts)
        here: SliceAnswers | None = None
        order = range(source.count)[::step]
        for place, index in enumerate(order):
            begun = place + 1 + (source.count if step > 0 else 0)
            progress(begun, 3 * source.count)
            here = self._arriving(source, work, here, name=_name(direction, index), index=index)
            for number, ending in _ended(work, _name(direction, index)):
                endings[number] = ending
            here = _with_starts(work, here, index)
            here = None if here is None else self._within_limit(here, prompts, index, endings)
        for number in () if here is None else here.objects:
            endings[number] = "volume"
        return endings

    def _arriving(
        self,
        source: VolumeSource,
        work: WorkFolder,
        before: SliceAnswers | None,
        *,
        name: str,
        index: int,
    ) -> SliceAnswers | None:
        """Return what is left of the objects of the slice before, from the disk or the model."""
        if before is None or len(before.objects) == 0:
            return None
        stored = work.load(name)
        if stored is None:
            self.predictor.set_image(source.read(index))
            asked = next_prompt(before, self.settings)
            answer = self.predictor.predict(**asked, multimask=False)
            found = answers_of(before.objects, answer)
            reasons = _reasons(before, found, self.settings)
            stays = reasons < 0
            ended = {"ended": before.objects[~stays], "reasons": reasons[~stays]}
            work.save(name, {**found.take(stays).arrays(), **ended})
            stored = work.need(name)
        return SliceAnswers.of(stored)

    def _within_limit(
        self,
        here: SliceAnswers,
        prompts: Sequence[VolumePrompt],
        index: int,
        endings: list[Ending],
    ) -> SliceAnswers:
        """Leave out objects that have been followed far enough."""
        most = self.settings.max_slices
        if most == 0:
            return here
        far = np.array(
            [abs(index - prompts[number].slice) >= most for number in here.objects], bool
        )
        for number in here.objects[far]:
            endings[number] = "limit"
        return here.take(~far)

    def _write(
        self,
        source: VolumeSource,
        work: WorkFolder,
        *,
        endings: dict[str, list[Ending]],
        count: int,
        progress: Progress,
    ) -> PropagationResult:
        spans = np.stack([np.full(count, source.count), np.full(count, -1)], axis=1)
        totals, seen = np.zeros(count), np.zeros(count)
        with writing(work.out):
            store = create_labels(work.labels, source.shape, slice_axis=source.position)
            for index in range(source.count):
                labels = np.zeros(source.slice_size, np.int32)
                rows = list(_all_answers(work, index))
                for number, mask, score in sorted(rows, key=lambda row: (row[2], -row[0])):
                    labels[mask] = number + 1
                    totals[number] += score
                    seen[number] += 1
                    spans[number] = min(spans[number, 0], index), max(spans[number, 1], index)
                if rows:
                    values = np.expand_dims(labels, source.position)
                    store.write(window_of_slice(source, index), values)
                progress(2 * source.count + index + 1, 3 * source.count)
        spans[seen == 0] = -1
        return PropagationResult(
            path=work.out,
            shape=source.shape,
            scores=(totals / np.maximum(seen, 1)).astype(np.float32),
            spans=spans,
            endings=tuple(zip(endings["down"], endings["up"], strict=True)),
        )

    def _key(
        self, source: VolumeSource, prompts: Sequence[VolumePrompt]
    ) -> dict[str, Any]:  # Any: plain data
        return {
            "what": "prompts carried through a volume",
            "volume": volume_key(source),
            "model": model_key(self.predictor.sam),
            "settings": self.settings.to_dict(),
            "prompts": [prompt.parts() for prompt in prompts],
        }


def _name(kind: str, index: int) -> str:
    return f"{kind}-{index:06d}"


def _with_starts(work: WorkFolder, here: SliceAnswers | None, index: int) -> SliceAnswers | None:
    """Add the objects that begin in a slice."""
    arrays = work.load(_name("start", index))
    if arrays is None:
        return here
    starts = SliceAnswers.of(arrays)
    starts = starts.not_empty()
    return starts if here is None else here.joined(starts)


def _all_answers(work: WorkFolder, index: int) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
    """Yield object, mask and predicted IoU of every answer about a slice."""
    for kind in ("start", *_DIRECTIONS):
        arrays = work.load(_name(kind, index))
        if arrays is not None:
            found = SliceAnswers.of(arrays).not_empty()
            yield from zip(found.objects.tolist(), found.masks, found.scores.tolist(), strict=True)


def _ended(work: WorkFolder, name: str) -> list[tuple[int, Ending]]:
    arrays = work.load(name)
    if arrays is None:
        return []
    pairs = zip(arrays["ended"].tolist(), arrays["reasons"].tolist(), strict=True)
    return [(number, _ENDINGS[reason]) for number, reason in pairs]


def _reasons(
    before: SliceAnswers, found: SliceAnswers, settings: PropagationSettings
) -> NDArray[np.int64]:
    """Return (k,) why each object ends, as a position in `_ENDINGS`; -1 for those that go on."""
    old, new = before.masks.sum(axis=(1, 2)), found.masks.sum(axis=(1, 2))
    shared = (before.masks & found.masks).sum(axis=(1, 2))
    overlap = shared / np.maximum(old + new - shared, 1)
    change = np.maximum(old, new) / np.maximum(np.minimum(old, new), 1)
    # The first that applies is given; they are tested from the last to the first.
    reasons = np.full(len(old), -1)
    for name, applies in (
        ("area", change > settings.max_area_change),
        ("overlap", overlap < settings.min_overlap),
        ("score", found.scores < settings.min_score),
        ("empty", new == 0),
    ):
        reasons[applies] = _ENDINGS.index(name)
    return reasons
