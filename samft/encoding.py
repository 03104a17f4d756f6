"""Encoding with less memory when it runs out: fewer images at a time, computed again in backward.

The result, its gradients and the size of the batch stay the same; only time and memory change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from samft.models.sam import Sam

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class PiecewiseEncoder:
    """Encodes a batch whole, or after running out of memory in pieces.

    With gradients only the images of a piece are kept for the backward pass, where the piece is
    encoded again.

    Args:
        sam: The model.
    """

    def __init__(self, sam: Sam) -> None:
        self.sam = sam
        self.images_at_once: int | None = None

    def __call__(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Return the embeddings (B, D, h, w); see `Sam.encode_image`."""
        size = self.images_at_once
        if size is None:
            return self.sam.encode_image(images, input_sizes)
        pieces = zip(torch.split(images, size), torch.split(input_sizes, size), strict=True)
        return torch.cat([self._piece(*piece) for piece in pieces])

    def retrying(self, run: Callable[[], _Result], images: Tensor) -> _Result:
        """Return `run()`; while it runs out of memory, run it again with half as many at once.

        Args:
            run: Encodes with this encoder, and gives the same however often it is called.
            images: (B, C, S, S), what it encodes.

        Raises:
            torch.OutOfMemoryError: if there is nothing left to halve.
        """
        while True:
            try:
                return run()
            except torch.OutOfMemoryError:
                if not self._can_halve(len(images)):
                    raise
            # Only now that the exception, which holds the failed attempt's tensors, is gone.
            self._halve(images)

    def _piece(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self.sam.encode_image(images, input_sizes)
        result: Tensor = checkpoint(self.sam.encode_image, images, input_sizes, use_reentrant=False)
        return result

    def _can_halve(self, count: int) -> bool:
        """Whether a piece can be smaller; batch norms in training see the whole batch or none."""
        norms = (each for each in self.sam.image_encoder.modules() if isinstance(each, _BatchNorm))
        if any(norm.training for norm in norms):
            return False
        # One image alone can still be computed again.
        return self.images_at_once is None or min(self.images_at_once, count) > 1

    def _halve(self, images: Tensor) -> None:
        now = len(images) if self.images_at_once is None else min(self.images_at_once, len(images))
        self.images_at_once = max(1, now // 2)
        if images.is_cuda:
            torch.cuda.empty_cache()
        _log.warning(
            "out of memory: going on with %d of %d images encoded at once and again in the "
            "backward pass, with the same result but slower; model.checkpoint_blocks true or a "
            "smaller data.batch_size avoids it",
            self.images_at_once,
            len(images),
        )
