"""How fast a mask decoder learns what a box is, from different first weights.

    python -m benchmarks.nano.box_filling --steps 300

There is no image: every embedding is zero, the prompt is a box, and the right answer is the ellipse
that fills it. What is learned is geometry alone: from the codes of two corners to the inside.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from samft.losses import SamLoss, SamLossSettings
from samft.models.config import config_for
from samft.models.initialise import initialise_from_scratch
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.optim import OptimizerSettings, build_optimizer, build_schedule
from samft.types import PromptBatch

WINDOW: Final = 64  # pixels; small, so that a step is cheap
SIDES: Final = (5.0, 44.0)  # of the boxes, pixels
GROUPS: Final = ((0, 8), (8, 16), (16, 32), (32, 64))
LAST_STEPS: Final = 40  # that the scores are averaged over


def default(sam: Sam) -> None:
    """Leave torch's default weights and random directions of the position codes."""
    del sam


def codes(sam: Sam) -> None:
    """Take the position codes of `initialise_from_scratch`, and nothing else."""
    ready = build_from_config(sam.config)
    initialise_from_scratch(ready)
    source = ready.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.copy_(source)


STARTS: Final[dict[str, Callable[[Sam], None]]] = {
    "default": default,
    "codes": codes,
    "places": initialise_from_scratch,
}


def boxes_and_ellipses(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw boxes in a window.

    Returns:
        Boxes (P, 4) xyxy in pixels, ellipses (P, 1, WINDOW / 2, WINDOW / 2) float, and sides (P,)
        of squares of the boxes' area; P is at most `count`.
    """
    low, high = map(math.log, SIDES)
    side = torch.exp(low + (high - low) * torch.rand(count, 2, generator=generator))
    center = torch.rand(count, 2, generator=generator) * WINDOW
    boxes = torch.cat([center - side / 2, center + side / 2], dim=1).clamp(0, WINDOW - 1)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    radius = (boxes[:, 2:] - boxes[:, :2]) / 2 + 0.5
    line = torch.arange(WINDOW // 2) * 2 + 0.5
    x = (line - middle[:, :1]) / radius[:, :1]
    y = (line - middle[:, 1:]) / radius[:, 1:]
    inside = x[:, None, :] ** 2 + y[:, :, None] ** 2 < 1
    kept = inside.flatten(1).sum(dim=1) > 3
    return boxes[kept], inside[kept, None].float(), 2 * radius.prod(dim=1).sqrt()[kept]


def learn(start: str, *, steps: int, count: int, lr: float, seed: int) -> list[float]:
    """Train from a start; return the mean IoU of the last steps, of all and of each of `GROUPS`."""
    torch.manual_seed(seed)
    sam = build_from_config(config_for("vit_nano"))
    STARTS[start](sam)
    sam.image_encoder.requires_grad_(requires_grad=False)
    settings = OptimizerSettings(method="muon", lr=lr, weight_decay=0.05, warmup_steps=30)
    optimizer = build_optimizer(sam, settings)
    schedule = build_schedule(optimizer, settings, total_steps=steps)
    loss = SamLoss(SamLossSettings())
    generator = torch.Generator().manual_seed(seed)
    cells = WINDOW // sam.config.patch_size
    embedding = torch.zeros(1, sam.config.embed_dim, cells, cells)
    seen: list[Tensor] = []
    for _ in range(steps):
        boxes, targets, sides = boxes_and_ellipses(count, generator)
        x, y = torch.randint(sam.image_size - WINDOW + 1, (2,), generator=generator).tolist()
        index = torch.zeros(len(boxes), dtype=torch.int64)
        asked = PromptBatch(image_index=index, boxes=boxes)
        output = sam.decode(embedding, asked, multimask=False, origin=(x, y))
        terms = loss(output, targets)
        optimizer.zero_grad()
        torch.autograd.backward(terms.total)
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seen.append(torch.stack([terms.actual_iou.detach()[:, 0], sides], dim=1))
    iou, side = torch.cat(seen[-LAST_STEPS:]).unbind(dim=1)
    return [
        float(iou.mean()),
        *(float(iou[(side >= low) & (side < high)].mean()) for low, high in GROUPS),
    ]


def main(given: list[str] | None = None) -> int:
    """Train from every start and print the result; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--boxes", type=int, default=64, help="per step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS))
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    groups = " ".join(f"{f'{low}-{high} px':>10}" for low, high in GROUPS)
    print(f"{'start':10} {'IoU':>10} {groups} {'seconds':>8}")
    for start in options.starts:
        before = time.perf_counter()
        scores = learn(
            start, steps=options.steps, count=options.boxes, lr=options.lr, seed=options.seed
        )
        numbers = " ".join(f"{score:10.3f}" for score in scores)
        print(f"{start:10} {numbers} {time.perf_counter() - before:8.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
