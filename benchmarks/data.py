"""From disk to a batch: images per second of one core, and memory, against the straightforward way.

    python -m benchmarks.data                       # JPEG with COCO and with label PNG; tiles
    python -m benchmarks.data --index               # 11 million entries in 1000 shards: the start
    python -m benchmarks.data --cases tiles --side 12000 --repeat 5 --out results.json

The straightforward way decodes with Pillow, resizes with Pillow's bilinear filter as
`ResizeLongestSide` of `segment_anything` does, makes a boolean mask of the whole image for every
object (`annToMask` of pycocotools, or `labels == value`), resizes each to its nearest pixels and
stacks them. For tiles it decodes the whole image and its labels and cuts the tile out; `whole,
kept` decodes them once, keeps them and cuts every tile out of them, which takes their memory.

Each case and each way is a process of its own, and they take turns; the fastest turn counts. Memory
is what a process took at its peak beyond what it had taken before the first batch, when everything
was imported and the index was made. What the two ways give is compared too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import torch

from benchmarks.data_inputs import make_inputs
from benchmarks.data_ways import CASES, WAYS, Batch, index_start, open_way
from benchmarks.measuring import peak_mb
from benchmarks.results import Result, Results, aligned, read_results, run_worker, write_results

OURS: Final = "samft"
_CPU: Final = torch.device("cpu")


def measure(case: str, way: str, folder: Path, options: argparse.Namespace) -> Result:
    """Measure one way in this process: seconds per image, and memory beyond that of the start."""
    opened = open_way(case, way, folder, batch=options.batch, size=options.size)
    _forget_peak()
    before = peak_mb(_CPU)
    opened(0)
    peak = peak_mb(_CPU) - before
    seconds, count = [], 0
    for count in range(1, options.batches + 1):
        started = time.perf_counter()
        opened(count)
        seconds.append((time.perf_counter() - started) / options.batch)
    return {"ms": 1000 * min(seconds), "peak_mb": max(peak, peak_mb(_CPU) - before)}


def compare(case: str, folder: Path, options: argparse.Namespace) -> Result:
    """Compare the first batch of both ways: grey levels, and pixels of masks."""
    ours, theirs = (
        open_way(case, way, folder, batch=options.batch, size=options.size)(0)
        for way in (OURS, WAYS[case][1])
    )
    return difference(ours, theirs)


def difference(ours: Batch, theirs: Batch) -> Result:
    """Return how far two batches differ; the objects of each image are in the same order."""
    levels = (ours.images.int() - theirs.images.int()).abs()
    wrong = [int((a != b).sum()) for a, b in zip(ours.masks, theirs.masks, strict=True)]
    area = [int(b.sum()) for b in theirs.masks]
    return {
        "max_level": int(levels.max()),
        "mean_level": float(levels.float().mean()),
        "objects": len(area),
        "wrong_pixels": sum(wrong) / max(1, sum(area)),
    }


def run_all(folder: Path, options: argparse.Namespace) -> Results:
    """Measure all ways of all cases in turns, each in a process of its own."""
    setup = {name: getattr(options, name) for name in _SETUP} | {"torch": torch.__version__}
    results = read_results(options.out, setup)
    jobs = [(case, way) for case in options.cases for way in WAYS[case]]
    for turn in range(options.repeat):
        for case, way in jobs:
            new = _worker(["--worker", case, way], folder, options)
            print(f"turn {turn + 1}, {case}, {way}: {new}", file=sys.stderr, flush=True)
            results[f"{case}/{way}"] = _better(results.get(f"{case}/{way}"), new)
            write_results(options.out, setup, results)
    for case in options.cases:
        results[f"{case}/difference"] = _worker(["--compare", case], folder, options)
    write_results(options.out, setup, results)
    return results


def table(results: Results, options: argparse.Namespace) -> Iterable[str]:
    """Yield the lines of the result."""
    rows = [["from disk to a batch", "images/s", "faster", "peak MB", "samft takes"]]
    for case in options.cases:
        ours = results[f"{case}/{OURS}"]
        rows += [
            [f"{CASES[case]}: {way}", *_cells(results[f"{case}/{way}"], ours, way)]
            for way in WAYS[case]
        ]
    yield from aligned(rows, markdown=options.markdown)
    yield ""
    for case in options.cases:
        found = results[f"{case}/difference"]
        yield f"{CASES[case]}: {_difference_text(found)}"


def _cells(found: Result, ours: Result, way: str) -> list[str]:
    if "failed" in found:
        return ["failed", "", "", ""]
    cells = [f"{1000 / found['ms']:.1f}", "", f"{found['peak_mb']:.0f}", ""]
    if way != OURS and "failed" not in ours:
        cells[1] = f"{found['ms'] / ours['ms']:.1f}x"
        cells[3] = f"{ours['peak_mb'] / max(found['peak_mb'], 1):.2f} of it"
    return cells


def _difference_text(found: Result) -> str:
    if "failed" in found:
        return found["failed"]
    return (
        f"grey levels differ by at most {found['max_level']} ({found['mean_level']:.4f} on average)"
        f", {found['wrong_pixels']:.4%} of the pixels of {found['objects']} masks differ"
    )


def index_lines(found: Result) -> Iterable[str]:
    """Yield what the start with a large index took."""
    if "failed" in found:
        yield found["failed"]
        return
    yield (
        f"{found['entries']:,} entries in {found['shards']} shards: start to the first batch "
        f"{found['seconds']:.1f} s, peak memory {found['peak_mb']:.0f} MB "
        f"({found['imports_mb']:.0f} MB after the imports)"
    )
    for name in ("index", "order"):
        yield f"  of which {name}: {found[f'{name}_seconds']:.1f} s"


def _worker(words: Sequence[str], folder: Path, options: argparse.Namespace) -> Result:
    arguments = [*words, "--folder", str(folder)]
    for name in ("batch", "batches", "size", "threads", "entries", "shards"):
        arguments += [f"--{name}", str(getattr(options, name))]
    return run_worker(
        "benchmarks.data",
        arguments,
        threads=options.threads,
        SAMFT_CACHE=str(folder / "cache"),
    )


def _better(old: Result | None, new: Result) -> Result:
    if old is None or "failed" in old or "failed" in new:
        return new
    return {name: min(old[name], new[name]) for name in new}


def _forget_peak() -> None:
    """Let the system note the peak of memory anew; where it cannot, the peak is an upper bound."""
    reset = Path("/proc/self/clear_refs")
    try:
        reset.write_text("5", encoding="ascii")
    except OSError:
        return


_SETUP: Final = ("size", "batch", "threads", "side", "tile", "objects", "tiff_compression")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--size", type=int, default=1024, help="side of the input square")
    parser.add_argument("--batch", type=int, default=4, help="images per batch")
    parser.add_argument("--batches", type=int, default=4, help="batches per process")
    parser.add_argument("--repeat", type=int, default=3, help="turns; the fastest counts")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--objects", type=int, default=100, help="objects in each image")
    parser.add_argument("--width", type=int, default=2000, help="of the JPEG; 3/4 of it is high")
    parser.add_argument("--side", type=int, default=12_000, help="of the TIFF")
    parser.add_argument("--tile", type=int, default=512, help="side of the parts of the TIFF")
    parser.add_argument("--tiff-compression", default="zlib", help="of the TIFF: zlib or none")
    parser.add_argument("--index", action="store_true", help="measure the start of a large index")
    parser.add_argument("--entries", type=int, default=11_000_000, help="of the index")
    parser.add_argument("--shards", type=int, default=1000, help="of the index")
    parser.add_argument("--folder", type=Path, help="keep the input files there")
    parser.add_argument("--out", type=Path, help="JSON file with the results, to go on with")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--compare", help=argparse.SUPPRESS)
    parser.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, folder: Path) -> Iterable[str]:
    """Run what the command line asks for; yield the lines of the result."""
    make_inputs(folder, options)
    if options.index:
        found = _worker(["--start"], folder, options)
        write_results(options.out, {"entries": options.entries}, {"index": found})
        return index_lines(found)
    return table(run_all(folder, options), options)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, or one of its measurements."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    measured: Callable[[], Result] | None = None
    if options.worker is not None:
        measured = lambda: measure(*options.worker, options.folder, options)  # noqa: E731
    elif options.compare is not None:
        measured = lambda: compare(options.compare, options.folder, options)  # noqa: E731
    elif options.start:
        measured = lambda: index_start(options.folder)  # noqa: E731
    if measured is not None:
        print(json.dumps(measured()))
        return
    with tempfile.TemporaryDirectory() as temporary:
        print("\n".join(run(options, options.folder or Path(temporary))))


if __name__ == "__main__":
    main()
