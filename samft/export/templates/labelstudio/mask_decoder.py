"""The mask decoder of a SAM in onnxruntime: needs numpy and onnxruntime only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_FIRST_CORNER, _SECOND_CORNER, _PADDING = 2, 3, -1


class MaskDecoder:
    """Answers prompts about an image that is encoded already.

    Args:
        path: The ONNX file.
    """

    def __init__(self, path: str | Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        shapes = {item.name: item.shape for item in self.session.get_inputs()}
        self.mask_shape = shapes["mask_input"]

    def __call__(
        self,
        embedding: NDArray[np.float32],
        *,
        size: tuple[int, int],
        scale: tuple[float, float],
        points: Sequence[Sequence[float]] = (),
        labels: Sequence[int] = (),
        box: Sequence[float] | None = None,
    ) -> tuple[NDArray[np.bool_], float]:
        """Return the mask (height, width) and the model's own estimate of its IoU.

        Args:
            embedding: (1, D, h, w).
            size: (width, height) of the image.
            scale: What x and y are multiplied with in the resized frame.
            points: `(x, y)` in pixels of the image.
            labels: One for each point: 1 on the object, 0 beside it.
            box: `x1, y1, x2, y2` in pixels of the image.
        """
        places, kinds = [*points], [*labels]
        if box is None:
            places, kinds = [*places, (0.0, 0.0)], [*kinds, _PADDING]
        else:
            places, kinds = [*places, box[:2], box[2:]], [*kinds, _FIRST_CORNER, _SECOND_CORNER]
        coordinates = np.array(places, np.float32) * np.array(scale, np.float32)
        masks, iou, _ = self.session.run(
            None,
            {
                "image_embeddings": embedding,
                "point_coords": coordinates[None].astype(np.float32),
                "point_labels": np.array(kinds, np.float32)[None],
                "mask_input": np.zeros(self.mask_shape, np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                "orig_im_size": np.array(size[::-1], np.float32),
            },
        )
        best = self._best(iou[0], is_clear=box is not None or len(points) > 1)
        return masks[0, best] > 0, float(iou[0, best])

    @staticmethod
    def _best(iou: NDArray[np.float32], *, is_clear: bool) -> int:
        """Return the mask for clear prompts, or the best of three for a lone point."""
        return 0 if is_clear else 1 + int(iou[1:].argmax())
