"""What is measured on a GPU, and in which order: what tells most comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.adapted_steps import SAMFT, TRANSFORMERS
from samft.models.config import ARCHITECTURES as EVERY
from samft.models.config import SamConfig, VitEncoder, config_for

DRY: Final = SamConfig(
    name="vit_dry",
    encoder=VitEncoder(dim=128, depth=4, heads=4, global_blocks=(1, 3), window_size=3),
    image_size=64,
    embed_dim=64,
    decoder_heads=4,
    decoder_mlp_dim=64,
)
"""Small, and as plain a vision transformer as SAM's: for dry runs, in this benchmark alone."""
EVERY.setdefault(DRY.name, DRY)

ARCHITECTURES: Final = ("vit_b", "vit_l", "vit_h")
BOX: Final = "box"
"""One decoder pass for each object's tight box: what both programs can do."""
PAPER: Final = "paper"
"""The eleven passes of SAM's own training: a point or a box, corrective clicks, fed-back masks."""

CACHED: Final = "cached"
"""Frozen encoder, embeddings read from samft's store."""
DECODER: Final = "decoder"
"""Frozen encoder that is not run: embeddings lie in memory."""

PLAIN: Final = "plain"
CHECKPOINTING: Final = "checkpointing"
COMPILE: Final = "compile"
SHARDED: Final = "sharded"
NON_FINITE: Final = "non_finite"
WAYS: Final = (PLAIN, CHECKPOINTING, COMPILE, SHARDED, NON_FINITE)
"""How it is run: as it is; encoder blocks computed again in backward; `torch.compile` on the image
encoder; FSDP2 with one rank; with the callback that looks for numbers that are none."""

Stage = tuple[str, str, str]  # method, prompts, way

FIRST: Final[tuple[Stage, ...]] = (
    ("lora", BOX, PLAIN),
    ("full", BOX, PLAIN),
    ("lora", PAPER, PLAIN),
    ("frozen", BOX, PLAIN),
    ("lora", BOX, CHECKPOINTING),
    ("full", BOX, CHECKPOINTING),
    ("late_lora", BOX, PLAIN),
)
SECOND: Final[tuple[Stage, ...]] = (
    ("lora", BOX, COMPILE),
    ("full", BOX, SHARDED),
    (DECODER, BOX, PLAIN),
    (CACHED, BOX, PLAIN),
    ("full", PAPER, PLAIN),
    ("full", PAPER, NON_FINITE),
)
REST: Final[tuple[Stage, ...]] = (
    ("lora", BOX, SHARDED),
    ("frozen", PAPER, PLAIN),
    (CACHED, PAPER, PLAIN),
    (DECODER, PAPER, PLAIN),
    ("late_lora", PAPER, PLAIN),
    ("late_lora", BOX, CHECKPOINTING),
    ("full", BOX, COMPILE),
    ("lora", PAPER, CHECKPOINTING),
    ("full", PAPER, CHECKPOINTING),
    ("frozen", BOX, COMPILE),
    ("late_lora", BOX, COMPILE),
    ("late_lora", BOX, SHARDED),
    ("frozen", BOX, SHARDED),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuCase:
    """One row: a program that trains a model in one way.

    Args:
        program: samft or transformers.
        arch: Architecture.
        images: Of a step.
        method: A preset of samft that `transformers` + peft can do too, or `CACHED`, `DECODER`.
        prompts: `BOX` or `PAPER`.
        way: One of `WAYS`.
    """

    program: str
    arch: str
    images: int
    method: str
    prompts: str = BOX
    way: str = PLAIN

    @property
    def name(self) -> str:
        """What the row is called in files and on the command line."""
        parts = (self.program, self.arch, self.images, self.method, self.prompts, self.way)
        return ":".join(map(str, parts))

    @classmethod
    def of(cls, name: str) -> GpuCase:
        """Return the case of a name."""
        program, arch, images, method, prompts, way = name.split(":")
        return cls(
            program=program, arch=arch, images=int(images), method=method, prompts=prompts, way=way
        )

    @property
    def stage(self) -> Stage:
        """Method, prompts and way."""
        return self.method, self.prompts, self.way

    @property
    def is_possible(self) -> bool:
        """Whether the program can do it."""
        if self.program == SAMFT:
            return True
        own_to_samft = self.prompts != BOX or self.method == CACHED
        is_plain_vit = isinstance(config_for(self.arch).encoder, VitEncoder)
        return is_plain_vit and not own_to_samft and self.way not in (SHARDED, NON_FINITE)


def plan(archs: Sequence[str], images: Sequence[int]) -> list[GpuCase]:
    """Return all cases, the most telling first; both programs right after each other.

    Args:
        archs: Architectures, the most telling first.
        images: Batch sizes, likewise.
    """
    first, others = images[:1], images[1:]
    turns = (
        *((FIRST, first), (SECOND, first), (FIRST, others)),
        *((REST, first), (SECOND, others), (REST, others)),
    )
    return [
        case
        for stages, counts in turns
        for count in counts
        for stage in stages
        for arch in archs
        for case in _of_stage(stage, arch, count)
    ]


def _of_stage(stage: Stage, arch: str, images: int) -> Iterator[GpuCase]:
    method, prompts, way = stage
    for program in (SAMFT, TRANSFORMERS):
        case = GpuCase(
            program=program, arch=arch, images=images, method=method, prompts=prompts, way=way
        )
        if case.is_possible:
            yield case
