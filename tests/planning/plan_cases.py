"""Small modules and batches whose memory is estimated."""

from dataclasses import replace
from unittest import mock

import torch
from models.tiny_sam import TINY as DEEPER

from samft import SamModule
from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.models.config import ARCHITECTURES
from samft.planning.step import StepShape
from samft.types import SamBatch

SIDE = 128
# One block of either kind and one layer: a rehearsal takes as long as a model is deep.
TINY = replace(DEEPER, encoder=replace(DEEPER.encoder, depth=2), decoder_depth=1)
SMALL = StepShape(images=2, objects=8)
PROMPTS = {"rounds": 1, "extra_passes": 0, "max_objects_per_image": 4}


def module(arch: str = "tiny", **settings: object) -> SamModule:
    """Return a model in training mode; the tiny one is a ViT as ViT-B is."""
    torch.manual_seed(0)
    given = {"image_size": SIDE, "prompts": PROMPTS, **settings}
    with mock.patch.dict(ARCHITECTURES, tiny=TINY):
        return SamModule(arch, **given).train()


def batch_of(images: int) -> SamBatch:
    """Return drawn images with four objects or more each."""
    samples = [generate(seed, size=SIDE, look="shapes") for seed in range(images)]
    return collate(samples, image_size=SIDE)


class Exact:
    """An allocator that lays nothing out: it holds what is alive at most."""

    def __init__(self) -> None:
        self.held = self.now = 0
        self.sizes: list[int] = []

    def allocate(self, size: int) -> int:
        self.now += size
        self.held = max(self.held, self.now)
        self.sizes.append(size)
        return len(self.sizes) - 1

    def free(self, place: int) -> None:
        self.now -= self.sizes[place]
