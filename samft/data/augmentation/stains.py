"""Haematoxylin and eosin in other amounts, as they vary from laboratory to laboratory."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from samft.data.augmentation.planes import planes_of, with_planes
from samft.types import Sample

HED: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and DAB in red, green and blue.

Source: Ruifrok and Johnston 2001, "Quantification of histochemical staining by color
    deconvolution", Analytical and Quantitative Cytology and Histology 23.
"""


class StainJitter:
    """Separates the stains of a bright-field image and changes how much there is of each.

    Args:
        gain: Each amount is multiplied by a factor drawn uniformly from 1 minus to 1 plus this.
        shift: And raised or lowered by up to this optical density.

    Source: Tellez et al. 2018, "Whole-Slide Mitosis Detection in H&E Breast Histology Using PHH3 as
        a Reference to Train Distilled Stain-Invariant Convolutional Networks", IEEE TMI 37(9),
        section III-D.
    """

    def __init__(self, *, gain: float = 0.25, shift: float = 0.03) -> None:
        self.gain = gain
        self.shift = shift

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample in other colours; nothing moves."""
        change = self.change(np.random.default_rng(seed))
        planes = planes_of(sample)
        planes = planes if len(planes) == 3 else planes * 3
        density = cv2.merge(planes)
        density += 1  # black has a density, too
        cv2.log(density, density)
        # The density is -log((value + 1) / 256); sign and constant are taken along by the matrix.
        constant = np.float32(np.log(256))
        affine = change.copy()
        affine[:, 3] = constant * (1 - change[:, :3].sum(axis=1)) - change[:, 3]
        values = cv2.exp(cv2.transform(density, affine))
        values -= 1
        return with_planes(sample, cv2.split(values))

    def change(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw a change, (3, 4): what the optical densities (red, green, blue, 1) are mapped by."""
        stains = np.array(HED)
        stains /= np.linalg.norm(stains, axis=1, keepdims=True)
        gains = rng.uniform(1 - self.gain, 1 + self.gain, 3)
        shifts = rng.uniform(-self.shift, self.shift, 3)
        # Amounts are densities (as a row) times the inverse; back by the matrix itself.
        linear = np.linalg.inv(stains) @ np.diag(gains) @ stains
        return np.column_stack([linear.T, shifts @ stains]).astype(np.float32)
