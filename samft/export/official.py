"""The official `.pth`: what most tools for SAM start from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.export.comparison import compare
from samft.export.questions import Kind, Question
from samft.export.record import record_beside
from samft.export.safetensors import reloaded
from samft.export.target import ExportOptions, ReadBack, SamReader
from samft.export.tuned import TunedModel
from samft.models.checkpoint import check_stock, save_state_dict
from samft.models.config import ARCHITECTURES
from samft.models.official import load_official, official_answers, package_name, why_not
from samft.types import MaskOutput


@dataclass(frozen=True, slots=True)
class OfficialTarget:
    """A plain state dict, and a `.json` beside it; see `samft.export.target.Target`."""

    name: str = "official"
    about: str = "a .pth that segment_anything and most tools for SAM read"
    suffix: str = ".pth"
    knows: frozenset[str] = frozenset()

    def check(self, model: TunedModel) -> None:
        """Refuse a channel adapter, which no other program would apply."""
        check_stock(model.sam.state_dict(), Path("official.pth"))

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:  # noqa: ARG002  (see Target)
        """Write the weights; what is known about them goes beside, a state dict has no room."""
        save_state_dict(model.sam, out)
        record_beside(out).write_text(json.dumps(model.metadata, indent=2) + "\n")

    def read(
        self,
        model: TunedModel,
        out: Path,
        options: ExportOptions,  # noqa: ARG002  (see Target)
        questions: Sequence[Question],
    ) -> ReadBack:
        """Load it in samft and, where that has the architecture, in `segment_anything`."""
        config = model.sam.config
        comparisons = [compare(SamReader(reloaded(model, out)), questions)]
        notes = []
        reason = why_not(config, out)
        if reason is None:
            reader = OfficialReader(load_official(config, out), package_name())
            comparisons.append(compare(reader, questions))
        else:
            notes.append(f"not read in {package_name()}: {reason}; samft's own reading was checked")
        if reason is None and config != ARCHITECTURES.get(config.name):
            notes.append(
                f"input size {config.image_size}: sam_model_registry builds 1024 alone; give "
                f"ImageEncoderViT img_size={config.image_size}"
            )
        return ReadBack(comparisons=comparisons, notes=notes)


@dataclass(frozen=True, slots=True)
class OfficialReader:
    """The `segment_anything` package.

    Args:
        model: Its model.
        program: Its name and version.
    """

    model: Any  # Any: the package has no types
    program: str

    def answer(self, question: Question) -> dict[Kind, MaskOutput]:
        """See `Reader`; its own normalisation and padding are asked as well."""
        found = official_answers(self.model, question.pixels[None], list(question.prompts.values()))
        pairs = zip(found[::2], found[1::2], strict=True)
        return {
            kind: MaskOutput(logits=logits, iou=iou)
            for kind, (logits, iou) in zip(question.prompts, pairs, strict=True)
        }
