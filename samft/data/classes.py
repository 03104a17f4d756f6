"""Which value of a mask is which class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.data.readers.volume import Segment
from samft.errors import ConfigError, DatasetError

UNNAMED = "object"
"""The one class of data that names none."""
_MAX_UNNAMED = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTable:
    """The classes of a data set.

    Args:
        names: Class names in the order of their indices.
        index_of: Class index of each mask value; `None` makes every value the one class.
        background: The mask value that is no object, or `None`.
        ignore_value: The mask value that means "nothing is known here", or `None`.
    """

    names: tuple[str, ...]
    index_of: Mapping[int, int] | None
    background: int | None = 0
    ignore_value: int | None = None

    def of_values(self, values: Iterable[int], path: Path) -> dict[int, int]:
        """Return the class index of each value that is an object.

        Args:
            values: The values that occur in the mask.
            path: The mask, for messages.

        Raises:
            DatasetError: if a value has no class, or a mask without class names has so many values
                that it cannot be a label map.
        """
        objects = {v for v in values if v >= 0 and v not in (self.background, self.ignore_value)}
        if self.index_of is None:
            _refuse_too_many(objects, path)
            return dict.fromkeys(sorted(objects), 0)
        unknown = sorted(objects - self.index_of.keys())
        if unknown:
            known = ", ".join(f"{v} {self.names[i]}" for v, i in sorted(self.index_of.items()))
            raise DatasetError(
                "the mask holds values that have no class name",
                where=path,
                found=", ".join(map(str, unknown[:8])),
                expected=known,
                fix="add them to data.classes, such as {1: liver, 255: tumour}"
                ", or name one in data.ignore_value",
            )
        return {value: self.index_of[value] for value in objects}

    def of_segments(self, segments: Sequence[Segment], layer: int) -> dict[int, int]:
        """Return the class index of each value in one layer of a file that names its segments."""
        return {
            segment.value: self.names.index(segment.name)
            for segment in segments
            if segment.layer == layer and segment.name in self.names
        }


def class_table(
    classes: Mapping[int, str] | Sequence[str] | None,
    *,
    first_value: int = 1,
    background: int | None = 0,
    ignore_value: int | None = None,
) -> ClassTable:
    """Make the table of a setting such as `[liver, tumour]` or `{1: liver, 255: tumour}`.

    Args:
        classes: Names by value, or in the order of the values; `None` is one class.
        first_value: Value of the first name of a list.
        background: The mask value that is no object; its name, if it has one, is no class.
        ignore_value: The mask value that means "nothing is known here".

    Raises:
        ConfigError: if two values have the same name.
    """
    if classes is None:
        return ClassTable(
            names=(UNNAMED,), index_of=None, background=background, ignore_value=ignore_value
        )
    by_value = (
        dict(classes)
        if isinstance(classes, Mapping)
        else {first_value + index: name for index, name in enumerate(classes)}
    )
    kept = {value: name for value, name in by_value.items() if value != background}
    names = tuple(kept.values())
    if len(set(names)) < len(names) or not names:
        raise ConfigError(
            "the class names do not make sense",
            where="data.classes",
            found=list(names),
            expected="at least one name, each only once",
        )
    return ClassTable(
        names=names,
        index_of={value: index for index, value in enumerate(kept)},
        background=background,
        ignore_value=ignore_value,
    )


def _refuse_too_many(values: set[int], path: Path) -> None:
    if len(values) > _MAX_UNNAMED:
        raise DatasetError(
            "the mask looks like a picture, not like a label map",
            where=path,
            found=f"{len(values)} different values",
            expected=f"at most {_MAX_UNNAMED}: 0 background, 1, 2, ...",
            fix="check data.labels; for masks with soft edges set data.threshold, such as 128",
        )
