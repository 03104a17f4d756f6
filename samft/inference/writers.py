"""Prediction files: every format, one image at a time, with a journal to go on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from samft.data.sources import Source, VolumeSpace
from samft.errors import DatasetError
from samft.inference.formats.registry import FormatOptions, build_formats
from samft.inference.journal import KINDS, Journal, Plan
from samft.inference.output_folder import OutputFolder
from samft.inference.predictions import ImagePrediction
from samft.inference.volume_result import VolumeResult
from samft.inference.volume_settings import LinkSettings
from samft.result_formats import Format

_IMAGES, _VOLUMES, _TOGETHER = KINDS


class PredictionFiles:
    """Writes predictions below one folder, keeping the relative path of each image.

    Every file is whole or not there. What is done is kept in a journal, so that a folder made with
    the same `plan` can be opened again, and memory does not grow with the number of images.

    Args:
        out: Folder for the results; created, must be empty or absent unless `overwrite`, or made
            with the same `plan`.
        formats: What to write.
        class_names: COCO categories to list even when nothing was found; those of the predictions
            are added, and `object` for predictions without a class.
        overwrite: Replace files of an earlier prediction.
        plan: Everything the results depend on beside the images; `None` for a folder that nobody
            will want to go on with, whose journal is deleted at the end.
        part: Distinguishes writers that share `out`, one per process; the first makes the folder.
        options: What some formats want to know; instead of `class_names`.
        linking: How masks of neighbouring slices become one object of a volume; `None` for not.
        sources: What will be written about, to see whether the formats can hold it before anything
            is written.

    Raises:
        OutputError: if `out` holds other files already, or a format is not for one of `sources`.
    """

    def __init__(
        self,
        out: Path,
        formats: Sequence[Format],
        *,
        class_names: Sequence[str] | None = None,
        overwrite: bool = False,
        plan: Plan | None = None,
        part: int = 0,
        options: FormatOptions | None = None,
        linking: LinkSettings | None = None,
        sources: Sequence[Source] = (),
    ) -> None:
        self.out = out
        self.linking = linking
        self.folder = OutputFolder(out)
        self.journal = Journal(self.folder)
        self.plan = plan
        self.formats = build_formats(
            formats,
            self.folder,
            options or FormatOptions(class_names=tuple(class_names or ())),
        )
        self._check(sources)
        if part == 0:
            self.journal.begin(plan, overwrite=overwrite)

    def is_done(self, name: str, digest: str) -> bool:
        """Tell whether an image or plane is finished, and its files are still the same.

        Args:
            name: Its identifier.
            digest: A hash of its source's bytes.
        """
        return self._is_whole(self.journal.entry(_IMAGES, name), digest)

    def is_volume_done(self, name: str, digest: str) -> bool:
        """Tell the same about a volume."""
        return self._is_whole(self.journal.entry(_VOLUMES, name), digest)

    def write(self, prediction: ImagePrediction, digest: str = "") -> None:
        """Write one image's results in every chosen format."""
        files = [path for item in self.formats for path in item.write_image(prediction)]
        values = {"digest": digest, "prediction": prediction.to_dict()}
        self._enter(_IMAGES, prediction.sample_id, files, values)

    def write_volume(
        self, name: str, space: VolumeSpace, planes: Sequence[str], digest: str = ""
    ) -> None:
        """Write one volume's results, after those of its planes.

        Args:
            name: Name of the volume.
            space: Where its planes lie.
            planes: The identifiers of all its planes; those without results count as empty.
            digest: A hash of its source's bytes.
        """

        def plane(index: int) -> ImagePrediction | None:
            entry = self.journal.entry(_IMAGES, planes[index])
            return None if entry is None else ImagePrediction.from_dict(entry["prediction"])

        volume = VolumeResult(name, space, plane, linking=self.linking)
        files = [path for item in self.formats for path in item.write_volume(volume)]
        self._enter(_VOLUMES, name, files, {"digest": digest})

    def close(self) -> None:
        """Write what is about all images together; call once, after every writer ended."""
        files = [path for item in self.formats for path in item.finish(self._predictions())]
        self._enter(_TOGETHER, "all", files, {})
        if self.plan is None:
            self.journal.end()

    def _enter(self, kind: str, name: str, files: Sequence[Path], values: Plan) -> None:
        """Enter what was written, and delete what an earlier version of the source left beside."""
        written = [self.folder.relative(path) for path in files]
        before = self.journal.entry(kind, name) or {}
        for gone in set(before.get("files", ())) - set(written):
            self.folder.remove(str(gone))
        self.journal.enter(kind, name, {**values, "files": written})

    def _check(self, sources: Sequence[Source]) -> None:
        for source in sources:
            for item in self.formats:
                # What cannot be read is said when its turn comes.
                with suppress(DatasetError):
                    item.check(source)

    def _predictions(self) -> Iterator[ImagePrediction]:
        for entry in self.journal.entries(_IMAGES):
            yield ImagePrediction.from_dict(entry["prediction"])

    def _is_whole(self, entry: dict[str, object] | None, digest: str) -> bool:
        if entry is None or entry.get("digest") != digest:
            return False
        files = entry.get("files")
        return isinstance(files, list) and all((self.out / str(name)).exists() for name in files)
