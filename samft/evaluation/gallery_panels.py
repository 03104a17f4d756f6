"""The panels of one picture of the gallery: prompt, truth, answers, errors, close to the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from samft.inference.overlay import Marks, draw_marks, draw_masks, picture, side_by_side
from samft.types import Sample

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE: Final = 220
"""Height and width of a panel, pixels."""
_LEAST_WINDOW: Final = 96  # pixels of the image
_SMALL_OBJECT: Final = 0.1  # of the image: then the whole image is shown beside it
_SMALL_WINDOW: Final = 0.5
_GROUND: Final = (128, 128, 128)  # beyond the image's edge
_LEGEND_HEIGHT: Final = 20
_DARK: Final = 128  # brightest grey level of images that are brightened
_BRIGHT_PERCENTILE: Final = 99.5
_MOST_GAIN: Final = 8
_BOLD: Final = 1.6
# Okabe and Ito's blue, yellow and vermillion: they differ in lightness too.
ERROR_COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "right": (0, 114, 178),
    "missed": (240, 228, 66),
    "spurious": (213, 94, 0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A square part of an image, shown as a panel.

    Args:
        left: First column, pixels of the image; negative if the square is wider than the image.
        top: First row.
        side: Of the square, pixels of the image.
    """

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, truth: Mask) -> Self:
        """Return the square around an object: twice as large as it, but at least 96 pixels.

        Args:
            truth: (H, W) bool, not empty.
        """
        rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
        ends = ((rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1))
        longest = max(int(last - first) for first, last in ends)
        height, width = truth.shape
        side = min(max(2 * longest, _LEAST_WINDOW), max(height, width))
        top, left = (
            _start(int(first + last) // 2, side, length)
            for (first, last), length in zip(ends, (height, width), strict=True)
        )
        return cls(left=left, top=top, side=side)

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Self:
        """Return the smallest square that an image of (height, width) fits into, centred."""
        height, width = size
        side = max(size)
        return cls(left=-((side - width) // 2), top=-((side - height) // 2), side=side)

    def image(self, image: Picture) -> Picture:
        """Cut the square out of an (H, W, 3) image, at the size of a panel, grey beyond it."""
        part = self._cut(image, fill=np.array(_GROUND, np.uint8))
        method = Image.Resampling.BOX if self.side > SIDE else Image.Resampling.NEAREST
        return np.asarray(Image.fromarray(part).resize((SIDE, SIDE), method))

    def mask(self, mask: Mask) -> Mask:
        """Cut the square out of an (H, W) mask, at the size of a panel, empty beyond it."""
        part = Image.fromarray(self._cut(mask, fill=np.zeros((), np.bool_)))
        return np.asarray(part.resize((SIDE, SIDE), Image.Resampling.NEAREST), dtype=np.bool_)

    def marks(self, mark: Mapping[str, Any]) -> Marks:  # Any: JSON
        """Return a prompt, given in pixels of the image, in pixels of the panel."""
        marks = Marks.from_prompt(dict(mark))
        boxes = None
        if marks.boxes is not None:
            boxes = self._moved(marks.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        points = None if marks.points is None else self._moved(marks.points)
        return Marks(boxes=boxes, points=points, labels=marks.labels)

    def outline(self, other: View) -> Marks:
        """Return another view as a box in pixels of this panel."""
        left, top = other.left - 0.5, other.top - 0.5
        return self.marks({"box": [left, top, left + other.side, top + other.side]})

    def _moved(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        # Pixel centres are whole numbers in both.
        corner = np.array([self.left, self.top], np.float32)
        moved: NDArray[np.float32] = (points - corner + 0.5) * (SIDE / self.side) - 0.5
        return moved

    def _cut(self, array: NDArray[Any], fill: NDArray[Any]) -> NDArray[Any]:  # Any: of both kinds
        height, width = array.shape[:2]
        result = np.empty((self.side, self.side, *array.shape[2:]), array.dtype)
        result[...] = fill
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.side, height), min(self.left + self.side, width)
        result[top - self.top : bottom - self.top, left - self.left : right - self.left] = array[
            top:bottom, left:right
        ]
        return result


@dataclass(kw_only=True, slots=True, eq=False)
class Scene:
    """What is drawn of an object, at the size of a panel, so that images need not be kept.

    Args:
        view: Where the panel lies in the image.
        image: (SIDE, SIDE, 3).
        overview: The whole image with the place of the view, for small objects.
        truth: (SIDE, SIDE) bool.
        ignored: (SIDE, SIDE) bool, where nothing is known.
        mark: The prompt, in pixels of the image.
        answers: By model, (SIDE, SIDE) bool.
    """

    view: View
    image: Picture
    overview: Picture | None
    truth: Mask
    ignored: Mask
    mark: Mapping[str, Any]  # Any: JSON
    answers: dict[str, Mask]

    @classmethod
    def of(cls, sample: Sample, object_row: int) -> Self | None:
        """Take what is drawn from a sample; `None` if its object has no pixel."""
        row = np.array([object_row])
        index = sample.object_layer.new_tensor(row)
        truth = sample.masks(index)[0].numpy()
        if not truth.any():
            return None
        image = _brightened(picture(sample.image))
        view = View.around(truth)
        return cls(
            view=view,
            image=view.image(image),
            overview=_overview(image, view, truth),
            truth=view.mask(truth),
            ignored=view.mask(sample.ignored(index)[0].numpy()),
            mark={},
            answers={},
        )

    def draw(self, models: Sequence[tuple[str, float]], *, prompt: str) -> Picture:
        """Return the panels side by side, with a legend below.

        Args:
            models: Names with their IoU; of the last one the errors are shown.
            prompt: What was asked with, for the caption.
        """
        marked = draw_marks(self.image, self.view.marks(self.mark), weight=_BOLD)
        panels = [("whole image", self.overview)] if self.overview is not None else []
        panels += [(prompt, _with_dark_box(self, marked)), ("truth", self._filled(self.truth))]
        for name, iou in models:
            if name in self.answers:
                panels.append((_caption(name, iou), self._filled(self.answers[name])))
        last = models[-1][0]
        if last in self.answers:
            panels.append((_fitting(f"errors of {last}"), self.errors(last)))
        return _with_legend(side_by_side(panels, height=SIDE))

    def errors(self, model: str) -> Picture:
        """Return the panel that shows where a model is right and wrong, over a grey image."""
        grey = np.asarray(Image.fromarray(self.image).convert("L").convert("RGB"), np.float32)
        canvas = 0.6 * grey + 40
        given, known = self.answers[model] & ~self.ignored, ~self.ignored
        parts = {
            "right": given & self.truth,
            "missed": self.truth & known & ~given,
            "spurious": given & ~self.truth,
        }
        for name, part in parts.items():
            canvas[part] = 0.25 * canvas[part] + 0.75 * np.array(ERROR_COLOURS[name], np.float32)
        return canvas.astype(np.uint8)

    def _filled(self, mask: Mask) -> Picture:
        return draw_masks(self.image, [mask], opacity=0.35)


def _brightened(image: Picture) -> Picture:
    """Return a dark image (fluorescence) so bright that one sees what is on it."""
    brightest = max(float(np.percentile(image, _BRIGHT_PERCENTILE)), 255 / _MOST_GAIN)
    if brightest >= _DARK:
        return image
    return (image * (255 / brightest)).clip(0, 255).astype(np.uint8)


def _start(centre: int, side: int, length: int) -> int:
    """Return where a window of `side` around `centre` begins, within the image if it fits."""
    if side >= length:
        return -((side - length) // 2)
    return min(max(centre - side // 2, 0), length - side)


def _overview(image: Picture, view: View, truth: Mask) -> Picture | None:
    """Return the whole image with a box around the view; `None` where it would say nothing."""
    rows, columns = truth.any(axis=1).sum(), truth.any(axis=0).sum()
    large = rows * columns >= _SMALL_OBJECT * truth.size
    if large or view.side**2 >= _SMALL_WINDOW * truth.size:
        return None
    whole = View.whole(truth.shape)
    return _boxed(whole.image(image), whole.outline(view))


def _with_dark_box(scene: Scene, marked: Picture) -> Picture:
    marks = scene.view.marks(scene.mark)
    return marked if marks.boxes is None else _boxed(marked, marks)


def _boxed(panel: Picture, marks: Marks) -> Picture:
    """Return the panel with boxes in white between black lines: seen on any image."""
    canvas = Image.fromarray(panel)
    pen = ImageDraw.Draw(canvas)
    for left, top, right, bottom in [] if marks.boxes is None else marks.boxes.tolist():
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0))
        if right - left > 2 and bottom - top > 2:
            pen.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=(0, 0, 0))
        pen.rectangle((left, top, right, bottom), outline=(255, 255, 255))
    return np.asarray(canvas)


def _caption(name: str, iou: float) -> str:
    return _fitting(name, after=f"  IoU {iou:.2f}")


def _fitting(text: str, after: str = "") -> str:
    """Return text as long as a panel is wide; what follows it is never cut."""
    font = ImageFont.load_default(size=14)
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    short = text
    while short and font.getlength(short + after) > SIDE - 8:
        text = text[:-1]
        short = f"{text}..." if text else ""
    return short + after


def _with_legend(panels: Picture) -> Picture:
    """Return the panels with the meaning of the colours of errors below, on the right."""
    height, width = panels.shape[:2]
    canvas = Image.new("RGB", (width, height + _LEGEND_HEIGHT), (255, 255, 255))
    canvas.paste(Image.fromarray(panels))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    right = float(width)
    for name, colour in reversed(list(ERROR_COLOURS.items())):
        start = right - font.getlength(name) - 22
        pen.rectangle((start, height + 5, start + 11, height + 16), fill=colour, outline=(0, 0, 0))
        pen.text((start + 16, height + 2), name, fill=(0, 0, 0), font=font)
        right = start - 8
    return np.asarray(canvas)
