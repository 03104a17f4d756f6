"""What an export target is, and the samft side of reading one back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from samft.export.comparison import Comparison
from samft.export.questions import Kind, Question
from samft.export.tuned import TunedModel
from samft.models.sam import Sam
from samft.types import MaskOutput


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What may be chosen; each target says which of it it knows.

    Args:
        quantize: Also write an image encoder in 8 bits, and measure what that costs.
        single_mask: The decoder picks one mask by itself, as most desktop tools expect.
        extent: (height, width) that hold the model's own images once they are resized; `None` where
            they are not known.
    """

    quantize: bool = False
    single_mask: bool = False
    extent: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadBack:
    """What was read back of an export.

    Args:
        comparisons: How far the answers of each program are from the model's.
        notes: What else there is to say, a line each.
    """

    comparisons: Sequence[Comparison]
    notes: Sequence[str] = ()


class Target(Protocol):
    """A place that a model can be exported to."""

    @property
    def name(self) -> str:
        """What people type."""
        ...

    @property
    def about(self) -> str:
        """One line for the help."""
        ...

    @property
    def suffix(self) -> str:
        """Ending of the file; empty for a folder."""
        ...

    @property
    def knows(self) -> frozenset[str]:
        """Names of the `ExportOptions` that it takes."""
        ...

    def check(self, model: TunedModel) -> None:
        """Refuse a model that cannot go there.

        Raises:
            SamftError: saying why, and what to do.
        """
        ...

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:
        """Write the file, or fill the folder, which exists and is empty."""
        ...

    def read(
        self,
        model: TunedModel,
        out: Path,
        options: ExportOptions,
        questions: Sequence[Question],
    ) -> ReadBack:
        """Open what was written in the programs it is for, and ask the questions."""
        ...


@dataclass(frozen=True, slots=True)
class SamReader:
    """samft itself, with the weights of a file.

    Args:
        sam: The model that read the file.
        program: What to call it.
    """

    sam: Sam
    program: str = "samft"

    @torch.no_grad()
    def answer(self, question: Question) -> dict[Kind, MaskOutput]:
        """See `Reader`."""
        size = torch.tensor([question.frame.input_size])
        embedding = self.sam.encode_image(question.padded, size)
        return {
            kind: self.sam.decode(embedding, prompts, multimask=None)
            for kind, prompts in question.prompts.items()
        }
