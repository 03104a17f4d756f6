"""What is known of one image or volume, whatever its labels were written in."""

from __future__ import annotations

from typing import Protocol

from samft.data.objects import ObjectMode, Objects
from samft.data.records import Window


class Truth(Protocol):
    """The objects of an image or volume, put into pixels when they are asked for."""

    @property
    def size(self) -> tuple[int, ...]:
        """(H, W), or (Z, Y, X) of a volume in canonical orientation."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in memory, bytes."""
        ...

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """Return the objects of a flat image, of a slice of a volume, or of a part of either.

        Args:
            mode: What an object is, where the labels leave it open. Shapes are an object each,
                unless all of a class is wanted.
            at: (axis, index) of the slice, axis 0 to 2 for z, y, x.
            window: The part that is wanted.
        """
        ...
