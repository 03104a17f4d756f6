"""What to say about oddities that many images of a set share."""

from __future__ import annotations

from typing import Final

ADVICE: Final[dict[str, tuple[str, str, str]]] = {
    "alpha-constant": (
        "an alpha channel with one value everywhere",
        "grey or RGB",
        "nothing: samft leaves it out",
    ),
    "alpha-used": (
        "pixels of different transparency",
        "opaque images",
        "check what lies below transparent parts: samft shows the stored colours",
    ),
    "depth-mixed": (
        "images of 16 bits beside images of 8 bits",
        "one depth",
        "save all with the same depth: only 16 bits are scaled by data.percentiles",
    ),
    "depth-unused": (
        "16-bit images without a value above 255",
        "values that use the depth",
        "save as 8 bits if they should stay as they are: 16 bits are scaled by data.percentiles",
    ),
    "ignore-most": (
        "more than half of the pixels are ignored",
        "labels on most of the image",
        "check data.ignore_value",
    ),
    "mask-inverted": (
        "most of the mask, and of its border, is object",
        "objects on a background",
        "if black is the object, set data.background: 255 and data.classes: {0: NAME}",
    ),
    "masks-alike": (
        "a large region that is nearly the same in all images",
        "the objects of each image",
        "if these are fields of view, set data.labels to a pattern of the masks of the objects",
    ),
    "ids-wrapped": (
        "all numbers up to 255, many of them in several places",
        "a number for each object",
        "save label images with 16 bits",
    ),
    "semantic-as-instances": (
        "few values, each in many pieces",
        "one value for each object",
        "set data.objects: component",
    ),
    "ids-in-pieces": (
        "objects in several large pieces",
        "mostly one piece for each object",
        "if a number stands for several objects, set data.objects: component",
    ),
}
"""Found, expected and fix of what many images share."""
