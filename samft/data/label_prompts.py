"""Label images as prompts: every object that somebody marked is asked for by its box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.files import list_files, relative_name, stem_of
from samft.data.objects import from_class_map
from samft.data.readers.image import IMAGE_SUFFIXES, read_label_map, whole_numbers
from samft.data.readers.tiff_stack import read_stack
from samft.data.readers.volumes import VOLUME_SUFFIXES, is_volume, read_volume
from samft.data.recorded_prompt import RecordedPrompt
from samft.data.roots import resolve_root
from samft.data.sources import Source
from samft.errors import PromptError

_SUFFIXES = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)


class LabelFiles:
    """Label images in a folder, found by the names of the sources.

    The labels of `sub/a.jpg` are `sub/a.png` or `sub/a.jpg.png` or the same with another ending;
    those of a volume a volume of the same shape, or one label image for each slice as
    `samft predict` writes them. Every positive value is an object; where the only value of a flat
    label image is 255, every connected piece is.

    Args:
        folder: The folder.

    Raises:
        SamftError: if it does not exist or holds no image.
    """

    def __init__(self, folder: str) -> None:
        self.root = resolve_root(folder)
        files = list_files(self.root)
        if not files:
            raise PromptError(
                "the folder holds no label images", where=self.root, expected="images or volumes"
            )
        self._files: dict[str, Path] = {}
        for path in files:
            name = relative_name(self.root, path.with_name(stem_of(path)))
            self._files.setdefault(name, path)
        self._volume: tuple[Path, NDArray[np.int32]] | None = None

    def has(self, source: Source) -> bool:
        """Tell whether there are labels for a source."""
        if self._file(source.name) is not None:
            return True
        return source.space is not None and any(self._file(name) for name in source.planes)

    def plane(self, source: Source, index: int) -> NDArray[np.int32]:
        """Return the labels of a plane, (H, W) int32.

        Raises:
            SamftError: if they cannot be read, or are of another size than the plane.
        """
        path = self._file(source.name)
        if path is not None and source.space is not None:
            volume = self._read_volume(path, source)
            labels = np.asarray(np.take(volume, index, axis=source.space.axis), np.int32)
        else:
            path = self._file(source.planes[index])
            if path is None:
                return np.zeros(source.size(index), np.int32)
            labels = _read_flat(path)
        if labels.shape != source.size(index):
            raise _other_size(path, labels.shape, source.size(index))
        return labels

    def prompts(self, labels: NDArray[np.int32]) -> list[RecordedPrompt]:
        """Return a prompt for every object: the box of its outermost pixels, and its value as id.

        Args:
            labels: (H, W) int32.
        """
        values = np.unique(labels[labels > 0])
        numbers = np.searchsorted(values, labels) + 1
        boxes = ndimage.find_objects(np.where(labels > 0, numbers, 0))
        return [
            RecordedPrompt(
                prompt_id=int(value),
                object_id=int(value),
                box=(x.start, y.start, x.stop - 1, y.stop - 1),
            )
            for value, (y, x) in zip(values, boxes, strict=True)
        ]

    def _file(self, name: str) -> Path | None:
        return self._files.get(name) or self._files.get(_without_ending(name))

    def _read_volume(self, path: Path, source: Source) -> NDArray[np.int32]:
        assert source.space is not None  # only volumes get here
        if self._volume is None or self._volume[0] != path:
            array = read_volume(path).array if is_volume(path) else read_stack(path)
            labels = whole_numbers(array[0], path)
            self._volume = path, np.asarray(labels, np.int32)
        labels = self._volume[1]
        if labels.shape != source.space.shape:
            raise _other_size(path, labels.shape, source.space.shape)
        return labels


def _read_flat(path: Path) -> NDArray[np.int32]:
    labels = read_label_map(path)
    if np.isin(labels, (0, 255)).all() and labels.any():
        pieces = from_class_map((labels > 0).astype(np.int32), {1: 0}, mode="component").layers[0]
        return np.asarray(pieces, np.int32)
    return labels


def _other_size(path: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> PromptError:
    return PromptError(
        "labels and image differ in size",
        where=path,
        found=" x ".join(map(str, found)),
        expected=" x ".join(map(str, expected)),
        fix="give the labels of exactly this image",
    )


def _without_ending(name: str) -> str:
    folder, _, file = name.rpartition("/")
    ending = max((e for e in _SUFFIXES if file.lower().endswith(e)), key=len, default="")
    return f"{folder}/" * bool(folder) + file[: len(file) - len(ending)]
