"""A segmenter without a model: the connected bright pieces of a plane are its objects."""

import numpy as np
from scipy import ndimage

from samft.data.sources import Source
from samft.inference.predictions import ImagePrediction, ObjectPrediction, encode_rle


class Bright:
    """Finds what is brighter than a share of the range.

    Args:
        threshold: Grey level, 0 to 255.
        one_object: Call every piece the same object.
    """

    def __init__(self, threshold: int = 128, *, one_object: bool = False) -> None:
        self.threshold = threshold
        self.one_object = one_object
        self.calls: list[str] = []

    def wants(self, source: Source, plane: str) -> bool:
        return True

    def __call__(self, source: Source, index: int) -> ImagePrediction:
        image = source.picture(index)
        self.calls.append(source.planes[index])
        pieces, count = ndimage.label(image[0] > self.threshold)
        objects = [
            ObjectPrediction(
                rle=encode_rle(pieces == number),
                score=0.5 + number / 1000,
                prompt={},
                prompt_id=number,
                object_id=1 if self.one_object else None,
            )
            for number in range(1, count + 1)
        ]
        return ImagePrediction(
            sample_id=source.planes[index],
            size=image.shape[1:],
            objects=objects,
            image=np.ascontiguousarray(image.transpose(1, 2, 0)),
            in_volume=source.space is not None,
        )
