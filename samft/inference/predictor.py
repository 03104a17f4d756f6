"""One image, many prompts: encode once, then ask as often as you like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samft.data.geometry import frame_for, logits_to_original
from samft.errors import ConfigError
from samft.inference.embedding import embed_images, evaluating, padded_size
from samft.inference.images import ImageLike, image_tensor
from samft.inference.masks import original_logits, prompts_at_once
from samft.inference.predictions import Rle, encode_rle
from samft.inference.prompt_arrays import Numbers, prompt_batch
from samft.models.sam import Sam
from samft.types import Frame, MaskOutput


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskPrediction:
    """What the model answers to one prompt, or to P prompts about one image.

    One prompt gives the shapes below; P prompts give them with an axis of P in front. What needs
    the original size is computed when asked for, on the model's device.

    Args:
        logits: (M, S / 4, S / 4) float32 mask logits over the padded input frame; those of `best()`
            are what `Predictor.predict` takes as `mask`.
        scores: (M,) float32 predicted IoU; raw head output, not limited to 0..1.
        frame: The frame of the image.
        threshold: Logit above which a pixel belongs to the object.
    """

    logits: Tensor
    scores: Tensor
    frame: Frame
    threshold: float = 0.0

    @cached_property
    def masks(self) -> Tensor:
        """(M, H, W) bool, original frame."""
        flat = self.logits.flatten(0, -3)
        masks = flat.new_empty((len(flat), *self.frame.original_size), dtype=torch.bool)
        for rows, logits in original_logits(flat, self._rows, self.frame):
            masks[rows] = logits > self.threshold
        return masks.reshape(*self.scores.shape, *self.frame.original_size)

    def mask_logits(self) -> Tensor:
        """Return (M, H, W) float32 logits, original frame, before the threshold."""
        full = logits_to_original(self.logits.flatten(0, -3)[:, None], self.frame)[:, 0]
        return full.reshape(*self.scores.shape, *self.frame.original_size)

    def best(self) -> MaskPrediction:
        """Return the mask with the highest score of each prompt, M = 1."""
        index = self.scores.argmax(dim=-1, keepdim=True)
        logits = self.logits.take_along_dim(index[..., None, None], dim=-3)
        return replace(self, logits=logits, scores=self.scores.take_along_dim(index, dim=-1))

    def rle(self) -> list[Rle]:
        """Return all masks as COCO run-length encoding: M of each prompt, prompt after prompt."""
        flat = self.logits.flatten(0, -3)
        return [
            encode_rle(mask)
            for _, logits in original_logits(flat, self._rows, self.frame)
            for mask in (logits > self.threshold).cpu().numpy()
        ]

    def numpy(self) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        """Return (masks, scores, logits) as arrays, what the official `predict` returns."""
        return self.masks.cpu().numpy(), self.scores.cpu().numpy(), self.logits.cpu().numpy()

    @property
    def _rows(self) -> Tensor:
        return torch.arange(self.scores.numel(), device=self.logits.device)


class Predictor:
    """Encodes an image once and answers any number of prompts about it.

    Does what the official `SamPredictor` does, with the same defaults. Its names map to these:

    | `SamPredictor`                       | here                                               |
    | ------------------------------------ | -------------------------------------------------- |
    | `set_image(image, image_format)`     | the same; PIL images and tensors as well           |
    | `predict(point_coords, point_labels)`| `predict(points, labels)`                          |
    | `box`, or `predict_torch(boxes)`     | `box`, one or many, always in original pixels      |
    | `mask_input`                         | `mask`                                             |
    | `multimask_output=True`              | `multimask=True`                                   |
    | `return_logits=True`                 | `.mask_logits()` of the result                     |
    | `masks, scores, logits = predict()`  | `masks, scores, logits = predict().numpy()`        |
    | `get_image_embedding()`              | `embeddings`                                       |
    | `reset_image()`                      | the same                                           |

    The model answers in evaluation mode and without gradients, and is left in the mode it was in.

    Args:
        sam: The model, on any device, in any floating point type.
        prompts_per_batch: Most prompts decoded at once; bounds memory, does not change the result.
            A CPU takes fewer at a time.

    Raises:
        ConfigError: if `prompts_per_batch` is less than 1.

    Example:
        >>> predictor = Predictor(sam)
        >>> predictor.set_image(image)
        >>> first = predictor.predict(points=[[120, 80]], labels=[1]).best()
        >>> second = predictor.predict(
        ...     points=[[120, 80], [40, 60]], labels=[1, 0], mask=first.logits, multimask=False
        ... )
    """

    def __init__(self, sam: Sam, *, prompts_per_batch: int = 64) -> None:
        if prompts_per_batch < 1:
            raise ConfigError(
                "prompts_per_batch is out of range", found=prompts_per_batch, expected="at least 1"
            )
        self.sam = sam
        self.prompts_per_batch = prompts_per_batch
        self._embeddings: Tensor | None = None
        self._frames: tuple[Frame, ...] = ()

    def set_image(self, image: ImageLike, image_format: str = "RGB") -> None:
        """Encode the image that `predict` is about from now on.

        Args:
            image: (H, W, 3) uint8 array, PIL image, or (3, H, W) tensor, uint8 or float, 0 to 255.
                For a model of N channels an (H, W, N) array or (N, H, W) tensor, uint8 or float.
            image_format: "RGB", or "BGR" for arrays and tensors in OpenCV's channel order.

        Raises:
            ConfigError: if it is no such image; an image set before stays.
        """
        self.set_images([image], image_format)

    @torch.no_grad()
    def set_images(
        self, images: Sequence[ImageLike], image_format: str = "RGB", *, batch_size: int = 8
    ) -> None:
        """Encode several images, which may differ in size; `predict` then asks about one of them.

        Args:
            images: As for `set_image`, at least one.
            image_format: As for `set_image`.
            batch_size: Images encoded at once.

        Raises:
            ConfigError: if one is no image, or there is none; images set before stay.
        """
        channels, side = self.sam.num_channels, self.sam.image_size
        pixels = [
            image_tensor(image, image_format=image_format, num_channels=channels)
            for image in images
        ]
        if not pixels or batch_size < 1:
            raise ConfigError(
                "there is nothing to encode",
                found=f"{len(pixels)} images, batch_size {batch_size}",
                expected="at least one image, batch_size of at least 1",
            )
        embeddings: list[Tensor] = []
        frames: list[Frame] = []
        size = padded_size(self.sam, [frame_for((i.shape[1], i.shape[2]), side) for i in pixels])
        with evaluating(self.sam):
            for start in range(0, len(pixels), batch_size):
                batch = pixels[start : start + batch_size]
                part, part_frames = embed_images(self.sam, batch, size=size)
                embeddings.append(part)
                frames.extend(part_frames)
        self._embeddings, self._frames = torch.cat(embeddings), tuple(frames)

    def reset_image(self) -> None:
        """Forget the images."""
        self._embeddings, self._frames = None, ()

    @property
    def embeddings(self) -> Tensor:
        """(B, D, h, w) embeddings of the images that are set."""
        if self._embeddings is None:
            raise ConfigError("no image is set", fix="call set_image(image) first")
        return self._embeddings

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames of the images that are set."""
        return self._frames

    @torch.no_grad()
    def predict(
        self,
        points: Numbers | None = None,
        labels: Numbers | None = None,
        *,
        box: Numbers | None = None,
        mask: Numbers | None = None,
        multimask: bool = True,
        image: int = 0,
    ) -> MaskPrediction:
        """Answer one prompt, or P prompts at once, each with masks of its own.

        A prompt has any of points, box and mask. P prompts have an axis of P in front of every part
        that is given.

        Args:
            points: (N, 2) or (P, N, 2), `(x, y)` in pixels of the original image.
            labels: (N,) or (P, N), 1 on the object, 0 on the background; needed with points.
            box: (4,) or (P, 4), `(x1, y1, x2, y2)` in pixels of the original image.
            mask: (1, S / 4, S / 4) or (P, 1, S / 4, S / 4) logits of an earlier prediction.
            multimask: Three masks, for prompts that may mean several objects, such as one point; or
                one, usually better when the prompt is clear.
            image: Which of several images is meant, from 0.

        Raises:
            ConfigError: if no image is set, or none with this index.
            PromptError: if a part of the prompt is malformed or lies outside the image.
        """
        embedding, frame = self._chosen(image)
        prompts, single = prompt_batch(
            points=points,
            labels=labels,
            box=box,
            mask=mask,
            frame=frame,
            mask_size=(4 * embedding.shape[-2], 4 * embedding.shape[-1]),
        )
        prompts = prompts.to(embedding.device)
        rows = torch.arange(prompts.num_prompts, device=embedding.device)
        at_once = prompts_at_once(embedding, most=self.prompts_per_batch)
        with evaluating(self.sam):
            output = MaskOutput.cat(
                [
                    self.sam.decode(embedding, prompts.select(part), multimask=multimask)
                    for part in torch.split(rows, at_once)
                ]
            )
        logits, scores = output.logits.float(), output.iou.float()
        return MaskPrediction(
            logits=logits[0] if single else logits,
            scores=scores[0] if single else scores,
            frame=frame,
            threshold=self.sam.mask_threshold,
        )

    def _chosen(self, image: int) -> tuple[Tensor, Frame]:
        embeddings = self.embeddings
        if not 0 <= image < len(self._frames):
            raise ConfigError(
                "there is no image with this index",
                found=image,
                expected=f"0 to {len(self._frames) - 1}",
            )
        return embeddings[image : image + 1], self._frames[image]
