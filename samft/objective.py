"""What one training step does with a batch: choose objects, simulate a user, compare, average."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.data.replay import RecordedPrompts
from samft.data.windows import cut_windows
from samft.errors import ConfigError
from samft.losses import LossReferences, LossTerms, SamLoss, SamLossSettings, targets_at
from samft.models.sam import Sam
from samft.piecewise import piecewise_sum
from samft.prompts.ambiguity import answers_for, is_ambiguous
from samft.prompts.background import background_clicks, out_of_reach
from samft.prompts.combining import GivenPrompts
from samft.prompts.merging import Part
from samft.prompts.rounds import interactive_rounds
from samft.prompts.selection import SelectionCounts, select_objects
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import PromptSimulator, build_simulator
from samft.prompts.streams import ImageStreams, Randomness, StreamedPrompts, common, separate
from samft.types import ABSENT, MaskOutput, PromptBatch, SamBatch
from samft.window_settings import WindowSettings, check_windows

_log = logging.getLogger(__name__)

Retry = Callable[[Callable[[], LossTerms], Tensor], LossTerms]
"""Takes what is to be run, and the images it encodes."""

_CPU_CELLS, _CELLS = 2**15, 2**18  # of the embedding, decoded at once


class InteractiveObjective:
    """The training objective of a batch, as a function of the randomness handed over alone.

    Args:
        sam: The model.
        prompts: How prompts are simulated.
        loss: Weights of the objective.
        loss_stride: The loss compares masks at 1 / loss_stride of the input side.
        windows: Whether images are cut.
        max_prompts_per_step: Objects decoded at once; bounds memory, does not change the result.
            `None`: as many as have 32768 cells of the image embedding on a CPU, whose cache is
            small, and 262144 elsewhere.

    Raises:
        ConfigError: if `loss_stride` is no choice or the model cannot be given windows.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 3 and appendix A.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        prompts: PromptSettings,
        loss: SamLossSettings,
        loss_stride: int = 4,
        windows: WindowSettings | None = None,
        max_prompts_per_step: int | None = None,
    ) -> None:
        self.sam = sam
        self.prompts = prompts
        self.windows = windows or WindowSettings()
        self.loss_stride = loss_stride
        self.max_prompts_per_step = max_prompts_per_step
        self.simulator = build_simulator(prompts, mask_stride=sam.config.patch_size // 4)
        self.loss = SamLoss(loss)
        self.recorded: RecordedPrompts | None = None
        self.counts = SelectionCounts()
        _check_stride(loss_stride)
        _check_chunk(max_prompts_per_step)
        check_windows(self.windows, sam)

    def replay(self, recorded: RecordedPrompts | None) -> None:
        """Prompt the objects that `recorded` means with what it has; simulate the others.

        Raises:
            ConfigError: if images are cut into windows, which moves them away from the prompts.
        """
        if recorded is not None and self.windows.parts > 1:
            raise ConfigError(
                "recorded prompts need whole images",
                where="model.windows.parts",
                found=self.windows.parts,
                expected="1",
            )
        self.recorded = recorded

    def __call__(
        self,
        batch: SamBatch,
        *,
        encode: Callable[[SamBatch], Tensor],
        generator: Randomness,
        progress: float = 0.0,
        retry: Retry | None = None,
    ) -> LossTerms:
        """Return the objective of one batch, averaged over prompt rounds.

        Args:
            batch: B images with P objects; P may be 0.
            encode: Gives the image embeddings of a batch.
            generator: Source of all randomness, on the batch's device.
            progress: Share of the training done, 0 to 1, for terms that fade out.
            retry: Runs encoding and decoding, again with less memory where it runs out.
        """
        whole = batch
        batch, origin = self._window(whole, generator)
        if isinstance(generator, ImageStreams) and batch is not whole:
            generator = generator.for_images(batch.sample_ids)  # windows are images of their own
        chosen = self._chosen(batch, generator, counts=self.counts)
        state = generator.get_state()

        def work_out() -> LossTerms:
            generator.set_state(state)
            embeddings = encode(batch)
            return self.of_objects(
                chosen, embeddings, origin=origin, generator=generator, progress=progress
            )

        return work_out() if retry is None else retry(work_out, batch.images)

    def of_objects(
        self,
        batch: SamBatch,
        embeddings: Tensor,
        *,
        generator: Randomness,
        origin: tuple[int, int] = (0, 0),
        progress: float = 0.0,
    ) -> LossTerms:
        """Return the objective of all objects of a batch whose images are encoded.

        Args:
            batch: B images with P objects; P may be 0.
            embeddings: (B, D, h, w).
            generator: Source of all randomness, on the batch's device.
            origin: (x, y) of the images in the input frame, pixels, where they are windows of it.
            progress: Share of the training done, 0 to 1, for terms that fade out.
        """
        state = generator.get_state()
        while True:
            # The same prompts however often it is tried: memory must not change the result.
            generator.set_state(state)
            task = self._task(batch, origin, generator=generator, progress=progress)
            try:
                total = piecewise_sum(task.work_out, embeddings, self._trained())
                return replace(task.terms(), total=total / len(task.pieces))
            except torch.OutOfMemoryError:
                if not self._can_halve(embeddings):
                    raise
            del task  # with all that it holds, and only now that the exception is gone
            self._halve(embeddings)

    def first_prompts(
        self, batch: SamBatch, *, generator: Randomness
    ) -> tuple[SamBatch, PromptBatch]:
        """Return the objects a step would choose of whole images, and their first prompts.

        Args:
            batch: B images with P objects.
            generator: Source of all randomness, on the batch's device.
        """
        chosen = self._chosen(batch, generator)
        task = self._task(chosen, (0, 0), generator=generator, progress=0.0)
        prompts = task.simulator(
            task.masks, task.image_index, generator=common(generator), ignored=task.out_of_reach
        )
        return chosen, prompts

    def _chosen(
        self, batch: SamBatch, generator: Randomness, *, counts: SelectionCounts | None = None
    ) -> SamBatch:
        rows = select_objects(
            batch,
            max_per_image=self.prompts.max_objects_per_image,
            max_area_fraction=self.prompts.max_area_fraction,
            min_area=self.prompts.min_area,
            balance=self.prompts.balance,
            counts=counts,
            generator=generator,
        )
        return batch.select(rows)

    def _trained(self) -> list[nn.Parameter]:
        modules = (self.sam.prompt_encoder, self.sam.mask_decoder)
        return [p for module in modules for p in module.parameters() if p.requires_grad]

    def _can_halve(self, embeddings: Tensor) -> bool:
        return (self.max_prompts_per_step or _at_once(embeddings)) > 1

    def _halve(self, embeddings: Tensor) -> None:
        """Decode half as many objects at once from now on."""
        self.max_prompts_per_step = (self.max_prompts_per_step or _at_once(embeddings)) // 2
        if embeddings.is_cuda:
            torch.cuda.empty_cache()
        _log.warning(
            "out of memory: going on with %d objects decoded at once, with the same result "
            "(model.max_prompts_per_step)",
            self.max_prompts_per_step,
        )

    def _task(
        self,
        batch: SamBatch,
        origin: tuple[int, int],
        *,
        generator: Randomness,
        progress: float,
    ) -> _Task:
        masks, ignored, image_index = batch.masks(), batch.ignored(), batch.image_index
        given: list[Part] = []
        simulator = self.simulator
        if isinstance(generator, ImageStreams):
            simulator = StreamedPrompts(simulator, generator)
        if self.recorded is not None:
            given.append(self.recorded.for_batch(batch, generator=generator))
        if self.prompts.background_clicks:
            clicks, empty = _background_clicks(batch, self.prompts, generator=generator)
            rows = torch.arange(len(empty), device=empty.device) + len(masks)
            given.append((rows, clicks))
            image_index = torch.cat([image_index, clicks.image_index])
            masks, ignored = torch.cat([masks, empty]), torch.cat([ignored, empty])
        height, width = (length // self.loss_stride for length in batch.images.shape[-2:])
        targets = targets_at(masks, (height, width))
        valid = targets_at(ignored, (height, width)) == 0 if bool(ignored.any()) else None
        return _Task(
            sam=self.sam,
            loss=self.loss,
            simulator=GivenPrompts(given, simulator) if given else simulator,
            prompts=self.prompts.at(progress),
            max_prompts_per_step=self.max_prompts_per_step,
            image_index=image_index,
            masks=masks,
            out_of_reach=out_of_reach(batch, image_index, ignored),
            targets=targets,
            valid=valid,
            references=self.loss.references(targets, valid=valid),
            origin=origin,
            generator=generator,
            progress=progress,
            point_generator=separate(generator) if self.loss.settings.points else None,
        )

    def _window(self, batch: SamBatch, generator: Randomness) -> tuple[SamBatch, tuple[int, int]]:
        """Return the batch, cut or whole, and where in the input frame it is taken to lie."""
        if self.windows.parts == 1:
            return batch, (0, 0)
        parts = self.windows.drawn(float(_draw(generator)))
        if parts == 1:
            return batch, (0, 0)
        room = batch.images.shape[-1] * (parts - 1) // parts + 1
        # One place for all windows: position codes depend on differences, and over the steps
        # every place comes up.
        x, y = (int(float(_draw(generator)) * room) for _ in range(2))
        return cut_windows(batch, parts), (x, y)


@dataclass(kw_only=True)
class _Task:
    """The objects of one step, with all that is needed to ask for them and to judge the answers.

    The prompts of a round are made for all objects together, and answered a few objects at a time:
    how many at a time changes the memory, not the prompts.
    """

    sam: Sam
    loss: SamLoss
    simulator: PromptSimulator
    prompts: PromptSettings
    max_prompts_per_step: int | None
    image_index: Tensor
    masks: Tensor
    out_of_reach: Tensor
    targets: Tensor
    valid: Tensor | None
    references: LossReferences
    origin: tuple[int, int]
    generator: Randomness
    progress: float
    point_generator: torch.Generator | None
    pieces: list[list[LossTerms]] = field(default_factory=list)

    def work_out(self, embeddings: Tensor, add: Callable[[Tensor], None]) -> None:
        """Go through all rounds; call `add` with the share of every piece in the mean of a round.

        Args:
            embeddings: (B, D, h, w).
            add: Takes a scalar whose graph is not needed any more.
        """

        def decode(prompts: PromptBatch, multimask: bool) -> MaskOutput:
            self.pieces.append([])
            answers = []
            size = self.max_prompts_per_step or _at_once(embeddings)
            for rows in _chunks(self.image_index, size):
                output = self._decode(embeddings, prompts.select(rows), multimask)
                terms = self._judge(output, rows)
                add(terms.total * (len(rows) / max(1, len(self.image_index))))
                self.pieces[-1].append(replace(terms, total=terms.total.detach()))
                answers.append(output.best().detach())
            return MaskOutput.cat(answers)

        for _ in interactive_rounds(
            decode,
            self.masks,
            self.image_index,
            self.prompts,
            simulator=self.simulator,
            generator=self.generator,
            ignored=self.out_of_reach,
        ):
            pass

    def terms(self) -> LossTerms:
        """Return the means over all pieces; `best` and `actual_iou` are those of the last round."""
        return LossTerms.mean([LossTerms.join(pieces) for pieces in self.pieces])

    def _decode(self, embeddings: Tensor, prompts: PromptBatch, multimask: bool) -> MaskOutput:
        if multimask and self.prompts.clear_prompts_have_one_mask:
            output = self.sam.decode(embeddings, prompts, multimask=None, origin=self.origin)
            return answers_for(output, is_ambiguous(prompts))
        return self.sam.decode(embeddings, prompts, multimask=multimask, origin=self.origin)

    def _judge(self, output: MaskOutput, rows: Tensor) -> LossTerms:
        targets = self.targets[rows]
        return self.loss(
            _resized(output, (targets.shape[-2], targets.shape[-1])),
            targets,
            valid=None if self.valid is None else self.valid[rows],
            progress=self.progress,
            references=self.references.select(rows),
            generator=self.point_generator,
        )


def _background_clicks(
    batch: SamBatch, settings: PromptSettings, *, generator: Randomness
) -> tuple[PromptBatch, Tensor]:
    """Return clicks beside all objects and their empty masks; images without room have none."""
    clicks, empty = background_clicks(batch, settings.background_clicks, generator=generator)
    assert clicks.labels is not None  # clicks are points
    found = (clicks.labels != ABSENT).any(dim=1)
    return clicks.select(found), empty[found]


def _chunks(image_index: Tensor, size: int) -> Sequence[Tensor]:
    """Split the rows; no rows are one empty piece, which still has a graph."""
    return torch.split(torch.arange(len(image_index), device=image_index.device), size)


def _draw(generator: Randomness) -> Tensor:
    source = common(generator)
    return torch.rand((), generator=source, device=source.device)


def _resized(output: MaskOutput, size: tuple[int, int]) -> MaskOutput:
    """Bring logits to the resolution of the loss."""
    if output.logits.shape[-2:] == size:
        return output
    logits = F.interpolate(output.logits, size=size, mode="bilinear", align_corners=False)
    return replace(output, logits=logits)


def _check_stride(stride: int) -> None:
    if stride not in (1, 2, 4):
        raise ConfigError("loss_stride must be 1, 2 or 4", where="model.loss_stride", found=stride)


def _at_once(embeddings: Tensor) -> int:
    return objects_at_once(embeddings.shape[-2] * embeddings.shape[-1], on_cpu=embeddings.is_cpu)


def objects_at_once(cells: int, *, on_cpu: bool) -> int:
    """Return how many objects are decoded at once where no number is set.

    Args:
        cells: Of an image's embedding.
        on_cpu: Whether the CPU computes.
    """
    return max(1, (_CPU_CELLS if on_cpu else _CELLS) // cells)


def _check_chunk(size: int | None) -> None:
    if size is not None and size < 1:
        raise ConfigError(
            "max_prompts_per_step is out of range",
            where="model.max_prompts_per_step",
            found=size,
            expected="1 or more",
        )
