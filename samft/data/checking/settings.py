"""What a check needs to know about the training that is to come."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field

from samft.data.layouts.base import LayoutSettings
from samft.data.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSettings:
    """How a data set will be read and used.

    Args:
        image_size: Side of the square the model sees, pixels.
        tiny: Objects of fewer pixels at that size are called tiny. 16 is one logit of SAM's masks
            (four by four pixels).
        min_area: Objects of fewer pixels of the file become background, as in training.
        layout: What is said about the data.
        preprocessing: Which way volumes are cut, and which channels are taken; grey levels are
            looked at as they are.
        check_affine: Whether mask volumes must lie where their images lie.
        windowed: Whether the grey levels of a CT are set by a window.
        split_folders: Whether folders named train, val and test are splits.
        case_pattern: Regular expression that finds the case in an image's relative path.
        val_fraction: Share of the cases that validation gets where splits are drawn.
        test_fraction: Share that the test split gets.
        draw_splits: Whether splits are drawn as for training where the data has none.
        seed: Decides which cases are drawn.
    """

    image_size: int = 1024
    tiny: int = 16
    min_area: int = 1
    layout: LayoutSettings = field(default_factory=LayoutSettings)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    check_affine: bool = True
    windowed: bool = False
    split_folders: bool = True
    case_pattern: str | None = None
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    draw_splits: bool = False
    seed: int = 0

    def fingerprint(self, *more: object) -> str:
        """Return a hash of everything that decides what is found in a file.

        Args:
            more: What else does, as plain data.
        """
        text = json.dumps([asdict(self), more], sort_keys=True, default=str)
        return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()
