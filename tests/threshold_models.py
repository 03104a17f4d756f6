"""Stand-ins for a model that see every bright region exactly, for tests of what is around it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from samft.inference.automatic_settings import AutomaticMaskSettings
from samft.inference.records import MaskRecord
from samft.inference.run_lengths import RunLengths


class ThresholdGenerator:
    """Finds the connected regions brighter than 127; larger ones are more confident.

    Args:
        stop_after: Images after which it is interrupted, as by a user; `None` for never.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.sam = nn.Linear(1, 1)
        nn.init.ones_(self.sam.weight)
        nn.init.zeros_(self.sam.bias)
        self.sam.image_size = 64
        self.settings = AutomaticMaskSettings()
        self.grids = [torch.zeros(1, 2)]
        self.images = 0
        self.stop_after = stop_after

    def records(self, image, *, candidates=None):
        if self.images == self.stop_after:
            raise KeyboardInterrupt
        self.images += 1
        labels, count = ndimage.label(image[:, :, 0] > 127)
        wanted = range(1, count + 1)
        if candidates is not None:
            places = candidates[:, :2].long().clamp(min=0).numpy()
            wanted = sorted({int(labels[y, x]) for x, y in places} - {0})
        found = []
        for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            if label in wanted:
                mask = labels == label
                box = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
                found.append(
                    MaskRecord(
                        runs=RunLengths.encode(mask),
                        box=box,
                        predicted_iou=1 - 1 / (1 + int(mask.sum())),
                        stability_score=1.0,
                        prompt=(0.0, 0.0),
                        crop_box=(0, 0, image.shape[1], image.shape[0]),
                    )
                )
        return found


class ThresholdPredictor:
    """Answers with the bright region that a prompt's box, points and mask have most of.

    Its images are squares of 64 pixels, which is its input side too; its logits have full size.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.sam = nn.Linear(1, 1)
        nn.init.ones_(self.sam.weight)
        nn.init.zeros_(self.sam.bias)
        self.sam.image_size = 64
        self.sam.config = SimpleNamespace(grid_size=16)
        self.images = 0
        self.stop_after = stop_after
        self.score = 0.9
        self.asked = []

    def set_image(self, image) -> None:
        if self.images == self.stop_after:
            raise KeyboardInterrupt
        self.images += 1
        self.labels, self.count = ndimage.label(image[:, :, 0] > 127)

    def predict(self, points=None, labels=None, *, box=None, mask=None, multimask=True):
        parts = {"points": points, "labels": labels, "box": box, "mask": mask}
        self.asked.append({name for name, part in parts.items() if part is not None})
        prompts = len(next(part for part in parts.values() if part is not None))
        masks = torch.stack(
            [
                self._answer({name: part[row] for name, part in parts.items() if part is not None})
                for row in range(prompts)
            ]
        )
        return Answered(
            masks[:, None],
            torch.full((prompts, 1), self.score),
            masks[:, None].float() * 12 - 6,
        )

    def _answer(self, prompt) -> torch.Tensor:
        votes = np.zeros(self.count + 1)
        if "box" in prompt:
            x1, y1, x2, y2 = (int(v) for v in torch.as_tensor(prompt["box"]).round().tolist())
            votes += np.bincount(
                self.labels[y1 : y2 + 1, x1 : x2 + 1].ravel(), minlength=self.count + 1
            )
        for x, y in torch.as_tensor(prompt.get("points", torch.zeros(0, 2))).long().tolist():
            votes[self.labels[y, x]] += 1000
        if "mask" in prompt:
            inside = prompt["mask"][0].numpy() > 0
            votes += np.bincount(self.labels[inside], minlength=self.count + 1)
        votes[0] = 0.5
        best = int(votes.argmax())
        return torch.from_numpy((self.labels == best) & (best > 0))


class Answered:
    """One mask for each prompt."""

    def __init__(self, masks, scores, logits) -> None:
        self.masks, self.scores, self.logits = masks, scores, logits

    def best(self):
        return self


class GuardedArray:
    """An array that refuses to be read in large pieces, and remembers the largest.

    Args:
        values: The array.
        most: Most values read at once.
    """

    def __init__(self, values, most: int) -> None:
        self.values, self.most, self.largest = values, most, 0
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        part = self.values[key]
        self.largest = max(self.largest, part.size)
        assert part.size <= self.most, f"{part.size} values were read at once"
        return part


def same_partition(one, other) -> bool:
    """Whether two label arrays show the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return (
        np.array_equal(one > 0, other > 0)
        and len(np.unique(pairs[0])) == pairs.shape[1]
        and len(np.unique(pairs[1])) == pairs.shape[1]
    )
