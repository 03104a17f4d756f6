"""Every problem there is a name for, how bad it is, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
"""The worst first. An error stops training or spoils it; a warning probably does; a note may."""


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of problem.

    Args:
        severity: How bad it is.
        meaning: What is wrong, a few words.
    """

    severity: Severity
    meaning: str


CODES: Final[dict[str, Code]] = {
    # files
    "file-empty": Code("error", "the file has no bytes"),
    "file-unreadable": Code("error", "the file is damaged, incomplete or of another format"),
    "link-outside": Code("error", "a symbolic link leads out of the data folder"),
    "layout": Code("error", "the data set cannot be indexed"),
    "image-without-mask": Code("error", "no mask belongs to the image"),
    "mask-without-image": Code("error", "no image belongs to the mask"),
    "labels-unreadable": Code("error", "the labels of the image are damaged or contradictory"),
    "name-case": Code("warning", "two names differ only in upper and lower case"),
    # how image and mask lie on each other
    "size-mismatch": Code("error", "image and mask have different sizes"),
    "size-transposed": Code("error", "height and width of the mask are exchanged"),
    "exif-rotation": Code("error", "the image is turned by its EXIF tag, the mask is not"),
    "affine-mismatch": Code("error", "image and mask lie at different places in space"),
    "geometry-nonsense": Code("error", "the position of the volume in space makes no sense"),
    "orientation": Code("warning", "masks fit their images once they are flipped or turned"),
    "spacing-unknown": Code("warning", "the volume does not state its voxel size"),
    "spacing-odd": Code("warning", "the voxel size is hardly possible"),
    # values of masks
    "mask-255": Code("error", "black and white masks where class numbers are expected"),
    "value-unknown": Code("error", "mask values that have no class"),
    "labels-off-by-one": Code("error", "mask values are one off the class numbers"),
    "mask-blurred": Code("error", "masks were interpolated or compressed with loss"),
    "mask-colours": Code("error", "masks have colours that mean no class"),
    "mask-jpeg": Code("warning", "masks are JPEG files, which do not keep values"),
    "mask-stray-values": Code("warning", "a few pixels have values of their own"),
    "mask-near-white": Code("warning", "the white of masks is not 255"),
    "values-differ": Code("warning", "masks use different values for the same thing"),
    "values-unnamed": Code("warning", "grey between black and white has no meaning given"),
    "ignore-unset": Code("warning", "255 beside class numbers probably means: ignore"),
    "masks-alike": Code("warning", "masks are nearly the same in all images"),
    "mask-inverted": Code("warning", "objects and background seem to be exchanged"),
    "semantic-as-instances": Code("warning", "values are classes, but are read as objects"),
    "ids-wrapped": Code("warning", "object numbers wrapped around at 255"),
    "ids-in-pieces": Code("note", "objects consist of several pieces far from each other"),
    # objects and classes
    "no-objects": Code("error", "not a single object in the whole set"),
    "mask-empty": Code("warning", "the mask has no object"),
    "mask-full": Code("warning", "the whole image is one object"),
    "masks-overlap": Code("note", "objects overlap"),
    "object-twice": Code("warning", "the same object is there twice"),
    "objects-tiny": Code("warning", "objects are tiny at the size of training"),
    "class-without-pixels": Code("warning", "no mask has this class"),
    "class-not-in-train": Code("warning", "the class is in no training image"),
    "class-rare": Code("note", "the class is in a single image"),
    "ignore-most": Code("warning", "of most pixels nothing is known"),
    # images
    "image-constant": Code("warning", "all pixels of the image are equal"),
    "image-is-mask": Code("warning", "the image looks like a mask"),
    "image-not-finite": Code("warning", "the image holds values that are no numbers"),
    "image-cmyk": Code("warning", "the image is in printing colours (CMYK)"),
    "image-saturated": Code("note", "much of the image has the highest value"),
    "alpha-constant": Code("note", "images have an alpha channel without information"),
    "alpha-used": Code("note", "images have transparent parts, which are shown as stored"),
    "ct-padding": Code("warning", "values far below air stretch the grey levels of the CT"),
    "depth-mixed": Code("note", "images of 8 bits and of more are mixed"),
    "depth-unused": Code("note", "16-bit images hold values of 8 bits"),
    # between images
    "duplicate": Code("warning", "two images are the same"),
    "leak-pixels": Code("error", "the same image is in two splits"),
    "leak-case": Code("error", "one case is in two splits"),
    "leak-neighbour": Code("warning", "neighbouring slices or frames are in two splits"),
    "sequence": Code("warning", "images are frames of sequences, which belong together"),
}
"""By name. Names stay as they are; there may be more in later versions."""
