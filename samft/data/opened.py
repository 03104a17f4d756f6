"""An image or volume together with its labels, decoded as far as it was needed."""

from __future__ import annotations

from dataclasses import dataclass

from samft.data.sources import Source
from samft.data.truth import Truth


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenCase:
    """What the slices or parts of one image share.

    Args:
        source: The image or volume.
        truth: Its labels, of the same size.
    """

    source: Source
    truth: Truth

    @property
    def nbytes(self) -> int:
        """Size in memory, bytes; grows when the source is decoded."""
        return self.source.nbytes + self.truth.nbytes
