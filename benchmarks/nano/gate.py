"""The rule for weights that ship: on nuclei, CT and generated images better than no training.

With a box above every answer to a box that needs no training, and with one point (the mask the
model itself scores best) above the disc of the median radius. Photographs are only reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.nano.scores import DISC, SetScores
from benchmarks.nano.sets import SETS
from samft.errors import SamftError
from samft.metrics.baselines import BOX_BASELINES


class GateError(SamftError):
    """The weights are not good enough to be shipped."""

    exit_code = 1


def check(scores: Sequence[SetScores]) -> list[str]:
    """Compare a model with the baselines.

    Args:
        scores: The table.

    Returns:
        One sentence per comparison that the model does not win, and per set of the rule that is
        missing; empty if the weights may be shipped.
    """
    found = {item.name: item for item in scores}
    failures = []
    for name, entry in SETS.items():
        if not entry.gated:
            continue
        if name in found:
            failures += list(_lost(found[name]))
        else:
            failures.append(f"{name} was not measured")
    return failures


def refuse(failures: Sequence[str], *, where: object) -> None:
    """Raise if there are failures.

    Args:
        failures: What `check` returned, and other reasons.
        where: The weights in question.

    Raises:
        GateError: naming every failure.
    """
    if failures:
        raise GateError(
            "the weights are not fit to ship: they lose to answers that need no training",
            where=where,
            found="; ".join(failures),
            fix="train longer; nothing was written",
        )


def _lost(scores: SetScores) -> Iterator[str]:
    pairs = [("box", name) for name in BOX_BASELINES] + [("point", DISC)]
    for prompt, baseline in pairs:
        ours, theirs = scores.model.iou[prompt], scores.baselines[baseline]
        if not ours > theirs:  # a NaN loses
            yield f"{scores.name} {prompt} {ours:.3f}, {baseline} {theirs:.3f}"
