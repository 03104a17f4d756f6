"""Where pixels go: from the original frame to the input frame and back.

The one place that knows SAM's rule: resize the longest side to S, pad right and bottom to S x S.
Everything that moves between the two frames, in training, prediction and export, calls these
functions.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; the rounding is that of the official
    `ResizeLongestSide`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.types import Frame

_FAST_CHANNELS = 4
"""Channels up to which torch has a fast path for bytes; more are four times faster in parts."""


def frame_for(original_size: tuple[int, int], image_size: int) -> Frame:
    """Return the frame of an image of `original_size` (height, width) for a model of side S.

    Example:
        >>> frame_for((1500, 2250), 1024).input_size
        (683, 1024)
    """
    height, width = original_size
    scale = image_size / max(height, width)
    # max(1, ...): a 4000 x 1 strip would otherwise round to zero pixels.
    input_size = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    return Frame(original_size=original_size, input_size=input_size, image_size=image_size)


def resize_image(image: Tensor, frame: Frame) -> Tensor:
    """Resize (C, H, W) to (C, *frame.input_size), antialiased bilinear; uint8 or float32, 0..255.

    On uint8 this agrees with PIL's bilinear resize, which SAM was trained with, but for
    rounding (one grey level, rarely two).
    """
    if image.shape[-2:] == frame.input_size:
        return image
    if image.dtype != torch.uint8 or image.device.type != "cpu":
        return _antialiased(image.contiguous(), frame.input_size)
    if image.shape[0] <= _FAST_CHANNELS:
        return _antialiased(image, frame.input_size)
    parts = torch.split(image, _FAST_CHANNELS - 1)
    return torch.cat([_antialiased(part, frame.input_size) for part in parts])


def _antialiased(image: Tensor, size: tuple[int, int]) -> Tensor:
    resized: Tensor = F.interpolate(
        image[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    return resized


def resize_layers(layers: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize label layers (L, H, W) to (L, *size), nearest neighbour on pixel centres."""
    rows = _nearest(layers.shape[-2], size[0], layers.device)
    columns = _nearest(layers.shape[-1], size[1], layers.device)
    if layers.device.type != "cpu":
        return layers[..., rows[:, None], columns[None, :]]
    # One axis after the other, and by numpy: three times faster. What shrinks most goes first.
    axes = [(-2, rows.numpy()), (-1, columns.numpy())]
    axes.sort(key=lambda axis: axis[1].size / layers.shape[axis[0]])
    array = layers.numpy()
    for axis, places in axes:
        array = array.take(places, axis=axis)
    return torch.from_numpy(array)


def _nearest(source: int, target: int, device: torch.device) -> Tensor:
    centres = (torch.arange(target, device=device, dtype=torch.float64) + 0.5) * (source / target)
    return centres.long().clamp_(max=source - 1)


def pad(tensor: Tensor, image_size: int) -> Tensor:
    """Pad the last two axes with zeros on the right and bottom to `image_size` x `image_size`."""
    height, width = tensor.shape[-2:]
    return F.pad(tensor, (0, image_size - width, 0, image_size - height))


def points_to_input(points: Tensor, frame: Frame) -> Tensor:
    """Move (..., 2) float points `(x, y)` from the original to the input frame."""
    return points * _factors(frame, points)


def points_to_original(points: Tensor, frame: Frame) -> Tensor:
    """Move (..., 2) float points `(x, y)` from the input to the original frame."""
    return points / _factors(frame, points)


def boxes_to_input(boxes: Tensor, frame: Frame) -> Tensor:
    """Move (..., 4) float xyxy boxes from the original to the input frame."""
    return points_to_input(boxes.reshape(*boxes.shape[:-1], 2, 2), frame).flatten(-2)


def boxes_to_original(boxes: Tensor, frame: Frame) -> Tensor:
    """Move (..., 4) float xyxy boxes from the input to the original frame."""
    return points_to_original(boxes.reshape(*boxes.shape[:-1], 2, 2), frame).flatten(-2)


def _factors(frame: Frame, like: Tensor) -> Tensor:
    # The two factors differ slightly because each side is rounded on its own; the official code
    # does the same.
    (height, width), (new_height, new_width) = frame.original_size, frame.input_size
    dtype = like.dtype if like.is_floating_point() else torch.float32  # never cut to whole numbers
    return torch.tensor([new_width / width, new_height / height], dtype=dtype, device=like.device)


def logits_to_original(logits: Tensor, frame: Frame) -> Tensor:
    """Bring mask logits (P, M, S / 4, S / 4) of one image to (P, M, *frame.original_size), float32.

    Upsample to S x S, cut the padding off, resize to the original. Threshold at 0 afterwards, never
    before. Logits of a trimmed batch are less high or wide; their longer side always spans S.

    Source: official `Sam.postprocess_masks`.
    """
    longer = max(logits.shape[-2:])
    covered = [length * frame.image_size // longer for length in logits.shape[-2:]]
    height, width = frame.input_size
    full = F.interpolate(logits.float(), size=covered, mode="bilinear", align_corners=False)
    full = full[..., :height, :width]
    return F.interpolate(full, size=frame.original_size, mode="bilinear", align_corners=False)
