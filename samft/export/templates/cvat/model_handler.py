"""Encodes images for CVAT; the masks are made in the browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from image_encoder import ImageEncoder
from numpy.typing import NDArray
from PIL import Image

BROWSER_VALUES = 256 * 64 * 64  # of the embedding that CVAT's plugin expects


class ModelHandler:
    """The image encoder beside this file."""

    def __init__(self) -> None:
        self.encoder = ImageEncoder(Path(__file__).with_name("encoder.onnx"))

    def handle(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the embedding as the browser expects it, (1, 256, 64, 64).

        A smaller embedding travels in the first values; the decoder of this export takes it out.
        """
        embedding = self.encoder(image).ravel()
        values = np.zeros(BROWSER_VALUES, np.float32)
        values[: embedding.size] = embedding
        return values.reshape(1, 256, 64, 64)
