"""What a data set consists of, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from samft.data.checking.facts import SIZE_EDGES


@dataclass(slots=True)
class Summary:
    """Numbers about a data set.

    Attributes:
        images: Images and volumes.
        readable: Those without an error of their own.
        empty: Readable ones without any object.
        objects: Objects of all images, and of all slices of volumes.
        dropped: Specks below `data.min_area`, which are no objects.
        tiny: Objects that are tiny at training size.
        sizes: Objects of each class of sizes, see `SIZE_EDGES`.
        classes: For each class, its objects and the images that have it.
        shapes: Images of each size, such as `480 x 640`.
        channels: Images of each number of channels.
        depths: Images of each type of values.
        splits: Images of each split.
        ignored: Sum over the images of the share of pixels of which nothing is known.
    """

    images: int = 0
    readable: int = 0
    empty: int = 0
    objects: int = 0
    dropped: int = 0
    tiny: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * len(SIZE_EDGES))
    classes: dict[str, tuple[int, int]] = field(default_factory=dict)
    shapes: Counter[str] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    depths: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    ignored: float = 0.0

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return plain data."""
        plain = {name: getattr(self, name) for name in ("images", "readable", "empty", "objects")}
        return plain | {
            "dropped_objects": self.dropped,
            "tiny_objects": self.tiny,
            "object_sizes": [
                {"from_px": edge, "objects": count}
                for edge, count in zip(SIZE_EDGES, self.sizes, strict=True)
            ],
            "classes": {
                name: {"objects": objects, "images": images}
                for name, (objects, images) in self.classes.items()
            },
            "image_sizes": dict(self.shapes.most_common()),
            "channels": {str(count): images for count, images in sorted(self.channels.items())},
            "depths": dict(self.depths),
            "splits": dict(self.splits),
            "ignored_share": self.ignored / max(1, self.readable),
        }
