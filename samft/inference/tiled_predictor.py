"""Prompts about images too large for the model: each is answered where it points to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samft.errors import PromptError
from samft.inference.array_sources import ArrayLike, Box, ImageSource
from samft.inference.predictor import Predictor
from samft.inference.prompt_arrays import Numbers, as_tensor, candidate_prompts
from samft.inference.run_lengths import RunLengths
from samft.inference.tile_settings import TileSettings
from samft.inference.tiles import TileGrid
from samft.prompts.sampling import tight_boxes

_MOST_TILES: Final = 4
_CONTEXT: Final = 1.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowMask:
    """The answer to one prompt, without the rest of the image.

    Args:
        prompt: Position of the prompt among those given, from 0.
        box: (x1, y1, x2, y2) of the mask, the far edges excluded, pixels of the image; all zero
            when it is empty.
        mask: (y2 - y1, x2 - x1) bool.
        score: Predicted IoU.
    """

    prompt: int
    box: Box
    mask: NDArray[np.bool_]
    score: float

    def runs(self, size: tuple[int, int]) -> RunLengths:
        """Return the mask as run lengths of the whole image of a size (height, width)."""
        return RunLengths.encode(self.mask, origin=self.box[:2], size=size)


class TiledPredictor:
    """Answers prompts about a large image, without ever holding more than a tile of it.

    A prompt is answered in the tile in whose core its middle lies; tiles are encoded once for all
    their prompts. A prompt that does not fit into its tile gets a crop of its own, half as large
    again as the prompt.

    Args:
        predictor: Answers prompts about one image; what is set in it is replaced.
        settings: How the image is cut; `None` for the defaults.
        changes: Single settings, by the names of `TileSettings`.

    Raises:
        ConfigError: if a setting is unknown or out of range.

    Example:
        >>> tiled = TiledPredictor(Predictor(sam), tile_side=1024)
        >>> for answer in tiled.predict(open_array("slide.zarr"), boxes=boxes):
        ...     print(answer.prompt, answer.score, answer.box)
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        settings: TileSettings | None = None,
        **changes: Any,  # Any: checked against the settings' types
    ) -> None:
        base = settings or TileSettings()
        self.predictor = predictor
        self.settings = TileSettings.from_dict({**base.to_dict(), **changes})

    def predict(
        self,
        image: ArrayLike | ImageSource,
        *,
        points: Numbers | None = None,
        labels: Numbers | None = None,
        boxes: Numbers | None = None,
        multimask: bool = True,
    ) -> Iterator[WindowMask]:
        """Answer P prompts, tile by tile.

        Args:
            image: As for `TiledMasks.label`.
            points: (P, N, 2), `(x, y)` in pixels of the image.
            labels: (P, N), 1 on the object, 0 on the background; with points.
            boxes: (P, 4), xyxy in pixels of the image.
            multimask: Of three masks the most confident, or one mask at once.

        Yields:
            The answers, one for each prompt, ordered by tiles; `prompt` tells which it is.

        Raises:
            PromptError: if prompts are malformed, lie outside the image, or span more than four
                tiles.
            DatasetError: if `image` is no image.
        """
        source = image if isinstance(image, ImageSource) else ImageSource(image)
        parts = _parts(points, labels, boxes)
        extents = _extents(parts, source.size)
        side, halo = self.settings.sizes(self.predictor.sam.image_size)
        grid = TileGrid(source.size, side=side, halo=halo)
        groups: dict[Box, list[int]] = {}
        for row, extent in enumerate(extents.tolist()):
            groups.setdefault(_window(grid, extent, side), []).append(row)
        for window in sorted(groups, key=lambda box: (box[1], box[0], box[2], box[3])):
            self.predictor.set_image(source.read(window))
            rows = groups[window]
            for start in range(0, len(rows), self.predictor.prompts_per_batch):
                part = rows[start : start + self.predictor.prompts_per_batch]
                yield from self._answers(parts, part, window, multimask=multimask)

    def _answers(
        self, parts: dict[str, Tensor], rows: list[int], window: Box, *, multimask: bool
    ) -> Iterator[WindowMask]:
        origin = torch.tensor(window[:2], dtype=torch.float64)
        points, labels, boxes = (
            parts[name][rows] if name in parts else None for name in ("points", "labels", "boxes")
        )
        answer = self.predictor.predict(
            None if points is None else points - origin,
            labels,
            box=None if boxes is None else boxes - origin.repeat(2),
            multimask=multimask,
        ).best()
        masks = answer.masks[:, 0]
        corners, found = tight_boxes(masks)
        ends = corners.long() + torch.tensor([0, 0, 1, 1], device=corners.device)
        ends = ends * found[:, None]
        arrays, scores = masks.cpu().numpy(), answer.scores[:, 0].tolist()
        for row, mask, score, (x1, y1, x2, y2) in zip(
            rows, arrays, scores, ends.tolist(), strict=True
        ):
            x, y = window[:2] if x2 > 0 else (0, 0)
            yield WindowMask(
                prompt=row,
                box=(x1 + x, y1 + y, x2 + x, y2 + y),
                mask=mask[y1:y2, x1:x2].copy(),
                score=score,
            )


def _parts(
    points: Numbers | None, labels: Numbers | None, boxes: Numbers | None
) -> dict[str, Tensor]:
    values = {"points": points, "labels": labels, "boxes": boxes}
    parts = {
        name: as_tensor(name, value).cpu() for name, value in values.items() if value is not None
    }
    if not parts or ("points" in parts) != ("labels" in parts):
        raise PromptError(
            "there is no prompt" if not parts else "points and labels come together",
            expected="points with labels, boxes, or both",
        )
    if not _well_formed(parts):
        raise PromptError(
            "prompts of the wrong shape",
            found=", ".join(f"{name} {tuple(part.shape)}" for name, part in parts.items()),
            expected="points (P, N, 2) with labels (P, N), boxes (P, 4)",
        )
    return {name: part if name == "labels" else part.double() for name, part in parts.items()}


def _well_formed(parts: dict[str, Tensor]) -> bool:
    points, labels, boxes = (parts.get(name) for name in ("points", "labels", "boxes"))
    if boxes is not None and (boxes.ndim != 2 or boxes.shape[1] != 4):
        return False
    if points is None or labels is None:
        return True
    if points.ndim != 3 or points.shape[1] == 0 or points.shape[2] != 2:
        return False
    return labels.shape == points.shape[:2] and (boxes is None or len(boxes) == len(points))


def _extents(parts: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Return (P, 4) boxes around everything that belongs to a prompt, checked."""
    corners = []
    if "points" in parts:
        candidate_prompts(parts["points"].reshape(-1, 2), size)
        corners.append(parts["points"])
    if "boxes" in parts:
        candidate_prompts(parts["boxes"], size)
        corners.append(parts["boxes"].reshape(-1, 2, 2))
    places = torch.cat(corners, dim=1)
    return torch.cat([places.amin(dim=1), places.amax(dim=1)], dim=1)


def _window(grid: TileGrid, extent: list[float], side: int) -> Box:
    x1, y1, x2, y2 = extent
    tile = grid[grid.owner((x1 + x2) / 2, (y1 + y2) / 2)]
    left, top, right, bottom = tile.outer
    if left <= x1 and top <= y1 and x2 <= right and y2 <= bottom:
        return tile.outer
    longest = max(x2 - x1, y2 - y1)
    if longest > _MOST_TILES * side:
        raise PromptError(
            "a prompt is too large for its tile",
            found=f"{longest:.0f} pixels",
            expected=f"at most {_MOST_TILES * side}, {_MOST_TILES} tiles",
            fix="enlarge tile_side, or segment a smaller copy of the image",
        )
    height, width = grid.size
    needed = max(side, int(_CONTEXT * longest) + 1)
    left, right = _span((x1 + x2) / 2, needed, width)
    top, bottom = _span((y1 + y2) / 2, needed, height)
    return left, top, right, bottom


def _span(middle: float, needed: int, length: int) -> tuple[int, int]:
    """Return the ends of a stretch around a place, moved into 0..length."""
    needed = min(needed, length)
    start = min(max(round(middle - needed / 2), 0), length - needed)
    return start, start + needed
