"""Pictures to look at: the image with its masks and prompts."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from samft.inference.formats.base import ResultFormat
from samft.inference.overlay import Marks, draw_marks, draw_masks
from samft.inference.predictions import ImagePrediction, decode_rle


class OverlayPng(ResultFormat):
    """`overlays/<name>.png`."""

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`."""
        assert prediction.image is not None  # whoever predicts keeps it
        picture = draw_masks(prediction.image, [decode_rle(o.rle) for o in prediction.objects])
        for item in prediction.objects:
            if not item.measures:  # the points of a grid would hide the picture
                picture = draw_marks(picture, Marks.from_prompt(item.prompt))
        place = self.folder.place("overlays", prediction.sample_id, ".png")
        image = Image.fromarray(picture)
        return [self.folder.write(place, lambda path: image.save(path, format="PNG"))]
