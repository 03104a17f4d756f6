"""Many sources, one after the other: what is finished is skipped, what fails is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from samft.data.sources import Source
from samft.errors import MachineError, SamftError
from samft.inference.segmenters import Segmenter
from samft.inference.writers import PredictionFiles

Report = Callable[[str, int, int], None]
"""Is told the name of a source and how many of its planes are done, of how many."""


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What became of the sources.

    Args:
        done: Planes that were predicted.
        skipped: Planes that were finished before.
        failures: Sources that could not be predicted, with the reason.
    """

    done: int = 0
    skipped: int = 0
    failures: dict[str, SamftError] = field(default_factory=dict)


def predict_sources(
    sources: Sequence[Source],
    segmenter: Segmenter,
    files: PredictionFiles,
    *,
    failures: Mapping[str, SamftError] | None = None,
    report: Report | None = None,
) -> Outcome:
    """Predict every source and write its results.

    A source that cannot be read does not end the run. What was written before, with the same
    settings and from the same bytes, is not made again.

    Args:
        sources: What to predict.
        segmenter: What is asked.
        files: Where the results go; closed at the end.
        failures: What is known to be unusable already.
        report: Is told about progress.

    Raises:
        MachineError: if results cannot be written. Called again, it goes on from there.
    """
    outcome = Outcome(failures=dict(failures or {}))
    tell = report or _tell_nobody
    for source in sources:
        try:
            _predict(source, segmenter, files, outcome, tell)
        except MachineError:
            raise
        except SamftError as error:
            outcome.failures[source.name] = error
        finally:
            source.release()
        tell(source.name, 1, 1)
    files.close()
    return outcome


def _tell_nobody(name: str, done: int, total: int) -> None:
    del name, done, total


def _predict(
    source: Source,
    segmenter: Segmenter,
    files: PredictionFiles,
    outcome: Outcome,
    report: Report,
) -> None:
    planes = source.planes
    wanted = [index for index, plane in enumerate(planes) if segmenter.wants(source, plane)]
    if not wanted:
        return
    digest = source.digest()
    for count, index in enumerate(wanted):
        report(source.name, count, len(wanted))
        if files.is_done(planes[index], digest):
            outcome.skipped += 1
            continue
        files.write(segmenter(source, index), digest)
        outcome.done += 1
    space = source.space
    if space is not None and not files.is_volume_done(source.name, digest):
        files.write_volume(source.name, space, planes, digest)
