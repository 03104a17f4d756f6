"""All objects of an image, without anybody asking for them one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from samft.data.geometry import boxes_to_input, points_to_input
from samft.errors import ConfigError
from samft.inference.automatic_settings import AutomaticMaskSettings
from samft.inference.crops import Crop, crop_boxes, given_grids, layer_grids
from samft.inference.embedding import embed_images, evaluating
from samft.inference.filters import near_crop_edge, stability_scores
from samft.inference.images import ImageLike, image_tensor
from samft.inference.masks import original_logits, prompts_at_once
from samft.inference.nms import box_nms, mask_nms
from samft.inference.prompt_arrays import Numbers, candidate_prompts
from samft.inference.records import MaskRecord
from samft.inference.run_lengths import RunLengths
from samft.inference.small_regions import clean_regions
from samft.models.sam import Sam
from samft.prompts.sampling import tight_boxes
from samft.types import POSITIVE, Frame, MaskOutput, PromptBatch


@dataclass(frozen=True, slots=True)
class _Task:
    """One image and what is asked about it.

    Args:
        pixels: (3, H, W), original frame, on the CPU.
        candidates: Points (N, 2) or boxes (N, 4), original frame; `None` for the grid.
    """

    pixels: Tensor
    candidates: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def from_candidates(self) -> bool:
        return self.candidates is not None


class AutomaticMasks:
    """Prompts a model all over an image and keeps the good answers.

    Does what the official `SamAutomaticMaskGenerator` does, with the same names and defaults, in
    less memory: logits are brought to the size of the image only when the model itself thinks well
    of them, a few at a time, and masks are kept as run lengths. Empty masks are never kept.

    Args:
        sam: The model, on any device, in any floating point type.
        settings: Where to ask and what to keep; `None` for the defaults.
        point_grids: Instead of regular grids: one (n, 2) for the whole image and one for each layer
            of crops, `(x, y)` as shares of the crop.
        changes: Single settings, by the names of `AutomaticMaskSettings`.

    Raises:
        ConfigError: if a setting is unknown or out of range, or a grid malformed.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 4 and appendix B.

    Example:
        >>> records = AutomaticMasks(sam, points_per_side=16).generate(image)
    """

    def __init__(
        self,
        sam: Sam,
        *,
        settings: AutomaticMaskSettings | None = None,
        point_grids: Sequence[Numbers] | None = None,
        **changes: Any,  # Any: checked against the settings' types
    ) -> None:
        if point_grids is not None:
            changes = _without_grid_size(changes)
        base = settings or AutomaticMaskSettings()
        self.sam = sam
        self.settings = AutomaticMaskSettings.from_dict({**base.to_dict(), **changes})
        layers = self.settings.crop_n_layers
        self.grids = (
            given_grids(point_grids, layers=layers)
            if point_grids is not None
            else layer_grids(
                self.settings.points_per_side,
                layers=layers,
                downscale=self.settings.crop_n_points_downscale_factor,
            )
        )

    def generate(
        self, image: ImageLike, *, candidates: Numbers | None = None, image_format: str = "RGB"
    ) -> list[dict[str, Any]]:  # Any: JSON or an array
        """Return the masks of an image as dicts with the official generator's keys.

        Args:
            image: (H, W, 3) uint8 array, PIL image, or (3, H, W) tensor, uint8 or float, 0 to 255.
            candidates: Points (N, 2) or boxes xyxy (N, 4) in pixels of the image, each thought to
                mean one object, asked for instead of the grid. Each is answered with the model's
                best mask, and masks that overlap too much are dropped (`mask_nms_thresh`).
            image_format: "RGB", or "BGR" for arrays and tensors in OpenCV's channel order.

        Returns:
            One dict per mask: `segmentation` (see `output_mode`), `area` in pixels, `bbox` (x, y,
            width, height of the outermost pixels' centres), `predicted_iou`, `stability_score`,
            `point_coords`, `crop_box`; the most confident mask first, those of smaller crops
            before. An empty list is a legal result.

        Raises:
            ConfigError: if `image` is no image.
            PromptError: if candidates are malformed or lie outside the image.
        """
        found = self.records(image, candidates=candidates, image_format=image_format)
        return [record.to_dict(self.settings.output_mode) for record in found]

    @torch.no_grad()
    def records(
        self, image: ImageLike, *, candidates: Numbers | None = None, image_format: str = "RGB"
    ) -> list[MaskRecord]:
        """Do as `generate` does, and return the masks in their smallest form."""
        channels = self.sam.num_channels
        pixels = image_tensor(image, image_format=image_format, num_channels=channels)
        asked = None
        if candidates is not None:
            asked = candidate_prompts(candidates, (pixels.shape[1], pixels.shape[2]))
        task = _Task(pixels, asked)
        settings = self.settings
        crops = crop_boxes(
            task.size, layers=settings.crop_n_layers, overlap_ratio=settings.crop_overlap_ratio
        )
        found: list[MaskRecord] = []
        with evaluating(self.sam):
            for crop in crops:
                answers = list(self._answers(task, crop))
                scores = [record.predicted_iou for record in answers]
                found += self._distinct(answers, scores, self._within(task), task)
        if len(crops) > 1:
            scores = [1 / _area(record.crop_box) for record in found]
            found = self._distinct(found, scores, self._across(task), task)
        if settings.min_mask_region_area > 0:
            found = self._tidied(found, task)
        return found

    def _within(self, task: _Task) -> float:
        settings = self.settings
        return settings.mask_nms_thresh if task.from_candidates else settings.box_nms_thresh

    def _across(self, task: _Task) -> float:
        settings = self.settings
        return settings.mask_nms_thresh if task.from_candidates else settings.crop_nms_thresh

    def _answers(self, task: _Task, crop: Crop) -> Iterator[MaskRecord]:
        """Yield the masks of one crop that pass the filters."""
        if task.candidates is None:
            prompts = crop.place(self.grids[crop.layer])
        else:
            prompts = crop.inside(task.candidates)
        if len(prompts) == 0:
            return
        x1, y1, x2, y2 = crop.box
        embedding, (frame,) = embed_images(self.sam, [task.pixels[:, y1:y2, x1:x2]])
        at_once = prompts_at_once(embedding, most=self.settings.points_per_batch)
        for chunk in torch.split(prompts, at_once):
            asked = _prompt_batch(chunk, crop, frame).to(embedding.device)
            output = self._decode(embedding, asked)
            if task.from_candidates:
                output = output.best()
            yield from self._good(output, chunk, crop=crop, frame=frame, size=task.size)

    def _decode(self, embedding: Tensor, prompts: PromptBatch) -> MaskOutput:
        """Answer prompts, with any number of masks each; a subclass may ask otherwise."""
        return self.sam.decode(embedding, prompts, multimask=True)

    def _kept(self, record: MaskRecord, logits: Tensor) -> MaskRecord:
        """Return what is kept of a mask; a subclass may keep more of its logits.

        Args:
            record: The mask.
            logits: (h, w) float32, its logits over the crop.
        """
        del logits
        return record

    def _good(
        self,
        output: MaskOutput,
        prompts: Tensor,
        *,
        crop: Crop,
        frame: Frame,
        size: tuple[int, int],
    ) -> Iterator[MaskRecord]:
        settings = self.settings
        per_prompt = output.iou.shape[1]
        ious = output.iou.float().flatten()
        rows = torch.arange(len(ious), device=ious.device)
        if settings.pred_iou_thresh > 0:
            rows = rows[ious > settings.pred_iou_thresh]
        confidence, asked = ious.tolist(), prompts.tolist()
        for part, logits in original_logits(output.logits.flatten(0, 1), rows, frame):
            masks, passed = self._measure(logits, crop=crop, size=size)
            numbers = part.tolist()
            for index, stability, box in passed:
                runs = _encode(masks[index], box, crop=crop, size=size)
                if self._is_small_enough(runs):
                    record = MaskRecord(
                        runs=runs,
                        box=tuple(box),
                        predicted_iou=confidence[numbers[index]],
                        stability_score=stability,
                        prompt=tuple(asked[numbers[index] // per_prompt]),
                        crop_box=crop.box,
                    )
                    yield self._kept(record, logits[index])

    def _measure(
        self, logits: Tensor, *, crop: Crop, size: tuple[int, int]
    ) -> tuple[Tensor, Iterator[Any]]:  # Any: what `tolist` gives
        """Filter logits (k, H, W) of a crop.

        Returns:
            Masks (k, H, W) bool, and (index, stability score, box in the image) of those that pass.
        """
        settings, threshold = self.settings, self.sam.mask_threshold
        stability = stability_scores(
            logits, threshold=threshold, offset=settings.stability_score_offset
        )
        masks = logits > threshold
        boxes, found = tight_boxes(masks)
        boxes = boxes + boxes.new_tensor(crop.origin).repeat(2)
        stable = stability >= settings.stability_score_thresh
        index = torch.nonzero(found & stable & ~near_crop_edge(boxes, crop.box, size))[:, 0]
        # One transfer from the device for each list, not one for each mask.
        columns = (index, stability[index], boxes[index].long())
        return masks, zip(*(column.tolist() for column in columns), strict=True)

    def _is_small_enough(self, runs: RunLengths) -> bool:
        fraction = self.settings.max_mask_area_fraction
        return fraction == 1 or runs.area < fraction * runs.size[0] * runs.size[1]

    def _distinct(
        self, records: list[MaskRecord], scores: list[float], threshold: float, task: _Task
    ) -> list[MaskRecord]:
        """Drop records that overlap a better one, and sort the rest by falling score."""
        ranks = torch.tensor(scores, dtype=torch.float64)
        if task.from_candidates:
            rows = mask_nms([record.runs.coco() for record in records], ranks, threshold)
        else:
            boxes = torch.tensor([record.box for record in records], dtype=torch.float64)
            rows = box_nms(boxes, ranks, threshold)
        return [records[row] for row in rows.tolist()]

    def _tidied(self, records: list[MaskRecord], task: _Task) -> list[MaskRecord]:
        """Remove specks, and then masks that have become like others; untouched ones come first."""
        cleaned = [_cleaned(record, self.settings.min_mask_region_area) for record in records]
        scores = [1.0 if new is old else 0.0 for new, old in zip(cleaned, records, strict=True)]
        threshold = max(self._within(task), self._across(task))
        return self._distinct(cleaned, scores, threshold, task)


def _without_grid_size(changes: Mapping[str, Any]) -> dict[str, Any]:  # Any: settings
    rest = dict(changes)
    if rest.pop("points_per_side", None) is not None:
        raise ConfigError(
            "points_per_side and point_grids exclude each other",
            fix="give one of them",
        )
    return rest


def _prompt_batch(prompts: Tensor, crop: Crop, frame: Frame) -> PromptBatch:
    """Bring points (P, 2) or boxes (P, 4) of the image to the input frame of a crop."""
    index = torch.zeros(len(prompts), dtype=torch.int64)
    local = prompts - prompts.new_tensor(crop.origin).repeat(prompts.shape[1] // 2)
    if prompts.shape[1] == 4:
        return PromptBatch(image_index=index, boxes=boxes_to_input(local, frame).float())
    return PromptBatch(
        image_index=index,
        points=points_to_input(local, frame).float()[:, None],
        labels=torch.full((len(prompts), 1), POSITIVE),
    )


def _encode(mask: Tensor, box: list[int], *, crop: Crop, size: tuple[int, int]) -> RunLengths:
    """Encode a mask of a crop as one of the image; only its box is looked at."""
    x1, y1, x2, y2 = box
    left, top = crop.origin
    window = mask[y1 - top : y2 - top + 1, x1 - left : x2 - left + 1]
    return RunLengths.encode(window.cpu().numpy(), origin=(x1, y1), size=size)


def _cleaned(record: MaskRecord, min_area: int) -> MaskRecord:
    """Return the record without specks; the same object if it has none."""
    mask, had_specks = clean_regions(record.runs.decode(), min_area)
    if not had_specks:
        return record
    boxes, _ = tight_boxes(torch.from_numpy(mask)[None])
    return replace(record, runs=RunLengths.encode(mask), box=tuple(boxes[0].long().tolist()))


def _area(box: tuple[int, int, int, int]) -> int:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1)
