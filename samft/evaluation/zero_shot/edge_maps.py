"""A model's masks turned into edges: the slope of the probabilities where a mask ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samft.evaluation.zero_shot.edge_settings import EdgeSettings
from samft.inference.automatic import AutomaticMasks
from samft.inference.automatic_settings import AutomaticMaskSettings
from samft.inference.images import ImageLike, image_tensor
from samft.inference.records import MaskRecord
from samft.metrics.edge_baselines import thin_edge_map
from samft.models.sam import Sam

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

NO_FILTER = -10.0  # predicted IoU that every mask exceeds; the filter is off at 0 or below

_MARGIN_PX = 2  # a boundary's outer pixel, and the neighbour that its slope is measured with
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EdgeRecord(MaskRecord):
    """A mask and the edge along its boundary, which is all that is kept of its probabilities.

    Args:
        places: (n,) int32, pixels of the boundary, flat indices into the image.
        strengths: (n,) float32, length of the probabilities' gradient there, at least 0.
    """

    places: NDArray[np.int32]
    strengths: Floats


class EdgeMasks(AutomaticMasks):
    """Keeps the edge of every mask of a grid of points, good or not.

    What is kept of a mask grows with its boundary and not with the image: some ten kilobytes
    instead of the 600 that its probabilities take in an image of BSDS500.

    Args:
        sam: The model.
        settings: Where to ask and what to drop.
    """

    def __init__(self, sam: Sam, settings: EdgeSettings) -> None:
        super().__init__(
            sam,
            settings=AutomaticMaskSettings(
                points_per_side=settings.points_per_side,
                points_per_batch=settings.points_per_batch,
                pred_iou_thresh=NO_FILTER,
                stability_score_thresh=0.0,
                box_nms_thresh=settings.nms_thresh,
            ),
        )
        self.holes = settings.holes

    def edges(self, pixels: Tensor) -> list[EdgeRecord]:
        """Return the masks of a (C, H, W) image that are left after suppression, best first."""
        found = self.records(pixels)
        return [record for record in found if isinstance(record, EdgeRecord)]

    def _kept(self, record: MaskRecord, logits: Tensor) -> MaskRecord:
        width = logits.shape[1]
        x1, y1, x2, y2 = record.box
        left, top = max(0, x1 - _MARGIN_PX), max(0, y1 - _MARGIN_PX)
        window = logits[top : y2 + _MARGIN_PX + 1, left : x2 + _MARGIN_PX + 1]
        mask = (window > self.sam.mask_threshold).cpu().numpy()
        rows, columns, strengths = boundary_slopes(
            window.float().sigmoid().cpu().numpy(), mask, holes=self.holes
        )
        return EdgeRecord(
            **{item.name: getattr(record, item.name) for item in fields(MaskRecord)},
            places=((rows + top) * width + columns + left).astype(np.int32),
            strengths=strengths,
        )


def edge_map(sam: Sam, image: ImageLike, settings: EdgeSettings | None = None) -> Floats:
    """Detect the edges of an image with a model that was never taught to.

    Masks of a grid of points, none filtered out, similar ones dropped; the slope of each one's
    probabilities along its outer boundary; the largest of all masks at every pixel; scaled to
    0 to 1; thinned.

    Args:
        sam: The model, on any device.
        image: (H, W, 3) uint8 array, PIL image or (C, H, W) tensor, 0 to 255.
        settings: `None` for the paper's.

    Returns:
        (H, W) float32 in [0, 1], 0 beside edges.

    Raises:
        ConfigError: if the image is none, or a setting out of range.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.2 and appendix D.2.
    """
    chosen = EdgeSettings.resolve(settings)
    pixels = image_tensor(image, num_channels=sam.num_channels)
    records = EdgeMasks(sam, chosen).edges(pixels)
    return joined_edges(
        records, (pixels.shape[1], pixels.shape[2]), thin_sigma_px=chosen.thin_sigma_px
    )


def boundary_slopes(
    probabilities: Floats, mask: Mask, *, holes: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return where a mask's boundary is, and how steep its probabilities are there.

    The boundary are the outermost pixels of the mask and those next to them outside, diagonally
    too. Where the mask ends with the image there is none.

    Args:
        probabilities: (h, w) float32, 0 to 1.
        mask: (h, w) bool, where they are above one half.
        holes: Whether holes in the mask have boundaries.

    Returns:
        Rows (n,), columns (n,), and the gradient's length by Sobel's operator (n,) float32.
    """
    solid = mask.astype(np.uint8)
    if not holes:
        outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(solid, outlines, -1, 1, thickness=cv2.FILLED)
    # Beyond the image both take nothing into account.
    band = cv2.dilate(solid, _SQUARE) != cv2.erode(solid, _SQUARE)
    rows, columns = np.nonzero(band)
    across = cv2.Sobel(probabilities, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(probabilities, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    slopes = np.hypot(across[rows, columns], down[rows, columns]).astype(np.float32)
    return rows, columns, slopes


def joined_edges(
    records: Iterable[EdgeRecord], size: tuple[int, int], *, thin_sigma_px: float
) -> Floats:
    """Return the strongest edge of all masks at every pixel, scaled to 0 to 1 and thinned.

    Args:
        records: Masks of one image.
        size: (height, width) of the image.
        thin_sigma_px: See `samft.metrics.edge_baselines.thin_edge_map`.

    Returns:
        (H, W) float32 in [0, 1].
    """
    strongest = np.zeros(size, np.float32)
    flat = strongest.reshape(-1)
    for record in records:
        flat[record.places] = np.maximum(flat[record.places], record.strengths)
    low, high = float(strongest.min()), float(strongest.max())
    if high > low:
        strongest = (strongest - low) / (high - low)
    return thin_edge_map(strongest, sigma_px=thin_sigma_px)
