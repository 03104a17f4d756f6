"""Label images, one value per object, and single masks, one file per object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from samft.errors import OutputError
from samft.inference.formats.base import ResultFormat
from samft.inference.predictions import ImagePrediction, decode_rle, label_map


class LabelPng(ResultFormat):
    """`labels/<name>.png`: 0 background, k the k-th object; 8 bits, or 16 from 256 objects on."""

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`."""
        labels = label_map(prediction.objects, prediction.size)
        if labels.max(initial=0) > np.iinfo(np.uint16).max:
            raise OutputError(
                "a PNG label map holds at most 65535 objects",
                where=prediction.sample_id,
                found=len(prediction.objects),
                fix="write --format tiff instead",
            )
        few = len(prediction.objects) <= np.iinfo(np.uint8).max
        picture = Image.fromarray(labels.astype(np.uint8 if few else np.uint16))
        place = self.folder.place("labels", prediction.sample_id, ".png")
        return [self.folder.write(place, lambda path: picture.save(path, format="PNG"))]


class LabelTiff(ResultFormat):
    """`labels/<name>.tif`: the same in 16 bits, or 32 from 65536 objects on."""

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`."""
        labels = label_map(prediction.objects, prediction.size)
        few = len(prediction.objects) <= np.iinfo(np.uint16).max
        array = labels.astype(np.uint16) if few else labels
        place = self.folder.place("labels", prediction.sample_id, ".tif")
        return [
            self.folder.write(place, lambda path: tifffile.imwrite(path, array, compression="zlib"))
        ]


class SingleMasks(ResultFormat):
    """`masks/<name>/<number>.png`: 0 and 255, one file per object; masks may overlap."""

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`."""
        written = []
        for number, item in enumerate(prediction.objects, start=1):
            picture = Image.fromarray(decode_rle(item.rle).astype(np.uint8) * 255)
            name = f"{prediction.sample_id}/{number:05d}.png"
            place = self.folder.place("masks", name)
            written.append(
                self.folder.write(place, lambda path, p=picture: p.save(path, format="PNG"))  # type: ignore[misc]  # mypy cannot see the type of p
            )
        return written
