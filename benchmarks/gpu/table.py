"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.adapted_steps import SAMFT, TRANSFORMERS
from benchmarks.gpu.cases import BOX, COMPILE, PLAIN, GpuCase, plan
from benchmarks.results import Result, Results, aligned

_GIB: Final = 2**10  # MiB
_HEADS: Final = {
    SAMFT: ("samft steps/s", "peak GiB", "reserved"),
    TRANSFORMERS: ("transformers steps/s", "peak GiB", "reserved"),
}


def report(results: Results, facts: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of both tables, and what must be said about them.

    Args:
        results: Rows by name.
        facts: Setup, machine and versions.
    """
    cases = _in_order(results)
    yield heading(results, facts)
    both = [case for case in cases if _has_peer(case)]
    if both:
        yield from ("", "One decoder pass, a tight box for each object, the same trained weights,")
        yield "loss and optimiser; `faster` and `memory` are samft against `transformers` + peft:"
        yield from ("", *aligned([*_beside(both, results)], markdown=True))
    alone = [case for case in cases if case.program == SAMFT and not _has_peer(case)]
    if alone:
        yield from ("", "samft alone; `paper` is the whole training step of SAM's authors, eleven")
        yield "decoder passes with simulated clicks; `against plain`: the same row without sharding"
        yield from ("and the like:", "", *aligned([*_alone(alone, results)], markdown=True))
    notes = list(_notes(cases, results))
    if notes:
        yield from ("", *notes)


def heading(results: Results, facts: dict[str, Any]) -> str:
    """Return what was measured, on what, and when."""
    dates = sorted(row["date"][:10] for row in results.values() if "date" in row)
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    return (
        f"{facts['machine']}, {when}: {facts['size']} px, {facts['objects']} objects per image, "
        f"{facts['precision']}, torch {facts['torch']}, lightning {facts['lightning']}, "
        f"transformers {facts['transformers']}, peft {facts['peft']}; steps after "
        f"{facts['warm_up']} to warm up, median of blocks; random weights, one batch over and over"
    )


def spread(row: Result) -> float:
    """Return how far the blocks of a row are apart, as a share of their median."""
    blocks = row["step_seconds"]
    return float((max(blocks) - min(blocks)) / median(blocks))


def _in_order(results: Results) -> list[GpuCase]:
    cases = [GpuCase.of(name) for name in results]
    archs = list(dict.fromkeys(case.arch for case in cases))
    known = plan(archs, sorted({case.images for case in cases}))
    places = {case.name: place for place, case in enumerate(known)}
    return sorted(
        cases,
        key=lambda case: (case.images, archs.index(case.arch), places.get(case.name, len(known))),
    )


def _has_peer(case: GpuCase) -> bool:
    return replace(case, program=TRANSFORMERS).is_possible


def _beside(cases: Iterable[GpuCase], results: Results) -> Iterator[list[str]]:
    yield [
        *("model", "images", "trained", *_HEADS[SAMFT], "estimated", *_HEADS[TRANSFORMERS]),
        *("faster", "memory"),
    ]
    for ours in dict.fromkeys(replace(case, program=SAMFT) for case in cases):
        own = results.get(ours.name, {})
        other = results.get(replace(ours, program=TRANSFORMERS).name, {})
        yield [
            *(ours.arch, str(ours.images), _what(ours)),
            *(*_measured(own, ours), _estimated(own), *_measured(other, ours)),
            *(_ratio(own, other, "steps_per_s", "x"), _ratio(own, other, "peak_mb")),
        ]


def _alone(cases: Iterable[GpuCase], results: Results) -> Iterator[list[str]]:
    yield [
        *("model", "images", "trained", "prompts", *_HEADS[SAMFT], "estimated"),
        *("speed against plain", "memory against plain"),
    ]
    for case in cases:
        row = results[case.name]
        plain = {} if case.way == PLAIN else results.get(replace(case, way=PLAIN).name, {})
        yield [
            *(case.arch, str(case.images), _what(case), case.prompts),
            *(*_measured(row, case), _estimated(row)),
            *(_ratio(row, plain, "steps_per_s", "x"), _ratio(row, plain, "peak_mb")),
        ]


def _what(case: GpuCase) -> str:
    return case.method if case.way == PLAIN else f"{case.method}, {case.way}"


def _measured(row: Result, case: GpuCase) -> list[str]:
    """Return steps per second, peak and reserved memory."""
    if "out_of_memory" in row:
        peak = f"at {row['peak_mb'] / _GIB:.1f}" if "peak_mb" in row else "-"
        return ["out of memory", peak, "-"]
    if "failed" in row:
        return ["failed", "-", "-"]
    if "steps_per_s" not in row:
        return ["-"] * 3
    speed = f"{row['steps_per_s']:.3g}"
    if case.way == COMPILE:
        speed += f" (compiled in {row['compile_seconds']:.0f} s)"
    return [speed, *(_gib(row, name) for name in ("peak_mb", "reserved_mb"))]


def _gib(row: Result, name: str) -> str:
    return f"{row[name] / _GIB:.2f}" if name in row else "-"


def _estimated(row: Result) -> str:
    """Return the planner's estimate, and how far it is off what was reserved."""
    if "estimated_mb" not in row:
        return "-"
    real = row.get("reserved_mb", row.get("peak_mb"))
    known = "steps_per_s" in row and real
    return _gib(row, "estimated_mb") + (
        f" ({row['estimated_mb'] / real - 1:+.0%})" if known else ""
    )


def _ratio(above: Result, below: Result, name: str, unit: str = "") -> str:
    if not all("steps_per_s" in row for row in (above, below)):
        return "-"
    return f"{above[name] / below[name]:.2f}{unit}"


def _notes(cases: Iterable[GpuCase], results: Results) -> Iterator[str]:
    rows = {case.name: results[case.name] for case in cases}
    timed = {
        name: spread(row) for name, row in rows.items() if len(row.get("step_seconds", ())) > 1
    }
    if timed:
        worst = max(timed, key=lambda name: timed[name])
        yield (
            f"- Blocks of a row differ by {median(timed.values()):.1%} in the median, at most by "
            f"{timed[worst]:.0%} ({worst}); differences below that are none."
        )
    if any(case.prompts == BOX and case.way == COMPILE for case in cases):
        yield "- Compiled is the image encoder alone, in both programs."
    for case in cases:
        yield from _remarks(case, results[case.name])


def _remarks(case: GpuCase, row: Result) -> Iterator[str]:
    if "failed" in row:
        yield f"- {case.name} failed: {row['failed']}"
    if row.get("images_at_once") or row.get("prompts_at_once"):
        yield f"- {case.name} ran out of memory and went on with less at once."
    if row.get("computed", 0) > case.images:
        yield (
            f"- {case.name} found reading its store slower than computing, and computed: "
            f"{row['read']} embeddings read, {row['computed']} computed."
        )
