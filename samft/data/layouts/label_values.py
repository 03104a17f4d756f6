"""Classes that a JSON file names by the values of its masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.data.classes import ClassTable
from samft.data.labels import read_class_mask
from samft.data.layered_mask import LayeredMask, MaskLayer
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.pairs import chosen_classes
from samft.data.readers.json_files import kind_of
from samft.errors import DatasetError

Regions = Mapping[str, tuple[int, ...]]
"""The mask values of each class; classes may share values."""
_MAX_VALUE = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelValues:
    """What the values of masks mean.

    Args:
        regions: The values of each class, in the order of the file.
        names: The classes that count, in the order of their indices.
        background: The value that is no object, or `None`.
        ignore_value: The value that means "nothing is known here".
    """

    regions: Regions
    names: tuple[str, ...]
    background: int | None = 0
    ignore_value: int | None = None

    def read(self, paths: Sequence[Path], *, threshold: float | None = None) -> LayeredMask:
        """Read the masks of an image.

        Args:
            paths: The mask files, at least one.
            threshold: Read masks as binary: 1 from this value on.

        Raises:
            DatasetError: if a file is unreadable, or a value has no class.
        """
        layers: list[MaskLayer] = []
        for path in paths:
            mask = read_class_mask(path, self._table(), threshold=threshold)
            for values in mask.layers:
                layers += [
                    MaskLayer(values=values, class_of=class_of, joined=True)
                    for class_of in self._layers()
                ]
        return LayeredMask(
            size=layers[0].values.shape, layers=tuple(layers), ignore_value=self.ignore_value
        )

    def _layers(self) -> list[dict[int, int]]:
        """Return the class of every value, in so many layers that no value has two."""
        layers: list[dict[int, int]] = [{}]
        for index, name in enumerate(self.names):
            values = self.regions[name]
            free = (layer for layer in layers if not layer.keys() & set(values))
            chosen = next(free, None)
            if chosen is None:
                chosen = {}
                layers.append(chosen)
            chosen |= dict.fromkeys(values, index)
        return layers

    def _table(self) -> ClassTable:
        """Return a table that knows every value, also of classes that do not count."""
        order = list(self.regions)
        index_of = {v: i for i, name in enumerate(order) for v in reversed(self.regions[name])}
        return ClassTable(
            names=tuple(order),
            index_of=index_of,
            background=self.background,
            ignore_value=self.ignore_value,
        )


def label_values(labels: object, settings: LayoutSettings, where: str) -> LabelValues:
    """Understand the labels of a JSON file.

    Args:
        labels: `{"liver": 1, "whole tumour": [1, 2]}`, `{"1": "liver"}` or `["background",
            "liver"]`. A class named background is none, one named ignore means "nothing is known".
        settings: What the user wants.
        where: The file and key, for messages.

    Raises:
        ConfigError: if a class is wanted that is not there.
        DatasetError: if the labels make no sense.
    """
    regions = _regions(labels, where)
    background, ignore = settings.background, settings.ignore_value
    for name in list(regions):
        if name.lower() == "background":
            background = regions.pop(name)[0]
        elif name.lower() == "ignore":
            found = regions.pop(name)[0]
            ignore = found if ignore is None else ignore
    regions = {name: values for name, values in regions.items() if values != (background,)}
    if not regions:
        raise _no_labels(where, "no class but the background")
    names = chosen_classes(settings, tuple(regions), f"{where} names no such class")
    return LabelValues(regions=regions, names=names, background=background, ignore_value=ignore)


def _regions(labels: object, where: str) -> dict[str, tuple[int, ...]]:
    if isinstance(labels, list) and all(isinstance(name, str) for name in labels):
        labels = {str(value): name for value, name in enumerate(labels)}
    if not isinstance(labels, dict):
        raise _no_labels(where, kind_of(labels))
    by_value = all(_is_number(key) for key in labels) and all(
        isinstance(name, str) for name in labels.values()
    )
    regions: dict[str, tuple[int, ...]] = {}
    for key, item in labels.items():
        name, values = (item, [key]) if by_value else (key, item)
        values = values if isinstance(values, list) else [values]
        whole = tuple(dict.fromkeys(_whole(value, f"{where}: {key!r}") for value in values))
        if not whole or name in regions or not name.strip():
            raise _no_labels(f"{where}: {key!r}", f"{name!r} twice, or without a value")
        regions[name] = whole
    return regions


def _is_number(text: str) -> bool:
    return text.strip().isdecimal()


def _whole(value: object, where: str) -> int:
    if isinstance(value, str) and _is_number(value) and len(value) <= 12:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_VALUE:
        raise _no_labels(where, str(value)[:40])
    return value


def _no_labels(where: str, found: str) -> DatasetError:
    return DatasetError(
        "the labels make no sense",
        where=where,
        found=found,
        expected='a whole number, or several, for every name: {"background": 0, "liver": 1}',
    )
