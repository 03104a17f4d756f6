"""A SAM, tuned or not, as something that answers the prompts of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samft.encoding import PiecewiseEncoder
from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.prompting import prompts_of
from samft.evaluation.settings import EvaluationSettings, PromptName
from samft.inference.automatic import AutomaticMasks
from samft.inference.masks import answer, original_masks
from samft.inference.prediction import describe_prompt
from samft.inference.work_folder import model_key
from samft.models.sam import Sam
from samft.types import MaskOutput, PromptBatch, SamBatch
from samft.validation import CLICKED_AT_ONCE, click_rounds

_BOXES_AT_ONCE = 64


class SamCompetitor(Competitor):
    """Answers with a SAM, as validation does: one mask for a box, the best of three for a point.

    Args:
        name: For tables and files.
        sam: The model.
        source: Where its weights come from, for people: a run, a file's name; no absolute path.
        facts: What else a report should say of it, as plain data.
    """

    kind = "sam"
    prompts = ("box", "loose_box", "point")
    clicks = True

    def __init__(
        self,
        name: str,
        sam: Sam,
        *,
        source: str,
        facts: Mapping[str, Any] | None = None,  # Any: JSON
    ) -> None:
        super().__init__(name)
        self.sam = sam
        self.source = source
        self.facts = dict(facts or {})
        self._encode = PiecewiseEncoder(sam)

    @property
    def image_size(self) -> int:
        """S, side of the square the model sees."""
        return self.sam.image_size

    @property
    def trim_to(self) -> int | None:
        """What sides of trimmed batches are multiples of; `None` for whole squares."""
        return self.sam.config.patch_size if self.sam.trim_padding else None

    @torch.no_grad()
    def answers(self, batch: SamBatch, settings: EvaluationSettings) -> Iterator[Answer]:
        """See `Competitor`; image by image, and of an image some objects at a time."""
        embeddings = self._encode(batch.images, batch.input_sizes)
        for image in range(len(batch.frames)):
            rows = torch.nonzero(batch.image_index == image).flatten()
            for name in (name for name in settings.prompts if name != "point"):
                for part in torch.split(rows, _BOXES_AT_ONCE):
                    if len(part):
                        yield from self._boxes(name, batch, part, embeddings)
            if "point" in settings.prompts:
                for part in torch.split(rows, CLICKED_AT_ONCE):
                    if len(part):
                        yield from self._clicks(batch, part, embeddings, settings.clicks)

    @torch.no_grad()
    def instances(self, batch: SamBatch, image: int) -> Tensor:
        """See `Competitor`; automatic masks with their default settings."""
        assert batch.samples is not None  # evaluation loaders keep the samples
        sample = batch.samples[image]
        records = AutomaticMasks(self.sam).records(sample.image)
        masks = np.zeros((len(records), *sample.size), dtype=np.bool_)
        for mask, record in zip(masks, records, strict=True):
            mask[:] = record.runs.decode()
        return torch.from_numpy(masks)

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return source, architecture, input size, parameters and the hash of the weights."""
        return {
            "source": self.source,
            "arch": self.sam.config.name,
            "image_size": self.sam.image_size,
            "num_parameters": sum(each.numel() for each in self.sam.parameters()),
            "weights_sha256": self._weights_sha256,
            **self.facts,
        }

    @cached_property
    def _weights_sha256(self) -> str:
        return model_key(self.sam)

    def _boxes(
        self, name: PromptName, batch: SamBatch, rows: Tensor, embeddings: Tensor
    ) -> Iterator[Answer]:
        part = batch.select(rows)
        prompts = prompts_of(name, part)
        output = answer(self.sam, embeddings, prompts)
        yield from _at_original_size(name, batch, rows, prompts, output)

    def _clicks(
        self, batch: SamBatch, rows: Tensor, embeddings: Tensor, clicks: int
    ) -> Iterator[Answer]:
        part = batch.select(rows)
        for item in click_rounds(self.sam, part, embeddings, clicks=clicks):
            name = f"point{item.index + 1}"
            yield from _at_original_size(name, batch, rows, item.prompts, item.output)


def _at_original_size(
    name: str, batch: SamBatch, rows: Tensor, prompts: PromptBatch, output: MaskOutput
) -> Iterator[Answer]:
    """Yield the masks of the objects at `rows` of a batch, a few at a time."""
    for chunk in original_masks(output, prompts.image_index, batch.frames):
        frame = batch.frames[chunk.image]
        yield Answer(
            prompt=name,
            image=chunk.image,
            rows=rows[chunk.rows],
            masks=chunk.masks,
            predicted_iou=output.iou[chunk.rows, 0].float(),
            marks=tuple(describe_prompt(prompts, row, frame) for row in chunk.rows.tolist()),
        )
