"""Turns a trained nano checkpoint into the weights that ship, or refuses to.

    python -m benchmarks.nano.build runs/pretrain_nano/0 --out samft/weights --machine "2 CPU cores"

What is judged is the file that would be shipped: it is written to a temporary folder in half
precision, read back, and measured on every set. Only if it passes `benchmarks.nano.gate` are
`vit_nano.safetensors` and its model card `vit_nano.md` put into place.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch import Tensor

from benchmarks.nano.gate import check, refuse
from benchmarks.nano.scores import SetScores
from benchmarks.nano.sets import DATA, SETS
from benchmarks.nano.zero_shot import NOTE, score_sets, table
from samft.checkpoints import read_checkpoint
from samft.errors import OutputError, SamftError
from samft.inference.output_folder import write_atomically
from samft.models.cache import sha256_of
from samft.models.checkpoint import read_state_dict, save_state_dict
from samft.models.strict import load_state_dict
from samft.runs import Run, load_run

MAX_BYTES: Final = 10_000_000
LICENCE: Final = "Apache-2.0"
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where weights come from, for the model card.

    Args:
        recipe: The recipe they were trained with.
        machine: The kind of machine.
        commit: State of the source code, as git describes it.
        date: When the file was made, ISO 8601.
        epoch: Epochs trained.
        steps: Optimiser steps trained.
        settings: Hyper-parameters of the module.
        data: Class and settings of the training data, as far as the run folder tells.
        history: What was trained before this run, whose weights it started from; empty for nothing.
    """

    recipe: str
    machine: str
    commit: str
    date: str
    epoch: int
    steps: int
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    history: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The numbers that `samft.models.weights.WeightsEntry` asks for.

    Args:
        path: The file.
        num_bytes: Its size.
        sha256: Its hash, hexadecimal.
    """

    path: Path
    num_bytes: int
    sha256: str


def half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with its floating point tensors as float16."""
    return {key: item.half() if item.is_floating_point() else item for key, item in state.items()}


def origin_of(run: Run, *, recipe: str, machine: str, history: str = "") -> Origin:
    """Collect what a checkpoint, its run folder and the source tree tell about its origin.

    Args:
        run: The checkpoint.
        recipe: The recipe it was trained with.
        machine: The kind of machine it was trained on.
        history: What was trained before.

    Raises:
        CheckpointError: if it is no checkpoint of samft.
    """
    checkpoint = read_checkpoint(run.checkpoint)
    config = yaml.safe_load(run.config.read_text(encoding="utf-8")) if run.config else {}
    return Origin(
        recipe=recipe,
        machine=machine,
        commit=_commit(),
        date=datetime.now(UTC).date().isoformat(),
        epoch=int(checkpoint.get("epoch", 0)),
        steps=int(checkpoint.get("global_step", 0)),
        settings=checkpoint["hyper_parameters"],
        data=config.get("data") or {},
        history=history,
    )


def build(
    run: Run, out: Path, *, name: str, origin: Origin, data: Path, overwrite: bool = False
) -> tuple[Written, list[SetScores]]:
    """Measure a checkpoint as it would be shipped, and write it with its card if it is good enough.

    Args:
        run: The checkpoint.
        out: Folder for `<name>.safetensors` and `<name>.md`.
        name: What the weights are called.
        origin: What the card says about where they come from.
        data: The folder of the real evaluation sets.
        overwrite: Replace files that are there already.

    Returns:
        What was written, and the table.

    Raises:
        GateError: if the weights do not beat the baselines or the file is too large.
        SamftError: if the checkpoint or the data cannot be read, or the output exists.
    """
    weights, card = out / f"{name}.safetensors", out / f"{name}.md"
    for path in (weights, card):
        if path.exists() and not overwrite:
            raise OutputError("the file exists already", where=path, fix="pass --overwrite")
    sam = run.load().sam
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / weights.name
        save_state_dict(half_precision(sam.state_dict()), candidate, metadata={"licence": LICENCE})
        load_state_dict(sam, read_state_dict(candidate)[0], source=candidate)
        scores = score_sets(sam, SETS.values(), data)
        size = candidate.stat().st_size
        too_large = [f"a file of {size} bytes, more than {MAX_BYTES}"] if size > MAX_BYTES else []
        refuse([*check(scores), *too_large], where=run.checkpoint)
        written = Written(path=weights, num_bytes=size, sha256=sha256_of([candidate]))
        text = model_card(written, scores, origin)
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(weights, lambda path: shutil.copyfile(candidate, path))
        write_atomically(card, lambda path: path.write_text(text, encoding="utf-8"))
    return written, scores


def model_card(written: Written, scores: Sequence[SetScores], origin: Origin) -> str:
    """Return the text of the model card, in Markdown."""
    settings = yaml.safe_dump(
        {"model": dict(origin.settings), "data": dict(origin.data)}, sort_keys=True
    )
    lines = "\n".join(table(scores, markdown=True))
    return f"""# {written.path.stem}: samft's nano SAM

A promptable segmentation model of the Segment Anything family, small enough for one CPU core.
Give it an image and a box or a click; it answers with a mask. Meant as a start for fine-tuning on
your own images, for tests and for demos.

- File: `{written.path.name}`, {written.num_bytes} bytes, float16, official SAM keys
- sha256: `{written.sha256}`
- Licence: {LICENCE}, as samft itself
- Built: {origin.date}, samft source {origin.commit}

## Training

On images made by samft's procedural generator (`samft/data/synthetic.py`).
No photograph, scan or micrograph was used, so no licence of any data applies.

- Recipe: `{origin.recipe}`, seed {origin.settings.get("seed", "unknown")}
- {origin.epoch} epochs, {origin.steps} optimiser steps, on: {origin.machine}
- Before that: {origin.history or "nothing, the run started from random weights"}

```yaml
{settings}```

## What it reaches without seeing a set

Measured on this very file, reloaded; the sets below were not trained on.

{lines}

{NOTE}

The script that writes this file refuses to unless, on the generated images, nuclei and CT, a box
gives more than every one of filled box, ellipse, Otsu and their intersection, and one point more
than the disc.

## Limits

- Photographs and underwater scenes: the numbers above say how well it copes; for these, take
  `vit_b` when you can.
- Images are scaled to {origin.settings.get("image_size", "the input")} px on the longest side:
  what is only a few pixels wide there is lost.
- The sets are small and none is a clinical validation. Not a medical device.
"""


def main(arguments: list[str] | None = None) -> int:
    """Build the weights; return the exit status."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        run = load_run(options.checkpoint, which=options.which)
        written, scores = build(
            run,
            options.out,
            name=options.name,
            origin=origin_of(
                run, recipe=options.recipe, machine=options.machine, history=options.history
            ),
            data=options.data,
            overwrite=options.overwrite,
        )
    except SamftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n".join(table(scores)))
    print(f'\nnum_bytes={written.num_bytes:_},\nsha256="{written.sha256}",')
    print(f"wrote {written.path} and its card")
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("checkpoint", help="run folder or .ckpt file")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    parser.add_argument("--which", choices=["best", "last"], default="best", help="of a run folder")
    parser.add_argument("--name", default="vit_nano")
    parser.add_argument("--recipe", default="recipes/pretrain_nano.yaml")
    parser.add_argument("--machine", required=True, help="what it was trained on, for the card")
    parser.add_argument("--history", default="", help="what was trained before, for the card")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    return parser.parse_args(arguments)


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "of unknown commit"
    command = [git, "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return f"commit {done.stdout.strip()}" if done.returncode == 0 else "of unknown commit"


if __name__ == "__main__":
    sys.exit(main())
