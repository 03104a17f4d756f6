"""Settings of `samft test`: what is asked of every model, and how answers are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from samft.errors import ConfigError, did_you_mean
from samft.settings import Settings

PromptName = Literal["box", "loose_box", "point"]
"""What objects are asked for with; see `samft.evaluation.prompting`."""
PROMPT_NAMES: tuple[PromptName, ...] = ("box", "loose_box", "point")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings(Settings):
    """What is asked of every model, and how answers are scored.

    Args:
        against: What else answers: `zero-shot` (the weights that training began with), a run
            folder, a checkpoint, a weights file, a named model, or a baseline (`filled_box`,
            `ellipse`, `otsu`; `unet` for the one that `samft baseline` trained beside the run).
            `NAME=PATH` gives a name of your own. Default: zero-shot, the baselines of boxes, and
            the U-Net if there is one.
        prompts: What objects are asked for with: their tight `box`, a `loose_box` a tenth larger
            on each side, the `point` farthest from their boundary.
        clicks: Clicks given after one another, the first being the `point`; every further one goes
            into the largest error of the model's own answer.
        automatic: Also let the models segment the images without prompts, which takes long.
        distances: Measure surface distances (HD95, ASSD, NSD) as well.
        tolerance_mm: Distance that NSD allows, in mm, where the data states its pixel size.
        tolerance_px: The same in pixels, where it does not.
        level: Confidence of the intervals.
        samples: Bootstrap samples.
        gallery: Pictures of each kind: best, worst, most improved, most worsened; 0 for none.
        out: Folder for the results; default: `test` in the run folder.
    """

    section: ClassVar[str] = "evaluation"

    against: list[str] | None = None
    prompts: tuple[PromptName, ...] = ("box", "loose_box", "point")
    clicks: int = 9
    automatic: bool = False
    distances: bool = True
    tolerance_mm: float = 2.0
    tolerance_px: float = 2.0
    level: float = 0.95
    samples: int = 10_000
    gallery: int = 6
    out: str | None = None

    def _check_type(self, name: str, hint: Any) -> None:  # Any: see Settings
        value = getattr(self, name)
        if name == "prompts":
            self._check_prompts()
        elif name == "against" and value is not None:
            if not isinstance(value, list | tuple) or any(type(word) is not str for word in value):
                raise self._wrong_type(name, value, "a list of names or paths")
        elif name == "out" and value is not None:
            Settings._check_type(self, name, str)
        elif name not in ("against", "out"):
            Settings._check_type(self, name, hint)

    def _check_prompts(self) -> None:
        if not isinstance(self.prompts, list | tuple):
            raise self._wrong_type("prompts", self.prompts, "a list of names")
        for prompt in self.prompts:
            if prompt not in PROMPT_NAMES:
                raise ConfigError(
                    f"no prompt is called {prompt!r}",
                    where=f"{self.section}.prompts",
                    fix=did_you_mean(str(prompt), PROMPT_NAMES),
                )

    def _check_ranges(self) -> None:
        self._require("clicks", low=1, high=20)
        self._require("tolerance_mm", low=0)
        self._require("tolerance_px", low=0)
        self._require("level", low=0.5, high=0.999)
        self._require("samples", low=100)
        self._require("gallery", low=0, high=50)
        if not self.prompts or len(set(self.prompts)) < len(self.prompts):
            raise ConfigError(
                "prompts must be named once each, and at least one",
                where=f"{self.section}.prompts",
                found=list(self.prompts),
                expected=" or ".join(PROMPT_NAMES),
            )
