"""Images drawn from nothing but a seed, with a mask for every object: no files are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from samft.data.augmentation.base import Transform
from samft.data.dataset import SampleKey
from samft.data.records import SPLITS, Split
from samft.data.split_datamodule import SplitDataModule
from samft.data.synthesis.scenes import LOOKS, Look, draw_scene
from samft.errors import ConfigError, DatasetError, did_you_mean
from samft.seeding import derive_seed
from samft.types import Sample

MIX: Final[Mapping[Look, float]] = {
    "fluorescence": 4,
    "bright_field": 2,
    "tissue": 1,
    "ct": 3,
    "mr": 1,
    "underwater": 2,
    "shapes": 3,
    "photo": 3,
    "strokes": 1,
}
"""How often each look is drawn where nothing else is asked for."""

SMALLEST: Final = 64
"""Smallest side of a drawn image, pixels."""

_LOOK, _SCENE, _FIXED = 0, 1, 2  # independent streams of seeds


def generate(
    seed: int,
    *,
    size: int = 256,
    look: Look | None = None,
    looks: Mapping[Look, float] = MIX,
) -> Sample:
    """Draw one image with its objects; the same arguments give the same bytes.

    Args:
        seed: Decides everything random.
        size: Side of the square image, pixels.
        look: What kind of image; `None` draws it from `looks`.
        looks: Looks and their weights; they need not sum to 1.

    Returns:
        A sample of up to 3 label layers and 150 objects, at least 12 pixels of each of which can be
        seen. The class of an object is the index of the look in `LOOKS`.
    """
    if look is None:
        weights = np.fromiter(looks.values(), np.float64)
        rng = np.random.default_rng(derive_seed(_LOOK, seed))
        look = tuple(looks)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    scene = draw_scene(derive_seed(_SCENE, seed), size=size, look=look)
    name = f"{look}/{seed:019d}"
    return Sample(
        image=torch.from_numpy(scene.image),
        layers=torch.from_numpy(scene.objects.layers),
        object_layer=torch.from_numpy(scene.objects.object_layer),
        object_class=torch.from_numpy(scene.objects.object_class),
        sample_id=name,
        case_id=name,
    )


class SyntheticDataset(Dataset[Sample]):
    """Drawn samples.

    Args:
        length: How many there are.
        seed: Base seed.
        split: For training the key's own seed decides, so that every epoch draws new images; the
            images of validation and test depend on base seed, split and index alone.
        size: Side of the images, pixels.
        looks: Looks and their weights.
        transform: Augmentation, or `None`.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int,
        split: Split,
        size: int,
        looks: Mapping[Look, float],
        transform: Transform | None = None,
    ) -> None:
        self.length = length
        self.seed = seed
        self.split = split
        self.size = size
        self.looks = looks
        self.transform = transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Return a sample; a bare index means an image that depends on the index alone."""
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # the other workers need the other cores
        index = key.index if isinstance(key, SampleKey) else key
        if not 0 <= index < self.length:
            raise IndexError(index)  # what makes a data set iterable
        seed = derive_seed(_FIXED, self.seed, SPLITS.index(self.split), index)
        if isinstance(key, SampleKey) and self.split == "train":
            seed = key.seed
        sample = generate(seed, size=self.size, looks=self.looks)
        return sample if self.transform is None else self.transform(sample, seed)


@dataclass(kw_only=True, eq=False, repr=False)
class SyntheticDataModule(SplitDataModule):
    """Drawn images with masks, for demonstrations, tests and training from nothing.

    Training images are new in every epoch; those of validation and test stay the same.

    Args:
        looks: Kinds of images: a list, or weights as in `{fluorescence: 2, ct: 1}`; default: a mix
            of all. The looks are fluorescence, bright_field, tissue, ct, mr, underwater, shapes,
            photo and strokes.
        num_train: Training images per epoch.
        num_val: Validation images.
        num_test: Test images.
        size: Side of the images, pixels.
    """

    looks: list[str] | dict[str, float] | None = None
    num_train: int = 10_000
    num_val: int = 64
    num_test: int = 64
    size: int = 256

    @property
    def class_names(self) -> Sequence[str]:
        """The looks."""
        return LOOKS

    @property
    def repeats(self) -> bool:
        """Whether an image is drawn again in later epochs."""
        return self.variants is not None

    def prepare_index(self) -> None:
        """Do nothing: there is nothing to find."""

    def dataset(self, split: Split, *, augment: bool = False) -> SyntheticDataset:
        """Return a split as a data set of samples in the original frame."""
        return SyntheticDataset(
            self._size(split),
            seed=self.seed,
            split=split,
            size=self.size,
            looks=self._weights(),
            transform=self.transform if augment else None,
        )

    def _size(self, split: Split) -> int:
        return {"train": self.num_train, "val": self.num_val, "test": self.num_test}[split]

    def _no_split(self, what: str, *, split: Split) -> DatasetError:
        return DatasetError(
            what, where=f"data.num_{split}", found=self._size(split), fix="set data.num_test"
        )

    def _weights(self) -> Mapping[Look, float]:
        if self.looks is None:
            return MIX
        given = self.looks
        weights = given if isinstance(given, dict) else dict.fromkeys(given, 1.0)
        return cast(Mapping[Look, float], weights)  # checked when the module was made

    def _check_settings(self) -> None:
        super()._check_settings()
        self._check_at_least("num_train", 1)
        self._check_at_least("num_val", 0)
        self._check_at_least("num_test", 0)
        self._check_at_least("size", SMALLEST)
        weights = self._weights()
        for name in weights:
            if name not in LOOKS:
                raise ConfigError(
                    f"unknown look {name!r}", where="data.looks", fix=did_you_mean(name, LOOKS)
                )
        values = list(weights.values())
        if not all(np.isfinite(v) and v >= 0 for v in values) or sum(values) <= 0:
            raise ConfigError(
                "the weights of the looks do not make sense",
                where="data.looks",
                found=self.looks,
                expected="weights of 0 or more, at least one above 0",
            )
