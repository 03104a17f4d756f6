"""Times the ViT-B image encoder against `segment_anything` and `transformers`, in one run.

Every measurement is its own process, so that peak memory is that model's alone, and the models take
turns, so that a change of load on the machine meets all of them. The fastest of the turns counts.

    python -m benchmarks.encoder                       # 1024 px, forward, and with backward
    python -m benchmarks.encoder --size 512 --repeat 5 --threads 2

The bound is the time that the arithmetic alone takes at the rate of one large matrix product,
measured in the same run with `torch.mm`. On CPUs with AVX-512 samft uses another library for its
products, which can be faster than `torch.mm`; then more than 100 % of the bound is reached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measuring import Measurement, peak_mb, timed, without_torchvision
from samft.models.config import ARCHITECTURES, SamConfig
from samft.models.registry import build_from_config

ROOT = Path(__file__).parents[1]
OURS = "samft"
MATMUL = "matmul"


def build_samft(config: SamConfig) -> nn.Module:
    """Build samft's encoder."""
    return build_from_config(config).image_encoder


def build_segment_anything(config: SamConfig) -> nn.Module:
    """Build the official encoder; stands in for torchvision, which the package imports."""
    with without_torchvision():
        from segment_anything.modeling import ImageEncoderViT
    return ImageEncoderViT(
        img_size=config.image_size,
        embed_dim=config.encoder.dim,
        depth=config.encoder.depth,
        num_heads=config.encoder.heads,
        use_rel_pos=True,
        window_size=config.encoder.window_size,
        global_attn_indexes=config.encoder.global_blocks,
        norm_layer=lambda dim: nn.LayerNorm(dim, eps=1e-6),
    )


def build_transformers(config: SamConfig, attention: str) -> nn.Module:
    """Build the encoder of `transformers.SamModel`."""
    from transformers import SamVisionConfig, SamVisionModel

    settings = SamVisionConfig(
        hidden_size=config.encoder.dim,
        num_hidden_layers=config.encoder.depth,
        num_attention_heads=config.encoder.heads,
        image_size=config.image_size,
        window_size=config.encoder.window_size,
        global_attn_indexes=list(config.encoder.global_blocks),
        attn_implementation=attention,
    )
    return SamVisionModel(settings)


BUILDERS: dict[str, Callable[[SamConfig], nn.Module]] = {
    OURS: build_samft,
    "segment_anything": build_segment_anything,
    "transformers sdpa": lambda config: build_transformers(config, "sdpa"),
    "transformers eager": lambda config: build_transformers(config, "eager"),
}
MODES = ("forward", "forward+backward")


def count_gflop(config: SamConfig) -> float:
    """Count the products of a forward pass of the official encoder, 2 operations per multiply-add.

    That encoder projects the padding of its windows too; samft does not, but is measured against
    the same count.
    """
    tokens, dim, out = config.grid_size**2, config.encoder.dim, config.embed_dim
    side = config.encoder.window_size
    windows = (-(-config.grid_size // side)) ** 2
    total = tokens * (3 * config.patch_size**2 * dim + dim * out + 9 * out * out)
    for index in range(config.encoder.depth):
        is_global = index in config.encoder.global_blocks
        groups, edge = (1, config.grid_size) if is_global else (windows, side)
        padded = groups * edge**2
        attention = 2 * edge**2 + 2 * edge  # q . k, p . v; q . R_h, q . R_w
        total += tokens * 8 * dim**2 + padded * (4 * dim**2 + attention * dim)
    return 2 * total / 1e9


def randomise(model: nn.Module) -> None:
    """Give all models weights of the same size; transformers' own start next to zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)


def measure(name: str, mode: str, size: int, device: torch.device) -> Measurement:
    """Measure one pass of one image through one model in this process, after one to warm up."""
    torch.manual_seed(0)
    model = BUILDERS[name](replace(ARCHITECTURES["vit_b"], image_size=size))
    randomise(model)
    model.to(device)
    images = torch.randn(1, 3, size, size, device=device)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def backward() -> None:
        output = model(images)
        embedding: Tensor = output if isinstance(output, Tensor) else output.last_hidden_state
        embedding.square().mean().backward()

    step = forward if mode == "forward" else backward
    step()
    seconds, cpu_seconds = timed(step, device)
    return Measurement(seconds, cpu_seconds, peak_mb(device))


def measure_matmul(device: torch.device) -> Measurement:
    """Measure the seconds per GFLOP of the encoder's largest linear layer as a plain product."""
    a, b = torch.randn(4096, 768, device=device), torch.randn(768, 3072, device=device)
    out = torch.empty(4096, 3072, device=device)
    gflop = 2 * a.numel() * b.shape[1] / 1e9
    timed(lambda: torch.mm(a, b, out=out), device)
    seconds, cpu = min(timed(lambda: torch.mm(a, b, out=out), device) for _ in range(10))
    return Measurement(seconds / gflop, cpu / gflop, peak_mb(device))


def run_process(name: str, mode: str, options: argparse.Namespace) -> Measurement:
    """Measure in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.encoder", "--worker", name, mode]
    command += ["--size", str(options.size), "--threads", str(options.threads)]
    command += ["--device", options.device]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def run_all(options: argparse.Namespace) -> dict[tuple[str, str], Measurement]:
    """Measure all models in turns; keep the fastest pass and the smallest peak of each."""
    jobs = [(MATMUL, "bound")] + [(name, mode) for mode in options.modes for name in options.cases]
    best: dict[tuple[str, str], Measurement] = {}
    for turn in range(options.repeat):
        for job in jobs:
            new = run_process(*job, options)
            print(f"turn {turn + 1}, {', '.join(job)}: {new}", file=sys.stderr, flush=True)
            old = best.get(job, new)
            best[job] = Measurement(
                min(old.seconds, new.seconds),
                min(old.cpu_seconds, new.cpu_seconds),
                min(old.peak_mb, new.peak_mb),
            )
    return best


def table(best: dict[tuple[str, str], Measurement], options: argparse.Namespace) -> Iterable[str]:
    """Yield the lines of the result."""
    bound = best[MATMUL, "bound"].seconds
    config = replace(ARCHITECTURES["vit_b"], image_size=options.size)
    yield (
        f"ViT-B encoder, one image, {options.size} px, float32, {options.device}, "
        f"{options.threads} threads, torch {torch.__version__}, fastest of {options.repeat}"
    )
    yield f"one large torch.mm: {1 / bound:.0f} GFLOP/s"
    for mode in options.modes:
        gflop = count_gflop(config) * (1 if mode == "forward" else 3)
        yield ""
        yield f"{mode}: {gflop:.0f} GFLOP, {gflop * bound:.2f} s at that rate"
        yield (
            f"{'':20} {'seconds':>8} {'cpu s':>8} {'faster':>11} {'peak MB':>9} "
            f"{'samft takes':>12} {'GFLOP/s':>8} {'of bound':>9}"
        )
        ours = best.get((OURS, mode))
        for name in options.cases:
            yield _line(name, best[name, mode], ours, gflop=gflop, bound=bound)


def _line(
    name: str, found: Measurement, ours: Measurement | None, *, gflop: float, bound: float
) -> str:
    faster, memory = "", ""
    if ours is not None and name != OURS:
        faster = f"{found.seconds / ours.seconds:.2f}x"
        memory = f"{ours.peak_mb / found.peak_mb:.2f} of it"
    return (
        f"{name:20} {found.seconds:8.2f} {found.cpu_seconds:8.2f} {faster:>11} "
        f"{found.peak_mb:9.0f} {memory:>12} {gflop / found.seconds:8.0f} "
        f"{gflop * bound / found.seconds:9.0%}"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--size", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--repeat", type=int, default=3, help="turns; the fastest counts")
    parser.add_argument("--cases", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu or cuda; the GPU when there is one",
    )
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "MODE"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the benchmark, or one of its measurements."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.worker is None:
        print("\n".join(table(run_all(options), options)))
        return
    name, mode = options.worker
    device = torch.device(options.device)
    found = measure_matmul(device) if name == MATMUL else measure(name, mode, options.size, device)
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    main()
