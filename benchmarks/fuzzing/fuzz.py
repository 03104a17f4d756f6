"""One target fuzzed by Atheris (libFuzzer), in a process of its own.

`FOLDER/corpus` holds the inputs that reach new code, `FOLDER/findings` those that broke a promise,
each named after where it did. This module must be imported before `samft`: what is imported here
is instrumented, so that libFuzzer sees which code an input reaches.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["samft", "nibabel", "nrrd", "pydicom", "tifffile"]):
    from benchmarks.fuzzing.registry import find_target
    from benchmarks.fuzzing.target import LARGEST_FILE, LONGEST_INPUT, Finding, Target, run_input

_SLOW_S: Final = 60  # for one input, on a machine that does other things too
_RSS_MB: Final = 4096
_BYTES_OF_EVERY: Final = 3  # one change of so many is of bytes, the others keep the form


def fuzz_target(name: str, folder: Path, scratch: Path, *, seconds: int) -> None:
    """Fuzz a target for a while; libFuzzer then ends the process.

    Args:
        name: Of the target.
        folder: For its corpus and findings.
        scratch: For the files that are read.
        seconds: How long.
    """
    target, corpus, findings = find_target(name), folder / "corpus", folder / "findings"
    for each in (corpus, findings):
        each.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ["SAMFT_MAX_BYTES"] = str(LARGEST_FILE)
    _write_seeds(target, corpus, scratch)
    flags = [f"-max_len={LONGEST_INPUT}", f"-timeout={_SLOW_S}", f"-rss_limit_mb={_RSS_MB}"]
    flags += [f"-max_total_time={seconds}", f"-artifact_prefix={findings}/", "-print_final_stats=1"]
    mutator = {} if target.mutate is None else {"custom_mutator": _mutator(target.mutate)}
    atheris.Setup(
        [sys.argv[0], *flags, str(corpus)],
        lambda data: _one(target, data, scratch / "input", findings),
        **mutator,
    )
    atheris.Fuzz()


def _write_seeds(target: Target, corpus: Path, scratch: Path) -> None:
    for number, seed in enumerate(target.seeds(_emptied(scratch / "seeds"))):
        (corpus / f"seed_{number}").write_bytes(seed)


def _mutator(form: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % _BYTES_OF_EVERY == 0:
            return bytes(atheris.Mutate(data, max_size))
        changed = form(data, seed)
        return changed if 0 < len(changed) <= max_size else data

    return mutate


def _one(target: Target, data: bytes, scratch: Path, findings: Path) -> None:
    try:
        run_input(target, data, _emptied(scratch))
    except Finding as finding:
        _record(finding, data, findings)


def _record(finding: Finding, data: bytes, findings: Path) -> None:
    """Keep the first input for each place at which something went wrong, and go on."""
    cause = finding.__cause__ or finding
    frames = [f"{at.filename}:{at.lineno}" for at in traceback.extract_tb(cause.__traceback__)]
    ours = [frame for frame in frames if "/samft/" in frame] or frames
    key = f"{type(cause).__name__}-{hashlib.sha256(ours[-1].encode()).hexdigest()[:12]}"
    if (findings / key).exists():
        return
    (findings / key).write_bytes(data)
    text = "".join(traceback.format_exception(cause))
    (findings / f"{key}.txt").write_text(f"{finding}\n\n{text}", "utf-8", errors="backslashreplace")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
