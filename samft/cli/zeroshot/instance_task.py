"""`samft zeroshot instances`: a detector's boxes, or those of the truth, become masks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from samft.cli.zeroshot.data import OpenData, Track
from samft.cli.zeroshot.tasks import Task
from samft.data.datamodule import SamDataModule
from samft.data.folder import FolderDataModule
from samft.data.layouts.coco import CocoLayout
from samft.errors import ConfigError, DatasetError
from samft.evaluation.zero_shot.boxes import BoxIds, DetectedBoxes, read_boxes
from samft.evaluation.zero_shot.instances import (
    BoxAnswerer,
    baseline_answers,
    run_instances,
    sam_answers,
)
from samft.evaluation.zero_shot.outcome import Outcome
from samft.evaluation.zero_shot.settings import InstanceSettings
from samft.inference.formats.coco import CocoNumbers
from samft.metrics.baselines import BOX_BASELINES
from samft.models.sam import Sam

UPPER_BOUND = (
    "boxes come from the truth: an upper bound, as of a detector that makes no mistake; "
    "give a detector's with --boxes"
)


class InstanceTask(Task):
    """Instances from boxes."""

    settings_class = InstanceSettings
    baselines = "what boxes are worth without a model: filled, an ellipse, Otsu's threshold"
    baseline_names = tuple(BOX_BASELINES)
    headline = ("ap", "iou", "num_")

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._boxes: dict[str, DetectedBoxes] = {}

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """See `Task`."""
        parser.add_argument(
            "--boxes",
            metavar="FILE",
            help="a detector's results in COCO's format: image_id, category_id, bbox, score; "
            "without it the tight boxes of the truth, which is an upper bound",
        )
        parser.add_argument(
            "--coco-ids",
            metavar="FILE",
            help="COCO annotation file whose numbers of images and categories --boxes has "
            "(default: that of the data; other data is called by its file names and classes)",
        )

    def prepare(self, data: Sequence[OpenData]) -> None:
        """See `Task`."""
        path = self.options.boxes
        if path is None:
            for each in data:
                each.notes.append(UPPER_BOUND)
            if self.options.coco_ids is not None:
                raise ConfigError("--coco-ids belongs to --boxes", where="--coco-ids")
            return
        if len(data) > 1:
            raise ConfigError(
                "--boxes is about one data set",
                where="--boxes",
                found=f"{len(data)} data sets",
                fix="run the command for each of them",
            )
        self._boxes[data[0].name] = read_boxes(Path(path), box_ids(data[0], self.options.coco_ids))

    def run(self, sam: Sam, data: OpenData, track: Track, *, name: str) -> Outcome:
        """See `Task`."""
        del name
        return self._outcome(sam_answers(sam, self._instance_settings), data, track)

    def run_baselines(self, data: OpenData, track: Track) -> dict[str, Outcome]:
        """See `Task`."""
        return {name: self._outcome(baseline_answers(name), data, track) for name in BOX_BASELINES}

    @property
    def _instance_settings(self) -> InstanceSettings:
        assert isinstance(self.settings, InstanceSettings)  # its own class
        return self.settings

    def _outcome(self, answer: BoxAnswerer, data: OpenData, track: Track) -> Outcome:
        boxes = self._boxes.get(data.name)
        report = run_instances(
            answer,
            track(data.samples(), "segmenting boxes", len(data)),
            self._instance_settings,
            class_names=data.class_names,
            boxes=None if boxes is None else boxes.copy(),
        )
        return report.outcome()


def box_ids(data: OpenData, coco_file: str | None = None) -> BoxIds:
    """Return what the numbers in a results file stand for.

    Args:
        data: All its images count, also those that were not chosen.
        coco_file: The file whose numbers they are; default: the one that the data was read from.

    Raises:
        DatasetError: if the file does not name the images or classes of the data, or the data was
            read from several.
    """
    names = _all_names(data)
    classes = data.class_names
    path = _own_coco_file(data) if coco_file is None else Path(coco_file)
    if path is None:
        images: dict[int | str, str] = {}
        for name in names:
            images.setdefault(name.rpartition("/")[2], name)
        images |= {name: name for name in names}
        return BoxIds(images=images, categories={name: i for i, name in enumerate(classes)})
    numbers = CocoNumbers.read(path)
    found: dict[int | str, str] = {
        number: name for name in names if (number := numbers.image(name)) is not None
    }
    if not found:
        raise DatasetError(
            "the COCO file names none of the images", where=path, fix="give another --coco-ids"
        )
    return BoxIds(images=found, categories=_categories(numbers.categories, classes, path))


def _categories(
    numbers: Mapping[str, int], classes: Sequence[str], path: Path
) -> dict[int | str, int]:
    found: dict[int | str, int] = {
        numbers[name]: index for index, name in enumerate(classes) if name in numbers
    }
    if classes and not found:
        raise DatasetError(
            "the COCO file names none of the classes",
            where=path,
            found=", ".join(list(numbers)[:5]) or "no categories",
            expected=", ".join(classes[:5]),
        )
    return found


def _all_names(data: OpenData) -> list[str]:
    if isinstance(data.module, SamDataModule):
        return [record.sample_id for split in data.splits for record in data.module.records(split)]
    return data.sample_ids()


def _own_coco_file(data: OpenData) -> Path | None:
    """Return the file that the data was read from, if it is COCO's."""
    module = data.module
    if not isinstance(module, FolderDataModule) or not isinstance(
        module.known_layout(), CocoLayout
    ):
        return None
    files = {record.labels[0] for split in data.splits for record in module.records(split)}
    if len(files) > 1:
        raise DatasetError(
            "the data comes from several COCO files, whose numbers may clash",
            where="--boxes",
            found=", ".join(sorted(path.name for path in files)[:3]),
            fix="choose one --split, or a file with --data.labels",
        )
    return next(iter(files), None)
