"""Images with prompts from a file, for prediction: what to segment, where, and in which image."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from samft.data.dataset import SampleKey
from samft.data.files import describe_contents, list_files, match_files, relative_name
from samft.data.geometry import boxes_to_input, frame_for, pad, points_to_input, resize_image
from samft.data.pictures import DEFAULT_PERCENTILES, PercentileScale, read_picture
from samft.data.readers.image import IMAGE_SUFFIXES
from samft.data.recorded_prompt import RecordedPrompt
from samft.data.roots import resolve_root
from samft.errors import DatasetError
from samft.types import ABSENT, Frame, PromptBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptedImage:
    """One image with the prompts about it.

    Args:
        image: (C, H, W) uint8 or float32, 0 to 255, original frame; RGB where C is 3.
        prompts: Prompts in pixels of the original frame.
        sample_id: The image's path below the source, with forward slashes.
        path: The image file.
    """

    image: NDArray[Any]
    prompts: tuple[RecordedPrompt, ...]
    sample_id: str
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptedBatch:
    """B images in the input frame with P prompts.

    Args:
        images: (B, C, S, S) uint8 or float32, 0 to 255, padded with zeros right and bottom.
        frames: One `Frame` per image.
        prompts: The prompts in the input frame, by image; P may be 0.
        sample_ids: One identifier per image.
        prompt_ids: One identifier per prompt.
        prompt_classes: One class name per prompt, `None` where the file gives none.
        paths: The image files.
        originals: (H, W, 3) uint8 of each image, its first three channels, for pictures; always on
            the CPU.
    """

    images: torch.Tensor
    frames: tuple[Frame, ...]
    prompts: PromptBatch
    sample_ids: tuple[str, ...]
    prompt_ids: tuple[str | int, ...]
    prompt_classes: tuple[str | None, ...]
    paths: tuple[Path, ...]
    originals: tuple[NDArray[np.uint8], ...]

    @property
    def input_sizes(self) -> torch.Tensor:
        """(B, 2) int64 (height, width) of each image before padding, on the images' device."""
        sizes = [frame.input_size for frame in self.frames]
        return torch.tensor(sizes, dtype=torch.int64, device=self.images.device).reshape(-1, 2)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return a copy with images and prompts on `device`."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            prompts=self.prompts.to(device, non_blocking=non_blocking),
        )


class PromptedImages(Dataset[PromptedImage]):
    """Images to predict, read when asked for.

    Args:
        root: Folder the sample identifiers are relative to.
        paths: The image files.
        prompts: The prompts of each image; images that are not in it have none.
        channels: Channels to use; see `read_picture`.
        keep_depth: Keep the grey levels of images of more than 8 bits.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[Path],
        prompts: Mapping[Path, Sequence[RecordedPrompt]],
        *,
        channels: Sequence[int] | None = None,
        keep_depth: bool = False,
    ) -> None:
        self.root = root
        self.paths = list(paths)
        self.prompts = prompts
        self.channels = channels
        self._scale = PercentileScale(*DEFAULT_PERCENTILES, keep_depth)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey) -> PromptedImage:
        path = self.paths[key.index]
        return PromptedImage(
            image=read_picture([path], self._scale, channels=self.channels),
            prompts=tuple(self.prompts.get(path, ())),
            sample_id=relative_name(self.root, path),
            path=path,
        )


def find_source(source: str) -> tuple[Path, list[Path]]:
    """Return the images that `source` names and the folder their identifiers are relative to.

    Args:
        source: An image file, a folder (searched with its subfolders) or a glob pattern; a path or
            `package:NAME/FOLDER`.

    Raises:
        DatasetError: if there is no such file or folder, or no image in it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent.resolve(), [path.parent.resolve() / path.name]
    parts = Path(source).parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), None)
    if first is None or path.is_dir():
        root = resolve_root(source)
        found = list_files(root)
    else:
        root = resolve_root(str(Path(*parts[:first])) if first else ".")
        found = match_files(root, str(Path(*parts[first:])), setting="source")
    images = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DatasetError(
            "no images to predict",
            where=root,
            found=describe_contents(root),
            expected="PNG, JPEG, BMP, GIF, WebP or TIFF files",
        )
    return root, images


def collate_prompted(items: Sequence[PromptedImage], *, image_size: int) -> PromptedBatch:
    """Bring images and prompts into the input frame and stack them.

    Args:
        items: B images with their prompts.
        image_size: S, side of the padded square.
    """
    frames = tuple(
        frame_for((item.image.shape[1], item.image.shape[2]), image_size) for item in items
    )
    images = [
        pad(resize_image(torch.from_numpy(item.image), frame), image_size)
        for item, frame in zip(items, frames, strict=True)
    ]
    prompts = [prompt for item in items for prompt in item.prompts]
    return PromptedBatch(
        images=torch.stack(images),
        frames=frames,
        prompts=recorded_batch([item.prompts for item in items], frames),
        sample_ids=tuple(item.sample_id for item in items),
        prompt_ids=tuple(prompt.prompt_id for prompt in prompts),
        prompt_classes=tuple(prompt.class_name for prompt in prompts),
        paths=tuple(item.path for item in items),
        originals=tuple(_shown(item.image) for item in items),
    )


def _shown(image: NDArray[Any]) -> NDArray[np.uint8]:
    rgb = np.ascontiguousarray(image[:3].transpose(1, 2, 0))
    return rgb if rgb.dtype == np.uint8 else np.rint(rgb).astype(np.uint8)


def recorded_batch(
    by_image: Sequence[Sequence[RecordedPrompt]], frames: Sequence[Frame]
) -> PromptBatch:
    """Bring the prompts of several images into their input frames, on one axis.

    Args:
        by_image: The prompts of each image, in pixels of the original.
        frames: The frame of each image.
    """
    rows = [(i, prompt) for i, prompts in enumerate(by_image) for prompt in prompts]
    slots = max((len(prompt.points) for _, prompt in rows), default=0)
    points = torch.zeros(len(rows), slots, 2)
    labels = torch.full((len(rows), slots), ABSENT, dtype=torch.int64)
    boxes = torch.zeros(len(rows), 4)
    has_box = torch.zeros(len(rows), dtype=torch.bool)
    for row, (image, prompt) in enumerate(rows):
        count = len(prompt.points)
        if count:
            points[row, :count] = points_to_input(torch.tensor(prompt.points), frames[image])
            labels[row, :count] = torch.tensor(prompt.labels)
        if prompt.box is not None:
            boxes[row] = boxes_to_input(torch.tensor(prompt.box), frames[image])
            has_box[row] = True
    every_box = bool(has_box.all())
    return PromptBatch(
        image_index=torch.tensor([image for image, _ in rows], dtype=torch.int64),
        points=points if slots else None,
        labels=labels if slots else None,
        boxes=boxes if bool(has_box.any()) else None,
        has_box=None if every_box else has_box if bool(has_box.any()) else None,
    )
