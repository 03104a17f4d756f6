"""The image encoder of a SAM in onnxruntime: needs numpy, Pillow and onnxruntime only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image


class ImageEncoder:
    """Resizes an image as SAM wants it and encodes it.

    Args:
        path: The ONNX file; it knows the size of its input.
    """

    def __init__(self, path: str | Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        self.side = int(facts["image_size"])

    def scale(self, image: Image.Image) -> tuple[float, float]:
        """Return what x and y of the image are multiplied with in the resized frame."""
        width, height = image.size
        new_width, new_height = self._resized(width, height)
        return new_width / width, new_height / height

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the embedding, (1, D, h, w)."""
        resized = image.convert("RGB").resize(self._resized(*image.size), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, dtype=np.float32)
        embedding: NDArray[np.float32] = self.session.run(None, {"input_image": pixels})[0]
        return embedding

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        factor = self.side / max(width, height)
        return max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))
