"""What a model was prompted with in training: it goes where the weights go.

A model answers well what it was asked in training. One that saw boxes alone gives poor masks for
points, and nothing in its weights says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, get_args

from samft.errors import CheckpointError
from samft.prompts.settings import FIELDS, PromptKind, PromptSettings, parts_of

Use = Literal["point", "box", "mask", "automatic"]
"""What somebody wants to do with a model: prompt it, or segment everything from a grid."""

METADATA_KEY: Final = "prompt_protocol"
"""Under this name exported files carry `PromptProtocol.to_json()`."""

_LONE_POINTS: Final[frozenset[PromptKind]] = frozenset({"point", "center", "points"})
_MULTIMASK = Literal["ambiguous", "all"]
_AGAIN: Final = "train with --model.prompts.mix '{point: 0.5, box: 0.5}'"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptProtocol:
    """How a model was prompted in training.

    Args:
        shares: Share of the objects first prompted with each kind, together 1; the names are those
            of `PromptSettings.mix`.
        clicks: Corrective clicks after the first prompt.
        feeds_back: Whether the logits of an answer were handed to the next pass.
        multimask: First prompts for which three masks were trained: `ambiguous` ones, which are a
            lone point or nothing, or `all`.
    """

    shares: dict[str, float]
    clicks: int
    feeds_back: bool
    multimask: _MULTIMASK

    @classmethod
    def of(cls, settings: PromptSettings) -> Self:
        """Return the protocol of a training with these settings, as it is at its end."""
        final = settings.at(1.0)
        passes = final.rounds + final.extra_passes
        return cls(
            shares={name: share for name, share in final.shares().items() if share > 0},
            clicks=final.rounds,
            feeds_back=bool(passes and final.feed_back_logits and final.feed_back_probability),
            multimask="ambiguous" if final.clear_prompts_have_one_mask else "all",
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:  # Any: as read from a file, checked here
        """Return what `to_dict` described.

        Raises:
            CheckpointError: if it is something else.
        """
        problem = _problem(values)
        if problem:
            raise CheckpointError(
                "the prompt protocol of the file cannot be read",
                where=METADATA_KEY,
                found=problem,
                fix="export the run again",
            )
        return cls(**{name: values[name] for name in cls.__slots__})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` described.

        Raises:
            CheckpointError: if it is something else.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        return cls.from_dict(values if isinstance(values, dict) else {})

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return plain data, such that `from_dict` gives the protocol back."""
        return asdict(self)

    def to_json(self) -> str:
        """Return `to_dict` as text, for the metadata of files."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def share_of(self, field: Literal["points", "box", "mask", "nothing"]) -> float:
        """Return the share of first prompts that gave the model points, a box, a mask or nothing.

        A prompt of two kinds counts for both.
        """
        return math.fsum(
            share
            for name, share in self.shares.items()
            if any(FIELDS[part] == field for part in parts_of(name))
        )

    @property
    def trains_lone_points(self) -> bool:
        """Whether one point with nothing beside it was a first prompt."""
        return not _LONE_POINTS.isdisjoint(self.shares)

    def describe(self) -> str:
        """Return it in words: `box 50 %, point 50 %; 8 corrective clicks, logits fed back`."""
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        clicks = "1 corrective click" if self.clicks == 1 else f"{self.clicks} corrective clicks"
        after = clicks if self.clicks else "no corrective clicks"
        return f"{shares.replace('%', ' %')}; {after}" + (", logits fed back" * self.feeds_back)

    def warnings_for(self, use: Use) -> list[str]:
        """Say what to expect of a use that the model was not trained for, and what to do.

        Args:
            use: `point`: points alone; `box`: a box, with or without points; `mask`: logits of an
                earlier answer; `automatic`: masks of everything from a grid of points.

        Returns:
            One sentence per problem; none where the use was trained.
        """
        if use == "box":
            return [] if self.share_of("box") else [self._warning("a box", "prompt with points")]
        if use == "mask":
            if self.feeds_back or self.share_of("mask"):
                return []
            return [
                self._warning(
                    "a mask", "leave the mask out", "train with --model.prompts.rounds 4 or more"
                )
            ]
        if self.trains_lone_points:
            return []
        instead = "prompt with boxes" if self.share_of("box") else "give more than one point"
        if use == "point":
            return [self._warning("a point alone", instead)]
        instead = "automatic masks from candidate boxes instead of a grid, or boxes as prompts"
        return [self._warning("a point alone, and a grid asks with nothing else", instead)]

    def _warning(self, prompt: str, instead: str, training: str = _AGAIN) -> str:
        return (
            f"this model was never trained with {prompt} (trained with: {self.describe()}): "
            f"expect poor masks; {instead}, or {training}"
        )


def _problem(values: Mapping[str, Any]) -> str | None:  # Any: as read from a file
    """Return what is wrong with the values of a protocol."""
    shares, clicks = values.get("shares"), values.get("clicks")
    if not isinstance(shares, dict) or not shares:
        return f"shares {shares!r}"
    for name, share in shares.items():
        known = isinstance(name, str) and all(part in FIELDS for part in parts_of(name))
        if not known or not isinstance(share, int | float) or not 0 <= share <= 1:
            return f"the share {name!r}: {share!r}"
    if type(clicks) is not int or clicks < 0:
        return f"clicks {clicks!r}"
    if not isinstance(values.get("feeds_back"), bool):
        return f"feeds_back {values.get('feeds_back')!r}"
    multimask = values.get("multimask")
    return None if multimask in get_args(_MULTIMASK) else f"multimask {multimask!r}"
