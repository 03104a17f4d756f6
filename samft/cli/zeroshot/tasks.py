"""What each protocol of `samft zeroshot` adds to the command: its options, and how it runs."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from samft.cli.zeroshot.data import OpenData, Track
from samft.cli.zeroshot.words import given_settings
from samft.evaluation.zero_shot.outcome import Outcome
from samft.models.sam import Sam
from samft.settings import Settings


class Task(ABC):
    """One protocol with its settings.

    Args:
        options: Those of the command.

    Raises:
        SamftError: if a setting is out of range, or a file that they name cannot be used.
    """

    settings_class: ClassVar[type[Settings]]
    max_masks: ClassVar[int] = 0
    """How many masks of a large data set are used, where nothing else is asked for; 0 for all."""
    baselines: ClassVar[str] = ""
    """What `--baseline` adds, in words; empty where there is nothing."""
    baseline_names: ClassVar[tuple[str, ...]] = ()
    """What these are called; no model may be."""
    headline: ClassVar[tuple[str, ...]]
    """How the names of the scores begin that the table shows."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.settings = self.read_settings(options)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add options that are no settings; none by default."""
        del parser

    @classmethod
    def read_settings(cls, options: argparse.Namespace) -> Settings:
        """Return the settings of the protocol."""
        fixed = {"seed": options.seed} if "seed" in cls.settings_class.__dataclass_fields__ else {}
        return given_settings(options, cls.settings_class, **fixed)

    def prepare(self, data: Sequence[OpenData]) -> None:
        """Read what belongs to the data, and refuse what does not fit; nothing by default.

        Raises:
            SamftError: before anything long was started.
        """
        del data

    @abstractmethod
    def run(self, sam: Sam, data: OpenData, track: Track, *, name: str) -> Outcome:
        """Let a model, which has a name, answer about a data set."""

    def run_baselines(self, data: OpenData, track: Track) -> dict[str, Outcome]:
        """Return what needs no model, by name; nothing by default."""
        del data, track
        return {}

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return what a result says of the settings."""
        return self.settings.to_dict()


class PointTask(Task):
    """Points one after another."""

    from samft.evaluation.zero_shot.settings import PointSettings

    settings_class = PointSettings
    max_masks = 10_000
    headline = ("iou_click", "oracle_iou_click", "noc_", "num_")

    def run(self, sam: Sam, data: OpenData, track: Track, *, name: str) -> Outcome:
        """See `Task`."""
        del name
        from samft.evaluation.zero_shot.points import run_points

        samples = track(data.samples(), "clicking", len(data))
        return run_points(sam, samples, self.settings).outcome(data.class_names)  # type: ignore[arg-type]  # this protocol's


class EdgeTask(Task):
    """Edges from automatic masks."""

    from samft.evaluation.zero_shot.edge_settings import EdgeSettings

    settings_class = EdgeSettings
    baselines = "Sobel's and Canny's edges, and how far people agree where several drew"
    baseline_names = ("sobel", "canny", "human")
    headline = ("ods", "ois", "ap", "r50")

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """See `Task`."""
        parser.add_argument("--maps", action="store_true", help="also write the edge maps, as PNG")

    def run(self, sam: Sam, data: OpenData, track: Track, *, name: str) -> Outcome:
        """See `Task`."""
        return self._outcomes({name: sam}, data, track)[name]

    def run_baselines(self, data: OpenData, track: Track) -> dict[str, Outcome]:
        """See `Task`."""
        return self._outcomes({}, data, track)

    def _outcomes(self, sams: dict[str, Sam], data: OpenData, track: Track) -> dict[str, Outcome]:
        from samft.cli.zeroshot.edge_data import chosen_edge_images
        from samft.evaluation.zero_shot.edges import run_edges

        images = chosen_edge_images(data)
        report = run_edges(
            sams,
            track(images, "finding edges", len(data)),
            self.settings,  # type: ignore[arg-type]  # this protocol's
            baselines=() if sams else ("sobel", "canny"),
            human=not sams,
            maps=Path(self.options.out) / "maps" / data.name if self.options.maps else None,
        )
        return edge_outcomes(report)


class ProposalTask(Task):
    """As many objects as possible among 1000 masks."""

    from samft.evaluation.zero_shot.proposal_settings import ProposalSettings

    settings_class = ProposalSettings
    headline = ("ar_", "num_", "mean_")

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """See `Task`."""
        parser.add_argument(
            "--single-output",
            action="store_true",
            help="the paper's settings for one mask per point: 128 x 128 points, NMS at 0.95, "
            "random rank",
        )
        parser.add_argument(
            "--by-class", action="store_true", help="also the recall of each class's objects"
        )

    @classmethod
    def read_settings(cls, options: argparse.Namespace) -> Settings:
        """See `Task`."""
        fixed: dict[str, Any] = {"seed": options.seed}
        if options.single_output:
            fixed = cls.ProposalSettings.single_output(seed=options.seed).to_dict()
        return given_settings(options, cls.settings_class, **fixed)

    def run(self, sam: Sam, data: OpenData, track: Track, *, name: str) -> Outcome:
        """See `Task`."""
        del name
        from samft.evaluation.zero_shot.proposals import ClassGroups, run_proposals

        names = data.class_names
        report = run_proposals(
            sam,
            track(data.samples(), "proposing", len(data)),
            self.settings,  # type: ignore[arg-type]  # this protocol's
            groups=ClassGroups.each(names) if self.options.by_class and names else None,
        )
        recall = f"ar_{report.settings.most}"
        return Outcome(
            scores={
                **report.scores,
                **{f"{recall}/{group}": value for group, value in report.groups.items()},
                "num_objects": report.num_objects,
                "mean_proposals": report.mean_proposals,
            },
            rows=tuple(
                {
                    "sample_id": row.sample_id,
                    "num_objects": row.num_objects,
                    "num_proposals": row.num_proposals,
                    **row.scores,
                    "seconds": row.seconds,
                }
                for row in report.rows
            ),
            compared={recall: {row.sample_id: row.scores[recall] for row in report.rows}},
        )


def edge_outcomes(report: Any) -> dict[str, Outcome]:
    """Return the outcome of each method of an `EdgeReport`, and of people where it has them.

    Methods are compared by each image's F at its own best threshold.
    """
    found: dict[str, Outcome] = {}
    for name, scores in report.scores.items():
        rows = [row for row in report.rows if row.method == name]
        found[name] = Outcome(
            scores=dict(scores),
            rows=tuple(
                {"sample_id": row.sample_id, **row.scores, "seconds": row.seconds} for row in rows
            ),
            compared={"ois": {row.sample_id: row.scores["ois"] for row in rows}},
        )
    human = report.human
    if human.num_images and human.f == human.f:
        found["human"] = Outcome(
            scores={"ods": human.f, "ods_precision": human.precision, "ods_recall": human.recall}
        )
    return found
