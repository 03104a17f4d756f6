"""Automatic masks of images too large for memory: tile by tile, stitched, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samft.inference.array_sources import ArrayLike, ImageSource
from samft.inference.crops import Crop
from samft.inference.disjoint import LabelledMasks, disjoint_masks
from samft.inference.label_results import LabelResult, MaskGenerator, Progress, no_progress
from samft.inference.label_stores import create_labels, publish
from samft.inference.prompt_arrays import Numbers, candidate_prompts
from samft.inference.stitching import (
    Fragments,
    choose,
    edge_tolerance,
    paint,
    remembered,
    same_objects,
)
from samft.inference.tile_settings import TileSettings
from samft.inference.tiles import Tile, TileGrid
from samft.inference.work_folder import WorkFolder, image_key, model_key, tensors_key, writing


class TiledMasks:
    """Finds all objects of a large image and writes them as one label array.

    The image is read tile by tile; memory holds a few tiles, however large it is. Every tile sees
    a halo beyond what it answers for. What two tiles both found is one object there, kept from the
    tile that sees most around it; what no tile sees whole is put together from its pieces. The
    result does not show where tiles met.

    Finished tiles are kept in a folder beside the output, `<out>.partial`, until the output is
    complete. Called again after it was stopped, it goes on with the next tile, and the result is
    the same. The output has its name only when it is complete.

    Args:
        generator: What finds the objects of a tile: `AutomaticMasks`. Fractions of the image in its
            settings (`max_mask_area_fraction`, grids) are fractions of a tile here.
        settings: How tiles are cut and stitched; `None` for the defaults.
        changes: Single settings, by the names of `TileSettings`.

    Raises:
        ConfigError: if a setting is unknown or out of range.

    Example:
        >>> generator = AutomaticMasks(sam, points_per_side=16, max_mask_area_fraction=0.3)
        >>> tiled = TiledMasks(generator, tile_side=1024, halo=128)
        >>> tiled.label(open_array("slide.zarr"), "labels.zarr").count
    """

    def __init__(
        self,
        generator: MaskGenerator,
        *,
        settings: TileSettings | None = None,
        **changes: Any,  # Any: checked against the settings' types
    ) -> None:
        base = settings or TileSettings()
        self.generator = generator
        self.settings = TileSettings.from_dict({**base.to_dict(), **changes})

    def label(
        self,
        image: ArrayLike | ImageSource,
        out: str | Path,
        *,
        candidates: Numbers | None = None,
        progress: Progress = no_progress,
    ) -> LabelResult:
        """Label all objects of an image.

        Args:
            image: (H, W), (H, W, C) or (C, H, W) uint8: a numpy array, a memory map, a zarr array
                (`open_array`). An `ImageSource` for anything else.
            out: `.zarr`, `.tif` or `.npy`, which must not exist.
            candidates: Points (N, 2) or boxes xyxy (N, 4) in pixels of the image, each thought to
                mean one object, asked for instead of the grid. A box must fit into a tile.
            progress: Told about every tile, first when it is segmented, then when it is written.

        Returns:
            Where the labels are, and the objects' scores. Labels are numbered 1 to `count`.

        Raises:
            OutputError: if the output exists or cannot be of this kind, or an unfinished run with
                other settings, weights or pixels lies beside it.
            ConfigError: if the halo does not fit the tile.
            PromptError: if candidates are malformed or lie outside the image.
            DatasetError: if `image` is no image.
            MachineError: if the disk is full.
        """
        source = image if isinstance(image, ImageSource) else ImageSource(image)
        asked = None if candidates is None else candidate_prompts(candidates, source.size)
        side, halo = self.settings.sizes(self.generator.sam.image_size)
        grid = TileGrid(source.size, side=side, halo=halo)
        work = WorkFolder(Path(out), self._key(source, asked, (side, halo)))
        with work.opened():
            for tile in grid:
                if work.load(_name(tile.index)) is None:
                    masks = self._segment(source, tile, asked)
                    arrays = {"labels": _compact(masks), "scores": masks.scores}
                    work.save(_name(tile.index), arrays)
                progress(tile.index + 1, 2 * len(grid))
            scores = self._stitch(grid, work, progress)
            with writing(work.out):
                publish(work.labels, work.out)
        return LabelResult(path=work.out, shape=source.size, scores=scores)

    def _segment(self, source: ImageSource, tile: Tile, asked: Tensor | None) -> LabelledMasks:
        inside = None if asked is None else _inside(asked, tile)
        if inside is not None and len(inside) == 0:
            return LabelledMasks(np.zeros(tile.size, np.int32), np.zeros(0, np.float32))
        records = self.generator.records(source.read(tile.outer), candidates=inside)
        return disjoint_masks(records, tile.size, min_visible=self.settings.min_visible)

    def _stitch(self, grid: TileGrid, work: WorkFolder, progress: Progress) -> NDArray[np.float32]:
        def read(index: int) -> LabelledMasks:
            arrays = work.need(_name(index))
            return LabelledMasks(arrays["labels"].astype(np.int32), arrays["scores"])

        settings, done = self.settings, len(grid)
        load = remembered(read)
        fragments = Fragments.of(grid, load)
        sets = same_objects(grid, load, fragments.first, settings.match_iou)
        edge = edge_tolerance(max(grid[0].size))
        chosen = choose(fragments, sets, edge=edge, min_area=settings.min_area)

        def painted() -> None:
            nonlocal done
            done += 1
            progress(done, 2 * len(grid))

        with writing(work.out):
            return paint(
                grid,
                load,
                create_labels(work.labels, grid.size),
                fragments=fragments,
                chosen=chosen,
                settings=settings,
                painted=painted,
            )

    def _key(
        self, source: ImageSource, asked: Tensor | None, sizes: tuple[int, int]
    ) -> dict[str, Any]:  # Any: plain data
        return {
            "what": "tiles of an image",
            "image": image_key(source),
            "model": model_key(self.generator.sam),
            "masks": self.generator.settings.to_dict(),
            "grids": tensors_key(self.generator.grids),
            "tiles": self.settings.to_dict(),
            "sizes": sizes,
            "candidates": None if asked is None else tensors_key([asked]),
        }


def _name(index: int) -> str:
    return f"tile-{index:06d}"


def _compact(masks: LabelledMasks) -> NDArray[Any]:  # Any: the type is chosen by the count
    few = masks.count <= np.iinfo(np.uint16).max
    return masks.labels.astype(np.uint16) if few else masks.labels


def _inside(asked: Tensor, tile: Tile) -> Tensor:
    """Return the prompts that lie in a tile, in its own pixels."""
    origin = asked.new_tensor(tile.outer[:2]).repeat(asked.shape[1] // 2)
    return Crop(tile.outer, layer=0).inside(asked) - origin
