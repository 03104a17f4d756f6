"""Settings of points, instances and text; the defaults are the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from samft.errors import ConfigError
from samft.settings import Settings

REPORTED_CLICKS: Final = (1, 2, 3, 5, 9)
"""Numbers of clicks whose mean IoU the paper reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PointSettings(Settings):
    """How objects are asked for with points.

    Args:
        first: Where the first point falls: the `center`, which is the object's pixel farthest from
            its boundary, or a `random` pixel of it. All further points fall on the pixel of the
            error region that is farthest from its boundary.
        clicks: Points given, one after another; the mean IoU is reported after 1, 2, 3, 5 and 9.
        oracle: Also play the case in which the truth chooses among the three masks of the first
            point, where otherwise the model ranks its masks itself. Further points leave one mask,
            and nothing to choose.
        feed_mask: Hand the mask of the points before back with every further point.
        seed: Of the random first points.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1 and appendix D.1.
    """

    section: ClassVar[str] = "zeroshot.point"

    first: Literal["center", "random"] = "center"
    clicks: int = 9
    oracle: bool = True
    feed_mask: bool = True
    seed: int = 0

    def _check_ranges(self) -> None:
        self._require("clicks", low=1, high=50)
        self._require("seed", low=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceSettings(Settings):
    """How boxes become instances.

    Args:
        refine: Further passes, in which the mask of the pass before is handed back with the box.
        multimask: Take the most confident of three masks in the first pass, as the paper does;
            false takes the single mask, with which samft trains boxes.
        score: What ranks the instances: the score of the `box`, the `predicted_iou` of the mask, or
            their `product`. True boxes have the score 1.
        most: Instances of an image and class that count, by score; 100 for COCO.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.4 and appendix D.4.
    """

    section: ClassVar[str] = "zeroshot.instances"

    refine: int = 1
    multimask: bool = True
    score: Literal["box", "predicted_iou", "product"] = "box"
    most: int = 100

    def _check_ranges(self) -> None:
        self._require("refine", low=0, high=20)
        self._require("most", low=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSettings(Settings):
    """How objects are asked for with words.

    Args:
        prompt: The `text` itself, as the paper answers; or a `crop` of the image around each
            object, which is what the paper trains with.
        truth: What the answer is compared with: the `union` of the objects that the text is about,
            or the `object` among them that it overlaps most.
        template: The text about a class; {} stands for its name.
        correct: Also answer after one corrective point.
        widen: Crops are drawn from boxes that are wider by a random factor of 1 to this.
        zero_outside: Chance that what lies outside the object is black in a crop.
        seed: Of the random crops.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.5 and appendix D.5.
    """

    section: ClassVar[str] = "zeroshot.text"

    prompt: Literal["text", "crop"] = "text"
    truth: Literal["union", "object"] = "union"
    template: str = "{}"
    correct: bool = True
    widen: float = 2.0
    zero_outside: float = 0.5
    seed: int = 0

    def _check_ranges(self) -> None:
        self._require("widen", low=1, high=10)
        self._require("zero_outside", low=0, high=1)
        self._require("seed", low=0)
        if "{}" not in self.template:
            raise ConfigError(
                "the template has no place for the name of a class",
                where=f"{self.section}.template",
                found=repr(self.template),
                expected="a text with {}, such as 'a photo of a {}'",
            )
