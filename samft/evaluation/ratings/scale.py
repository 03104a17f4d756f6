"""The scale and the criteria that raters are given.

Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1 and appendix E (guidelines for raters).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOWEST: Final = 1
HIGHEST: Final = 10


@dataclass(frozen=True, slots=True)
class Anchor:
    """What some ratings mean.

    Args:
        low: From this rating.
        high: To this one.
        text: Their meaning.
    """

    low: int
    high: int
    text: str

    @property
    def ratings(self) -> str:
        """The ratings as people write them."""
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


ANCHORS: Final = (
    Anchor(1, 1, "The mask shows no object at all."),
    Anchor(2, 4, "There is an object, but the mask has huge errors."),
    Anchor(5, 6, "The mask makes sense, but has significant errors."),
    Anchor(7, 9, "The object is right; its boundary has minor errors."),
    Anchor(10, 10, "No error can be seen."),
)

CRITERIA: Final = (
    (
        "Is it a valid object?",
        "A whole thing, or a part of one that has a name; not a random piece.",
    ),
    (
        "Is the boundary clean?",
        "It follows what can be seen, without holes, islands, spikes or missing corners.",
    ),
    (
        "Does it match the prompt?",
        (
            "The object is the one under the blue dot, or the one in the blue and white box. "
            "Where a dot may mean several, any of them is right."
        ),
    ),
)


def anchor_of(rating: float) -> Anchor:
    """Return the anchor whose range a mean rating is nearest to."""
    return min(ANCHORS, key=lambda each: max(each.low - rating, rating - each.high, 0.0))
