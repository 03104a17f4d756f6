"""Times an interactive training step on cached embeddings against a loop over images, in one run.

ViT-B's prompt encoder and mask decoder at 1024 px, several objects per image, a first prompt and
corrective clicks with fed-back logits, SAM's loss on the decoder's own masks, forward and backward.
The peer is the straightforward way on `segment_anything`'s modules: image by image, the graphs
of all rounds kept until one backward pass per image (one for the batch would not fit). Prompts,
clicks and loss are the same functions for both.

    python -m benchmarks.train_step                               # 4 images x 8 objects, 8 rounds
    python -m benchmarks.train_step --images 1 --objects 8 32 128    # how memory grows with objects

Every measurement is its own process, and the cases take turns; the fastest of the turns counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Measurement, peak_mb, timed, without_torchvision
from samft.allocator import keep_freed_memory
from samft.losses import SamLoss, SamLossSettings, targets_at
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config
from samft.objective import InteractiveObjective
from samft.prompts.rounds import interactive_rounds
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import build_simulator
from samft.types import Frame, MaskOutput, PromptBatch, SamBatch

ROOT = Path(__file__).parents[1]
SIDE, GRID, WIDTH = 1024, 64, 256
OURS, PLAIN_MEMORY, PEER = "samft", "samft, memory given back", "segment_anything, loop"
CASES = (OURS, PLAIN_MEMORY, PEER)


def make_batch(images: int, objects: int, side: int = SIDE) -> SamBatch:
    """Return images with `objects` discs each, on a grid, all of them visible."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    across = max(1, int(objects**0.5 + 0.999))
    step = side // across
    layers = torch.zeros(images, 1, side, side, dtype=torch.int32)
    for index in range(objects):
        row, column = divmod(index, across)
        distance = (y - (row + 0.5) * step).square() + (x - (column + 0.5) * step).square()
        layers[:, 0][:, distance < (0.4 * step) ** 2] = index + 1
    count = images * objects
    return SamBatch(
        images=torch.zeros(images, 3, side, side, dtype=torch.uint8),
        layers=layers,
        image_index=torch.arange(images).repeat_interleave(objects),
        object_layer=torch.zeros(count, dtype=torch.int64),
        object_value=(torch.arange(objects) + 1).repeat(images).int(),
        object_class=torch.zeros(count, dtype=torch.int64),
        frames=(Frame(original_size=(side, side), input_size=(side, side), image_size=side),)
        * images,
        sample_ids=tuple(map(str, range(images))),
    )


def ours(batch: SamBatch, embeddings: Tensor, prompts: PromptSettings) -> Callable[[], None]:
    """Return a training step of samft."""
    sam = build_from_config(ARCHITECTURES["vit_b"])
    objective = InteractiveObjective(sam, prompts=prompts, loss=SamLossSettings())

    def step() -> None:
        terms = objective(
            batch, encode=lambda _: embeddings, generator=torch.Generator().manual_seed(0)
        )
        terms.total.backward()

    return step


def build_official() -> Any:  # Any: the package has no types
    """Build the official ViT-B."""
    with without_torchvision():
        from segment_anything import sam_model_registry
    return sam_model_registry["vit_b"]()


def peer(batch: SamBatch, embeddings: Tensor, prompts: PromptSettings) -> Callable[[], None]:
    """Return the same step as a loop over images on the official modules."""
    sam = build_official()
    loss, simulator = SamLoss(), build_simulator(prompts)

    def step() -> None:
        generator = torch.Generator().manual_seed(0)
        torch.rand(batch.num_objects, generator=generator)  # what samft chooses objects by
        for image in range(len(batch.frames)):
            part = batch.select(batch.image_index == image)
            masks = part.masks()
            targets = targets_at(masks, (SIDE // 4, SIDE // 4))

            def decode(asked: PromptBatch, multimask: bool, at: int = image) -> MaskOutput:
                return _official_decode(sam, embeddings[at : at + 1], asked, multimask)

            rounds = interactive_rounds(
                decode,
                masks,
                torch.zeros_like(part.image_index),
                prompts,
                simulator=simulator,
                generator=generator,
            )
            losses = [loss(item.output, targets).total for item in list(rounds)]
            torch.stack(losses).mean().backward()

    return step


def _official_decode(
    sam: Any,  # Any: the package has no types
    embedding: Tensor,
    prompts: PromptBatch,
    multimask: bool,
) -> MaskOutput:
    points = (prompts.points, prompts.labels.clamp(min=-1))  # all prompts here are points
    sparse, dense = sam.prompt_encoder(points=points, boxes=None, masks=prompts.mask_logits)
    logits, iou = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )
    return MaskOutput(logits=logits, iou=iou)


def measure(case: str, images: int, objects: int, rounds: int, device: str) -> Measurement:
    """Measure one step in this process, after one on a single object to warm up."""
    if case == OURS:
        keep_freed_memory()
    torch.manual_seed(0)
    prompts = PromptSettings(rounds=rounds - 1, extra_passes=0, point_probability=1.0)
    make = peer if case == PEER else ours
    place = torch.device(device)
    embeddings = torch.randn(images, WIDTH, GRID, GRID, device=place)
    with torch.device(place):
        warm_up = make(make_batch(1, 1), embeddings[:1], prompts)
        step = make(make_batch(images, objects), embeddings, prompts)
    warm_up()
    seconds, cpu_seconds = timed(step, place)
    return Measurement(seconds, cpu_seconds, peak_mb(place))


def run_process(case: str, objects: int, options: argparse.Namespace) -> Measurement:
    """Measure in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--worker", case]
    command += ["--images", str(options.images), "--objects", str(objects)]
    command += ["--rounds", str(options.rounds), "--device", options.device]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def run_all(options: argparse.Namespace) -> dict[tuple[str, int], Measurement]:
    """Measure all cases in turns; keep the fastest step and the smallest peak of each."""
    best: dict[tuple[str, int], Measurement] = {}
    for turn in range(options.repeat):
        for objects in options.objects:
            for case in options.cases:
                new = run_process(case, objects, options)
                print(f"turn {turn + 1}, {objects} objects, {case}: {new}", file=sys.stderr)
                old = best.get((case, objects), new)
                best[case, objects] = Measurement(
                    min(old.seconds, new.seconds),
                    min(old.cpu_seconds, new.cpu_seconds),
                    min(old.peak_mb, new.peak_mb),
                )
    return best


def table(best: dict[tuple[str, int], Measurement], options: argparse.Namespace) -> Iterable[str]:
    """Yield the lines of the result."""
    yield (
        f"ViT-B decoder, {options.images} images, {options.rounds} rounds, float32, "
        f"{options.device}, {options.threads} threads, torch {torch.__version__}, "
        f"fastest of {options.repeat}"
    )
    yield f"objects  {'':26} {'seconds':>8} {'objects/s':>10} {'peak MB':>9}  against the loop"
    for objects in options.objects:
        base = best.get((PEER, objects))
        for case in options.cases:
            found = best[case, objects]
            rate = options.images * objects * options.rounds / found.seconds
            ratio = ""
            if base is not None and case != PEER:
                speed, memory = base.seconds / found.seconds, found.peak_mb / base.peak_mb
                ratio = f"{speed:.2f}x the objects, {memory:.2f} of the memory"
            yield (
                f"{objects:7}  {case:26} {found.seconds:8.2f} {rate:10.1f} "
                f"{found.peak_mb:9.0f}  {ratio}"
            )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--objects", type=int, nargs="+", default=[8], help="per image")
    parser.add_argument("--rounds", type=int, default=8, help="decoder passes of each object")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--repeat", type=int, default=1, help="turns; the fastest counts")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the benchmark, or one of its measurements."""
    options = parse()
    if options.worker is None:
        print("\n".join(table(run_all(options), options)))
        return
    objects = options.objects[0]
    found = measure(options.worker, options.images, objects, options.rounds, options.device)
    print(json.dumps({name: getattr(found, name) for name in Measurement.__annotations__}))


if __name__ == "__main__":
    main()
