"""What every format of results offers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samft.data.sources import Source
from samft.inference.output_folder import OutputFolder
from samft.inference.predictions import ImagePrediction
from samft.inference.volume_result import VolumeResult


class ResultFormat:
    """Writes results of one kind; does nothing at the stages that the kind does not need.

    Args:
        folder: Where results go.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self.folder = folder

    def check(self, source: Source) -> None:
        """Raise if the format cannot hold the results of a source; may read headers.

        Raises:
            OutputError: saying which sources it is for.
        """

    def write_image(self, prediction: ImagePrediction) -> list[Path]:  # noqa: ARG002
        """Write the results of one image or plane, and return the files."""
        return []

    def write_volume(self, volume: VolumeResult) -> list[Path]:  # noqa: ARG002
        """Write the results of one volume, when all its planes are done, and return the files."""
        return []

    def finish(self, predictions: Iterable[ImagePrediction]) -> list[Path]:  # noqa: ARG002
        """Write what is about all images together, by name, and return the files."""
        return []
